"""Embeddings of a folder's files, kept in a file from one query to the next."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rrn_native import _load
from rrn_native.arrays import FloatArray, Progress
from rrn_native.embedder import Embedder
from rrn_native.files import GONE, State, file_state, replace_file
from rrn_native.result import Skipped

INDEX_VERSION = 3
_FORMAT = "rrn index"
# Files that are computed between two looks at whether to write the index.
_PORTION = 512
# The index is written whenever it has grown by this part, so that all writing together costs a few times the last one,
# and a process that is killed loses no more than this part and a portion.
_GROWTH = 4
# What the system says when a file cannot be read. That may pass; a picture that is damaged stays so.
_PASSING = frozenset(os.strerror(number) for number in errno.errorcode)


class NotAnIndexError(ValueError):
    """A file that is no index, so it is neither read nor overwritten."""


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
class Embedded:
    """A folder's embeddings.

    Attributes:
        read: The files that were read.
        rows: float32 [read, dim].
        skipped: The other files, with the reason.
        use: What the index saved; None without one.
    """

    read: list[str]
    rows: FloatArray
    skipped: list[Skipped]
    use: IndexUse | None


@dataclasses.dataclass
class _Entry:
    """A file as it was. Either it has a row in the index, or a reason why it is no image."""

    state: State
    row: int
    reason: str = ""


class Index:
    """A file (.npz) of embeddings by path relative to the folder.

    Args:
        path: The file; it need not exist.
        embedder: The model. Entries of another model, or of other settings, are not used.

    Raises:
        NotAnIndexError: The file is no index; overwriting it would lose somebody's data.
        ValueError: It is not called ``*.npz``.
        FileNotFoundError: There is no such folder to put it in.
    """

    def __init__(self, path: Path, embedder: Embedder) -> None:
        if path.suffix != ".npz":
            raise ValueError(f"{path}: expected the index to be called *.npz")
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path}: no such folder to put the index in")
        self.path = path
        self.settings = _settings(embedder)
        self.entries: dict[str, _Entry] = {}
        self.rows: FloatArray = np.empty((0, embedder.dim), np.float32)
        self.note = ""
        if path.exists():
            self._read()

    def _read(self) -> None:
        refusal = f"{self.path}: not an index that rrn query wrote, or damaged; name another file, or delete this one"
        entries: dict[str, _Entry] = {}
        try:
            with np.load(self.path, allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                if about["format"] != _FORMAT:
                    raise NotAnIndexError(refusal)
                if about["version"] != INDEX_VERSION:
                    self.note = "it is of another version"
                    return
                different = _differences(self.settings, about["settings"])
                if different:
                    self.note = f"it was made with another {', '.join(different)}"
                    return
                rows = file["rows"]
                used = 0
                for name, size, mtime_ns, ctime_ns, inode, reason in about["entries"]:
                    state = (int(size), int(mtime_ns), int(ctime_ns), int(inode))
                    entries[name] = _Entry(state, -1 if reason else used, str(reason))
                    used += not reason
            if rows.shape != (used, self.rows.shape[1]) or rows.dtype != np.float32:
                raise NotAnIndexError(refusal)
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise NotAnIndexError(refusal) from error
        self.entries, self.rows = entries, rows

    def write(self, entries: dict[str, _Entry], rows: FloatArray) -> None:
        """Writes other entries and their rows in the place of those that were read.

        Raises:
            OSError: The file cannot be written.
        """
        about = {
            "format": _FORMAT,
            "version": INDEX_VERSION,
            "settings": self.settings,
            "entries": [(name, *entry.state, entry.reason) for name, entry in entries.items()],
        }
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, about=text, rows=rows)

        replace_file(self.path, write)


# Those that decide whether an embedding is still good. The other settings say what is different, for people.
_DECISIVE = ("fingerprint", "max_pixels", "full_decode")


def _settings(embedder: Embedder) -> dict[str, Any]:
    """All that an embedding depends on, besides the picture."""
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
        "rrn": _load.native.__version__,
        "onnxruntime": _load.native.onnxruntime_version(),
    }


def _differences(settings: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Which settings of an index are not those wanted, if that makes its embeddings useless."""
    different = [name for name in settings if found.get(name) != settings[name]]
    if not any(name in different for name in _DECISIVE):
        return []
    return [name for name in different if name != "fingerprint"] or ["fingerprint"]


