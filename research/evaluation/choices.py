"""Writes findings/choices.md: which weights, which stages, which input size; measures nothing.

From weights_all.json and weights_report.json (research.training.judge), stage_shares.json (research.training.shares)
and sizes.json (research.evaluation.sizes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from research.common import machine, results
from research.common.tables import table
from research.evaluation import report

Json = dict[str, Any]

_KINDS = {"labelled": "other views", "copies": "copies"}


def write(measured: Path, folder: Path) -> Path:
    """Writes choices.md; returns it.

    Args:
        measured: The folder of results.
        folder: Gets the file.

    Raises:
        OSError: A result is missing, or the file cannot be written.
    """
    names = ("weights_all", "weights_report", "stage_shares", "sizes")
    page = folder / "choices.md"
    results.write_bytes(page, markdown(*(results.read(measured / f"{name}.json") for name in names)).encode())
    return page


def markdown(everything: Json, half: Json, shares: Json, sizes: Json) -> str:
    """Returns the page.

    Args:
        everything: What `judge` wrote of all labelled objects.
        half: What it wrote of the half for the report, and of other photos' copies.
        shares: What `shares` wrote.
        sizes: What `sizes` wrote.
    """
    lines = [
        "# Which weights, which stages, which input size",
        "",
        "Generated from `results/weights_all.json`, `weights_report.json`, `stage_shares.json` and `sizes.json` by "
        "`scripts/findings.sh`; the `command` in each says how it was measured. Other views are those of UKBench's "
        "first 500 photos, copies are generated of 128 photos of COCO val2017, each photo against each copy. "
        "Similarity is the cosine of the raw embedding.",
        "",
        "## Weights",
        "",
        *_judged([(row["name"], row) for row in everything["rows"]], "weights"),
        "All of these photos were in view when weights were chosen. The second half of UKBench's objects alone, and "
        "copies of photos that neither the balance nor a choice saw, one photo of each of UKBench's 125 objects:",
        "",
        *_judged([(row["name"], row) for row in half["rows"]], "weights"),
        "## Stages",
        "",
        "ImageNet's weights, balanced, not trained. One stage's share of the embedding, as a part of the last "
        f"stage's, varies; the others keep {shares['usual_share']:g}.",
        "",
        *_judged([(_setting(row), row) for row in shares["rows"]], "what varies, its share"),
        "## Input size",
        "",
        f"The default model; time of one decoded picture on {sizes['threads']} thread, in fp32, all sizes in turn.",
        "",
        *_judged([(f"{row['size']} px", row) for row in sizes["sizes"]], "size", more=("ms", _milliseconds)),
        f"{machine.words(sizes)}.",
        "",
    ]
    return "\n".join(lines)


def _setting(row: Json) -> str:
    return row["varies"] if not row["varies"].startswith("stage") else f"{row['varies']}: {row['share']:g}"


def _milliseconds(row: Json) -> str:
    return f"{row['image']['median_ms']:.1f}"


def _judged(
    rows: Sequence[tuple[str, Json]], title: str, more: tuple[str, Callable[[Json], str]] | None = None
) -> list[str]:
    """A table with a line for each named row."""
    header = [title]
    for kind in _KINDS:
        header += [f"{_KINDS[kind]}: AP", *(["N-S"] if kind == "labelled" else [])]
        header += ["P at 0.75", "R", "F1", "best F1 (at)", "unrelated above"]
    lines = []
    for name, row in rows:
        line = [name]
        for kind in _KINDS:
            line += _cells(row[kind])
        lines.append([*line, *([more[1](row)] if more else [])])
    return table([*header, *([more[0]] if more else [])], lines)


def _cells(numbers: Json) -> list[str]:
    return [
        report.three(numbers["average_precision"]),
        *([f"{numbers['ns']:.2f}"] if "ns" in numbers else []),
        *report.at(numbers),
        report.best(numbers),
        f"{100 * numbers['different_above_threshold']:.3f} %",
    ]
