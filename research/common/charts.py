"""How charts look: black, grey and hatched, so that a grey print stays readable; and how they become files.

Needs matplotlib. The same values give the same bytes with the same version of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from research.common import results

matplotlib.use("Agg")
from matplotlib import pyplot as pyplot

# Bars are told apart by shade and hatch.
FILLS = ("0.15", "0.75", "0.45", "0.92", "0.6", "0.3", "0.85", "0.5")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "+++", "ooo", "---")
# Lines are told apart by dash and marker, and by a colour of different lightness.
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2)))
MARKERS = "osD^vP*X"
COLOURS = ("#000000", "#0b5394", "#b45f06", "#38761d", "#8e7cc3", "#cc4125", "#999999", "#45818e")
# In a chart with a legend beside the axes, the legend's width in inches.
LEGEND_WIDTH = 2.3

Figure = Any
Axes = Any


def save(figure: Figure, path: Path, *, dpi: int = 110) -> None:
    """Writes a figure as PNG, complete or not at all, and closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    pyplot.close(figure)
    results.write_bytes(path, buffer.getvalue())


def grid(axes: Axes, axis: str = "both", **options: Any) -> None:
    """Draws a faint grid behind everything else."""
    axes.grid(axis=axis, alpha=0.3, **options)
    axes.set_axisbelow(True)


def legend_beside(figure: Figure, axes: Axes) -> None:
    """Puts the legend of `axes` to the right of all axes, and makes room for it."""
    figure.legend(*axes.get_legend_handles_labels(), loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 1 - LEGEND_WIDTH / figure.get_figwidth(), 1))


def grouped_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Sequence[str],
    value: Callable[[str, str], float | None],
    spread: Callable[[str, str], tuple[float, float]] | None = None,
) -> None:
    """Draws bars side by side in groups.

    Args:
        axes: Where.
        groups: Names below the axis.
        series: Names in the legend; one bar each in every group.
        value: (group, series) -> height, or None for no bar.
        spread: (group, series) -> lowest and highest value, drawn as whiskers; asked only where there is a bar.
    """
    width = 0.8 / len(series)
    for index, name in enumerate(series):
        heights = [(place, value(group, name)) for place, group in enumerate(groups)]
        bars = [(place, height) for place, height in heights if height is not None]
        whiskers = None
        if spread is not None:
            ends = [spread(groups[place], name) for place, _ in bars]
            whiskers = [
                [height - low for (_, height), (low, _) in zip(bars, ends, strict=True)],
                [high - height for (_, height), (_, high) in zip(bars, ends, strict=True)],
            ]
        axes.bar(
            [place - 0.4 + width * (index + 0.5) for place, _ in bars],
            [height for _, height in bars],
            width * 0.92,
            yerr=whiskers,
            label=name,
            color=FILLS[index % len(FILLS)],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="black",
            linewidth=0.6,
            error_kw={"elinewidth": 0.8, "capsize": 2},
        )
    axes.set_xticks(range(len(groups)), groups)
    grid(axes, "y")
