"""How time and memory grow: the search from 1,000 rows up, the whole program at 1,000 and 20,000 pictures."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from research.benchmarks import process
from research.common import photos, timing
from research.common.places import PROGRAM

Json = dict[str, Any]

DIM = 512
_VARIED = 500
_SIDE = 64


def rows(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Makes random unit rows, float32 [count, 512]; every tenth is a near-copy of the one before."""
    random = np.random.default_rng(count)
    made = random.standard_normal((count, DIM), dtype=np.float32)
    made[9::10] = made[8:-1:10][: len(made[9::10])] + 0.3 * made[9::10]
    # In blocks: the norm of all rows at once would take as much memory again.
    for start in range(0, count, 4096):
        block = made[start : start + 4096]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return made


def _child(count: int) -> None:
    """Searches `count` rows once and prints what it took; a separate program, so that its peak is the search's."""
    import rrn_native

    made = rows(count)
    start = time.perf_counter()
    first, _, _ = rrn_native.similar_pairs(made, 0.75)
    print(json.dumps({"seconds": time.perf_counter() - start, "pairs": len(first)}))


def _search(counts: list[int], rounds: int, scratch: Path) -> list[Json]:
    memory: dict[int, list[float]] = {count: [] for count in counts}
    found: dict[int, int] = {}

    def search(count: int) -> float:
        run = process.run(
            [sys.executable, "-m", "research.benchmarks.growth", str(count)], folder=scratch, limit=6 * 3600
        )
        if run.status != 0:
            raise RuntimeError(f"the search of {count} rows failed: {run.error}")
        answer = json.loads(run.output)
        memory[count].append(run.peak_mib)
        found[count] = answer["pairs"]
        seconds: float = answer["seconds"]
        return seconds

    seconds = timing.collect({count: partial(search, count) for count in counts}, rounds, limit=60)
    return [
        {
            "what": "search",
            "count": count,
            **timing.spread(seconds[count]).to_json("s"),
            "peak_mib": round(timing.spread(memory[count]).median, 1),
            "input_mib": round(count * DIM * 4 / 2**20, 1),
            "pairs": found[count],
        }
        for count in counts
    ]


def _program(count: int, varied: int, scratch: Path) -> Json:
    """The whole program on `count` small JPEG files: hard links to `varied` different pictures."""
    folder = scratch / f"photos{count}"
    folder.mkdir()
    for number in range(min(count, varied)):
        photos.draw(number, 96).save(folder / f"{number:06d}.jpg", quality=85)
    for number in range(varied, count):
        (folder / f"{number:06d}.jpg").hardlink_to(folder / f"{number % varied:06d}.jpg")
    command = [str(PROGRAM), str(folder), "--quiet", "--no-store", "--size", str(_SIDE), "--json", os.devnull]
    run = process.run(command, folder=scratch / "run")
    if run.status != 0:
        raise RuntimeError(f"build/similarity failed on {count} pictures: {run.error}")
    return {
        "what": "program",
        "count": count,
        **timing.spread([run.seconds]).to_json("s"),
        "peak_mib": round(run.peak_mib, 1),
        "input_side": _SIDE,
        "varied": min(varied, count),
    }


def measure(quick: bool, *, full: bool = False) -> Json:
    """Measures the search in separate processes, and the program.

    Args:
        quick: Tiny counts, once.
        full: Up to 1,000,000 rows (8 GiB of memory, some minutes) instead of 100,000.

    Returns:
        {"rows": [...]}: for each count seconds and the peak memory of the whole process; the search's is to be compared
        with `input_mib`, the rows alone.
    """
    if quick:
        counts, programs = [200, 400], [20]
    else:
        counts, programs = [1_000, 3_000, 10_000, 30_000, 100_000], [1_000, 20_000]
        if full:
            counts += [300_000, 1_000_000]
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as scratch:
        measured = _search(counts, 1 if quick else 3, Path(scratch) / "search")
        measured += [_program(count, 5 if quick else _VARIED, Path(scratch)) for count in programs]
    return {"dim": DIM, "threshold": 0.75, "rows": measured}


if __name__ == "__main__":
    _child(int(sys.argv[1]))
