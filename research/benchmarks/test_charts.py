"""Every measured row is in its chart, at its value; on the results in the repository."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from research.benchmarks import report
from research.common import charts
from research.common.places import RESULTS


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found = report.load(RESULTS, list(report.TITLES))
    assert {"decode", "end_to_end", "growth", "operator"} <= found.keys()
    return {name: result["result"] for name, result in found.items()}


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    charts.pyplot.close("all")


def test_decode(measured: dict[str, Any]) -> None:
    rows = measured["decode"]["rows"]
    figure = report._draw_decode(measured["decode"])
    for axes in figure.axes:
        expected = sorted(row["median_ms"] for row in rows if row["size"] == axes.get_title())
        assert sorted(bar.get_height() for bar in axes.patches) == expected
    assert sum(len(axes.patches) for axes in figure.axes) == len(rows)


def test_end_to_end(measured: dict[str, Any]) -> None:
    rows = measured["end_to_end"]["rows"]
    figure = report._draw_end_to_end(measured["end_to_end"])
    for axes in figure.axes:
        size = axes.get_title()
        assert [bar.get_width() for bar in axes.patches] == [row["images_per_s"] for row in rows if row["size"] == size]
        parts = measured["end_to_end"]["best_parts"][size]
        limits = [parts[key] for key in parts if key.startswith("images_per_s_")]
        assert sorted(line.get_xdata()[0] for line in axes.lines) == sorted(limits)


def test_growth(measured: dict[str, Any]) -> None:
    figure = report._draw_growth(measured["growth"])
    for axes, key in zip(figure.axes, ("median_s", "peak_mib"), strict=True):
        for line, what in zip(axes.lines, ("search", "program"), strict=False):
            rows = [row for row in measured["growth"]["rows"] if row["what"] == what]
            assert line.get_xydata().tolist() == [[row["count"], row[key]] for row in rows]


def test_operator(measured: dict[str, Any]) -> None:
    rows = measured["operator"]["rows"]
    (axes,) = report._draw_operator(measured["operator"]).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert sorted(heights) == pytest.approx(sorted(row["gb_per_s"] for row in rows))
    # The ends of the whiskers are lines too.
    limits = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert limits == [
        max(value for key, value in moved.items() if key.startswith("read"))
        for moved in measured["operator"]["bandwidth"]
    ]
