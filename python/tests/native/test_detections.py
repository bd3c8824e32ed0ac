"""Detections: the data class, its laws and its conversions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rrn_native import Detections

number = st.floats(0, 1000, width=32)
rows = st.lists(st.tuples(number, number, number, number, st.floats(0, 1, width=32)), max_size=6)


def made(values: list[tuple[float, ...]]) -> Detections:
    array = np.array(values, np.float32).reshape(-1, 5)
    return Detections(array[:, :4], array[:, 4], (640, 480), np.arange(len(array)))


@given(rows)
def test_rows_stay_together_and_scores_descend(values: list[tuple[float, ...]]) -> None:
    found = made(values)
    assert (np.diff(found.scores) <= 0).all()
    for box, score, row in zip(found.boxes, found.scores, found.ids, strict=True):
        assert [*box, score] == [pytest.approx(value) for value in values[row]]


@given(rows)
def test_coco_and_back(values: list[tuple[float, ...]]) -> None:
    found = made(values)
    again = Detections.from_coco(found.to_coco(7), (640, 480))
    np.testing.assert_allclose(again.boxes, found.boxes, atol=1e-3)
    np.testing.assert_allclose(again.scores, found.scores)


@given(rows, st.integers(1, 2000), st.integers(1, 2000))
def test_scaling_there_and_back(values: list[tuple[float, ...]], width: int, height: int) -> None:
    found = made(values)
    again = found.scaled((width, height)).scaled(found.size)
    np.testing.assert_allclose(again.boxes, found.boxes, rtol=1e-5, atol=1e-3)
    assert again.size == found.size


def test_select_above_and_areas() -> None:
    found = made([(0, 0, 2, 3, 0.5), (0, 0, 4, 4, 0.9), (5, 5, 3, 9, 0.7)])
    assert found.areas.tolist() == [16, 0, 6]
    assert found.above(0.7).ids.tolist() == [1, 2]
    assert found.select([2]).ids.tolist() == [0]
    assert found.select(np.array([True, False, True])).ids.tolist() == [1, 0]
    assert found.select([]) == Detections.empty((640, 480))
    assert len(found) == 3


def test_ids_are_minus_one_without_a_tracker() -> None:
    assert Detections(np.zeros((2, 4)), np.zeros(2), (1, 1)).ids.tolist() == [-1, -1]


def test_from_torchvision() -> None:
    torch = pytest.importorskip("torch")
    output = {
        "boxes": torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]], requires_grad=True),
        "scores": torch.tensor([0.5, 0.9]),
        "labels": torch.tensor([1, 3]),
    }
    assert Detections.from_torchvision(output, (10, 10)).boxes.tolist() == [[1, 2, 3, 4]]
    assert Detections.from_torchvision(output, (10, 10), label=3).scores.tolist() == [pytest.approx(0.9)]


@dataclasses.dataclass
class FromElsewhere:
    xyxy: Any
    confidence: Any
    tracker_id: Any


def test_from_supervision() -> None:
    given_ids = FromElsewhere(np.array([[1, 2, 3, 4.0]]), np.array([0.5]), np.array([9]))
    assert Detections.from_supervision(given_ids, (10, 10)).ids.tolist() == [9]
    bare = Detections.from_supervision(FromElsewhere(np.array([[1, 2, 3, 4.0]]), None, None), (10, 10))
    assert bare.scores.tolist() == [1]
    assert bare.ids.tolist() == [-1]


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [(np.zeros((2, 4)), np.zeros(1), "2 boxes, 1 scores"), (np.full((1, 4), np.nan), np.zeros(1), "finite"),
     (np.zeros((1, 4)), np.array([np.inf]), "finite")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(boxes: Any, scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(boxes, scores, (1, 1))
