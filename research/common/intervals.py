"""How sure a measured value is: intervals by drawing again, and by Student's t where there are few values.

Differences and ratios are taken of paired values (the same pictures, the same rounds), so that what affects both of a
pair alike cancels out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Json = dict[str, Any]
Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and the ends of its 95 % interval.

    Attributes:
        value: Of what was measured.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def to_json(self, digits: int = 4) -> Json:
        """Returns {"value", "low", "high"}, rounded to this number of decimals; one that is not a number is null."""
        pairs = dataclasses.asdict(self).items()
        return {name: round(number, digits) if math.isfinite(number) else None for name, number in pairs}


@functools.cache
def drawn(count: int, draws: int = DRAWS) -> Floats:
    """Returns float64 [draws, count]: how often each of `count` items is in a set drawn with replacement."""
    random = np.random.default_rng(0)
    chosen = random.integers(0, count, (draws, count))
    return np.stack([np.bincount(row, minlength=count) for row in chosen]).astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """Returns the ends of the middle 95 % of resampled values (percentile bootstrap; Efron, 1979); NaN is left out."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values[np.isfinite(values)], [tail, 1 - tail])
    return float(low), float(high)


def resampled(value: Callable[[Floats], float], count: int, draws: int = DRAWS) -> Floats:
    """Returns float64 [draws]: the value of each drawn set; `value` takes a row of `drawn`."""
    return np.array([value(counts) for counts in drawn(count, draws)])


def mean(values: Sequence[float] | npt.NDArray[Any]) -> Interval:
    """Returns the mean of many values, and its interval by drawing them again.

    Args:
        values: [n], n > 0; a share is the mean of True and False.
    """
    array = np.asarray(values, np.float64)
    means = np.concatenate([part @ array for part in np.array_split(drawn(len(array)), 10)]) / len(array)
    return Interval(float(array.mean()), *interval(means))


def mean_difference(first: Sequence[float] | npt.NDArray[Any], second: Sequence[float] | npt.NDArray[Any]) -> Interval:
    """Returns the mean of `first` - `second`, paired: both [n] of the same items, in the same order."""
    return mean(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def median_ratio(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Returns median(first) / median(second), and its interval by drawing the same rounds of both again.

    Args:
        first: A measurement of each round.
        second: One of the same rounds, in the same order.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    chosen = np.random.default_rng(0).integers(0, len(one), (DRAWS, len(one)))
    ratios = np.median(one[chosen], axis=1) / np.median(two[chosen], axis=1)
    return Interval(float(np.median(one) / np.median(two)), *interval(ratios))


def student(values: Sequence[float]) -> Interval:
    """Returns the mean of few values, such as one for each seed, and its interval by Student's t (1908).

    Args:
        values: At least two, as good as normally distributed.

    Raises:
        ValueError: There are fewer than two values, so that nothing is known of their spread.
    """
    from scipy import stats

    array = np.asarray(values, np.float64)
    if len(array) < 2:
        raise ValueError(f"expected at least two values for an interval, got {len(array)}")
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    middle = float(array.mean())
    return Interval(middle, middle - half, middle + half)
