"""The second stage: all similar pairs of a job, exactly, block by block.

Blocks are runs of whole partitions. Every pair of blocks is a task that has two blocks in memory and writes the pairs
between them with rows counted inside the blocks, so that a new or changed partition only costs the tasks of its block.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import rrn_native
from rrn_native.files import sha256_of_bytes

from rrn_ops.scale import embedding, engines, storage
from rrn_ops.scale.embedding import Progress
from rrn_ops.scale.storage import Json, Product, ScaleError

STAGE = "pairs"
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Block:
    """Partitions that are searched together.

    Attributes:
        number: Of the block, from 0.
        start: Its first row among all rows with an embedding, in the order of partitions.
        rows: How many it has.
        manifests: Of its partitions.
    """

    number: int
    start: int
    rows: int
    manifests: tuple[Json, ...]

    @property
    def digest(self) -> str:
        """Of what is in it."""
        return storage.digest([each["sha256"] for each in self.manifests])

    def to_json(self) -> Json:
        """Returns it as JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Json) -> Block:
        """Returns what :meth:`to_json` was made of."""
        return Block(**{**value, "manifests": tuple(value["manifests"])})


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Similar pairs, as rows among all that have an embedding.

    Attributes:
        first: int64 [n], smaller than `second`.
        second: int64 [n].
        similarity: float32 [n].
    """

    first: Ints
    second: Ints
    similarity: Floats

    def __len__(self) -> int:
        return len(self.first)


def blocks(manifests: Sequence[Json], most_rows: int) -> list[Block]:
    """Returns partitions in blocks of at most `most_rows` rows; a partition that has more is a block of its own."""
    made: list[Block] = []
    held: list[Json] = []
    start = rows = 0
    for manifest in manifests:
        if held and rows + manifest["images"] > most_rows:
            made.append(Block(len(made), start, rows, tuple(held)))
            start, held, rows = start + rows, [], 0
        held.append(manifest)
        rows += manifest["images"]
    return [*made, Block(len(made), start, rows, tuple(held))]


def embeddings_of(job: str, manifest: Json) -> Floats:
    """Returns the embeddings of a partition: float32 [images, dim].

    Raises:
        ScaleError: The file is not the one of its manifest.
    """
    column = embedding.read_partition(job, manifest, ["embedding"]).column("embedding").combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, int(manifest["dim"]))
    return values.astype(np.float32)  # type: ignore[no-any-return]


def read_rows(job: str, block: Block) -> Floats:
    """Returns the embeddings of a block: float32 [rows, dim].

    Raises:
        ScaleError: A file is not the one of its manifest.
    """
    rows = np.empty((block.rows, int(block.manifests[0]["dim"])), np.float32)
    at = 0
    for manifest in block.manifests:
        values = embeddings_of(job, manifest)
        rows[at : at + len(values)] = values
        at += len(values)
    return rows


def read_paths(job: str, block: Block) -> list[str]:
    """Returns the paths of a block's rows.

    Raises:
        ScaleError: A file is not the one of its manifest.
    """
    parts = [embedding.read_partition(job, each, ["path"]).column("path").to_pylist() for each in block.manifests]
    return [path for part in parts for path in part]


def table_of(first: Ints, second: Ints, similarity: Floats) -> pa.Table:
    """Returns pairs as a table with the columns first, second (int64) and similarity (float32)."""
    return pa.table({"first": first, "second": second, "similarity": similarity})


class PairTask:
    """Searches one pair of blocks, given as JSON; returns the manifest of the pairs as JSON.

    Args:
        job: The place of the job.
        threshold: Similar is: cosine > threshold.
        threads: Of one task.
    """

    def __init__(self, job: str, threshold: float, threads: int) -> None:
        self._job = job
        self._threshold = threshold
        self._threads = threads

    def __call__(self, text: str) -> str:
        """Does it; see the class."""
        left, right = (Block.from_json(each) for each in json.loads(text))
        rows = read_rows(self._job, left)
        if left.number == right.number:
            found = rrn_native.similar_pairs(rows, self._threshold, threads=self._threads)
        else:
            columns = read_rows(self._job, right)
            found = rrn_native.similar_pairs_between(rows, columns, self._threshold, threads=self._threads)
        content = embedding.parquet_bytes(table_of(*found))
        facts = {"pairs": len(found[0]), "first_block": left.number, "second_block": right.number}
        return embedding.json_line(storage.finish(self._job, product_of(left, right, self._threshold), content, facts))


def product_of(left: Block, right: Block, threshold: float) -> Product:
    """Returns the file of the pairs between two blocks."""
    name = f"pairs-{left.number:05d}-{right.number:05d}"
    return Product(STAGE, name, storage.digest([left.digest, right.digest, threshold]))


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search did.

    Attributes:
        tasks: All of it.
        reused: Those that were finished before.
        rows: That were searched.
        pairs: That were found.
    """

    tasks: int
    reused: int
    rows: int
    pairs: int


@dataclasses.dataclass(frozen=True)
class Search:
    """How pairs are searched.

    Attributes:
        threshold: Similar is: cosine > threshold.
        block_rows: Rows of a block; a task holds two blocks, in float32.
        threads: Of a task.
        resume: False searches again what was finished.
    """

    threshold: float = rrn_native.DEFAULT_THRESHOLD
    block_rows: int = 100_000
    threads: int = 1
    resume: bool = True


