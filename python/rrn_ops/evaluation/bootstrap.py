"""Intervals of any statistic by the bootstrap: images are drawn again with replacement, a thousand times.

A resample is a row of weights: how often each image was drawn. Most statistics are functions of weighted sums over
images, so that all resamples are one product of matrices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from rrn_ops.evaluation.interface import BoolArray, FloatArray

OfWeights = Callable[[FloatArray], FloatArray]
_CHUNK = 100
LEVEL = 95


@dataclasses.dataclass(frozen=True)
class Statistic:
    """Something that is measured.

    Attributes:
        name: What reports and baselines call it.
        of: From weights, float64 [r, n], to values, float64 [r]; NaN where a resample has no value.
        higher_is_better: Which direction is better.
        used: bool [n], the images that it is about; None for all.
        sliced: Measured for slices as well.
        resamples: At most this number; None for all that are asked for.
    """

    name: str
    of: OfWeights
    higher_is_better: bool = True
    used: BoolArray | None = None
    sliced: bool = True
    resamples: int | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A value and its interval.

    Attributes:
        value: Of all images.
        lower: The 2.5th percentile of the resamples.
        upper: The 97.5th.
        higher_is_better: Which direction is better.
        images: How many it is computed from.
        resamples: How many the interval is computed from.
    """

    value: float
    lower: float
    upper: float
    higher_is_better: bool
    images: int
    resamples: int


def sums(rows: FloatArray, combine: OfWeights) -> OfWeights:
    """Returns a statistic of weighted sums.

    Args:
        rows: float64 [n, k], what is summed.
        combine: From sums, float64 [r, k], to values, float64 [r].
    """
    return lambda weights: combine(weights @ rows)


def mean(values: FloatArray) -> OfWeights:
    """Returns the statistic that is a mean over images; images with NaN are left out.

    Args:
        values: float64 [n].
    """
    known = np.isfinite(values)
    rows = np.column_stack([np.where(known, values, 0.0), known.astype(np.float64)])
    return sums(rows, lambda total: ratio(total[:, 0], total[:, 1]))


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """Divides; NaN where the divisor is 0."""
    found: FloatArray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)
    return found


def measure(statistic: Statistic, mask: BoolArray, resamples: int, seed: int) -> Measured | None:
    """Computes a statistic of some images and its interval. The same arguments give the same result.

    Args:
        statistic: What to measure.
        mask: bool [n], the images.
        resamples: How many.
        seed: Of the random numbers.

    Returns:
        None where there is no image that the statistic is about.
    """
    chosen = np.asarray(mask, dtype=bool)
    if statistic.used is not None:
        chosen = chosen & np.asarray(statistic.used, dtype=bool)
    count = int(chosen.sum())
    if count == 0:
        return None
    value = float(statistic.of(chosen[None].astype(np.float64))[0])
    wanted = min(resamples, statistic.resamples or resamples)
    values = np.concatenate([statistic.of(weights) for weights in _draw(chosen, wanted, seed)])
    values = values[np.isfinite(values)]
    edge = (100 - LEVEL) / 2
    lower, upper = np.percentile(values, [edge, 100 - edge]) if len(values) else (np.nan, np.nan)
    return Measured(value, float(lower), float(upper), statistic.higher_is_better, count, wanted)


def _draw(chosen: BoolArray, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Weights of resamples, float64 [r, n] in chunks; 0 for images that are not chosen."""
    random = np.random.default_rng(seed)
    count = int(chosen.sum())
    even = np.full(count, 1 / count)
    for begin in range(0, resamples, _CHUNK):
        weights = np.zeros((min(_CHUNK, resamples - begin), len(chosen)))
        weights[:, chosen] = random.multinomial(count, even, size=len(weights))
        yield weights
