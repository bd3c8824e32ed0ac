"""Finds the images of a folder that are most similar to one image.

    rrn query a.jpg photos -k 5
    rrn query a.jpg photos --threshold 0.9 --json - --index photos.npz

With an index the embeddings of the folder are kept in a file, so that the next query computes those of new and changed
files only.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import secrets
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native.cli.common import Parser
from rrn_native.errors import UnreadableError

INDEX_VERSION = 3
DEFAULT_COUNT = 10
_INDEX_FORMAT = "rrn index"
# Files that are computed between two looks at whether to write the index.
_PORTION = 512
# The index is written whenever it has grown by this part, so that all writing together costs a few times the last one,
# and a process that is killed loses no more than this part and a portion.
_GROWTH = 4
# What the system says when a file cannot be read. That may pass; a picture that is damaged stays so.
_PASSING = frozenset(os.strerror(number) for number in errno.errorcode)
_USAGE = 2
_NOTHING_READABLE = 3
_RUNTIME_ERROR = 4

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], bool | None]


class NotAnIndexError(ValueError):
    """A file that is no index, so it is neither read nor overwritten."""


@dataclasses.dataclass(frozen=True)
class Match:
    """An image of the folder and its similarity (cosine, rounded to 6 decimals) to the query."""

    path: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class IndexUse:
    """What an index saved.

    Attributes:
        computed: Files that were new or changed.
        reused: The other files: their embedding came from the index, or the reason why they are no image.
        removed: Entries of files that are no longer there.
        note: Why nothing could be reused, in words; empty if there is no such reason.
    """

    computed: int
    reused: int
    removed: int
    note: str


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """The answer.

    ``read + len(skipped) == files`` always holds.

    Attributes:
        query: The image that was asked about.
        model: Which model made the embeddings, where and in which precision.
        k: How many matches were asked for.
        threshold: What they had to be above; None for no limit.
        files: Files of the folder; without the query's own, where it lies in the folder, and without the index.
        read: Images among them.
        skipped: The others, with the reason.
        matches: At most k, by falling similarity, then by path.
        index: None without an index.
    """

    query: str
    model: rrn_native.Model
    k: int
    threshold: float | None
    files: int
    read: int
    skipped: tuple[rrn_native.Skipped, ...]
    matches: tuple[Match, ...]
    index: IndexUse | None

    def to_dict(self) -> dict[str, Any]:
        """Returns what ``--json`` writes."""
        return {"version": 1, **dataclasses.asdict(self)}


# Size, time of change, time of the last change of anything about the file, and inode.
_State = tuple[int, int, int, int]
_GONE: _State = (-1, -1, -1, -1)


@dataclasses.dataclass
class _Entry:
    """A file as it was. Either it has a row in the index, or a reason why it is no image."""

    state: _State
    row: int
    reason: str = ""


@dataclasses.dataclass
class _Index:
    """Embeddings by path relative to the folder."""

    entries: dict[str, _Entry]
    rows: FloatArray
    note: str = ""


def query(
    image: rrn_native.PathLike,
    directory: rrn_native.PathLike,
    k: int = DEFAULT_COUNT,
    *,
    threshold: float | None = None,
    embedder: rrn_native.Embedder | None = None,
    index: rrn_native.PathLike | None = None,
    recursive: bool = True,
    progress: Progress | None = None,
) -> QueryResult:
    """Finds the images of a folder that are most similar to one image.

    The similarities are the engine's own, bit for bit, with or without an index.

    Args:
        image: The image to ask about. Where it lies in the folder, it is left out of the answer.
        directory: The folder. Every regular file in it is looked at; what is not an image ends in ``skipped``.
        k: At most so many matches, at least 1.
        threshold: Only matches with a similarity above it (-1 <= threshold < 1); None for no limit.
        embedder: The model; None for the default one.
        index: A file (.npz) that keeps the folder's embeddings. It is made where there is none, and brought up to date:
            a file is computed again when its size, its times of change or its inode differ; all are when the model's
            files, its settings, rrn or ONNX Runtime differ. Files that a query does not look at (the image itself,
            sub-folders) stay in it as long as they exist. Paths in it are relative to the folder, so both can be
            renamed; the files of a copied folder are new.
        recursive: Also look into sub-folders.
        progress: Called with (done, total) files to compute; returning False cancels. What was computed by then is in
            the index.

    Returns:
        The matches and what was read.

    Raises:
        FileNotFoundError: No such image or folder.
        ValueError: An argument out of its range, or ``index`` names a file that is no index (it is left alone).
        OSError: The index cannot be written.
        UnreadableError: The image cannot be read.
        RrnError: The model or the runtime failed.
        CancelledError: The progress callback returned False.
    """
    from rrn_native import _native

    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if threshold is not None and not -1 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}, expected -1 <= threshold < 1")
    if not Path(image).is_file():
        raise FileNotFoundError(f"{os.fspath(image)}: no such file")
    index_path = None if index is None else _index_path(Path(index))
    paths = rrn_native.find_images(directory, recursive)
    apart = {os.path.realpath(image)} | ({os.path.realpath(index_path)} if index_path is not None else set())
    paths = [path for path in paths if os.path.realpath(path) not in apart]
    model = embedder or rrn_native.Embedder()
    settings = _settings(model) if index_path is not None else {}
    # Before the work begins: an index that cannot be used should not cost an hour.
    known = _read_index(index_path, settings) if index_path is not None else None
    asked, _, refused = model._native.embed_files([os.fsencode(image)], None)
    if refused:
        raise UnreadableError(f"{os.fspath(image)}: {refused[0][1]}")

    read, rows, skipped, use = _embed_folder(model, Path(directory), paths, known, index_path, settings, progress)
    similarities = _native.similarities(asked, rows) if len(read) else np.empty(0, np.float32)
    # Embeddings that are not finite are similar to nothing.
    finite = np.flatnonzero(np.isfinite(similarities)).tolist()
    order = sorted(finite, key=lambda i: (-similarities[i], os.fsencode(read[i])))
    above = [i for i in order if threshold is None or similarities[i] > threshold]
    return QueryResult(
        query=os.fspath(image),
        model=_model_of(model),
        k=k,
        threshold=threshold,
        files=len(paths),
        read=len(read),
        skipped=tuple(skipped),
        matches=tuple(Match(read[i], round(float(similarities[i]), 6)) for i in above[:k]),
        index=use,
    )


def _embed_folder(
    model: rrn_native.Embedder,
    folder: Path,
    paths: list[str],
    known: _Index | None,
    index_path: Path | None,
    settings: dict[str, Any],
    progress: Progress | None,
) -> tuple[list[str], FloatArray, list[rrn_native.Skipped], IndexUse | None]:
    """Returns the paths that were read, their rows, the skipped files, and what the index saved."""
    names = {path: os.path.relpath(path, folder) for path in paths}
    entries = known.entries if known is not None else {}
    # Before a file is read: what changes while it is read is then read again next time.
    states = {path: _state(path) for path in paths} if known is not None else {}
    reused: dict[str, _Entry] = {}
    for path in paths:
        entry = entries.get(names[path])
        if entry is not None and states[path] == entry.state:
            reused[path] = entry
    # Not looked at, but there: the image that is asked about, or sub-folders with recursive=False.
    looked_at = set(names.values())
    apart = {
        name: entry
        for name, entry in entries.items()
        if name not in looked_at and _state(os.path.join(folder, name)) != _GONE  # noqa: PTH118 - as in _state
    }
    todo = [path for path in paths if path not in reused]
    fresh: dict[str, FloatArray] = {}
    reasons = {path: entry.reason for path, entry in reused.items() if entry.reason}

    def embedding(path: str) -> FloatArray:
        if known is None or path in fresh:
            return fresh[path]
        row: FloatArray = known.rows[reused[path].row]
        return row

    def save() -> None:
        if known is None or index_path is None:
            return
        kept: dict[str, _Entry] = {}
        rows: list[FloatArray] = []

        def keep(name: str, state: _State, row: FloatArray) -> None:
            kept[name] = _Entry(state, len(rows))
            rows.append(row)

        for path in paths:
            if path in reasons and reasons[path] not in _PASSING:
                kept[names[path]] = _Entry(states[path], -1, reasons[path])
            elif path in fresh or (path in reused and path not in reasons):
                keep(names[path], states[path], embedding(path))
        for name, entry in apart.items():
            if entry.reason:
                kept[name] = entry
            else:
                keep(name, entry.state, known.rows[entry.row])
        matrix = np.stack(rows) if rows else np.empty((0, model.dim), np.float32)
        _write_index(index_path, _Index(kept, matrix), settings)

    done = saved = 0
    try:
        for begin in range(0, len(todo), _PORTION):
            part = todo[begin : begin + _PORTION]
            callback = None if progress is None else _counting(progress, begin, len(todo))
            found, numbers, unreadable = model._native.embed_files([os.fsencode(path) for path in part], callback)
            fresh |= {part[number]: row for number, row in zip(numbers, found, strict=True)}
            reasons |= {os.fsdecode(path): reason for path, reason in unreadable}
            done = begin + len(part)
            if done < len(todo) and done - saved >= max(_PORTION, (len(reused) + saved) // _GROWTH):
                save()
                saved = done
    except BaseException:
        if done > saved:
            save()
        raise
    read = [path for path in paths if path not in reasons]
    rows = np.empty((len(read), model.dim), np.float32)
    for i, path in enumerate(read):
        rows[i] = embedding(path)
    skipped = [rrn_native.Skipped(path, reasons[path]) for path in paths if path in reasons]
    if known is None or index_path is None:
        return read, rows, skipped, None
    removed = len(entries.keys() - looked_at - apart.keys())
    if fresh or removed or any(path in reasons for path in todo) or not index_path.exists():
        save()
    return read, rows, skipped, IndexUse(len(todo), len(reused), removed, known.note)


def _counting(progress: Progress, before: int, total: int) -> Callable[[int, int], bool]:
    """A callback for a part of the files that counts all of them."""
    return lambda done, _: progress(before + done, total) is not False


def _state(path: str) -> _State:
    """What tells whether a file is still the same; a file that is gone has a state of its own."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes its time
    except OSError:
        return _GONE
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


