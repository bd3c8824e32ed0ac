"""Measures of a similarity against labels: is this pair the same thing?

Throughout, ``scores`` are similarities (float [n], higher is more similar, finite) and ``labels`` say which pairs
belong together (bool [n]); a pair is called similar when its score is above the threshold, strictly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision and recall at every threshold that makes a difference.

    Attributes:
        thresholds: float64 [k], falling, each half-way between two neighbouring scores; the last is below all scores.
        precision: float64 [k], of the pairs above the threshold.
        recall: float64 [k], rising.
    """

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray

    @property
    def f1(self) -> FloatArray:
        """The harmonic mean of precision and recall, float64 [k]; 0 where both are 0."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)


def precision_recall_curve(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve:
    """Computes precision and recall at every threshold; equal scores are one step, whatever their order.

    Raises:
        ValueError: Different lengths, no pair, a score that is not finite, or no pair that belongs together.
    """
    score, label = _checked(scores, labels)
    if not label.any():
        raise ValueError("no pair is labelled as similar, so recall does not exist")
    order = np.argsort(-score, kind="stable")
    score, label = score[order], label[order]
    last_of_step = np.append(score[1:] != score[:-1], True)
    hits = np.cumsum(label)[last_of_step].astype(np.float64)
    found = np.flatnonzero(last_of_step) + 1.0
    steps = score[last_of_step]
    thresholds = np.append((steps[1:] + steps[:-1]) / 2, steps[-1] - 1)
    return Curve(thresholds, hits / found, hits / label.sum())


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Returns the area under the precision-recall step function, in [0, 1].

    The sum over steps of (gain in recall) x precision, as in information retrieval; nothing is interpolated.

    Raises:
        ValueError: As :func:`precision_recall_curve`.
    """
    curve = precision_recall_curve(scores, labels)
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def precision_recall_f1(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> tuple[float, float, float]:
    """Returns precision, recall and F1 at one threshold.

    Precision is 1 where nothing is above the threshold: nothing that was said is wrong.

    Raises:
        ValueError: As :func:`precision_recall_curve`.
    """
    score, label = _checked(scores, labels)
    if not label.any():
        raise ValueError("no pair is labelled as similar, so recall does not exist")
    found = score > threshold
    hits = int((found & label).sum())
    precision = hits / int(found.sum()) if found.any() else 1.0
    recall = hits / int(label.sum())
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return precision, recall, f1


def best_f1(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """Returns the best F1 of all thresholds and the (highest) threshold that gives it.

    Raises:
        ValueError: As :func:`precision_recall_curve`.
    """
    curve = precision_recall_curve(scores, labels)
    best = int(np.argmax(curve.f1))
    return float(curve.f1[best]), float(curve.thresholds[best])


def threshold_for_precision(scores: npt.ArrayLike, labels: npt.ArrayLike, precision: float) -> float | None:
    """Returns the lowest threshold whose precision is at least ``precision``; None if no threshold reaches it.

    Raises:
        ValueError: As :func:`precision_recall_curve`.
    """
    curve = precision_recall_curve(scores, labels)
    reached = np.flatnonzero(curve.precision >= precision)
    return float(curve.thresholds[reached[-1]]) if len(reached) else None


def pairs_of_groups(groups: Sequence[Hashable]) -> tuple[IndexArray, IndexArray, BoolArray]:
    """Returns all pairs i < j of n items, and whether the two are of one group.

    Args:
        groups: The group of each item, n of them.

    Returns:
        (i, j, same): int64, int64 and bool arrays of length n (n - 1) / 2, sorted by (i, j).
    """
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
    i, j = np.triu_indices(len(codes), k=1)
    return i.astype(np.int64), j.astype(np.int64), codes[i] == codes[j]


def unit_rows(rows: npt.ArrayLike) -> FloatArray:
    """Returns the rows with length 1, float64 [n, dim]; rows of zeros stay what they are."""
    values = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norms > 0, norms, 1.0))


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[Any]]:
    score = np.asarray(scores, dtype=np.float64)
    label = np.asarray(labels, dtype=bool)
    if score.ndim != 1 or score.shape != label.shape:
        raise ValueError(f"expected scores and labels of one length, got {list(score.shape)} and {list(label.shape)}")
    if not len(score):
        raise ValueError("expected at least one pair, got none")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    return score, label
