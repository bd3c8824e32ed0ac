"""Times the pair search by number of rows, instruction set and threads, and writes the times as JSON."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native

from research.common import machine, results, timing

MODULE = "python -m research.benchmarks.pairs"
DIM = 512
SLOW = ("float32", "portable")
SLOW_ROWS = 30_000


def make_rows(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Returns random rows, float32 [count, 512]; every fiftieth is a near-copy of another."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, DIM), dtype=np.float32)
    copies = count // 50
    rows[:copies] = rows[copies : 2 * copies] + 0.1 * rows[:copies]
    return rows


def timed(rows: npt.NDArray[np.float32], threshold: float, target: str, threads: int) -> tuple[float, str, int]:
    """Runs one search; returns its seconds, the SHA-256 of its result and the number of pairs."""
    start = time.perf_counter()
    found = rrn_native.similar_pairs(rows, threshold, threads=threads, target=target)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for column in found:
        digest.update(column.tobytes())
    return seconds, digest.hexdigest(), len(found[0])


def measure_exact(
    count: int, threshold: float, targets: list[str], threads: list[int], runs: int
) -> list[dict[str, Any]]:
    """Times all targets and numbers of threads on `count` rows, in turns.

    Raises:
        RuntimeError: Two of them gave different results.
    """
    rows = make_rows(count)
    cases = [(target, number) for target in targets for number in threads]
    found: set[tuple[str, int]] = set()

    def search(case: tuple[str, int]) -> float:
        duration, digest, pairs = timed(rows, threshold, *case)
        found.add((digest, pairs))
        if len(found) > 1:
            raise RuntimeError(f"{case} gave another result than those before, for {count} rows")
        return duration

    seconds = timing.collect({case: partial(search, case) for case in cases}, runs)
    pairs = next(iter(found))[1]
    return [
        {
            "rows": count,
            "path": target,
            "threads": number,
            "pairs": pairs,
            "median_seconds": timing.spread(seconds[target, number]).median,
            "seconds": seconds[target, number],
        }
        for target, number in cases
    ]


def measure_approximate(count: int, threshold: float, threads: int) -> dict[str, Any]:
    """Times the approximate search once, with its default settings."""
    rows = make_rows(count)
    start = time.perf_counter()
    found = rrn_native.similar_pairs_approximate(rows, threshold, threads=threads)
    return {
        "rows": count,
        "path": "approximate",
        "threads": threads,
        "pairs": len(found[0]),
        "recall": found[3],
        "median_seconds": time.perf_counter() - start,
    }


def with_numpy(rows: npt.NDArray[np.float32], threshold: float) -> int:
    """The pairs by NumPy, as one would write it: a block of rows against all later ones."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = 0
    for start in range(0, len(unit), 1024):
        block = unit[start : start + 1024] @ unit[start:].T
        found_rows, found_columns = np.nonzero(block > threshold)
        pairs += int((found_columns > found_rows).sum())
    return pairs


def with_faiss(rows: npt.NDArray[np.float32], threshold: float) -> int:
    """The pairs by faiss's exact index and its search by radius."""
    faiss = importlib.import_module("faiss")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    pairs = 0
    for start in range(0, len(unit), 4096):
        limits, _, found = index.range_search(unit[start : start + 4096], threshold)
        queries = np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64)) + start
        pairs += int((found > queries).sum())
    return pairs


def with_usearch(rows: npt.NDArray[np.float32], threshold: float) -> int:
    """The pairs by usearch's exact search for 16 neighbours of each row; it has none by radius."""
    index = importlib.import_module("usearch.index")
    found = index.search(rows, rows, 16, index.MetricKind.Cos, exact=True)
    return int((((1 - found.distances) > threshold) & (found.keys > np.arange(len(rows))[:, None])).sum())


OTHERS: dict[str, Callable[[npt.NDArray[np.float32], float], int]] = {
    "NumPy, blocked": with_numpy,
    "faiss, flat": with_faiss,
    "usearch, exact": with_usearch,
}


def measure_others(count: int, threshold: float, runs: int) -> list[dict[str, Any]]:
    """Times rrn with its defaults and the other libraries on `count` rows, in turns; all use all cores."""
    rows = make_rows(count)
    ways: dict[str, Callable[[npt.NDArray[np.float32], float], int]] = {
        "rrn": lambda given, limit: len(rrn_native.similar_pairs(given, limit)[0]),
        **OTHERS,
    }
    if count > SLOW_ROWS:
        del ways["usearch, exact"]  # minutes
    # Imports and threads start outside the times.
    for search in ways.values():
        search(rows[:500], threshold)
    pairs: dict[str, int] = {}

    def run(name: str) -> None:
        pairs[name] = ways[name](rows, threshold)

    times = timing.interleaved({name: partial(run, name) for name in ways}, runs, warmup=0, limit=20)
    return [
        {
            "rows": count,
            "way": name,
            "pairs": pairs[name],
            "median_s": taken.median,
            "low_s": taken.low,
            "high_s": taken.high,
            "runs": taken.runs,
            "times_rrn": taken.median / times["rrn"].median,
        }
        for name, taken in times.items()
    ]


def measure(quick: bool) -> dict[str, Any]:
    """Measures with the default settings, for `scripts/bench.sh`.

    Returns:
        {"rows": rrn against other libraries, "paths": rrn by instruction set and threads}.
    """
    threshold = 0.75
    counts = [500] if quick else [1_000, 10_000, 100_000]
    rows, paths = [], []
    for count in counts:
        rows += measure_others(count, threshold, 1 if quick else 3)
        names = [name for name in rrn_native.search_targets() if count < SLOW_ROWS or name not in (*SLOW, "avx2")]
        paths += measure_exact(count, threshold, names, [1, 2], 1 if quick else 3)
    return {"dim": DIM, "threshold": threshold, "rows": rows, "paths": paths}


def main() -> None:
    """Reads the command line, measures, writes the file."""
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--counts", default="1000,10000,100000", help="numbers of rows (default: %(default)s)")
    parser.add_argument("--targets", help="instructions to use (default: all of this machine; see pairs.md)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.75, help="default: %(default)s")
    parser.add_argument("--approximate", action="store_true", help="time the approximate search too, once")
    arguments = parser.parse_args()
    threads = [int(number) for number in arguments.threads.split(",")]
    measured = []
    for count in (int(number) for number in arguments.counts.split(",")):
        if arguments.targets:
            targets = arguments.targets.split(",")
        else:
            targets = [name for name in rrn_native.search_targets() if count < SLOW_ROWS or name not in SLOW]
        measured += measure_exact(count, arguments.threshold, targets, threads, arguments.runs)
        if arguments.approximate:
            measured.append(measure_approximate(count, arguments.threshold, max(threads)))
        for entry in measured:
            if entry["rows"] == count:
                print(f"{count:8} {entry['path']:12} {entry['threads']} threads {entry['median_seconds']:9.3f} s")
    result = {
        **machine.head(machine.command_line(MODULE, sys.argv[1:])),
        "dim": DIM,
        "threshold": arguments.threshold,
        "runs": arguments.runs,
        "measured": measured,
    }
    results.write(arguments.output, result)


if __name__ == "__main__":
    main()
