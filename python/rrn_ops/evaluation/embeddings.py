"""What is measured of embeddings: whether the nearest images of an image are of its group.

Each image of a group of two or more is a query; all other images are searched, by cosine. Intervals draw queries; the
images that are searched stay the same.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from rrn_native.analysis import metrics

from rrn_ops.evaluation.bootstrap import OfWeights, Statistic, mean
from rrn_ops.evaluation.interface import BoolArray, Data, FloatArray, IndexArray

RECALLS = (1, 5, 10)
# As in UKBench: how many of the first four, the query itself included, are of its group.
_FIRST = 4
# Pairs times resamples of the average precision over pairs: some seconds.
_WORK = 200_000_000
# All pairs of more images would need gigabytes; the mean over queries is measured for any number.
_MAX_IMAGES = 5_000
_NEIGHBOURS = 4


@dataclasses.dataclass(frozen=True)
class Ranking:
    """What each image finds.

    Attributes:
        queries: bool [n], there is another image of the group.
        first_hit: int64 [n], the rank of the first image of the group, from 1; 0 for images that are no queries.
        precision: float64 [n], the average precision of each query; NaN for the others.
        among_first: float64 [n], how many of the first four are of the group; NaN for images that are no queries.
        neighbours: int64 [n, 4 or less], the nearest images.
        cosines: float64, the same shape.
    """

    queries: BoolArray
    first_hit: IndexArray
    precision: FloatArray
    among_first: FloatArray
    neighbours: IndexArray
    cosines: FloatArray


def rank(data: Data) -> Ranking:
    """Searches for each image among the others.

    Args:
        data: Of two images or more.

    Raises:
        ValueError: No group has two images.
    """
    count = len(data)
    rows = metrics.unit_rows(data.outputs)
    queries = np.bincount(data.labels)[data.labels] > 1
    if not queries.any():
        raise ValueError("no group has two images, so there is nothing to find")
    kept = min(_NEIGHBOURS, count - 1)
    found = Ranking(
        queries=queries,
        first_hit=np.zeros(count, np.int64),
        precision=np.full(count, np.nan),
        among_first=np.full(count, np.nan),
        neighbours=np.zeros((count, kept), np.int64),
        cosines=np.zeros((count, kept)),
    )
    for query in range(count):
        cosines = rows @ rows[query]
        # The query comes first whatever rounding does, and equal images in the order of the inputs.
        cosines[query] = np.inf
        order = np.argsort(-cosines, kind="stable")
        same = data.labels[order[1:]] == data.labels[query]
        found.neighbours[query], found.cosines[query] = order[1 : kept + 1], cosines[order[1 : kept + 1]]
        if queries[query]:
            found.first_hit[query] = int(np.argmax(same)) + 1
            found.among_first[query] = 1 + same[: _FIRST - 1].sum()
            found.precision[query] = metrics.average_precision(cosines[order[1:]], same)
    return found


def statistics(data: Data, ranking: Ranking) -> list[Statistic]:
    """Returns what is measured.

    Args:
        data: The embeddings.
        ranking: What :func:`rank` found in them.
    """
    # Extension point: a statistic of rrn's own is one more entry here; own code uses --metric.
    used = ranking.queries
    found = [
        Statistic(f"recall@{k}", mean((used & (ranking.first_hit <= k)).astype(np.float64)), used=used)
        for k in RECALLS
        if k < len(data)
    ]
    found.append(Statistic("mean_average_precision", mean(ranking.precision), used=used))
    found.append(Statistic("n_s", mean(ranking.among_first), used=used))
    if len(data) <= _MAX_IMAGES:
        pairs = len(data) * (len(data) - 1) // 2
        limit = max(50, _WORK // pairs)
        found.append(Statistic("average_precision", _average_precision(data), sliced=False, resamples=limit))
    return found


def _average_precision(data: Data) -> OfWeights:
    """That of all pairs, as :func:`rrn_native.analysis.metrics.average_precision`; a pair counts once for each end."""
    first, second, same = metrics.pairs_of_groups(data.labels.tolist())
    rows = metrics.unit_rows(data.outputs)
    scores = np.concatenate(
        [rows[begin + 1 :] @ rows[begin] for begin in range(len(rows) - 1)] if len(rows) > 1 else [np.zeros(0)]
    )
    order = np.argsort(-scores, kind="stable")
    first, second, same, scores = first[order], second[order], same[order], scores[order]
    last_of_step = np.append(scores[1:] != scores[:-1], True)

    def of(weights: FloatArray) -> FloatArray:
        values = np.full(len(weights), np.nan)
        for number, weight in enumerate(weights):
            each = weight[first] + weight[second]
            found = np.cumsum(each)[last_of_step]
            hits = np.cumsum(each * same)[last_of_step]
            if hits[-1] > 0:
                gained = np.diff(hits, prepend=0.0)
                precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
                values[number] = np.sum(gained * precision) / hits[-1]
        return values

    return of
