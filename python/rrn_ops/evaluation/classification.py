"""What is measured of a classification: accuracy, macro F1, calibration, agreement with expected outputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rrn_ops.evaluation.bootstrap import OfWeights, Statistic, mean, ratio, sums
from rrn_ops.evaluation.interface import BoolArray, Data, FloatArray, IndexArray

BINS = 15


def probabilities_of(outputs: npt.NDArray[np.float32]) -> tuple[FloatArray, str]:
    """Returns what a classifier's outputs mean as probabilities.

    Args:
        outputs: float32 [n, classes].

    Returns:
        float64 [n, classes], and "probabilities" where the outputs are that already, otherwise "logits", whose softmax
        is taken.
    """
    values = outputs.astype(np.float64)
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values / values.sum(axis=1, keepdims=True), "probabilities"
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True)), "logits"


def statistics(data: Data) -> list[Statistic]:
    """Returns what is measured.

    Args:
        data: With probabilities.
    """
    # Extension point: a statistic of rrn's own is one more entry here; own code uses --metric.
    right = data.predicted == data.labels
    found = [
        Statistic("accuracy", mean(right.astype(np.float64))),
        Statistic("macro_f1", _macro_f1(data.labels, data.predicted, len(data.classes))),
        Statistic("calibration_error", _calibration_error(data, right), higher_is_better=False),
    ]
    return found


def agreement(data: Data) -> list[Statistic]:
    """Returns what says how near the outputs are to expected ones; nothing where none are expected.

    Args:
        data: Of either task.
    """
    if data.expected is None:
        return []
    used: BoolArray = np.asarray(np.isfinite(data.expected).all(axis=1))
    expected = np.where(used[:, None], data.expected, 0.0).astype(np.float64)
    outputs = data.outputs.astype(np.float64)
    lengths = np.linalg.norm(outputs, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = np.divide((outputs * expected).sum(axis=1), lengths, out=np.zeros(len(data)), where=lengths > 0)
    largest = np.abs(outputs - expected).max(axis=1)
    found = [
        Statistic("agreement_cosine", mean(cosines), used=used),
        Statistic(
            "agreement_max_difference",
            lambda weights: np.asarray(np.where(weights > 0, largest, -np.inf).max(axis=1)),
            higher_is_better=False,
            used=used,
        ),
    ]
    if data.task == "classification":
        same = (outputs.argmax(axis=1) == expected.argmax(axis=1)).astype(np.float64)
        found.append(Statistic("agreement_class", mean(same), used=used))
    return found


def confusion(labels: IndexArray, predicted: IndexArray, classes: int) -> IndexArray:
    """Returns how often each class (rows) was called each class (columns).

    Args:
        labels: int64 [n].
        predicted: int64 [n].
        classes: How many there are.

    Returns:
        int64 [classes, classes].
    """
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def reliability(data: Data) -> list[dict[str, float]]:
    """Returns the bins of a reliability diagram: confidence against accuracy.

    Args:
        data: With probabilities.

    Returns:
        For each of 15 bins of equal width: "from", "to", "images", "confidence", "accuracy"; the last two are 0 where
        there is no image.
    """
    confidence, bins = _confidence(data)
    right = data.predicted == data.labels
    found = []
    for number in range(BINS):
        inside = bins == number
        count = int(inside.sum())
        found.append(
            {
                "from": number / BINS,
                "to": (number + 1) / BINS,
                "images": count,
                "confidence": float(confidence[inside].mean()) if count else 0.0,
                "accuracy": float(right[inside].mean()) if count else 0.0,
            }
        )
    return found


def _confidence(data: Data) -> tuple[FloatArray, IndexArray]:
    if data.probabilities is None:
        raise ValueError("calibration needs probabilities")
    confidence = data.probabilities.max(axis=1)
    # Bins are closed above, so that a confidence of 1 is in the last one.
    return confidence, np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _calibration_error(data: Data, right: BoolArray) -> OfWeights:
    confidence, bins = _confidence(data)
    rows = np.zeros((len(data), BINS + 1))
    rows[np.arange(len(data)), bins] = right - confidence
    rows[:, BINS] = 1
    return sums(rows, lambda total: ratio(np.abs(total[:, :BINS]).sum(axis=1), total[:, BINS]))


def _macro_f1(labels: IndexArray, predicted: IndexArray, classes: int) -> OfWeights:
    """The mean F1 of the classes that are expected or predicted in a resample, as scikit-learn's default."""
    one_hot = np.eye(classes)
    hits = one_hot[labels] * (labels == predicted)[:, None]
    rows = np.concatenate([hits, one_hot[labels] + one_hot[predicted]], axis=1)

    def combine(total: FloatArray) -> FloatArray:
        there = total[:, classes:] > 0
        f1 = np.where(there, np.nan_to_num(ratio(2 * total[:, :classes], total[:, classes:])), 0.0)
        return ratio(f1.sum(axis=1), there.sum(axis=1).astype(np.float64))

    return sums(rows, combine)
