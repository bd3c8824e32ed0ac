"""Intervals: against values worked out by hand, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from research.common import intervals


def test_the_interval_holds_the_middle_of_the_values() -> None:
    low, high = intervals.interval(np.append(np.arange(1001.0), np.nan))
    assert (low, high) == pytest.approx((25, 975))


def test_draws_are_always_the_same_and_of_all_pictures() -> None:
    rows = intervals.drawn(7, 20)
    assert rows.shape == (20, 7)
    assert (rows.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(rows, intervals.drawn.__wrapped__(7, 20))


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = intervals.mean(values)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.05)


def test_paired_differences_are_surer_than_the_values() -> None:
    random = np.random.default_rng(2)
    shared = random.normal(0, 5, 200)
    first, second = shared + random.normal(0.3, 0.1, 200), shared + random.normal(0, 0.1, 200)
    difference, alone = intervals.mean_difference(first, second), intervals.mean(first)
    assert difference.low > 0
    assert difference.high - difference.low < (alone.high - alone.low) / 10


def test_a_ratio_of_rounds_does_not_see_a_load_that_meets_both() -> None:
    load = np.random.default_rng(3).uniform(1, 3, 60)
    found = intervals.median_ratio(list(2 * load), list(load))
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))


def test_student_of_five_values() -> None:
    # Mean 3, deviation sqrt(2.5), t(0.975, 4) = 2.7764.
    found = intervals.student([1, 2, 3, 4, 5])
    assert (found.low, found.high) == pytest.approx((3 - 1.9633, 3 + 1.9633), abs=1e-3)
    with pytest.raises(ValueError, match="at least two values"):
        intervals.student([1])


def test_numbers_for_json_are_rounded_and_finite() -> None:
    found = intervals.Interval(0.123456, float("nan"), 1)
    assert found.to_json() == {"value": 0.1235, "low": None, "high": 1}
