"""Values of the last seconds: percentiles of each stage, and events a second."""

from __future__ import annotations

import collections
import math

import msgspec

SECONDS = 10.0
_MOST_VALUES = 600
_FPS_SECONDS = 3.0


class Percentiles(msgspec.Struct, frozen=True):
    """Of the values of a window, by the nearest rank: the smallest value that no fewer than p % do not exceed."""

    p50: float
    p95: float
    p99: float
    count: int


class Window:
    """The newest values, of the last ten seconds and 600 at most. Not thread-safe."""

    def __init__(self) -> None:
        self._values: collections.deque[tuple[float, float]] = collections.deque(maxlen=_MOST_VALUES)

    def add(self, value: float, now: float) -> None:
        """Adds a value at a time in seconds, which must not go back."""
        self._values.append((now, value))

    def percentiles(self, now: float) -> Percentiles | None:
        """Returns those of the values that are still in the window; None where it is empty."""
        while self._values and self._values[0][0] < now - SECONDS:
            self._values.popleft()
        values = sorted(value for _, value in self._values)
        if not values:
            return None
        p50, p95, p99 = (values[math.ceil(share * len(values)) - 1] for share in (0.5, 0.95, 0.99))
        return Percentiles(p50, p95, p99, len(values))


class Stages:
    """A window for each stage that has values. Not thread-safe."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}

    def add(self, stage: str, value: float | None, now: float) -> None:
        """Adds a value in milliseconds; None, which stands for unknown, adds nothing."""
        if value is not None:
            self._windows.setdefault(stage, Window()).add(value, now)

    def percentiles(self, now: float) -> dict[str, Percentiles]:
        """Returns those of the stages that have values in the window."""
        found = {stage: window.percentiles(now) for stage, window in self._windows.items()}
        return {stage: value for stage, value in found.items() if value is not None}


class Rate:
    """Events a second over the last three seconds. Not thread-safe."""

    def __init__(self) -> None:
        self._times: collections.deque[float] = collections.deque(maxlen=_MOST_VALUES)

    def add(self, now: float) -> None:
        """Counts an event at a time in seconds."""
        self._times.append(now)

    def value(self, now: float) -> float:
        """Returns it; 0 where there were fewer than two events."""
        while self._times and self._times[0] < now - _FPS_SECONDS:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        # To now where the next event is late, so that it goes to zero and does not stay at what it was.
        last, first = self._times[-1], self._times[0]
        step = (last - first) / (len(self._times) - 1)
        return (len(self._times) - 1) / max(last - first, now - first - step, 1e-6)