class _Update:
    """The files of one folder, some known from the index, the others to be computed."""

    def __init__(self, folder: Path, paths: list[str], index: Index, model: Embedder) -> None:
        self._index = index
        self._paths = paths
        self._model = model
        self._names = {path: os.path.relpath(path, folder) for path in paths}
        # Before a file is read: what changes while it is read is then read again next time.
        self._states = {path: file_state(path) for path in paths}
        self.reused: dict[str, _Entry] = {}
        for path in paths:
            entry = index.entries.get(self._names[path])
            if entry is not None and self._states[path] == entry.state:
                self.reused[path] = entry
        # Not looked at, but there: the image that is asked about, or sub-folders with recursive=False.
        looked_at = set(self._names.values())
        self._apart = {
            name: entry
            for name, entry in index.entries.items()
            if name not in looked_at and file_state(os.path.join(folder, name)) != GONE  # noqa: PTH118 - as there
        }
        self.removed = len(index.entries.keys() - looked_at - self._apart.keys())
        self.fresh: dict[str, FloatArray] = {}
        self.reasons = {path: entry.reason for path, entry in self.reused.items() if entry.reason}

    def row(self, path: str) -> FloatArray:
        if path in self.fresh:
            return self.fresh[path]
        known: FloatArray = self._index.rows[self.reused[path].row]
        return known

    def save(self) -> None:
        kept: dict[str, _Entry] = {}
        rows: list[FloatArray] = []

        def keep(name: str, state: State, row: FloatArray) -> None:
            kept[name] = _Entry(state, len(rows))
            rows.append(row)

        for path in self._paths:
            name, state = self._names[path], self._states[path]
            if path in self.reasons and self.reasons[path] not in _PASSING:
                kept[name] = _Entry(state, -1, self.reasons[path])
            elif path in self.fresh or (path in self.reused and path not in self.reasons):
                keep(name, state, self.row(path))
        for name, entry in self._apart.items():
            if entry.reason:
                kept[name] = entry
            else:
                keep(name, entry.state, self._index.rows[entry.row])
        matrix = np.stack(rows) if rows else np.empty((0, self._model.dim), np.float32)
        self._index.write(kept, matrix)

    def compute(self, todo: list[str], progress: Progress | None) -> None:
        """Computes files in portions and writes the index on the way, at the latest where that is cut short."""
        done = saved = 0
        try:
            for begin in range(0, len(todo), _PORTION):
                part = todo[begin : begin + _PORTION]
                callback = None if progress is None else _counting(progress, begin, len(todo))
                found, numbers, unreadable = self._model._native.embed_files(list(map(os.fsencode, part)), callback)
                self.fresh |= {part[number]: row for number, row in zip(numbers, found, strict=True)}
                self.reasons |= {os.fsdecode(path): reason for path, reason in unreadable}
                done = begin + len(part)
                if done < len(todo) and done - saved >= max(_PORTION, (len(self.reused) + saved) // _GROWTH):
                    self.save()
                    saved = done
        except BaseException:
            if done > saved:
                self.save()
            raise


def embed_folder(
    model: Embedder, folder: Path, paths: list[str], index: Index | None, progress: Progress | None
) -> Embedded:
    """Embeds the files of a folder, with an index only those that it does not know, and brings the index up to date.

    Args:
        model: The one that the index was opened with.
        folder: Where the index's relative paths start.
        paths: The files, each beginning with the folder.
        index: None to compute all.
        progress: Called with (done, total) files to compute; returning False cancels. What was computed by then is in
            the index.

    Raises:
        OSError: The index cannot be written.
        RrnError: The model or the runtime failed.
        CancelledError: The progress callback returned False.
    """
    if index is None:
        callback = None if progress is None else _counting(progress, 0, len(paths))
        rows, numbers, refused = model._native.embed_files(list(map(os.fsencode, paths)), callback)
        skipped = [Skipped(os.fsdecode(path), reason) for path, reason in refused]
        return Embedded([paths[number] for number in numbers], rows, skipped, None)
    update = _Update(folder, paths, index, model)
    todo = [path for path in paths if path not in update.reused]
    update.compute(todo, progress)
    read = [path for path in paths if path not in update.reasons]
    matrix = np.empty((len(read), model.dim), np.float32)
    for i, path in enumerate(read):
        matrix[i] = update.row(path)
    skipped = [Skipped(path, update.reasons[path]) for path in paths if path in update.reasons]
    if update.fresh or update.removed or any(path in update.reasons for path in todo) or not index.path.exists():
        update.save()
    return Embedded(read, matrix, skipped, IndexUse(len(todo), len(update.reused), update.removed, index.note))


def _counting(progress: Progress, before: int, total: int) -> Callable[[int, int], bool]:
    """A callback for a part of the files that counts all of them."""
    return lambda done, _: progress(before + done, total) is not False
