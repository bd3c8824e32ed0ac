"""How far two models are apart, as similarities say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native.analysis import metrics
from rrn_native.analysis.labels import read_groups

THRESHOLD = 0.75
# More pictures than this are not compared with each other by `compare`.
MAX_COMPARED = 2000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far the cosines of two models are apart.

    Attributes:
        images: Pictures that both read.
        pairs: Pairs of them.
        mean: The mean absolute difference of the pairs' cosines.
        maximum: The largest.
        f1_before: F1 at 0.75 of the first model; None without labels.
        f1_after: F1 at 0.75 of the second model.
    """

    images: int
    pairs: int
    mean: float
    maximum: float
    f1_before: float | None = None
    f1_after: float | None = None

    def text(self) -> str:
        """Says it in a line or two."""
        lines = [
            f"{self.images} images, {self.pairs} pairs: cosines differ by {self.mean:.5f} on average, "
            f"at most {self.maximum:.4f}"
        ]
        if self.f1_before is not None and self.f1_after is not None:
            lines.append(
                f"F1 at {THRESHOLD}: {self.f1_before:.4f} in float32, {self.f1_after:.4f} in 8 bits "
                f"({self.f1_after - self.f1_before:+.4f})"
            )
        return "\n".join(lines)


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """Returns at most `count` items, evenly spread over the sequence."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def pair_cosines(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Returns the cosines of all pairs i < j of rows, float64 [n (n - 1) / 2], sorted by (i, j)."""
    rows = metrics.unit_rows(embeddings)
    upper: npt.NDArray[np.float64] = (rows @ rows.T)[np.triu_indices(len(rows), k=1)]
    return upper


def compare(
    before: Path,
    after: Path,
    files: Sequence[Path],
    *,
    groups: Path | None = None,
    folder: Path | None = None,
    size: int | None = None,
) -> Comparison:
    """Embeds pictures with two models in the engine and compares the cosines of all pairs.

    Args:
        before: The reference.
        after: The other model.
        files: Pictures; unreadable ones are left out. Not used with `groups`.
        groups: A CSV file with the columns file and group, for F1 at 0.75.
        folder: Where its file names start; None for its own folder.
        size: The input size of both; None for the reference's own.

    Raises:
        ValueError: Fewer than two readable pictures, or `groups` cannot be used.
    """
    labels = None
    if groups is not None:
        labelled = read_groups(groups, folder)
        files, labels = labelled.files, labelled.same
    else:
        files = spread(files, MAX_COMPARED)
    reference = rrn_native.Embedder(before, size)
    other = rrn_native.Embedder(after, reference.size)
    embedded = [embedder.embed(files, on_error="nan") for embedder in (reference, other)]
    readable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(np.hstack(embedded)).all(axis=1))
    if int(readable.sum()) < 2:
        raise ValueError("at least two readable images are needed to compare the models")
    first, second = (pair_cosines(rows[readable]) for rows in embedded)
    difference = np.abs(first - second)
    scores: list[float | None] = [None, None]
    if labels is not None:
        i, j = np.triu_indices(len(files), k=1)
        used = labels[readable[i] & readable[j]]
        scores = [metrics.precision_recall_f1(cosines, used, THRESHOLD)[2] for cosines in (first, second)]
    return Comparison(
        int(readable.sum()), len(difference), float(difference.mean()), float(difference.max()), scores[0], scores[1]
    )
