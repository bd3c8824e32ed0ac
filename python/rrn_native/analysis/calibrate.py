"""Finds the right threshold for a model on your own labelled images.

    pairs = labels.read_groups(Path("groups.csv"))
    result = calibrate.calibrate(pairs, rrn_native.Embedder())
    result.suggested_threshold

Measures precision, recall and F1 over all thresholds, and suggests one. ``plots.calibration_figure`` draws the curves;
the command line is ``rrn calibrate``.
"""

from __future__ import annotations

import dataclasses
import decimal
from typing import Any

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native.analysis import metrics
from rrn_native.analysis.labels import LabelledPairs

TABLE_THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        images: Images that were read.
        skipped: Files that could not be read; pairs with them are left out.
        pairs: Pairs that were compared.
        similar_pairs: How many of them are labelled as belonging together.
        average_precision: See :func:`rrn_native.analysis.metrics.average_precision`.
        best_f1: The best F1 of all thresholds.
        suggested_threshold: The threshold that gives it.
        rows: Precision, recall and F1 at round thresholds, the suggested one included.
        scores: float32 [pairs], the similarities.
        labels: bool [pairs].
    """

    images: int
    skipped: int
    pairs: int
    similar_pairs: int
    average_precision: float
    best_f1: float
    suggested_threshold: float
    rows: list[dict[str, float]]
    scores: npt.NDArray[np.float32] = dataclasses.field(repr=False)
    labels: npt.NDArray[np.bool_] = dataclasses.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the single pairs, for JSON."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("scores", "labels")]
        return {name: getattr(self, name) for name in names}


def calibrate(
    pairs: LabelledPairs, embedder: rrn_native.Embedder, *, progress: rrn_native.Progress | None = None
) -> Calibration:
    """Embeds the files and measures their similarities against the labels.

    Args:
        pairs: What belongs together.
        embedder: The model.
        progress: As for :meth:`rrn_native.Embedder.embed`.

    Raises:
        ValueError: No readable pair belongs together.
        rrn_native.RrnError: Inference failed, or the progress callback cancelled.
    """
    embeddings = embedder.embed(pairs.files, on_error="nan", progress=progress)
    readable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(embeddings).all(axis=1))
    usable = readable[pairs.first] & readable[pairs.second]
    unit = metrics.unit_rows(embeddings).astype(np.float32)
    scores = _dot_rows(unit, pairs.first[usable], pairs.second[usable])
    labels = pairs.same[usable]
    best, threshold = metrics.best_f1(scores, labels)
    rows = []
    for value in sorted({*TABLE_THRESHOLDS, round(threshold, 4)}):
        precision, recall, f1 = metrics.precision_recall_f1(scores, labels, value)
        rows.append({"threshold": value, "precision": precision, "recall": recall, "f1": f1})
    return Calibration(
        images=int(readable.sum()),
        skipped=int((~readable).sum()),
        pairs=len(scores),
        similar_pairs=int(labels.sum()),
        average_precision=metrics.average_precision(scores, labels),
        best_f1=best,
        suggested_threshold=round(threshold, 4),
        rows=rows,
        scores=scores,
        labels=labels,
    )


def _dot_rows(
    unit: npt.NDArray[np.float32], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """The cosines of pairs of rows, float32 [m], a block at a time to bound the memory."""
    scores = np.empty(len(first), np.float32)
    block = 1 << 16
    for begin in range(0, len(first), block):
        part = slice(begin, begin + block)
        scores[part] = np.einsum("nd,nd->n", unit[first[part]], unit[second[part]])
    return scores


def table(calibration: Calibration) -> str:
    """Lays the result out as text."""
    lines = [
        f"images {calibration.images}, skipped {calibration.skipped}, pairs {calibration.pairs}, "
        f"of them similar {calibration.similar_pairs}",
        f"average precision {calibration.average_precision:.4f}",
        "",
        "threshold  precision  recall      F1",
    ]
    for row in calibration.rows:
        mark = "  <- suggested" if row["threshold"] == calibration.suggested_threshold else ""
        lines.append(
            f"{row['threshold']:>9.4f}  {row['precision']:>9.4f}  {row['recall']:>6.4f}  {row['f1']:>6.4f}{mark}"
        )
    lines += ["", f"suggested: --threshold {calibration.suggested_threshold:g} (the best F1)"]
    return "\n".join(lines)


def for_typing(calibration: Calibration, threshold: float, precision: float) -> str:
    """Returns a threshold of :func:`metrics.threshold_for_precision` in decimals that keep its promise.

    Below the threshold the precision is lower, so four decimals are rounded up; all of its digits are given where the
    precision is not reached there either (it need not grow with the threshold).
    """
    rounded = decimal.Decimal(threshold).quantize(decimal.Decimal("0.0001"), rounding=decimal.ROUND_CEILING)
    reached, _, _ = metrics.precision_recall_f1(calibration.scores, calibration.labels, float(rounded))
    return str(rounded) if reached >= precision else repr(float(threshold))
