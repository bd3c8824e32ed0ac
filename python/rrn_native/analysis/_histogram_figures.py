"""Histograms of similarities: of a collection, and of labelled pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rrn_native.analysis import metrics
from rrn_native.analysis._drawing import count_text, make_figure, percent_text, style
from rrn_native.analysis.calibrate import Calibration
from rrn_native.analysis.histogram import BINS, MAX_PAIRS, histogram
from rrn_native.arrays import DEFAULT_THRESHOLD


def similarity_histogram(
    data: npt.ArrayLike,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    similar: int | None = None,
    max_pairs: int = MAX_PAIRS,
) -> Figure:
    """Draws how similar the pairs are, on a logarithmic scale, with the threshold and the share above it.

    Args:
        data: Embeddings [n, dim], or the similarities of pairs [m]; what is not finite is left out.
        threshold: Above is: cosine > threshold.
        similar: The number of pairs above the threshold, where it is known: half the sum of ``similar`` over a result's
            images. It replaces the estimate if pairs are sampled.
        max_pairs: As for :func:`histogram`.

    Raises:
        ValueError: As for :func:`histogram`.
    """
    bins = histogram(data, threshold, max_pairs=max_pairs)
    with style():
        figure = make_figure(7, 4.2)
        axes = figure.subplots()
        used = np.flatnonzero(bins.counts)
        first = min(int(used[0]) if len(used) else BINS // 2, int(np.searchsorted(bins.edges, threshold)) - 5)
        first = max(0, first - first % 5)
        shown = slice(first, BINS)
        left, width = bins.edges[:-1][shown], 2 / BINS
        bar: dict[str, Any] = {"width": width, "align": "edge", "linewidth": 0.3}
        axes.bar(left, bins.counts[shown], color="0.82", edgecolor="0.45", label="other pairs", **bar)
        sampled = bins.counted < bins.pairs
        if sampled and similar is not None:
            share, known = similar / bins.pairs, f"{similar:,} pairs, {percent_text(similar / bins.pairs)} of all"
        else:
            share, known = bins.share_above, f"{int(bins.above.sum()):,} pairs, {percent_text(bins.share_above)}"
            known += " (estimated)" if sampled and share else ""
        axes.bar(left, bins.above[shown], color="0.25", edgecolor="black", label=f"similar: {known}", **bar)
        axes.axvline(threshold, 0, 0.88, color="black", linestyle="--", linewidth=1.2, label=f"threshold {threshold:g}")
        axes.set_xlim(bins.edges[first], 1.0)
        if len(used):
            axes.set_yscale("log")
            # Half a pair below one, so that a single pair is a visible bar; head room for the legend.
            axes.set_ylim(0.5, float(bins.counts.max()) * 8)
        axes.set_xlabel("cosine similarity of two images")
        axes.set_ylabel(f"pairs in each {width:g} (logarithmic)")
        of = "" if bins.images is None else f" of {count_text(bins.images, 'image')}"
        what = f"{bins.counted:,} of the {bins.pairs:,} pairs" if sampled else f"All {count_text(bins.pairs, 'pair')}"
        out = f"; {count_text(bins.left_out, 'row')} without values left out" if bins.left_out else ""
        axes.set_title(what + of + (" (a fixed random sample)" if sampled else "") + out)
        axes.legend(loc="upper center", frameon=False, fontsize=8, ncols=3)
    return figure


def calibration_figure(calibration: Calibration, title: str) -> Figure:
    """Draws precision, recall and F1 over the threshold, and the histograms of both kinds of pairs.

    Args:
        calibration: From :func:`rrn_native.analysis.calibrate.calibrate`.
        title: Of the whole figure.
    """
    with style():
        figure = make_figure(7, 6)
        above, below = figure.subplots(2, 1, sharex=True)
        figure.suptitle(title)
        curve = metrics.precision_recall_curve(calibration.scores, calibration.labels)
        for values, name, line in (
            (curve.precision, "precision", "--"),
            (curve.recall, "recall", ":"),
            (curve.f1, "F1", "-"),
        ):
            above.plot(curve.thresholds, values, line, color="black", label=name)
        bins = np.linspace(min(float(calibration.scores.min()), 0.0), 1.0, 60).tolist()
        kinds = ((calibration.labels, "similar pairs", "0.35"), (~calibration.labels, "others", "0.8"))
        for chosen, name, fill in kinds:
            below.hist(calibration.scores[chosen], bins=bins, density=True, label=name, color=fill, alpha=0.8)
        for axes in (above, below):
            axes.axvline(calibration.suggested_threshold, color="black", linewidth=0.8)
            axes.legend()
        above.set_ylabel("share")
        above.set_ylim(0, 1.02)
        below.set_ylabel("density of pairs")
        below.set_xlabel(f"cosine similarity (line: suggested threshold {calibration.suggested_threshold:g})")
        below.set_xlim(bins[0], 1.0)
    return figure
