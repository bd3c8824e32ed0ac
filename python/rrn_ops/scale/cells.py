"""Pairs of very large sets: rows are put into cells, and only rows that share a cell are compared.

Cells are the nearest of K directions, found by spherical k-means on a sample. A row lives in its nearest cell (its
home) and visits the next ones, ``probes`` cells in all. Two rows are compared where one of them lives and the other
lives or visits. What that misses is measured: the pairs of a sample of rows are searched in the whole set, exactly.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import rrn_native
from rrn_native.files import sha256_of_bytes

from rrn_ops.scale import embedding, engines, pairs, storage
from rrn_ops.scale.embedding import Progress
from rrn_ops.scale.pairs import Block, Floats, Found, Ints, Pairs, Search
from rrn_ops.scale.storage import Json, Product

ASSIGNED = "cells"
# Rows of the sample for each cell; k-means gains little from more.
_SAMPLE = 64
# How many times the rows of the sample its partitions have, and the least number of them.
_SPREAD = 4
_PARTITIONS = 64
_ROUNDS = 12


@dataclasses.dataclass(frozen=True)
class Cells:
    """How a set is cut into cells.

    Attributes:
        count: Of cells.
        probes: Cells of a row, its home included.
        sample: Rows that are searched exactly, to measure what is missed.
        seed: Of both samples.
    """

    count: int
    probes: int = 3
    sample: int = 200
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Recall:
    """How much of the similar pairs was found.

    Attributes:
        rows: In the sample.
        pairs: Similar pairs of these rows with any other row of the set, by the exact search.
        found: Those that the search in cells had found.
        share: found / pairs; None if there were no pairs.
        low: Lower end of the 95 % interval of Wilson (1927); None if there were no pairs.
        high: Upper end. Pairs of one row are missed together more often than others, so it is rather narrow.
    """

    rows: int
    pairs: int
    found: int
    share: float | None
    low: float | None
    high: float | None


def wilson(found: int, total: int) -> tuple[float, float]:
    """Returns the ends of the 95 % interval of a share (Wilson, 1927); `total` is at least 1."""
    z = 1.959963984540054
    share = found / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    # At the ends the bound is exact, which rounding would miss by a bit.
    return 0.0 if found == 0 else middle - half, 1.0 if found == total else middle + half


def unit(rows: npt.NDArray[Any]) -> Floats:
    """Returns rows of length 1, float32; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = np.divide(rows, lengths, out=np.zeros_like(rows, np.float32), where=lengths > 0)
    return scaled


def k_means(rows: npt.NDArray[Any], count: int, seed: int) -> Floats:
    """Finds directions by spherical k-means (Dhillon and Modha, 2001): float32 [count, dim], of length 1.

    Args:
        rows: Floating-point [n, dim], any lengths; a row that is not finite or zero has no say.
        count: Of cells, at most the number of rows.
        seed: Of the first directions, which are rows.

    Raises:
        ValueError: There are fewer rows than cells.
    """
    rows = unit(rows[np.isfinite(rows).all(axis=1) & (np.abs(rows).max(axis=1, initial=0) > 0)])
    if len(rows) < count:
        raise ValueError(f"{len(rows)} rows for {count} cells, expected at least as many rows")
    random = np.random.default_rng(seed)
    centres = rows[random.choice(len(rows), count, replace=False)]
    for _ in range(_ROUNDS):
        near, similarity = rrn_native.nearest(rows, centres, 1, threads=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, near[:, 0], rows)
        empty = np.flatnonzero(np.bincount(near[:, 0], minlength=count) == 0)
        # A cell without rows takes one that is far from its own.
        sums[empty] = rows[np.argsort(similarity[:, 0], kind="stable")[: len(empty)]]
        centres = unit(sums)
    return centres


def homes(rows: npt.NDArray[Any], centres: Floats, probes: int, threads: int = 1) -> Ints:
    """Returns the cells of rows, int64 [n, probes], the nearest first; -1 for a row that is near to nothing.

    Args:
        rows: Floating-point [n, dim].
        centres: Of :func:`k_means`.
        probes: How many, at most the number of cells.
        threads: Of the search.
    """
    near, _ = rrn_native.nearest(rows, centres, probes, threads=threads)
    return near


