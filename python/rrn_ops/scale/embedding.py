"""The first stage: every partition of the input becomes a Parquet file of embeddings and a manifest."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rrn_native.files import sha256_of_bytes

from rrn_ops.scale import engines, sources, storage
from rrn_ops.scale.sources import Columns, Found, Partition
from rrn_ops.scale.storage import Json, Product, ScaleError
from rrn_ops.scale.worker import OK, Settings, Worker, schema

STAGE = "embeddings"
# Called with (done, total).
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a run did.

    Attributes:
        partitions: Of the input.
        reused: Those that were finished before.
        removed: Partitions of an earlier input that are gone.
        images: With an embedding, in all partitions.
        skipped: Without one, in all partitions.
        fingerprint: Of the model.
    """

    partitions: int
    reused: int
    removed: int
    images: int
    skipped: int
    fingerprint: str


def product_of(partition: Partition, settings: Settings) -> Product:
    """Returns the file of a partition; it is made again when its input, the model or the settings are others."""
    # A fingerprint stands for everything that decides the bits of an embedding but these.
    key = [partition.digest, settings.fingerprint, settings.dtype, settings.full_decode]
    key += [settings.max_pixels, settings.max_bytes]
    return Product(STAGE, partition.name, storage.digest(key))


class EmbedTask:
    """Embeds a partition, given as JSON, writes its file and manifest, and returns the manifest as JSON.

    Args:
        job: The place of the job.
        settings: Of the worker, with the job's fingerprint.
    """

    def __init__(self, job: str, settings: Settings) -> None:
        self._job = job
        self._settings = settings
        self._worker = Worker(settings)

    def __call__(self, text: str) -> str:
        """Does it; see the class."""
        partition = Partition.from_json(text)
        empty = schema(self._worker.embedder.dim, self._settings.dtype).empty_table()
        parts = [self._worker(block) for block in sources.portions(partition, self._settings.max_bytes)]
        table = pa.concat_tables([empty, *parts])
        images = sum(state == OK for state in table.column("state").to_pylist())
        facts = {
            "images": images,
            "skipped": len(table) - images,
            "dim": self._worker.embedder.dim,
            "dtype": self._settings.dtype,
            "fingerprint": self._worker.embedder.fingerprint,
        }
        manifest = storage.finish(self._job, product_of(partition, self._settings), parquet_bytes(table), facts)
        return json_line(manifest)