def find(job: str, search: Search, options: engines.Options, progress: Progress | None = None) -> Found:
    """Finds all similar pairs.

    Args:
        job: The place of a job with embeddings.
        search: How.
        options: Of the engine.
        progress: Called with (done, total) in pairs of blocks.

    Raises:
        ScaleError, OSError: The job cannot go on; what was finished stays.
    """
    held = blocks(embedding.manifests(job), search.block_rows)
    begin(job)
    wanted: dict[str, tuple[Product, str]] = {}
    for left in held:
        for right in held[left.number :]:
            product = product_of(left, right, search.threshold)
            wanted[product.name] = (product, json.dumps([left.to_json(), right.to_json()]))
    work = engines.Work(PairTask, (job, search.threshold, search.threads))
    made, reused = run_stage(job, wanted, work, options, resume=search.resume, progress=progress)
    describe(job, held, search.block_rows, {"method": "exact", "threshold": search.threshold})
    rows = sum(each.rows for each in held)
    return Found(len(wanted), reused, rows, sum(int(each["pairs"]) for each in made))


def run_stage(
    job: str,
    wanted: dict[str, tuple[Product, str]],
    work: engines.Work,
    options: engines.Options,
    *,
    resume: bool,
    progress: Progress | None,
) -> tuple[list[Json], int]:
    """Runs the tasks of a stage that are not finished, and removes what belongs to no task.

    Args:
        job: The place of the job.
        wanted: The file and the task's text, by the name of the file; at least one, all of one stage.
        work: Of the workers.
        options: Of the engine.
        resume: False runs all.
        progress: Called with (done, total).

    Returns:
        (manifests in the order of `wanted`, how many were finished before).
    """
    held = {name: storage.finished(job, product) if resume else None for name, (product, _) in wanted.items()}
    tasks = [wanted[name][1] for name, manifest in held.items() if manifest is None]
    reused = len(wanted) - len(tasks)
    if progress:
        progress(reused, len(wanted))
    for done, answer in enumerate(engines.run(options, work, tasks), start=reused + 1):
        manifest = embedding.load_line(answer)
        held[str(manifest["name"])] = manifest
        if progress:
            progress(done, len(wanted))
    stage = next(iter(wanted.values()))[0].stage
    storage.remove_others(job, stage, set(wanted))
    return [each for each in held.values() if each is not None], reused


def state_of(held: Sequence[Block]) -> str:
    """Returns a digest of all embeddings of a job, in blocks."""
    return storage.digest([each.digest for each in held])


def _place(job: str) -> str:
    return storage.join(job, "search.json")


def begin(job: str) -> None:
    """Says that a search is under way: until :func:`describe`, there are no complete pairs."""
    storage.remove(_place(job))


def describe(job: str, held: Sequence[Block], block_rows: int, search: Json) -> None:
    """Records how all pairs of a job were found, for the stages after it."""
    facts = {"version": storage.VERSION, "state": state_of(held), "block_rows": block_rows}
    storage.write_json(_place(job), {**search, **facts})


def described(job: str) -> tuple[Json, list[Block]]:
    """Returns what :func:`describe` recorded, and the blocks.

    Raises:
        ScaleError: The pairs were not searched to the end, or the embeddings have changed since.
    """
    found = storage.read_json(_place(job))
    if found is None:
        raise ScaleError(f"{job}: no complete search for pairs here; run rrn scale pairs first")
    held = blocks(embedding.manifests(job), int(found["block_rows"]))
    if found["state"] != state_of(held):
        raise ScaleError(f"{job}: the embeddings have changed since the pairs were searched; run rrn scale pairs again")
    return found, held


def stage_manifests(job: str, stage: str) -> list[Json]:
    """Returns the manifests of a stage, in the order of their names.

    Raises:
        ScaleError: One of them is damaged.
    """
    found = []
    for name in storage.names_in(storage.join(job, "manifests", stage)):
        manifest = storage.read_json(storage.join(job, "manifests", stage, name))
        if manifest is None:
            raise ScaleError(f"{job}: the manifest {name} of {stage} is damaged; remove it and run that stage again")
        found.append(manifest)
    return found


def read(job: str, stage: str, manifest: Json, held: Sequence[Block]) -> Pairs:
    """Returns a file of pairs, with rows counted over the whole job.

    Args:
        job: The place of the job.
        stage: Of the file.
        manifest: Of the file.
        held: All blocks.

    Raises:
        ScaleError: The file is not the one of its manifest.
    """
    place = Product(stage, str(manifest["name"]), "").file(job)
    content = storage.read_bytes(place)
    if sha256_of_bytes(content) != manifest["sha256"]:
        raise ScaleError(f"{place}: damaged or replaced; remove it and run its stage again")
    table = pq.read_table(io.BytesIO(content))
    starts = [held[manifest[key]].start if key in manifest else 0 for key in ("first_block", "second_block")]
    first, second = (np.asarray(table[name]) + start for name, start in zip(("first", "second"), starts, strict=True))
    return Pairs(first, second, np.asarray(table["similarity"]))