def train(job: str, held: Sequence[Block], cells: Cells) -> tuple[Floats, str]:
    """Finds the cells of a job on a sample; returns the directions and a digest of them. Same job, same cells.

    Rows are drawn from partitions that are drawn at random, so that not all of a large job is read.

    Raises:
        ValueError: There are fewer rows than cells.
    """
    random = np.random.default_rng(cells.seed)
    manifests = [each for block in held for each in block.manifests]
    wanted = _SAMPLE * cells.count
    chosen: list[Json] = []
    rows = 0
    for place in random.permutation(len(manifests)):
        # Shards may each hold pictures of one kind, so some partitions at least, and not all of their rows.
        if rows >= _SPREAD * wanted and len(chosen) >= _PARTITIONS:
            break
        chosen.append(manifests[place])
        rows += int(manifests[place]["images"])
    share = min(1.0, wanted / max(rows, 1))
    parts = (pairs.embeddings_of(job, each) for each in chosen)
    centres = k_means(
        np.concatenate([part[random.random(len(part)) <= share] for part in parts]), cells.count, cells.seed
    )
    return centres, sha256_of_bytes(centres.tobytes())


class AssignTask:
    """Puts the rows of a block into cells, given as JSON: a file sorted by cell, with a group of rows for each cell.

    Args:
        job: The place of the job.
        centres: Of the cells.
        probes: Cells of a row.
        key: A digest of the two.
    """

    def __init__(self, job: str, centres: Floats, probes: int, key: str) -> None:
        self._job = job
        self._centres = centres
        self._probes = probes
        self._key = key

    def __call__(self, text: str) -> str:
        """Does it; see the class."""
        block = Block.from_json(json.loads(text))
        rows = pairs.read_rows(self._job, block)
        near = homes(rows, self._centres, self._probes)
        # One entry for each cell of a row; in a cell those that live there first, each in the order of the rows.
        place, rank = np.nonzero(near >= 0)
        cell = near[place, rank]
        order = np.lexsort((place, rank > 0, cell))
        place, rank, cell = place[order], rank[order], cell[order]
        dim = rows.shape[1]
        sink = io.BytesIO()
        dtype = str(block.manifests[0]["dtype"])
        number = pa.float16() if dtype == "float16" else pa.float32()
        lists = [("near", pa.list_(pa.int32(), self._probes)), ("embedding", pa.list_(number, dim))]
        schema = pa.schema([("row", pa.int64()), *lists])
        counts: dict[str, list[int]] = {}
        with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=False) as writer:
            sorted_cells = np.unique(cell, return_index=True, return_counts=True)
            for group, (each, start, size) in enumerate(zip(*sorted_cells, strict=True)):
                some = slice(start, start + size)
                columns = [
                    pa.array(place[some] + block.start),
                    _lists(near[place[some]].astype(np.int32)),
                    _lists(rows[place[some]].astype(dtype)),
                ]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=len(place))
                counts[str(int(each))] = [group, int(np.count_nonzero(rank[some] == 0)), len(place[some])]
        product = assigned(block, self._key)
        facts = {"cells": counts}
        return embedding.json_line(storage.finish(self._job, product, sink.getvalue(), facts))


