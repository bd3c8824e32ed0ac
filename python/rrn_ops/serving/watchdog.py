"""Ends a server whose starter is gone: a process of its own, so that it also works where the starter was killed.

It reads from the pipe that the starter holds. A line says that the server was stopped and there is nothing to do; the
end of the pipe without one, that the starter ended in any other way.

    python watchdog.py GROUP REGION FOLDER
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

SECONDS = 10.0


def end_group(group: int, seconds: float) -> None:
    """Asks the processes of a group to end, and kills what is left after some seconds.

    The processes of Python models ignore the request where the server was killed.

    Args:
        group: The leader's number.
        seconds: How long to wait.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, signal.SIGTERM)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            os.kill(group, 0)
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def remove(region: str, folder: Path) -> None:
    """Removes the shared memory whose names begin with `region`, and a folder."""
    for path in Path("/dev/shm").glob(f"{region}*"):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Waits for the end of the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.readline():
        return
    end_group(int(sys.argv[1]), SECONDS)
    remove(sys.argv[2], Path(sys.argv[3]))


if __name__ == "__main__":
    main()
