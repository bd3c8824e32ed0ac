"""The engine's own command line, which is that of ./build/similarity under another name."""

from __future__ import annotations

import os

from rrn_native import _load
from rrn_native.locate import custom_op_library, default_model


def run(program: str, words: list[str]) -> int:
    """Runs the words as ./build/similarity would, with the package's model and operator; returns the exit code.

    Args:
        program: What its messages begin with, as "rrn find".
        words: The words after it.
    """
    model, library = os.fsencode(default_model()), os.fsencode(custom_op_library())
    return _load.native.run_command_line(program, model, library, [os.fsencode(word) for word in words])
