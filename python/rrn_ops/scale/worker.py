"""The worker: a block of paths or of files' contents in, a table of embeddings out. It knows no distributed engine.

The same object is what Ray Data's ``map_batches``, a class of Daft and a pool of processes call; see
:mod:`rrn_ops.scale.engines`. Pictures are decoded here, so that paths go in and a kilobyte for each picture comes out.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rrn_native
from rrn_native.cli.common import one_line
from rrn_native.files import sha256_of_bytes

from rrn_ops.scale import storage
from rrn_ops.scale.storage import ScaleError

OK = "ok"
SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a worker embeds; the first part as for :class:`rrn_native.Embedder`.

    Attributes:
        threads: Of one worker. One for each core is shared out by the number of workers, not here.
        dtype: Of the column of embeddings: "float32" has the engine's bits, "float16" half the bytes.
        max_bytes: Larger files are not read, in bytes.
        fingerprint: What the model of every worker must have; "" for any.
        readers: Threads that read the next files while a batch is computed.
    """

    model: str | None = None
    size: int | None = None
    provider: rrn_native.Provider = "auto"
    precision: rrn_native.Precision = "auto"
    batch: int = 8
    threads: int = 1
    max_pixels: int = rrn_native.DEFAULT_MAX_PIXELS
    full_decode: bool = False
    cache: bool = True
    dtype: Literal["float32", "float16"] = "float32"
    max_bytes: int = 2**30
    fingerprint: str = ""
    readers: int = 4

    def embedder(self) -> rrn_native.Embedder:
        """Loads the model.

        Raises:
            ValueError, FileNotFoundError, RrnError: As for :class:`rrn_native.Embedder`.
        """
        with warnings.catch_warnings():
            # What "auto" means is part of the fingerprint; the driver has said it once.
            warnings.simplefilter("ignore", RuntimeWarning)
            return rrn_native.Embedder(
                self.model,
                self.size,
                self.threads,
                self.provider,
                precision=self.precision,
                batch=self.batch,
                max_pixels=self.max_pixels,
                cache=self.cache,
                full_decode=self.full_decode,
            )


def schema(dim: int, dtype: str) -> pa.Schema:
    """Returns the schema of the worker's tables.

    Args:
        dim: Of an embedding.
        dtype: "float32" or "float16".
    """
    number = pa.float32() if dtype == "float32" else pa.float16()
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            # Arrow cannot read lists of a fixed size back where some are null, so NaN stands for none.
            pa.field("embedding", pa.list_(number, dim), nullable=False),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("bytes", pa.int64()),
            pa.field("sha256", pa.string()),
            pa.field("state", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
        ]
    )


@dataclasses.dataclass
class _Row:
    path: str
    bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None