# Those that decide whether an embedding is still good. The other settings say what is different, for people.
_DECISIVE = ("fingerprint", "max_pixels", "full_decode")


def _settings(embedder: rrn_native.Embedder) -> dict[str, Any]:
    """All that an embedding depends on, besides the picture."""
    from rrn_native import _native

    info = embedder._native.info
    return {
        "fingerprint": info.fingerprint,
        "max_pixels": embedder._max_pixels,
        "full_decode": embedder._target == 0,
        "model": info.files_fingerprint,
        "size": info.size,
        "dim": info.dim,
        "provider": info.provider,
        "precision": info.precision,
        "rrn": rrn_native.__version__,
        "onnxruntime": _native.onnxruntime_version(),
    }


def _differences(settings: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Which settings of an index are not those wanted, if that makes its embeddings useless."""
    different = [name for name in settings if found.get(name) != settings[name]]
    if not any(name in different for name in _DECISIVE):
        return []
    return [name for name in different if name != "fingerprint"] or ["fingerprint"]


def _index_path(path: Path) -> Path:
    if path.suffix != ".npz":
        raise ValueError(f"{path}: expected the index to be called *.npz")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder to put the index in")
    return path


def _read_index(path: Path, settings: dict[str, Any]) -> _Index:
    """Reads what can be reused.

    Raises:
        NotAnIndexError: The file is no index; overwriting it would lose somebody's data.
    """
    nothing = np.empty((0, settings["dim"]), np.float32)
    if not path.exists():
        return _Index({}, nothing)
    refusal = f"{path}: not an index that rrn query wrote, or damaged; name another file, or delete this one"
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["format"] != _INDEX_FORMAT:
                raise NotAnIndexError(refusal)
            if about["version"] != INDEX_VERSION:
                return _Index({}, nothing, "it is of another version")
            different = _differences(settings, about["settings"])
            if different:
                return _Index({}, nothing, f"it was made with another {', '.join(different)}")
            rows = file["rows"]
            entries: dict[str, _Entry] = {}
            used = 0
            for name, size, mtime_ns, ctime_ns, inode, reason in about["entries"]:
                state = (int(size), int(mtime_ns), int(ctime_ns), int(inode))
                entries[name] = _Entry(state, -1 if reason else used, str(reason))
                used += not reason
        if rows.shape != (used, settings["dim"]) or rows.dtype != np.float32:
            raise NotAnIndexError(refusal)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise NotAnIndexError(refusal) from error
    return _Index(entries, rows)


def _write_index(path: Path, index: _Index, settings: dict[str, Any]) -> None:
    """Writes the file under a temporary name and renames it."""
    about = {
        "format": _INDEX_FORMAT,
        "version": INDEX_VERSION,
        "settings": settings,
        "entries": [(name, *entry.state, entry.reason) for name, entry in index.entries.items()],
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, about=text, rows=index.rows)

    replace_file(path, write)


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary name beside `path`, then gives the file its name.

    Raises:
        OSError: The file cannot be written; nothing is left of it, and what was there before stays.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        write(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _model_of(embedder: rrn_native.Embedder) -> rrn_native.Model:
    info = embedder._native.info
    return rrn_native.Model(
        file=info.file,
        weights_origin=info.weights_origin,
        weights_sha256=info.weights_sha256,
        size=info.size,
        embedding_dim=info.dim,
        provider=info.provider,
        precision=info.precision,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rrn query",
        description="Find the images of a folder that are most similar to one image.",
        epilog="""examples:
  rrn query a.jpg photos                                 the ten most similar ones
  rrn query a.jpg photos -k 3 --threshold 0.9
  rrn query a.jpg photos --index photos.npz --json -     for programs; keeps the folder's embeddings for the next query

The index is brought up to date by each query: new files and those whose size, times of change or inode differ are
computed, files that are gone are forgotten; all are computed again when the model, its settings, rrn or ONNX Runtime
differ. So an index goes with a renamed folder, but not with a copied one.

Exit codes: 0 found, 1 nothing above --threshold, 2 wrong usage, 3 the image cannot be read, or none in the folder,
4 model, runtime or output failed, 130 interrupted.""",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image to ask about")
    parser.add_argument("directory", type=Path, metavar="FOLDER", help="where to look")
    parser.add_argument(
        "-k", type=int, default=DEFAULT_COUNT, metavar="N", help="so many at most (default %(default)s)"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="only what is more similar than this (-1 <= T < 1)"
    )
    parser.add_argument("--index", type=Path, metavar="FILE.npz", help="keep the folder's embeddings here")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; '-' for standard output, not text")
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS", help="input size (default %(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="default 0: one for each core")
    parser.add_argument("--provider", default="auto", metavar="NAME", help="auto, cpu, openvino, cuda, tensorrt")
    parser.add_argument("--precision", default="auto", metavar="NAME", help="auto, fp32, fp16, bf16, int8")
    parser.add_argument(
        "--max-megapixels", type=int, default=200, metavar="N", help="larger images are skipped (default %(default)s)"
    )
    parser.add_argument("--full-decode", action="store_true", help="decode large JPEG and WebP files at full size")
    parser.add_argument("--no-recursive", action="store_true", help="do not look into sub-folders")
    parser.add_argument("--quiet", action="store_true", help="no text and no progress line; errors are still shown")
    return parser


class _ProgressLine:
    """A count on a terminal's standard error, at most ten times a second."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted and sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._wanted and (now - self._last > 0.1 or done == total):
            self._last = now
            print(f"\r\x1b[Kimages  {done} / {total}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._wanted:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _text(result: QueryResult) -> str:
    lines = [f"{match.similarity:.4f}  {printable(match.path)}" for match in result.matches]
    if result.skipped:
        lines += ["", f"skipped: {len(result.skipped)} of {result.files} files (--json lists them)"]
    if result.index is not None:
        use = result.index
        lines += ["", f"index: {use.reused} reused, {use.computed} computed, {use.removed} removed"]
        if use.note:
            lines[-1] += f" ({use.note})"
    return "\n".join(lines).lstrip("\n")


def printable(path: str) -> str:
    """The path on one line: control characters would break it."""
    return "".join("?" if sign < " " or sign == "\x7f" else sign for sign in path)


def _write(result: QueryResult, arguments: argparse.Namespace) -> int:
    """Prints and writes the result; returns the exit code."""
    # As bytes: a path need not be UTF-8. In JSON such a byte is an escape that json.loads and os.fsencode turn back.
    text = _text(result) + "\n" if not arguments.quiet else ""
    if arguments.json is not None:
        json_text = (json.dumps(result.to_dict(), indent=1) + "\n").encode()
        if arguments.json == "-":
            sys.stdout.buffer.write(json_text)
            text = ""
        else:
            replace_file(Path(arguments.json), lambda path: _write_bytes(path, json_text))
    sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.buffer.flush()
    if result.read == 0:
        return _fail(f"{arguments.directory}: no other readable image among {result.files} files", _NOTHING_READABLE)
    return 0 if result.matches else 1


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _embedder(arguments: argparse.Namespace) -> rrn_native.Embedder:
    """The model of the command line; a note about what it computes in goes to standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedder = rrn_native.Embedder(
            arguments.model,
            arguments.size,
            arguments.threads or None,
            arguments.provider,
            precision=arguments.precision,
            max_pixels=arguments.max_megapixels * 1_000_000,
            full_decode=arguments.full_decode,
        )
    for warning in caught:
        if not arguments.quiet:
            print(f"rrn query: note: {warning.message}", file=sys.stderr)
    return embedder


def _fail(message: str, code: int) -> int:
    line = f"rrn query: {printable(message)}\n"
    sys.stderr.buffer.write(os.fsencode(line))
    sys.stderr.flush()
    return code


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    line = _ProgressLine(not arguments.quiet)
    try:
        if arguments.threads < 0:
            raise ValueError(f"--threads is {arguments.threads}, expected at least 0")
        if arguments.max_megapixels < 1:
            raise ValueError(f"--max-megapixels is {arguments.max_megapixels}, expected at least 1")
        if arguments.json not in (None, "-") and not Path(arguments.json).absolute().parent.is_dir():
            raise ValueError(f"--json {arguments.json}: no such folder to write to")
        if not arguments.directory.is_dir():
            raise ValueError(f"{arguments.directory}: no such folder")
        try:
            embedder = _embedder(arguments)
        except FileNotFoundError as error:  # a model, which is no usage of the folder's
            return _fail(str(error), _RUNTIME_ERROR)
        result = query(
            arguments.image,
            arguments.directory,
            arguments.k,
            threshold=arguments.threshold,
            embedder=embedder,
            index=arguments.index,
            recursive=not arguments.no_recursive,
            progress=line,
        )
    except (ValueError, FileNotFoundError) as error:
        line.clear()
        return _fail(str(error), _USAGE)
    except UnreadableError as error:
        line.clear()
        return _fail(str(error), _NOTHING_READABLE)
    except (OSError, rrn_native.RrnError) as error:
        line.clear()
        return _fail(str(error), _RUNTIME_ERROR)
    line.clear()
    return _write(result, arguments)
