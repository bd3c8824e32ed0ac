"""Takes times in turn: every case in every round, so that a change of the machine's load affects all of them alike."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

Json = dict[str, Any]
Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True)
class Spread:
    """Several measurements of one thing.

    Attributes:
        median: Of the measurements, in their unit.
        low: The smallest.
        high: The largest.
        runs: How many there are.
    """

    median: float
    low: float
    high: float
    runs: int

    def to_json(self, unit: str, scale: float = 1.0) -> Json:
        """Returns {"median_UNIT", "low_UNIT", "high_UNIT", "runs"}, each value times `scale`."""
        values = {"median": self.median, "low": self.low, "high": self.high}
        return {f"{name}_{unit}": significant(value * scale) for name, value in values.items()} | {"runs": self.runs}


def spread(values: Sequence[float]) -> Spread:
    """Summarises measurements; at least one."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def significant(value: float, digits: int = 4) -> float:
    """Rounds to significant digits, for JSON."""
    return float(f"{value:.{digits}g}")


def turns(names: Sequence[Key], rounds: int) -> Iterator[tuple[int, Key]]:
    """Yields (round, name): every name once in each round, and every round starts with another one."""
    for number in range(rounds):
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            yield number, name


def collect(
    cases: Mapping[Key, Callable[[], float]], rounds: int, *, limit: float = math.inf
) -> dict[Key, list[float]]:
    """Collects what all cases measure, in turn.

    Args:
        cases: By name, functions that measure once and return the value.
        rounds: How often each is called.
        limit: A case whose first value is above it is not repeated: beside a long time its spread is small.

    Returns:
        The values by name, in the order of `cases`.
    """
    values: dict[Key, list[float]] = {name: [] for name in cases}
    for _, name in turns(list(cases), rounds):
        if not values[name] or values[name][0] <= limit:
            values[name].append(cases[name]())
    return values


def seconds(run: Callable[[], object]) -> float:
    """Returns the seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(
    cases: Mapping[str, Callable[[], object]], rounds: int, *, warmup: int = 1, limit: float = math.inf
) -> dict[str, Spread]:
    """Times all cases in turn.

    Args:
        cases: What to time, by name.
        rounds: Measured runs of each.
        warmup: Runs of each before that, not measured.
        limit: As in `collect`, in seconds.

    Returns:
        Seconds, by name.
    """
    for _ in range(warmup):
        for run in cases.values():
            run()

    def stopwatch(run: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds(run)

    timed = {name: stopwatch(run) for name, run in cases.items()}
    return {name: spread(values) for name, values in collect(timed, rounds, limit=limit).items()}
