"""Differences over seeds, paired and independent, and what they are used for."""

from __future__ import annotations

import math
import random as random_module
from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is missing")
pytest.importorskip("optuna", reason="Optuna is missing")
stats = pytest.importorskip("scipy.stats", reason="SciPy is missing")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from research.tuning import differences, final, summary  # noqa: E402


def test_differences_inside_the_interval_are_called_none() -> None:
    near = differences.paired([0.5, 0.6, 0.4], [0.5, 0.5, 0.5])
    assert near["verdict"] == "none"
    assert near["p"] == pytest.approx(1.0)
    far = differences.paired([0.80, 0.81, 0.82], [0.5, 0.51, 0.53])
    assert far["verdict"] == "better"
    assert far["p"] < 0.01
    assert differences.paired([0.5, 0.51, 0.53], [0.80, 0.81, 0.82])["verdict"] == "worse"


@pytest.mark.parametrize(
    ("of", "first", "second"),
    [
        (differences.paired, [0.75, 0.5], [0.5, 0.25]),
        (differences.paired, [0.3, 0.4, 0.9], [0.2, 0.3, 0.8]),
        (differences.independent, [0.5, 0.5], [0.25, 0.25]),
    ],
)
def test_differences_without_spread_have_no_p_and_no_verdict(of: Any, first: list[float], second: list[float]) -> None:
    found = of(first, second)
    assert (found["p"], found["verdict"]) == (None, "none")
    assert found["difference"]["low"] == found["difference"]["high"] == pytest.approx(first[0] - second[0])


def test_independent_differences_are_welchs() -> None:
    # By hand: 2 - 4, squared errors 1/3 and 4/3, degrees of freedom (5/3)^2 / ((1/3)^2 / 2 + (4/3)^2 / 2) = 2.941.
    found = differences.independent([0.01, 0.02, 0.03], [0.02, 0.04, 0.06])
    half = 0.01 * math.sqrt(5 / 3) * float(stats.t.ppf(0.975, 50 / 17))
    assert found["difference"] == {"value": -0.02, "low": round(-0.02 - half, 4), "high": round(-0.02 + half, 4)}
    assert found["p"] == pytest.approx(2 * stats.t.cdf(-2 / math.sqrt(5 / 3), 50 / 17))
    assert found["verdict"] == "none"


def test_one_of_two_independent_samples_may_have_equal_values() -> None:
    assert differences.independent([0.8, 0.8, 0.8], [0.5, 0.51, 0.53])["verdict"] == "better"
    assert differences.independent([0.5, 0.51, 0.53], [0.8, 0.8, 0.8])["verdict"] == "worse"


SAMPLES = st.lists(st.integers(0, 400).map(lambda found: found / 400), min_size=2, max_size=5)


@settings(deadline=None)
@given(SAMPLES, SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_independent_samples_does_not_matter(
    first: list[float], second: list[float], random: random_module.Random
) -> None:
    found = differences.independent(first, second)
    mixed = differences.independent(first, random.sample(second, len(second)))
    assert mixed["verdict"] == found["verdict"]
    assert mixed["difference"] == pytest.approx(found["difference"], abs=2e-4)


def test_searches_are_compared_without_pairs_and_without_those_that_have_no_score() -> None:
    best = {"tpe": (0.5, 0.52, 0.51), "random": (0.4, 0.43, None), "default": (0.1, None, None)}
    rows = [
        {"kind": kind, "number": n, "best": each} for kind, several in best.items() for n, each in enumerate(several)
    ]
    assert summary.comparisons(rows) == [
        {"first": "tpe", "second": "random", **differences.independent([0.5, 0.52, 0.51], [0.4, 0.43])}
    ]


def test_the_winner_is_compared_with_both_trainings_of_the_default() -> None:
    found = final.compared(winner=[0.80, 0.81, 0.82], default=[0.5, 0.51, 0.53], longer=[0.9, 0.92, 0.92])
    assert found["verdict"] == "better"
    assert found["longer"]["value"] == pytest.approx(0.9133)
    assert found["longer_difference"]["value"] == pytest.approx(-0.1033)
    assert found["longer_difference"]["verdict"] == "worse"
    assert found["longer_difference"]["p"] < 0.01


def test_optimism_is_the_chosen_score_minus_what_came_later() -> None:
    found = final.optimism(0.5, 100, [0.4, 0.44], [0.3, 0.36])
    assert found["validation_se"] == 0.05
    assert found["to_again"]["value"] == pytest.approx(0.08)
    assert found["to_test"]["value"] == pytest.approx(0.17)