def parquet_bytes(table: pa.Table) -> bytes:
    """Returns a table as a Parquet file; the same table gives the same bytes. Embeddings hardly compress."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    return sink.getvalue()


def json_line(value: Json) -> str:
    """Returns a manifest as the answer of a task."""
    return json.dumps(value)


def gather(given: Sequence[str], lists: Sequence[str], columns: Columns) -> tuple[list[Found], list[Partition]]:
    """Looks at all sources, without reading a picture.

    Args:
        given: Folders, files, tars, Parquet files, or patterns of them; paths or URLs.
        lists: Text files with a path or URL on each line.
        columns: Of Parquet.

    Returns:
        (files with their states, partitions of shards).

    Raises:
        ScaleError: A source is not there, or cannot be read as what it is.
    """
    files: list[Found] = []
    made: list[Partition] = []
    for source in (each for pattern in given for each in sources.expand(pattern)):
        if sources.kind_of(source) == "files":
            files += sources.find(source)
        elif sources.kind_of(source) == "parquet" and not columns.content:
            if not columns.path:
                raise ScaleError(f"{source}: say which column has paths (--path-column) or bytes (--bytes-column)")
            files += _found(sources.paths_of_parquet(source, columns.path))
        else:
            made += sources.shards(source, columns)
    for each in lists:
        files += _found(sources.read_list(each))
    return files, made


def _found(paths: Iterable[str]) -> list[Found]:
    return [(path, sources.state_of(path)) for path in paths]


def plan(job: str, files: Sequence[Found], made: Sequence[Partition], per_partition: int) -> list[Partition]:
    """Returns the partitions of a job; the number of those of files is decided once and kept.

    Args:
        job: The place of the job.
        files: Of all sources.
        made: Partitions of shards.
        per_partition: Files of a partition, about.

    Raises:
        ScaleError: The place holds a job of another version.
    """
    place = storage.join(job, "job.json")
    known = storage.read_json(place)
    if known is not None and known.get("version") != storage.VERSION:
        raise ScaleError(f"{job} was made by another version of rrn (layout {known.get('version')}): take a new place")
    count = int(known["partitions"]) if known else max(1, math.ceil(len(files) / per_partition))
    if known is None:
        storage.write_json(place, {"version": storage.VERSION, "partitions": count})
    # Without files, and without any from an earlier run, there are shards only.
    return [*(sources.partitions(files, count) if files else []), *made]


def embed(
    job: str,
    partitions: Sequence[Partition],
    settings: Settings,
    options: engines.Options,
    *,
    resume: bool = True,
    progress: Progress | None = None,
) -> Totals:
    """Embeds all partitions that are not finished; partitions that the input has no more are removed.

    Args:
        job: The place of the job.
        partitions: Of the input.
        settings: Of the workers; the fingerprint is filled in.
        options: Of the engine.
        resume: False embeds finished ones again.
        progress: Called with (done, total) in partitions.

    Raises:
        ScaleError, OSError: The job cannot go on; what was finished stays.
        ValueError, FileNotFoundError, RrnError: The model cannot be loaded.
    """
    settings = dataclasses.replace(settings, fingerprint=settings.embedder().fingerprint)
    manifests: dict[str, Json] = {}
    tasks = []
    for partition in partitions:
        found = storage.finished(job, product_of(partition, settings)) if resume else None
        if found is None:
            tasks.append(partition.to_json())
        else:
            manifests[partition.name] = found
    reused = len(manifests)
    if progress:
        progress(reused, len(partitions))
    work = engines.Work(EmbedTask, (job, settings))
    for answer in engines.run(options, work, tasks):
        manifest = load_line(answer)
        manifests[str(manifest["name"])] = manifest
        if progress:
            progress(len(manifests), len(partitions))
    lost = [each.name for each in partitions if each.name not in manifests]
    if lost:
        raise ScaleError(f"{job}: no answer for {len(lost)} partitions, the first is {lost[0]}; run it again")
    removed = storage.remove_others(job, STAGE, {each.name for each in partitions})
    images, skipped = (sum(int(each[key]) for each in manifests.values()) for key in ("images", "skipped"))
    return Totals(len(partitions), reused, removed, images, skipped, settings.fingerprint)


def load_line(text: str) -> Json:
    """Returns what :func:`json_line` was made of."""
    value: Json = json.loads(text)
    return value


def manifests(job: str) -> list[Json]:
    """Returns the manifests of all partitions, in the order of their names.

    Raises:
        ScaleError: No partition is there, one is damaged, or they are of different models.
    """
    names = storage.names_in(storage.join(job, "manifests", STAGE))
    found = []
    for name in (each.removesuffix(".json") for each in names if each.endswith(".json")):
        manifest = storage.read_json(storage.manifest_place(job, STAGE, name))
        if manifest is None:
            raise ScaleError(f"{job}: the manifest of {name} is damaged; run rrn scale embed again")
        found.append(manifest)
    if not found:
        raise ScaleError(f"{job}: no embeddings here; run rrn scale embed first")
    if len({(each["fingerprint"], each["dim"]) for each in found}) > 1:
        raise ScaleError(f"{job}: embeddings of several models; run rrn scale embed again, to its end")
    return found


def read_partition(job: str, manifest: Json, columns: Sequence[str]) -> pa.Table:
    """Returns columns of the rows of a partition that have an embedding.

    Raises:
        ScaleError: The file is not the one of the manifest.
    """
    place = Product(STAGE, str(manifest["name"]), "").file(job)
    content = storage.read_bytes(place)
    if sha256_of_bytes(content) != manifest["sha256"]:
        raise ScaleError(f"{place}: damaged or replaced; remove it and run rrn scale embed again")
    table: Any = pq.read_table(io.BytesIO(content), columns=[*columns, "state"])
    return table.filter(pc.equal(table["state"], OK)).select(list(columns))
