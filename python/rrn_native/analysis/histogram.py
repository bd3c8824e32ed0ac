"""How similar the pairs of a collection are, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rrn_native.analysis.metrics import unit_rows
from rrn_native.arrays import DEFAULT_THRESHOLD

Doubles = npt.NDArray[np.float64]

# All pairs of 10,000 images; they take some seconds.
MAX_PAIRS = 50_000_000
SAMPLED_PAIRS = 2_000_000
BINS = 200
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Similarities of pairs, counted.

    Attributes:
        edges: float64 [BINS + 1], from -1 to 1. A bin holds its lower edge; the last one its upper edge too.
        counts: int64 [BINS], pairs in each bin.
        above: int64 [BINS], those of them above the threshold.
        pairs: All pairs that there are.
        counted: The sum of ``counts``: equal to ``pairs``, or less where pairs were sampled.
        images: Rows that were compared; None where similarities were given.
        left_out: Rows (or similarities) that are not finite, such as those of unreadable files.
    """

    edges: Doubles
    counts: npt.NDArray[np.int64]
    above: npt.NDArray[np.int64]
    pairs: int
    counted: int
    images: int | None
    left_out: int

    @property
    def share_above(self) -> float:
        """The share of the counted pairs above the threshold; 0 without pairs."""
        return float(self.above.sum()) / self.counted if self.counted else 0.0


def histogram(data: npt.ArrayLike, threshold: float = DEFAULT_THRESHOLD, *, max_pairs: int = MAX_PAIRS) -> Histogram:
    """Counts the similarities of all pairs, or of a sample of them.

    Args:
        data: Embeddings [n, dim], or the similarities of pairs [m].
        threshold: Above is: cosine > threshold.
        max_pairs: With more pairs than this, SAMPLED_PAIRS (or max_pairs, if that is less) of them are drawn without
            repetition, by a generator with a fixed seed.

    Raises:
        ValueError: Another shape.
    """
    array = np.asarray(data, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"expected embeddings [n, dim] or similarities [m], got {list(array.shape)}")
    finite = np.isfinite(array).all(axis=1) if array.ndim == 2 else np.isfinite(array)
    kept = array[finite]
    edges = np.linspace(-1, 1, BINS + 1)
    counts = np.zeros(BINS, np.int64)
    above = np.zeros(BINS, np.int64)
    if array.ndim == 1:
        pairs, blocks = len(kept), iter([kept])
    else:
        n = len(kept)
        pairs = n * (n - 1) // 2
        unit = unit_rows(kept)
        blocks = _all_pairs(unit) if pairs <= max_pairs else _sampled_pairs(unit, pairs, min(SAMPLED_PAIRS, max_pairs))
    counted = 0
    for block in blocks:
        values = np.clip(block, -1.0, 1.0)
        counts += np.histogram(values, edges)[0]
        above += np.histogram(values[values > threshold], edges)[0]
        counted += len(values)
    images = None if array.ndim == 1 else len(kept)
    return Histogram(edges, counts, above, pairs, counted, images, int((~finite).sum()))


def _all_pairs(unit: Doubles) -> Iterator[Doubles]:
    """The cosines of all pairs i < j, in blocks that bound the memory."""
    for begin in range(0, len(unit), _BLOCK):
        rows = unit[begin : begin + _BLOCK]
        inside = rows @ rows.T
        yield inside[np.triu_indices(len(rows), 1)]
        for other in range(begin + _BLOCK, len(unit), _BLOCK):
            yield (rows @ unit[other : other + _BLOCK].T).ravel()


def _sampled_pairs(unit: Doubles, pairs: int, count: int) -> Iterator[Doubles]:
    """The cosines of `count` different pairs, each as likely as any other."""
    numbers = np.sort(np.random.default_rng(0).choice(pairs, count, replace=False, shuffle=False))
    # Pair number p is (i, j) with i < j and p = j (j - 1) / 2 + i.
    j = ((1 + np.sqrt(1 + 8 * numbers.astype(np.float64))) / 2).astype(np.int64)
    # The root may be off by one in either direction where p is large.
    j -= j * (j - 1) // 2 > numbers
    j += j * (j + 1) // 2 <= numbers
    i = numbers - j * (j - 1) // 2
    for begin in range(0, count, 1 << 14):
        part = slice(begin, begin + (1 << 14))
        yield np.einsum("nd,nd->n", unit[i[part]], unit[j[part]])
