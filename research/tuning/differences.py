"""Differences of accuracies over seeds, with interval, p and a verdict: of the same seeds, or of independent ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from research.common import intervals
from research.tuning.plan import Json

# Accuracies are shares of some thousand pictures, so that what is nearer to each other differs by rounding only.
_EQUAL = 1e-9


def paired(first: Sequence[float], second: Sequence[float]) -> Json:
    """Returns the mean of `first` - `second` by Student's paired t-test.

    Args:
        first: At least two accuracies.
        second: As many, of the same seeds in the same order.

    Returns:
        {"difference": interval, "p": of no difference, "verdict": "better", "worse" or "none": a difference whose
        interval holds 0 is called none}. Equal differences have no spread, so that nothing is known of their interval:
        p is null and the verdict "none".
    """
    from scipy import stats

    found = intervals.student([one - two for one, two in zip(first, second, strict=True)])
    if found.high - found.low < _EQUAL:
        return _json(found, None)
    return _json(found, float(stats.ttest_rel(first, second).pvalue))


def independent(first: Sequence[float], second: Sequence[float]) -> Json:
    """Returns mean(`first`) - mean(`second`) by Welch's t-test (1947): two samples that share no seed.

    Args:
        first: At least two accuracies.
        second: At least two others.

    Returns:
        As `paired`.
    """
    from scipy import stats

    value = float(np.mean(first) - np.mean(second))
    if max(np.ptp(first), np.ptp(second)) < _EQUAL:
        return _json(intervals.Interval(value, value, value), None)
    with warnings.catch_warnings():
        # One of the two may have equal values; the spread of the other one is enough.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(first, second, equal_var=False)
        ends = found.confidence_interval(intervals.CONFIDENCE)
    return _json(intervals.Interval(value, float(ends.low), float(ends.high)), float(found.pvalue))


def _json(found: intervals.Interval, p: float | None) -> Json:
    verdict = "none" if p is None else "better" if found.low > 0 else "worse" if found.high < 0 else "none"
    return {"difference": found.to_json(), "p": p, "verdict": verdict}
