"""Pictures that others are compared with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rrn_native


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The embeddings of a folder's pictures.

    Attributes:
        names: Their paths below the folder.
        rows: float32 [len(names), dim], each of length 1.
        skipped: A line for each file that gave no embedding, with the reason.
    """

    names: list[str]
    rows: npt.NDArray[np.float32]
    skipped: list[str]

    def save(self, path: Path) -> None:
        """Writes what :func:`load` reads."""
        np.savez(path, names=np.array(self.names, dtype=np.str_), rows=self.rows)


def load(path: Path) -> Gallery:
    """Reads what :meth:`Gallery.save` wrote.

    Raises:
        OSError, ValueError, KeyError: It cannot be read, or is no such file.
    """
    with np.load(path, allow_pickle=False) as file:
        return Gallery([str(name) for name in file["names"]], file["rows"], [])


def make(folder: Path, embedder: rrn_native.Embedder, progress: rrn_native.Progress | None = None) -> Gallery:
    """Embeds the pictures of a folder.

    Raises:
        ValueError: None of them can be read.
        FileNotFoundError, NotADirectoryError: There is no such folder.
    """
    files = rrn_native.find_images(folder)
    rows = embedder.embed(files, on_error="nan", progress=progress) if files else np.empty((0, 1), np.float32)
    good: npt.NDArray[np.bool_] = np.isfinite(rows).min(axis=1, initial=True)
    skipped = []
    for file in (file for file, fine in zip(files, good, strict=True) if not fine):
        try:
            rrn_native.decode(file)
            skipped.append(f"{file}: the embedding is not finite")
        except (OSError, rrn_native.RrnError) as error:
            skipped.append(f"{file}: {error}")
    names = [str(Path(file).relative_to(folder)) for file, fine in zip(files, good, strict=True) if fine]
    if not names:
        raise ValueError(f"{folder}: no readable image")
    rows = rows[good]
    return Gallery(names, rows / np.linalg.norm(rows, axis=1, keepdims=True), skipped)
