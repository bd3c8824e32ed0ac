"""Where pictures come from, cut into partitions: folders, lists, Parquet, WebDataset tars, on what fsspec opens.

A partition is the unit of work and of resumption. Files are put into partitions by a hash of their path, so that a new
file changes one partition and not the place of all files after it; a shard (a tar, a row group of Parquet) is a
partition of its own. Partitions are known before any picture is read, which a hash of the content would not be.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import rrn_native
from rrn_native.files import GONE, file_state, sha256_of_bytes

from rrn_ops.scale import storage
from rrn_ops.scale.storage import ScaleError

Kind = Literal["files", "tar", "parquet"]
# Of members of a tar, whose other members are labels and captions.
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Pictures of a shard that are in memory at once.
PORTION = 64


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of Parquet files are read.

    Attributes:
        content: The bytes of pictures, or a struct with the fields bytes and perhaps path; "" if there are paths.
        path: Paths or URLs of pictures, or the names of those whose bytes are there; "" for none.
    """

    content: str = ""
    path: str = ""


@dataclasses.dataclass(frozen=True)
class Partition:
    """A part of the input.

    Attributes:
        name: Of its files, unique in the job.
        kind: "files", "tar" or "parquet" (with the bytes of pictures).
        digest: Of what is known of the input without reading it: names, sizes, times or tags.
        files: Paths or URLs, sorted; for "files".
        url: Of the shard.
        row_group: Of Parquet.
        columns: Of Parquet.
    """

    name: str
    kind: Kind
    digest: str
    files: tuple[str, ...] = ()
    url: str = ""
    row_group: int = 0
    columns: Columns = Columns()

    def to_json(self) -> str:
        """Returns it as a line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Partition:
        """Returns what :meth:`to_json` was made of."""
        value = json.loads(text)
        return Partition(**{**value, "files": tuple(value["files"]), "columns": Columns(**value["columns"])})


# A file and what tells whether it has changed.
Found = tuple[str, list[Any]]


def kind_of(source: str) -> Kind:
    """Returns how a source is read, by its ending: .tar, .parquet, and everything else is files."""
    ending = source.rpartition(".")[2].lower()
    return "tar" if ending == "tar" else "parquet" if ending == "parquet" else "files"


def expand(source: str) -> list[str]:
    """Returns the files that a source means: itself, or those that match its ``*``, ``?`` and ``[...]``, sorted.

    Raises:
        ScaleError: Nothing matches.
    """
    source = storage.absolute(source)
    if not any(sign in source for sign in "*?["):
        return [source]
    if not storage.is_url(source) and Path(source).exists():
        return [source]
    system, path = storage.filesystem(source)
    names = sorted(str(name) for name in system.glob(path))
    if not names:
        raise ScaleError(f"{source}: nothing matches")
    return [str(system.unstrip_protocol(name)) for name in names] if storage.is_url(source) else names


def find(source: str) -> Iterator[Found]:
    """Yields the files of a folder, or a single file.

    Raises:
        ScaleError: There is no such thing, or nothing in it: an empty folder is more often a disk that is not mounted.
    """
    if storage.is_url(source):
        system, path = storage.filesystem(source)
        system.invalidate_cache()
        found = system.find(path, detail=True)
        if not found:
            raise ScaleError(f"{source}: no files")
        for name, info in found.items():
            yield str(system.unstrip_protocol(name)), _tag(info)
    elif Path(source).is_dir():
        names = rrn_native.find_images(source)
        if not names:
            raise ScaleError(f"{source}: no files")
        for name in names:
            yield name, list(file_state(name)[:2])
    elif not os.path.lexists(source):
        raise ScaleError(f"{source}: no such file or folder")
    else:
        yield source, state_of(source)


def state_of(place: str) -> list[Any]:
    """Returns what tells whether a file has changed; a missing one, which is a row with a reason, has a state too."""
    if not storage.is_url(place):
        return list(file_state(place)[:2])
    system, path = storage.filesystem(place)
    try:
        return _tag(system.info(path))
    except FileNotFoundError:
        return list(GONE[:2])


def _tag(info: dict[str, Any]) -> list[Any]:
    known = (info.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created"))
    return [info.get("size"), next((str(each) for each in known if each is not None), "")]


def read_list(source: str) -> list[str]:
    """Returns the paths and URLs of a text file, one a line; relative ones are relative to this process's folder.

    Raises:
        ScaleError: There is no such file.
    """
    try:
        text = storage.read_bytes(source).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ScaleError(f"{source}: {error}") from error
    return [storage.absolute(line) for line in text.splitlines() if line]


def partitions(files: Iterable[Found], count: int) -> list[Partition]:
    """Puts files into partitions by a hash of their path; a file that comes twice is taken once.

    Args:
        files: With their states.
        count: Of partitions. A job keeps its number, whatever is added.
    """
    held: list[dict[str, list[Any]]] = [{} for _ in range(count)]
    for path, state in files:
        place = int(sha256_of_bytes(path.encode("utf-8", "surrogateescape"))[:16], 16) % count
        held[place][path] = state
    made = []
    for number, part in enumerate(held):
        listed = sorted(part.items())
        made.append(Partition(f"part-{number:06d}", "files", storage.digest(listed), tuple(path for path, _ in listed)))
    return made


def shards(source: str, columns: Columns) -> Iterator[Partition]:
    """Yields the partitions of a tar (itself) or of a Parquet file with the bytes of pictures (its row groups).

    Raises:
        ScaleError: It cannot be read, or has no such column.
    """
    state = state_of(source)
    if state[0] == GONE[0]:
        raise ScaleError(f"{source}: no such file")
    if kind_of(source) == "tar":
        yield Partition(_shard_name(source, 0), "tar", storage.digest([source, state]), url=source)
        return
    for number in range(_open_parquet(source, columns.content).num_row_groups):
        key = [source, state, number, dataclasses.astuple(columns)]
        name = _shard_name(source, number)
        yield Partition(name, "parquet", storage.digest(key), url=source, row_group=number, columns=columns)


def _shard_name(source: str, number: int) -> str:
    return f"shard-{sha256_of_bytes(source.encode())[:16]}-{number:04d}"


def _open_parquet(source: str, column: str) -> pq.ParquetFile:
    try:
        system, path = storage.filesystem(source)
        opened = pq.ParquetFile(system.open(path))
    except (OSError, pa.ArrowException) as error:
        raise ScaleError(f"{source}: {error}") from error
    if column not in opened.schema_arrow.names:
        known = ", ".join(opened.schema_arrow.names)
        raise ScaleError(f"{source}: no column {column!r}; it has {known}")
    return opened


def paths_of_parquet(source: str, column: str) -> list[str]:
    """Returns the paths or URLs in a column.

    Raises:
        ScaleError: The file cannot be read, or has no such column.
    """
    opened = _open_parquet(source, column)
    values = opened.read(columns=[column]).column(column).to_pylist()
    return [storage.absolute(str(each)) for each in values if each]


def portions(partition: Partition, most: int) -> Iterator[pa.Table]:
    """Yields a partition as blocks for the worker: columns path and reason (why it is not read), of shards also bytes.

    Args:
        partition: Which.
        most: Larger members of a tar are not read, in bytes.

    Raises:
        OSError, ScaleError: The shard cannot be opened.
    """
    if partition.kind == "files":
        reasons = [None if path.isascii() or _is_text(path) else "the name is not UTF-8" for path in partition.files]
        names = pa.array([_printable(path) for path in partition.files], pa.string())
        yield pa.table({"path": names, "reason": pa.array(reasons, pa.string())})
        return
    rows = _tar_rows(partition.url, most) if partition.kind == "tar" else _parquet_rows(partition)
    held: list[tuple[str, bytes | None, str | None]] = []
    for row in rows:
        held.append(row)
        if len(held) == PORTION:
            yield _table(held)
            held = []
    yield _table(held)


def _is_text(path: str) -> bool:
    """Whether Parquet and fsspec can hold it; a name of a file may be any bytes."""
    return _printable(path) == path


def _printable(path: str) -> str:
    """A name that is no UTF-8 is shown with its bytes as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _table(rows: Sequence[tuple[str, bytes | None, str | None]]) -> pa.Table:
    names, contents, reasons = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "path": pa.array(names, pa.string()),
            "bytes": pa.array(contents, pa.large_binary()),
            "reason": pa.array(reasons, pa.string()),
        }
    )


