"""The figures of the report, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BLUE, _GREY = "#2a6f97", "#9aa5b1"


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # No version of the library, so that the same numbers give the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None}, bbox_inches="tight")
    return buffer.getvalue()


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """Draws a confusion matrix: rows are what was expected, columns what was predicted."""
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.55 * len(classes)
    figure = Figure(figsize=(side + 0.6, side))
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("expected")
    # Numbers in a large matrix would be too small to read.
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(table):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    return _png(figure)


def reliability(bins: Sequence[dict[str, float]]) -> bytes:
    """Draws accuracy against confidence; bars on the diagonal are a calibrated model."""
    figure = Figure(figsize=(4.6, 4))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    there = [each for each in bins if each["images"]]
    axes.bar(
        [each["from"] for each in there],
        [each["accuracy"] for each in there],
        width=1 / len(bins),
        align="edge",
        color=_BLUE,
        edgecolor="white",
    )
    axes.plot([each["confidence"] for each in there], [each["accuracy"] for each in there], "o", color="black", ms=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    return _png(figure)


def intervals(metrics: dict[str, dict[str, Any]]) -> bytes:
    """Draws metrics between 0 and 1 with their intervals."""
    shown = {name: each for name, each in metrics.items() if 0 <= each["value"] <= 1}
    figure = Figure(figsize=(6, 0.8 + 0.35 * max(1, len(shown))))
    axes = figure.add_subplot()
    for place, each in enumerate(shown.values()):
        if each["lower"] is not None:
            axes.plot([each["lower"], each["upper"]], [place, place], color=_GREY, linewidth=4, solid_capstyle="butt")
        axes.plot([each["value"]], [place], "o", color=_BLUE)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_xlim(-0.02, 1.02)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e4e7eb")
    axes.set_axisbelow(True)
    return _png(figure)


def slices(entries: Sequence[dict[str, Any]], metric: str, overall: float) -> bytes:
    """Draws one metric of each slice beside that of all images."""
    figure = Figure(figsize=(6, 0.8 + 0.3 * max(1, len(entries))))
    axes = figure.add_subplot()
    axes.axvline(overall, color=_GREY, linestyle="--", linewidth=1)
    for place, entry in enumerate(entries):
        each = entry["metrics"][metric]
        if each["lower"] is not None:
            axes.plot([each["lower"], each["upper"]], [place, place], color=_GREY, linewidth=4, solid_capstyle="butt")
        axes.plot([each["value"]], [place], "o", color=_BLUE)
    axes.set_yticks(range(len(entries)), [f"{each['column']}: {each['value']}" for each in entries])
    axes.set_xlabel(metric)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e4e7eb")
    axes.set_axisbelow(True)
    return _png(figure)
