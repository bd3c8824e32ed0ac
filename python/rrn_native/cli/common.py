"""What all verbs share: exit codes and how a failure is said. No argparse, which ``rrn find`` does without."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from rrn_native._text import one_line as one_line
from rrn_native.files import write_file

# The exit codes of ./build/similarity and of rrn --help. 1 is a verb's own: not similar, no match, not valid.
USAGE = 2
NOTHING_READABLE = 3
RUNTIME_ERROR = 4
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE


def fail(program: str, error: BaseException | str, code: int) -> int:
    """Prints one line about what went wrong to standard error; returns the exit code.

    Args:
        program: What the line begins with, as "rrn report".
        error: A message, or an exception that has one.
        code: The exit code.
    """
    _say(f"{program}: {_text_of(error)}")
    return code


def note(program: str, text: BaseException | str, *, quiet: bool) -> None:
    """Prints one line that a user should know of to standard error; nothing with `quiet`."""
    if not quiet:
        _say(f"{program}: note: {_text_of(text)}")


def _text_of(error: BaseException | str) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return one_line(f"{error.filename}: {error.strerror}")
    return one_line(error)


def _say(line: str) -> None:
    # As bytes: a path need not be UTF-8.
    sys.stderr.buffer.write(os.fsencode(line + "\n"))
    sys.stderr.flush()


def failure_code(error: BaseException) -> int:
    """The exit code of an error: wrong arguments and missing files are usage, the rest is the runtime's."""
    return USAGE if isinstance(error, ValueError | FileNotFoundError | NotADirectoryError) else RUNTIME_ERROR


def check_output(name: str | None) -> None:
    """Checks, before long work, that a file can be written: None, "-" for standard output, or a name.

    Raises:
        ValueError: There is no such folder.
    """
    if name not in (None, "-") and not Path(str(name)).absolute().parent.is_dir():
        raise ValueError(f"--json {name}: no such folder to write to")


def write_json(name: str | Path, result: object) -> None:
    """Writes what `--json` asks for, indented, with a line's end.

    Args:
        name: A file, which is complete or untouched afterwards, or "-" for standard output.
        result: What :mod:`json` can write.

    Raises:
        OSError: The file cannot be written.
    """
    text = json.dumps(result, indent=1)
    if str(name) == "-":
        print(text)
    else:
        write_file(Path(name), f"{text}\n".encode())


class ProgressLine:
    """A line on a terminal's standard error that is written over at most ten times a second.

    Args:
        what: What is counted, as "images".
        wanted: False shows nothing, as where standard error is no terminal.
    """

    def __init__(self, what: str, wanted: bool = True) -> None:
        self._what = what
        self._wanted = wanted and sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Shows a count; a progress callback."""
        now = time.monotonic()
        if now - self._last > 0.1 or done == total:
            self._last = now
            self.show(f"{self._what}  {done} / {total}")

    def show(self, text: str) -> None:
        """Shows a text in the place of the last one."""
        if self._wanted:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Removes the line."""
        self.show("")
