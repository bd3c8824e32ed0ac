"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

_STOP_SECONDS = 5.0


def bound(command: Sequence[str], *, drop_root: bool = False) -> list[str]:
    """Returns a command that is ended when the thread that starts it is gone, however that ends; needs setpriv(1).

    Args:
        command: The program and its words.
        drop_root: Where this process is root, the program runs as nobody. A program that gives up root by itself would
            live on: the kernel forgets the signal when a process does that.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return list(command)
    less = ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] if drop_root and os.geteuid() == 0 else []
    return [setpriv, *less, "--pdeathsig", "TERM", *command]


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Asks a process to end, and kills it where it does not within five seconds."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