def _tar_rows(url: str, most: int) -> Iterator[tuple[str, bytes | None, str | None]]:
    system, path = storage.filesystem(url)
    with system.open(path) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if not member.isreg() or not member.name.lower().endswith(ENDINGS):
                        continue
                    name = f"tar://{_printable(member.name)}::{url}"
                    if member.size > most:
                        yield name, None, f"{member.size} bytes, expected at most {most}"
                        continue
                    opened = archive.extractfile(member)
                    content = (opened or io.BytesIO()).read()
                    whole = len(content) == member.size
                    yield (name, content, None) if whole else (name, None, "the archive ends inside this file")
        except (tarfile.TarError, EOFError, OSError) as error:
            # What came before it stays; what is after it cannot be found.
            yield url, None, f"the archive is damaged: {error}"


def _parquet_rows(partition: Partition) -> Iterator[tuple[str, bytes | None, str | None]]:
    columns = partition.columns
    opened = _open_parquet(partition.url, columns.content)
    wanted = [columns.content, *([columns.path] if columns.path else [])]
    number = 0
    for batch in opened.iter_batches(batch_size=PORTION, row_groups=[partition.row_group], columns=wanted):
        contents = batch.column(columns.content).to_pylist()
        names = batch.column(columns.path).to_pylist() if columns.path else [None] * len(contents)
        for content, given in zip(contents, names, strict=True):
            fields = content if isinstance(content, dict) else {"bytes": content}
            name = given or fields.get("path") or f"{partition.url}#{partition.row_group}/{number}"
            held = fields.get("bytes")
            yield str(name), held, None if held is not None else "no bytes in this row"
            number += 1
