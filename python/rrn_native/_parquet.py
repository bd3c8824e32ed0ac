"""A store as a Parquet file."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrn_native.files import replace_file

if TYPE_CHECKING:
    from rrn_native.store import Store, StoredImage

# Images whose rows are in memory at a time.
_PORTION = 8192


def write_parquet(path: Path, store: Store) -> int:
    """Writes all that a store holds of one model; see :meth:`rrn_native.store.Store.to_parquet`.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        OSError: The file cannot be written.
    """
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    images = store.images()
    schema = arrow.schema(
        [
            ("path", arrow.string()),
            ("path_bytes", arrow.binary()),
            ("reason", arrow.string()),
            ("bytes", arrow.int64()),
            ("modified_ns", arrow.int64()),
            ("width", arrow.int32()),
            ("height", arrow.int32()),
            ("captured", arrow.int64()),
            ("content", arrow.string()),
            # Of any length for Arrow: it writes lists of a fixed size with nulls among them, but cannot read them.
            ("embedding", arrow.list_(arrow.float32())),
        ],
        metadata={"fingerprint": store.embedder.fingerprint, "dim": str(store.embedder.dim)},
    )

    def write(temporary: Path) -> None:
        with parquet.ParquetWriter(temporary, schema) as writer:
            for begin in range(0, len(images), _PORTION):
                writer.write_table(_table(arrow, schema, store, images[begin : begin + _PORTION]))

    replace_file(path, write)
    return len(images)


def _table(arrow: Any, schema: Any, store: Store, images: list[StoredImage]) -> Any:
    found, rows = store.rows(images)
    embeddings = {image.path: row for image, row in zip(found, rows, strict=True)}
    columns: dict[str, list[Any]] = {
        "path": [os.fsencode(image.path).decode(errors="backslashreplace") for image in images],
        "path_bytes": [os.fsencode(image.path) for image in images],
        "embedding": [embeddings.get(image.path) for image in images],
    }
    for name in ("reason", "bytes", "modified_ns", "width", "height", "captured", "content"):
        columns[name] = [getattr(image, name) for image in images]
    return arrow.table(columns, schema=schema)
