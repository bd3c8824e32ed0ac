"""Files of a run: arrays and JSON, and fingerprints of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rrn_native.files import replace_file, sha256_of, sha256_of_bytes


def write_rows(path: Path, rows: npt.NDArray[Any]) -> None:
    """Writes an array as ``.npy``.

    Raises:
        OSError: The file cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.lib.format.write_array(file, rows, allow_pickle=False)

    replace_file(path, write)


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
    return sha256_of_bytes(text.encode())[:32]


def digest_of_file(path: Path) -> str:
    """Returns 32 hexadecimal digits of a file's content.

    Raises:
        OSError: It cannot be read.
    """
    return sha256_of(path)[:32]
