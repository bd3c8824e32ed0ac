"""``rrn find``: the similar images of a folder, and how many are unique."""

from __future__ import annotations

from rrn_native.cli import _engine


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    return _engine.run("rrn find", words)