def _lists(matrix: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def assigned(block: Block, key: str) -> Product:
    """Returns the file of a block's rows by cell."""
    # Rows are counted over the whole job, so what is before the block has a say.
    return Product(ASSIGNED, f"block-{block.number:05d}", storage.digest([block.digest, block.start, key]))


@dataclasses.dataclass(frozen=True)
class _Members:
    """Rows of a cell: int64 [n], their cells int64 [n, probes], and embeddings float32 [n, dim]."""

    rows: Ints
    near: Ints
    embeddings: Floats

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> _Members:
        return _Members(self.rows[chosen], self.near[chosen], self.embeddings[chosen])


class CellTask:
    """Searches a pair of chunks of one cell, given as JSON; returns the manifest of the pairs as JSON.

    A pair that two cells find is written by the one with the lower number only.

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
        task = json.loads(text)
        cell = int(task["cell"])
        left = self._read(cell, task["left"])
        right = left if task["right"] is None else self._read(cell, task["right"])
        (here, guests), (there, others) = (
            (each[each.near[:, 0] == cell], each[each.near[:, 0] != cell]) for each in (left, right)
        )
        found = [self._between(cell, here, others)]
        if task["right"] is None:
            first, second, similarity = rrn_native.similar_pairs(
                here.embeddings, self._threshold, threads=self._threads
            )
            found.append((here.rows[first], here.rows[second], similarity))
        else:
            found += [self._between(cell, here, there), self._between(cell, there, guests)]
        first, second, similarity = (np.concatenate(columns) for columns in zip(*found, strict=True))
        table = pairs.table_of(np.minimum(first, second), np.maximum(first, second), similarity)
        content = embedding.parquet_bytes(table.sort_by([("first", "ascending"), ("second", "ascending")]))
        product = Product(pairs.STAGE, task["name"], task["made_from"])
        facts = {"pairs": len(table), "cell": cell}
        return embedding.json_line(storage.finish(self._job, product, content, facts))

    def _read(self, cell: int, chunk: Sequence[Sequence[Any]]) -> _Members:
        parts = []
        for name, group in chunk:
            place = Product(ASSIGNED, name, "").file(self._job)
            system, path = storage.filesystem(place)
            with system.open(path) as stream:
                parts.append(pq.ParquetFile(stream).read_row_group(group))
        table = pa.concat_tables(parts).combine_chunks()
        rows = table.column("row").to_numpy()
        near, embeddings = (
            table.column(each).combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(rows), -1)
            for each in ("near", "embedding")
        )
        return _Members(rows, near.astype(np.int64), embeddings.astype(np.float32))

    def _between(self, cell: int, here: _Members, others: _Members) -> tuple[Ints, Ints, Floats]:
        """Pairs of a row that lives here and one that lives or visits here."""
        first, second, similarity = rrn_native.similar_pairs(
            here.embeddings, self._threshold, columns=others.embeddings, threads=self._threads
        )
        other_home = others.near[second, 0]
        # Where the other's home finds the pair as well, the lower number has it.
        both = (here.near[first] == other_home[:, None]).any(axis=1)
        kept = (other_home >= cell) | ~both
        return here.rows[first[kept]], others.rows[second[kept]], similarity[kept]


def find(
    job: str, search: Search, cells: Cells, options: engines.Options, progress: Progress | None = None
) -> tuple[Found, Recall, list[int]]:
    """Finds the similar pairs of rows that share a cell, and measures what is missed.

    Args:
        job: The place of a job with embeddings.
        search: How; `block_rows` also bounds the chunks of a cell that are compared at once.
        cells: How many, and how many of them a row is looked for in.
        options: Of the engine.
        progress: Called with (done, total) in tasks of cells.

    Returns:
        (what was done, the recall, rows that live or visit in each cell).

    Raises:
        ScaleError, OSError: The job cannot go on; what was finished stays.
        ValueError: More cells than rows, or more probes than cells.
    """
    if not 1 <= cells.probes <= cells.count:
        raise ValueError(f"{cells.probes} probes of {cells.count} cells, expected 1 to {cells.count}")
    held = pairs.blocks(embedding.manifests(job), search.block_rows)
    pairs.begin(job)
    centres, digest = train(job, held, cells)
    key = storage.digest([digest, cells.probes])
    assign = {assigned(each, key).name: (assigned(each, key), json.dumps(each.to_json())) for each in held}
    work = engines.Work(AssignTask, (job, centres, cells.probes, key))
    placed, _ = pairs.run_stage(job, assign, work, options, resume=search.resume, progress=None)
    wanted = _tasks(placed, search)
    sizes = [sum(each["cells"].get(str(cell), [0, 0, 0])[2] for each in placed) for cell in range(cells.count)]
    work = engines.Work(CellTask, (job, search.threshold, search.threads))
    made, reused = pairs.run_stage(job, wanted, work, options, resume=search.resume, progress=progress)
    facts: Json = {"method": "cells", "threshold": search.threshold, "cells": dataclasses.asdict(cells)}
    rows = sum(each.rows for each in held)
    done = Found(len(wanted), reused, rows, sum(int(each["pairs"]) for each in made))
    found = (pairs.read(job, pairs.STAGE, each, held) for each in made)
    recall = measure(job, held, found, search, cells, options=options)
    pairs.describe(job, held, search.block_rows, {**facts, "recall": dataclasses.asdict(recall)})
    return done, recall, sizes


def _tasks(placed: Sequence[Json], search: Search) -> dict[str, tuple[Product, str]]:
    """The tasks of all cells: pairs of chunks, each of at most `block_rows` rows if no block has more in a cell."""
    wanted = {}
    for cell in sorted({int(each) for manifest in placed for each in manifest["cells"]}):
        chunks: list[list[Json]] = [[]]
        size = 0
        for manifest in placed:
            if str(cell) not in manifest["cells"]:
                continue
            rows = manifest["cells"][str(cell)][2]
            if size and size + rows > search.block_rows:
                chunks.append([])
                size = 0
            chunks[-1].append(manifest)
            size += rows
        groups = [[[each["name"], each["cells"][str(cell)][0]] for each in chunk] for chunk in chunks]
        for i in range(len(chunks)):
            for j in range(i, len(chunks)):
                made_from = [each["sha256"] for chunk in {i, j} for each in chunks[chunk]]
                name = f"cell-{cell:07d}-{i:04d}-{j:04d}"
                product = Product(pairs.STAGE, name, storage.digest([cell, i, j, sorted(made_from), search.threshold]))
                task = {"cell": cell, "name": name, "made_from": product.made_from}
                task |= {"left": groups[i], "right": None if i == j else groups[j]}
                wanted[name] = (product, json.dumps(task))
    return wanted


class SampleTask:
    """Searches the pairs of the sample's rows in a block, given as JSON, exactly; returns them as JSON.

    Args:
        job: The place of the job.
        sample: Rows of the sample, int64 [n].
        embeddings: float32 [n, dim].
        threshold: Similar is: cosine > threshold.
        threads: Of one task.
    """

    def __init__(self, job: str, sample: Ints, embeddings: Floats, threshold: float, threads: int) -> None:
        self._job = job
        self._sample = sample
        self._embeddings = embeddings
        self._threshold = threshold
        self._threads = threads

    def __call__(self, text: str) -> str:
        """Does it; see the class."""
        block = Block.from_json(json.loads(text))
        rows = pairs.read_rows(self._job, block)
        first, second, _ = rrn_native.similar_pairs(
            self._embeddings, self._threshold, columns=rows, threads=self._threads
        )
        one, other = self._sample[first], second + block.start
        apart = one != other
        return embedding.json_line({"pairs": [one[apart].tolist(), other[apart].tolist()]})


def measure(
    job: str,
    held: Sequence[Block],
    found: Iterable[Pairs],
    search: Search,
    cells: Cells,
    *,
    options: engines.Options,
) -> Recall:
    """Searches a sample of rows exactly in the whole set, and counts which of their pairs had been found.

    Args:
        job: The place of the job.
        held: All blocks.
        found: All pairs that were found.
        search: Has the threshold.
        cells: Has the size of the sample and its seed.
        options: Of the engine.
    """
    total = sum(block.rows for block in held)
    random = np.random.default_rng([cells.seed, 1])
    sample = np.sort(random.choice(total, min(cells.sample, total), replace=False)).astype(np.int64)
    parts = []
    start = 0
    for manifest in (each for block in held for each in block.manifests):
        end = start + int(manifest["images"])
        mine = sample[(sample >= start) & (sample < end)] - start
        if len(mine):
            parts.append(pairs.embeddings_of(job, manifest)[mine])
        start = end
    work = engines.Work(SampleTask, (job, sample, np.concatenate(parts), search.threshold, search.threads))
    wanted: set[tuple[int, int]] = set()
    for answer in engines.run(options, work, [json.dumps(block.to_json()) for block in held]):
        one, other = embedding.load_line(answer)["pairs"]
        wanted |= {(min(pair), max(pair)) for pair in zip(one, other, strict=True)}
    hit = 0
    for each in found:
        ours = np.isin(each.first, sample) | np.isin(each.second, sample)
        some = zip(each.first[ours].tolist(), each.second[ours].tolist(), strict=True)
        hit += len(wanted.intersection(some))
    if not wanted:
        return Recall(len(sample), 0, 0, None, None, None)
    return Recall(len(sample), len(wanted), hit, hit / len(wanted), *wilson(hit, len(wanted)))
