"""``rrn compare``: the similarity of two images."""

from __future__ import annotations

from pathlib import Path

from rrn_native.cli import _engine
from rrn_native.cli.common import USAGE, fail


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    folder = next((word for word in words if not word.startswith("-") and Path(word).is_dir()), None)
    if folder is not None:
        message = f"{folder} is a folder; expected two image files (see rrn find --help)"
        return fail("rrn compare", message, USAGE)
    return _engine.run("rrn compare", words)
