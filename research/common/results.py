"""Reads and writes results: JSON files that are complete or untouched.

Needs nothing outside the standard library, so that a bare machine can use it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# A list of numbers as json.dumps spreads it over lines. Inside a string a line break is escaped, so no text matches.
_NUMBERS = re.compile(r"\[\n\s+[-\d.e+,\s]+?\n\s*\]")


def text(value: Json) -> str:
    """Returns a result as JSON text: one member on each line, a list of numbers on a single one."""
    spread = json.dumps(value, indent=1, ensure_ascii=False)
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[0][1:-1].split())}]", spread) + "\n"


def write(path: Path, value: Json) -> None:
    """Writes a result under a temporary name and renames it; makes the folder if it is missing.

    Raises:
        TypeError: A value has no form in JSON; nothing was written.
        OSError: The folder cannot be written.
    """
    write_bytes(path, text(value).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it; makes the folder if it is missing.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Makes the folder of a result and sees that a file can be written there, before hours of work.

    Raises:
        OSError: It cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file")
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    write_bytes(probe, b"")
    probe.unlink()


def read(path: Path) -> Json:
    """Returns a result.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no JSON object.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name}: expected a JSON object, got {type(value).__name__}")
    return value


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
