"""Turns similarities into numbers: of labelled groups of photos, and of photos and their copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rrn_native.analysis import metrics

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Json = dict[str, Any]

THRESHOLD = 0.75
PRECISION = 0.99
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
BINS = 100
CURVE_POINTS = 200
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_TOP = 4


def _unit(descriptors: Floats) -> Floats:
    """Rows of length 1, float64 [n, dim]; a row of zeros stays one."""
    rows: Floats = descriptors.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def cosines(descriptors: Floats) -> Floats:
    """Returns the cosine of every two rows: [n, dim] to float64 [n, n]; a row of zeros is unlike everything."""
    rows = _unit(descriptors)
    similarity: Floats = np.clip(rows @ rows.T, -1.0, 1.0)
    return similarity


def hash_similarities(bits: Floats) -> Floats:
    """Returns 1 - hamming distance / length for every two rows of bits, 0 or 1: [n, length] to float64 [n, n]."""
    signs = 2 * bits.astype(np.float64) - 1
    similarity: Floats = (signs @ signs.T / bits.shape[1] + 1) / 2
    return similarity


def whiten(descriptors: Floats, components: int) -> Floats:
    """Whitens unit vectors by their own principal components.

    Args:
        descriptors: [n, dim].
        components: How many principal components to keep at most.

    Returns:
        float64 [n, min(components, n - 1, dim)]; every column has a mean of 0 and a variance of 1.
    """
    rows = _unit(descriptors)
    rows -= rows.mean(axis=0)
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    kept = min(components, len(rows) - 1, int((values > 1e-9 * values[0]).sum()))
    whitened: Floats = left[:, :kept] * np.sqrt(len(rows))
    return whitened


def ns_score(similarity: Floats, groups: Sequence[str] | npt.NDArray[Any]) -> tuple[float, float]:
    """Measures retrieval as UKBench does.

    Args:
        similarity: [n, n].
        groups: Which group each photo is of, [n].

    Returns:
        The mean number of photos of the own group, the photo itself included, among the four most similar ones; and the
        largest value that could have. Photos of equal similarity share the places that they compete for.
    """
    labels = np.asarray(groups)
    same = labels[:, None] == labels[None, :]
    ranked = similarity.astype(np.float64).copy()
    np.fill_diagonal(ranked, np.inf)
    places = min(_TOP, len(labels))
    last = np.partition(ranked, -places, axis=1)[:, -places, None]
    above, level = ranked > last, ranked == last
    left = places - above.sum(axis=1)
    found = (above & same).sum(axis=1) + left * (level & same).sum(axis=1) / level.sum(axis=1)
    return float(found.mean()), float(np.minimum(same.sum(axis=1), places).mean())


def recall_at_precision(scores: Floats, labels: Bools, precision: float = PRECISION) -> tuple[float, float]:
    """Returns the highest recall of at least that precision, and its threshold; without one 0 and the highest score."""
    threshold = metrics.threshold_for_precision(scores, labels, precision)
    if threshold is None:
        return 0.0, float(scores.max())
    return metrics.precision_recall_f1(scores, labels, threshold)[1], threshold


def pair_numbers(scores: Floats, labels: Bools) -> Json:
    """Measures a decision about pairs.

    Args:
        scores: Similarities, [n].
        labels: Whether the pair belongs together, [n].

    Returns:
        For JSON: average precision, precision / recall / F1 at 0.75, the best F1, recall at a precision of 0.99, the
        share of unrelated pairs above 0.75, quantiles and histograms of both kinds of pairs, the curve, and a row for
        each of THRESHOLDS.
    """
    best, best_threshold = metrics.best_f1(scores, labels)
    sure_recall, sure_threshold = recall_at_precision(scores, labels)
    related, unrelated = scores[labels], scores[~labels]
    edges = np.linspace(-1, 1, BINS + 1)
    curve = metrics.precision_recall_curve(scores, labels)
    # Points at even steps of recall are enough to draw; searching finds the first threshold that reaches each.
    points = np.unique(np.searchsorted(curve.recall, np.linspace(curve.recall[0], curve.recall[-1], CURVE_POINTS)))
    return {
        "pairs": {"same": len(related), "different": len(unrelated)},
        "average_precision": _round(metrics.average_precision(scores, labels)),
        "at_threshold": _at(scores, labels, THRESHOLD),
        "best_f1": {"f1": _round(best), "threshold": _round(best_threshold, 6)},
        "at_precision": {"precision": PRECISION, "recall": _round(sure_recall), "threshold": _round(sure_threshold, 6)},
        "different_above_threshold": _round(float((unrelated > THRESHOLD).mean()), 6),
        "quantiles": {
            "at": list(QUANTILES),
            "same": _rounded(np.quantile(related, QUANTILES)),
            "different": _rounded(np.quantile(unrelated, QUANTILES)),
        },
        "histograms": {
            "from": -1.0,
            "to": 1.0,
            "same": np.histogram(related, edges)[0].tolist(),
            "different": np.histogram(unrelated, edges)[0].tolist(),
        },
        "curve": {"recall": _rounded(curve.recall[points]), "precision": _rounded(curve.precision[points])},
        "by_threshold": [
            {**_at(scores, labels, threshold), "different_above": _round(float((unrelated > threshold).mean()), 6)}
            for threshold in THRESHOLDS
        ],
    }


def _at(scores: Floats, labels: Bools, threshold: float) -> Json:
    """Precision, recall and F1 of one threshold; where nothing is above it there is no precision."""
    precision, recall, f1 = metrics.precision_recall_f1(scores, labels, threshold)
    return {
        "threshold": threshold,
        "precision": _round(precision) if (scores > threshold).any() else None,
        "recall": _round(recall),
        "f1": _round(f1),
    }


def group_numbers(similarity: Floats, groups: Sequence[str]) -> Json:
    """Measures labelled groups; similarity is [n, n], groups is [n].

    Raises:
        ValueError: No two photos belong together, or all do.
    """
    first, second, same = metrics.pairs_of_groups(groups)
    if same.all() or not same.any():
        raise ValueError("the labels need at least two groups and one group of two or more photos")
    score, limit = ns_score(similarity, groups)
    return {"ns": _round(score), "ns_limit": _round(limit), **pair_numbers(similarity[first, second], same)}


def copy_numbers(similarity: Floats, transforms: Sequence[str]) -> Json:
    """Measures how well copies are told from other photos.

    Args:
        similarity: [n * (t + 1), n * (t + 1)]: a photo, its copy by each transform, the next photo, its copies, ...
        transforms: The t names.

    Returns:
        For JSON: `pair_numbers` of each photo with each copy, its own and the others'; `every_pair`, the same of all
        pairs of the set, copies of one photo among each other included; and for every transform the recall at 0.75 and
        at the one threshold that gives all transforms together a precision of 0.99.
    """
    step = len(transforms) + 1
    count = len(similarity) // step
    if count < 2:
        raise ValueError("the copies need at least two photos")
    against = similarity[::step].reshape(count, count, step)[:, :, 1:]
    own = np.broadcast_to(np.eye(count, dtype=bool)[:, :, None], against.shape)
    numbers = pair_numbers(against.ravel(), own.ravel())
    _, sure = recall_at_precision(against.ravel(), own.ravel())
    each = against[np.arange(count), np.arange(count)]  # [photos, transforms]
    best = against.max(axis=0)  # [photos, transforms]
    # Photos of equal similarity share the place.
    nearest = (each == best) / (against == best).sum(axis=0)
    numbers["transforms"] = {
        name: {
            "recall_at_threshold": _round(float((each[:, index] > THRESHOLD).mean())),
            "recall_at_precision": _round(float((each[:, index] > sure).mean())),
            "nearest_is_original": _round(float(nearest[:, index].mean())),
            "median": _round(float(np.median(each[:, index]))),
        }
        for index, name in enumerate(transforms)
    }
    first, second, same = metrics.pairs_of_groups(np.repeat(np.arange(count), step).tolist())
    everything = pair_numbers(similarity[first, second], same)
    numbers["every_pair"] = {
        key: everything[key]
        for key in (
            "pairs",
            "average_precision",
            "at_threshold",
            "best_f1",
            "at_precision",
            "different_above_threshold",
        )
    }
    return numbers


def brief(numbers: Json) -> Json:
    """Of what `group_numbers` or `copy_numbers` measure, what a choice is made by."""
    names = ("average_precision", "ns", "at_threshold", "best_f1", "different_above_threshold")
    return {name: numbers[name] for name in names if name in numbers}


def _round(value: float, digits: int = 4) -> float:
    return round(float(value), digits)


def _rounded(values: Floats) -> list[float]:
    return [_round(value) for value in values]
