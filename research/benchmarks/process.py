"""Runs a program and measures its wall time and the peak memory of it and all its children."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_INTERVAL = 0.01


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished program.

    Attributes:
        seconds: Wall time, starting the program included.
        peak_mib: The largest sum of the resident memory of the process and its children that was seen, sampled every
            10 ms; memory that they share counts for each of them.
        status: The exit status; None if it was stopped for taking too long.
        output: Standard output.
        error: The last lines of standard error.
    """

    seconds: float
    peak_mib: float
    status: int | None
    output: str
    error: str


def run(
    command: Sequence[str], *, limit: float = 3600, environment: Mapping[str, str] | None = None, folder: Path
) -> Run:
    """Runs a command.

    Args:
        command: The program and its arguments.
        limit: Seconds after which it is stopped.
        environment: Instead of this process's; None for the same.
        folder: Gets the files stdout and stderr, so that no pipe can fill up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
        start = time.perf_counter()
        process = psutil.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=dict(environment) if environment else None,
        )
        peak = 0
        status: int | None = None
        while True:
            peak = max(peak, _resident(process))
            try:
                status = process.wait(_INTERVAL)
                break
            except psutil.TimeoutExpired:
                if time.perf_counter() - start > limit:
                    _stop(process)
                    break
        seconds = time.perf_counter() - start
    output = (folder / "stdout").read_text(errors="replace")
    error = "\n".join((folder / "stderr").read_text(errors="replace").strip().splitlines()[-5:])
    return Run(seconds, peak / 2**20, status, output, error)


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return total


def _stop(process: psutil.Process) -> None:
    """Ends the process and its children."""
    members = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        members += process.children(recursive=True)
    for member in members:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(members, timeout=10)
