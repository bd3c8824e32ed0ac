"""Reads what earlier versions of ``rrn query --index`` kept in a file (.npz), and puts it into a store."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rrn_native.arrays import FloatArray
from rrn_native.embedder import Embedder
from rrn_native.files import State, file_state
from rrn_native.store import KnownFile, Store

INDEX_VERSION = 3
_FORMAT = "rrn index"
# What an embedding depends on; the other settings in an index are for people.
_DECISIVE = ("fingerprint", "max_pixels", "full_decode")
_ADVICE = "delete it, and run the query again"


class NotAnIndexError(ValueError):
    """A file that is no index, or is of another model; it is left alone."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """What became of an index.

    Attributes:
        entries: What was in it.
        taken: Entries of files that are still as they were, which are in the store now.
    """

    entries: int
    taken: int


def import_index(path: Path, directory: Path, store: Store) -> Imported:
    """Puts the entries of an index into a store, and removes the file unless none of them was of use.

    Args:
        path: The index.
        directory: The folder that it is of; its paths are relative to that.
        store: Where the entries go; its model has to be the one that the index was made with.

    Raises:
        NotAnIndexError: The file is no index, or was made with another model or version. It is left alone.
        FileNotFoundError: There is no such file.
        RrnError: The store cannot be written. The file is left alone then, too.
    """
    entries, rows, written_ns = _read(path, store.embedder)
    files: list[KnownFile] = []
    taken: list[int] = []
    for name, state, row, reason in entries:
        file = os.path.join(os.fsdecode(directory), name)  # noqa: PTH118 - a path of any bytes
        if file_state(file) != state:
            continue
        files.append(KnownFile(file, state, written_ns, reason))
        if not reason:
            taken.append(row)
    store.add_rows(files, rows[taken])
    # One of which nothing is of use may be of another folder.
    if files or not entries:
        path.unlink()
    return Imported(len(entries), len(files))


def _read(path: Path, embedder: Embedder) -> tuple[list[tuple[str, State, int, str]], FloatArray, int]:
    """Entries (path, state, row or -1, reason), rows, and when the file was written, in nanoseconds since 1970."""
    refusal = f"{path}: not an index that rrn query wrote, or damaged; name another file, or delete this one"
    entries: list[tuple[str, State, int, str]] = []
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["format"] != _FORMAT:
                raise NotAnIndexError(refusal)
            if about["version"] != INDEX_VERSION:
                raise NotAnIndexError(f"{path}: an index of another version of rrn query; {_ADVICE}")
            different = _differences(embedder, about["settings"])
            if different:
                raise NotAnIndexError(
                    f"{path}: made with another {', '.join(different)}; query with the same one, or {_ADVICE}"
                )
            rows: FloatArray = file["rows"]
        used = 0
        for name, size, mtime_ns, ctime_ns, inode, reason in about["entries"]:
            state = (int(size), int(mtime_ns), int(ctime_ns), int(inode))
            entries.append((str(name), state, -1 if reason else used, str(reason)))
            used += not reason
    except NotAnIndexError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise NotAnIndexError(refusal) from error
    if rows.shape != (used, embedder.dim) or rows.dtype != np.float32:
        raise NotAnIndexError(refusal)
    return entries, rows, file_state(os.fspath(path))[1]


def _differences(embedder: Embedder, found: dict[str, Any]) -> list[str]:
    """Which settings of an index are not the model's, in words; empty if its embeddings are as good as new ones."""
    info = embedder._native.info
    decisive = (info.fingerprint, embedder._max_pixels, embedder._target == 0)
    if all(found.get(name) == value for name, value in zip(_DECISIVE, decisive, strict=True)):
        return []
    described = {
        "max_pixels": embedder._max_pixels,
        "full_decode": embedder._target == 0,
        "model": info.files_fingerprint,
        "size": info.size,
        "provider": info.provider,
        "precision": info.precision,
    }
    return [name for name, value in described.items() if found.get(name) != value] or ["version of rrn or ONNX Runtime"]
