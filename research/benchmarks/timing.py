"""Takes times fairly: every way in every round, so that a change of the machine's mood meets all of them."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]


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


def spread(values: list[float]) -> Spread:
    """Summarises measurements; at least one."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def significant(value: float, digits: int = 4) -> float:
    """Rounds to significant digits, for JSON."""
    return float(f"{value:.{digits}g}")


def interleaved(cases: Mapping[str, Callable[[], object]], rounds: int, *, warmup: int = 1) -> dict[str, Spread]:
    """Times all cases in turn, round after round; each round starts with another case.

    Args:
        cases: What to time, by name.
        rounds: Measured runs of each.
        warmup: Runs of each before that, not measured.

    Returns:
        Seconds, by name.
    """
    for _ in range(warmup):
        for run in cases.values():
            run()
    names = list(cases)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            cases[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: spread(values) for name, values in seconds.items()}