class Worker:
    """Embeds blocks; the model is loaded when the first one comes, once for each process.

    Args:
        settings: How.

    Call it with a :class:`pyarrow.Table` or a mapping of columns: ``path`` (str), and where the contents of the files
    are there, ``bytes`` (the path is then a name only). A row whose column ``reason`` is not null is passed on as
    skipped. It returns a :class:`pyarrow.Table` of as many rows in the same order, see :func:`schema`: the path; the
    embedding as the engine computes it (raw, not normalised), NaN where there is none; width and height of the whole
    upright picture in pixels; bytes and SHA-256 of the file; state "ok" or "skipped", and the reason. A picture that
    cannot be read is a row, never an exception. One call at a time.

    Raises:
        ScaleError: The model is another one than the job's.
        ValueError, FileNotFoundError, RrnError: The model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedder: rrn_native.Embedder | None = None

    @property
    def embedder(self) -> rrn_native.Embedder:
        """The model, loaded when it is first asked for."""
        if self._embedder is None:
            loaded = self._settings.embedder()
            wanted = self._settings.fingerprint
            if wanted and loaded.fingerprint != wanted:
                raise ScaleError(
                    f"this worker's model has the fingerprint {loaded.fingerprint}, the job's {wanted}: machines with "
                    "other models, providers or versions cannot work on one job (name --provider and --precision)"
                )
            self._embedder = loaded
        return self._embedder

    def __call__(self, block: pa.Table | Mapping[str, Any]) -> pa.Table:
        """Embeds a block; see the class."""
        paths = [str(each) for each in _column(block, "path")]
        contents = _column(block, "bytes") if "bytes" in _names(block) else [None] * len(paths)
        reasons = _column(block, "reason") if "reason" in _names(block) else [None] * len(paths)
        held = "bytes" in _names(block)
        rows = [_Row(path, reason=reason) for path, reason in zip(paths, reasons, strict=True)]
        embeddings = np.full((len(rows), self.embedder.dim), np.nan, np.float32)
        pictures: list[npt.NDArray[np.uint8]] = []
        places: list[int] = []
        for place, content in enumerate(self._read(rows, contents if held else None)):
            picture = None if content is None else self._decode(rows[place], content)
            if picture is not None:
                pictures.append(picture)
                places.append(place)
            if len(pictures) == self._settings.batch or (pictures and place + 1 == len(rows)):
                embeddings[places] = self.embedder.embed(pictures)
                pictures, places = [], []
        return self._table(rows, embeddings)

    def _read(self, rows: Sequence[_Row], contents: Sequence[bytes | None] | None) -> Iterator[bytes | None]:
        """Yields the contents in order; of files, the next ones are read meanwhile."""
        if contents is not None:
            for row, content in zip(rows, contents, strict=True):
                if content is None and row.reason is None:
                    row.reason = "no bytes in this row"
                yield content if row.reason is None else None
            return
        with concurrent.futures.ThreadPoolExecutor(self._settings.readers) as pool:
            under_way: collections.deque[concurrent.futures.Future[bytes | None]] = collections.deque()
            for row in rows:
                under_way.append(pool.submit(self._read_one, row))
                if len(under_way) > 2 * self._settings.batch:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def _read_one(self, row: _Row) -> bytes | None:
        if row.reason is not None:
            return None
        try:
            return storage.read_bytes(row.path, self._settings.max_bytes)
        except (OSError, ValueError, ScaleError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else error
            row.reason = one_line(text)
        except Exception as error:  # each store has errors of its own; a job does not end for one file
            row.reason = f"{type(error).__name__}: {one_line(error)}"
        return None

    def _decode(self, row: _Row, content: bytes) -> npt.NDArray[np.uint8] | None:
        row.bytes = len(content)
        row.sha256 = sha256_of_bytes(content)
        target = 0 if self._settings.full_decode else self.embedder.size
        try:
            picture, (row.width, row.height) = rrn_native.decode_sized(content, self._settings.max_pixels, target)
        except rrn_native.RrnError as error:
            row.reason = one_line(error)
            return None
        return picture

    def _table(self, rows: Sequence[_Row], embeddings: npt.NDArray[np.float32]) -> pa.Table:
        made = schema(self.embedder.dim, self._settings.dtype)
        values = pa.array(embeddings.astype(self._settings.dtype).ravel())
        lists = pa.FixedSizeListArray.from_arrays(values, self.embedder.dim)
        names = ("width", "height", "bytes", "sha256")
        columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in names}
        columns |= {"path": [row.path for row in rows], "reason": [row.reason for row in rows], "embedding": lists}
        columns["state"] = [OK if row.reason is None else SKIPPED for row in rows]
        return pa.table({field.name: columns[field.name] for field in made}, schema=made)


def _names(block: pa.Table | Mapping[str, Any]) -> Sequence[str]:
    return block.column_names if isinstance(block, pa.Table) else list(block)


def _column(block: pa.Table | Mapping[str, Any], name: str) -> list[Any]:
    column = block[name]
    if isinstance(column, pa.ChunkedArray | pa.Array):
        return column.to_pylist()  # type: ignore[no-any-return]
    return list(column)
