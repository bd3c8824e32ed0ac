"""What the tests of rrn scale share: folders of pictures, jobs on one engine, and what a job holds."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from conftest import make_picture
from rrn_ops.scale import embedding, engines, sources, storage
from rrn_ops.scale.worker import OK, Settings

SMALL = Settings(size=64)
HERE = engines.Options("processes", 0)


def make_pictures(folder: Path, count: int) -> Path:
    """Pictures of several formats; each third is a smaller or recompressed copy of the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        picture = make_picture(k - (k % 3 == 2), 120 + k % 5, 90)
        name, options = [("png", {}), ("jpg", {"quality": 80}), ("webp", {"quality": 70})][k % 3]
        picture.save(folder / f"{k:04d}.{name}", **options)  # type: ignore[arg-type]
    return folder


def make_hostile(folder: Path) -> Path:
    """Files that have no embedding, each for another reason."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    make_picture(1, 200, 150).save(whole, "PNG")
    (folder / "cut.png").write_bytes(whole.getvalue()[:300])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(_png_header(60_000, 60_000))
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))).write_bytes(whole.getvalue())
    return folder


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def embed(
    job: object,
    *given: object,
    lists: Sequence[str] = (),
    columns: sources.Columns = sources.Columns(),  # noqa: B008 - frozen
    settings: Settings = SMALL,
    options: engines.Options = HERE,
    per_partition: int = 8,
    resume: bool = True,
) -> embedding.Totals:
    """What rrn scale embed does."""
    files, shards = embedding.gather([str(each) for each in given], lists, columns)
    partitions = embedding.plan(str(job), files, shards, per_partition)
    return embedding.embed(str(job), partitions, settings, options, resume=resume)


def rows(job: object) -> list[dict[str, Any]]:
    """All rows of a job, by path."""
    found: list[dict[str, Any]] = []
    for name in storage.names_in(storage.join(str(job), "embeddings")):
        content = storage.read_bytes(storage.join(str(job), "embeddings", name))
        found += pq.read_table(io.BytesIO(content)).to_pylist()
    return sorted(found, key=lambda row: str(row["path"]))


def matrix(found: Sequence[dict[str, Any]]) -> npt.NDArray[np.float32]:
    """The embeddings of rows that have one."""
    return np.array([row["embedding"] for row in found if row["state"] == OK], np.float32)


def write_rows(job: Path, embeddings: npt.NDArray[np.float32], sizes: Sequence[int]) -> None:
    """A job with given embeddings instead of pictures, in partitions of these sizes."""
    import pyarrow as pa
    from rrn_ops.scale.worker import schema

    start = 0
    storage.write_json(str(job / "job.json"), {"version": storage.VERSION, "partitions": len(sizes)})
    for number, size in enumerate(sizes):
        part = embeddings[start : start + size]
        columns: dict[str, Any] = dict.fromkeys(("width", "height", "bytes"), [1] * size)
        columns |= {"path": [f"{start + k:06d}" for k in range(size)], "state": [OK] * size, "reason": [None] * size}
        columns |= {"sha256": ["0"] * size, "embedding": list(part)}
        table = (
            pa.table(columns, schema=schema(embeddings.shape[1], "float32"))
            if size
            else schema(embeddings.shape[1], "float32").empty_table()
        )
        facts = {"images": size, "skipped": 0, "dim": embeddings.shape[1], "dtype": "float32", "fingerprint": "f"}
        product = storage.Product(embedding.STAGE, f"part-{number:06d}", "x")
        storage.finish(str(job), product, embedding.parquet_bytes(table), facts)
        start += size
