"""Folders that a run may delete, because it made them; and a lock, so that two runs do not use the same ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

MARK = "made-by-research-circle"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder; the system frees the lock of a process that dies.

    Args:
        folder: Made if it is missing. It gets no file: the folder itself is locked.

    Raises:
        ValueError: Another run has it.
        OSError: It cannot be made or locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"--folder: {folder.name} is in use by another run; wait for its end, or choose another folder"
            ) from error
        yield
    finally:
        os.close(opened)


def own(folder: Path) -> Path:
    """Makes a folder with a mark, or sees that it has one; returns it.

    Raises:
        ValueError: It has files and no mark: somebody else made it.
        OSError: It cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    if mark.is_file():
        return folder
    if any(folder.iterdir()):
        raise ValueError(
            f"--folder: expected in {folder.parent.name} no {folder.name}, or one with the file {MARK}, got one of "
            "other origin; move it away, or choose another folder"
        )
    mark.write_text("research.circle.run made this folder and may delete what is in it.\n", encoding="utf-8")
    return folder


def emptied(folder: Path) -> Path:
    """Deletes what is in a folder that a run made, all but the mark; makes it if it is missing; returns it.

    Raises:
        ValueError: Somebody else made it; nothing was deleted.
        OSError: It cannot be made or emptied.
    """
    for each in own(folder).iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != MARK:
            each.unlink()
    return folder
