"""Files of a run: written whole, read back, and fingerprints of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# The names that replace() gives; prepared.npy may be large.
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.\w+")


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Calls ``write`` with a temporary name beside a file, then gives the file its name: it is complete or untouched.

    Raises:
        OSError: The file cannot be written.
    """
    # The suffix stays, because some writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_left_over(folder: Path) -> None:
    """Removes what writers that were killed have left in a folder; nobody may be writing there."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is complete or untouched.

    Raises:
        OSError: The file cannot be written.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace(path, write)


def write_rows(path: Path, rows: npt.NDArray[Any]) -> None:
    """Writes an array as ``.npy``.

    Raises:
        OSError: The file cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.lib.format.write_array(file, rows, allow_pickle=False)

    replace(path, write)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: It is no JSON.
        OSError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def digest_of(*parts: object) -> str:
    """Returns 32 hexadecimal digits of parts that JSON can write; paths count as their text."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest_of_file(path: Path) -> str:
    """Returns 32 hexadecimal digits of a file's content.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
