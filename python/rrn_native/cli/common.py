"""The argument parser of rrn's verbs: wrong usage is one line."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

# The exit codes of ./build/similarity and of rrn --help.
USAGE = 2
NOTHING_READABLE = 3
RUNTIME_ERROR = 4


class Parser(argparse.ArgumentParser):
    """Keeps the line breaks of its description and epilog."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2 and a line without the usage, which --help shows."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def fail(program: str, error: BaseException | str, code: int) -> int:
    """Prints one line about what went wrong to standard error; returns the exit code.

    Args:
        program: What the line begins with, as "rrn report".
        error: A message, or an exception that has one.
        code: The exit code.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    sys.stderr.buffer.write(os.fsencode(f"{program}: {' '.join(text.split())}\n"))
    sys.stderr.flush()
    return code


def failure_code(error: BaseException) -> int:
    """The exit code of an error: wrong arguments and missing files are usage, the rest is the runtime's."""
    return USAGE if isinstance(error, ValueError | FileNotFoundError | NotADirectoryError) else RUNTIME_ERROR
