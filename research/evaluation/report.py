"""Writes the table and draws the plots. Everything comes from the JSON; nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from research.common import charts, machine, results
from research.common.charts import COLOURS, DASHES, MARKERS
from research.common.tables import table

Json = dict[str, Any]


def write(measured: Json, folder: Path) -> list[Path]:
    """Writes evaluation.md and the plots of a result; returns the files."""
    page = folder / "evaluation.md"
    results.write_bytes(page, markdown(measured).encode())
    return [page, *plots(measured, folder)]


def markdown(measured: Json) -> str:
    """Returns the page of tables.

    Args:
        measured: What `evaluate.py` wrote.
    """
    threshold = measured["settings"]["threshold"]
    lines = [
        "# How good are the embeddings?",
        "",
        "Generated from `results/evaluation.json` by `scripts/evaluate.sh`; `research/evaluation/README.md` says what "
        "is measured and how.",
        f"Pictures are resized to {measured['settings']['size']} x {measured['settings']['size']}; "
        "similarity is the cosine of the raw embedding, for a hash 1 - (bits that differ) / 64.",
        "",
    ]
    if "groups" in measured["datasets"]:
        lines += _groups(measured, threshold)
    else:
        lines += ["Labelled photos were not at hand in this run.", ""]
    if "copies" in measured["datasets"]:
        lines += _copies(measured, threshold)
    lines += [*_by_threshold(measured), "## The rows", ""]
    lines += [f"- {row['name']}: {row['detail']}" for row in measured["rows"]]
    lines += [f"- not measured: {what}" for what in measured["missing"]]
    lines += ["", f"{machine.words(measured)}.", ""]
    return "\n".join(lines)


def summary(measured: Json) -> str:
    """Returns the main numbers as plain text, a line for each row."""
    width = max(len(row["name"]) for row in measured["rows"])
    threshold = measured["settings"]["threshold"]
    lines = []
    for row in measured["rows"]:
        parts = []
        if "groups" in row:
            numbers = row["groups"]
            parts.append(
                f"groups: N-S {numbers['ns']:.2f}  AP {numbers['average_precision']:.3f}  {_brief(numbers, threshold)}"
            )
        if "copies" in row:
            numbers = row["copies"]
            parts.append(f"copies: AP {numbers['average_precision']:.3f}  {_brief(numbers, threshold)}")
        lines.append(f"{row['name']:{width}}  " + "  |  ".join(parts))
    return "\n".join(lines)


def _brief(numbers: Json, threshold: float) -> str:
    precision, recall, _ = at(numbers)
    return f"best F1 {best(numbers)}  at {threshold}: P {precision} R {recall}"


def three(value: float | None) -> str:
    """A number with three decimals; a dash where it is missing."""
    return "-" if value is None else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def at(numbers: Json) -> list[str]:
    """Precision, recall and F1 at the threshold, of what `measure` returns."""
    return [three(numbers["at_threshold"][key]) for key in ("precision", "recall", "f1")]


def best(numbers: Json) -> str:
    """The best F1 and, in brackets, its threshold."""
    return f"{three(numbers['best_f1']['f1'])} ({numbers['best_f1']['threshold']:.3f})"


def _groups(measured: Json, threshold: float) -> list[str]:
    dataset = measured["datasets"]["groups"]
    rated = [(row["name"], row["groups"]) for row in measured["rows"]]
    first = rated[0][1]
    header = [
        "",
        f"N-S (of {first['ns_limit']:g})",
        "average precision",
        f"precision at {threshold}",
        f"recall at {threshold}",
        f"F1 at {threshold}",
        "best F1 (at)",
        f"unrelated above {threshold}",
    ]
    rows = [
        [
            name,
            f"{numbers['ns']:.3f}",
            three(numbers["average_precision"]),
            *at(numbers),
            best(numbers),
            _percent(numbers["different_above_threshold"]),
        ]
        for name, numbers in rated
    ]
    pairs = first["pairs"]
    return [
        f"## Different photos of one thing: {dataset['name']}, {dataset['photos']} photos",
        "",
        f"{dataset['groups']} groups, {pairs['same']} pairs of one group, {pairs['different']} unrelated pairs. N-S is "
        "the mean number of photos of the own group, the photo itself included, among the four most similar.",
        "",
        *table(header, rows),
        "Quantiles of the similarity:",
        "",
        *_quantiles([(name, numbers) for name, numbers in rated]),
    ]


def _quantiles(rated: list[tuple[str, Json]]) -> list[str]:
    at = rated[0][1]["quantiles"]["at"]
    header = ["", "pairs", *(f"{100 * share:g} %" for share in at)]
    rows = [
        [name if kind == "same" else "", words, *(f"{value:.3f}" for value in numbers["quantiles"][kind])]
        for name, numbers in rated
        for kind, words in (("same", "together"), ("different", "unrelated"))
    ]
    return table(header, rows)


def _copies(measured: Json, threshold: float) -> list[str]:
    dataset = measured["datasets"]["copies"]
    rated = [(row["name"], row["copies"]) for row in measured["rows"]]
    precision = rated[0][1]["at_precision"]["precision"]
    header = [
        "",
        "average precision",
        f"precision at {threshold}",
        f"recall at {threshold}",
        f"F1 at {threshold}",
        "best F1 (at)",
        f"recall at precision {precision} (at)",
        f"unrelated above {threshold}",
    ]
    rows = [
        [
            name,
            three(numbers["average_precision"]),
            *at(numbers),
            best(numbers),
            f"{three(numbers['at_precision']['recall'])} ({numbers['at_precision']['threshold']:.3f})",
            _percent(numbers["different_above_threshold"]),
        ]
        for name, numbers in rated
    ]
    every = [
        [
            name,
            three(numbers["every_pair"]["average_precision"]),
            *at(numbers["every_pair"]),
            best(numbers["every_pair"]),
            _percent(numbers["every_pair"]["different_above_threshold"]),
        ]
        for name, numbers in rated
    ]
    names = list(rated[0][1]["transforms"])
    lines = [
        f"## Copies of one photo: {dataset['name']}, {dataset['photos']} photos",
        "",
        f"{dataset['copies']} copies of each, one by each transform (seed {dataset['seed']}). Every photo is compared "
        "with every copy.",
        "",
        *table(header, rows),
        "All pairs of the set, copies with copies included:",
        "",
        *table([*header[:6], header[7]], every),
    ]
    for key, title in (
        ("recall_at_threshold", f"Recall at {threshold} for each transform:"),
        ("recall_at_precision", f"Recall at the one threshold that gives all copies a precision of {precision}:"),
    ):
        cells = [[name, *(three(numbers["transforms"][name][key]) for _, numbers in rated)] for name in names]
        lines += [title, "", *table(["", *(name for name, _ in rated)], cells)]
    return lines


def _by_threshold(measured: Json) -> list[str]:
    """The first row's precision and recall, for users who choose their own threshold."""
    words = {"groups": "other views", "copies": "copies"}
    row = measured["rows"][0]
    parts = [key for key in words if key in row]
    header = ["threshold"]
    for key in parts:
        header += [f"{words[key]}: precision", "recall", "F1", "unrelated above"]
    lines = []
    for found in zip(*(row[key]["by_threshold"] for key in parts), strict=True):
        line = [f"{found[0]['threshold']:.2f}"]
        for each in found:
            line += [*(three(each[name]) for name in ("precision", "recall", "f1"))]
            line += [f"{100 * each['different_above']:.3f} %"]
        lines.append(line)
    return ["## Precision and recall by threshold", "", f"Of the row `{row['name']}`.", "", *table(header, lines)]


def plots(measured: Json, folder: Path, prefix: str = "evaluation") -> list[Path]:
    """Draws what the JSON holds.

    Args:
        measured: What `evaluate.py` wrote.
        folder: Where the PNG files go.
        prefix: What their names begin with.

    Returns:
        The files.
    """
    written = []
    drawings: list[tuple[str, Callable[[Json], Any]]] = [
        ("precision_recall", _draw_curves),
        ("histograms", _draw_histograms),
    ]
    if "copies" in measured["datasets"]:
        drawings.append(("transforms", _draw_transforms))
    for name, draw in drawings:
        path = folder / f"{prefix}_{name}.png"
        charts.save(draw(measured), path)
        written.append(path)
    return written


def _panels(measured: Json) -> list[tuple[str, str]]:
    words = {"groups": "different photos of one thing", "copies": "photos and their copies"}
    return [
        (key, f"{words[key]}\n({dataset['name']}, {dataset['photos']} photos)")
        for key, dataset in measured["datasets"].items()
    ]


def _draw_curves(measured: Json) -> Any:
    panels = _panels(measured)
    figure, axes = charts.pyplot.subplots(
        1, len(panels), figsize=(5.2 * len(panels) + 2.4, 4.6), squeeze=False, sharey=True
    )
    for axis, (key, title) in zip(axes[0], panels, strict=True):
        for index, row in enumerate(measured["rows"]):
            curve = row[key]["curve"]
            axis.plot(
                curve["recall"],
                curve["precision"],
                linestyle=DASHES[index % len(DASHES)],
                color=COLOURS[index % len(COLOURS)],
                linewidth=2.2 if index == 0 else 1.4,
                marker=MARKERS[index % len(MARKERS)],
                markevery=0.2,
                markersize=5,
                label=row["name"],
            )
        axis.set(title=title, xlabel="recall", xlim=(0, 1.01), ylim=(0, 1.02))
        charts.grid(axis)
    axes[0][0].set_ylabel("precision")
    charts.legend_beside(figure, axes[0][0])
    return figure


def _draw_histograms(measured: Json) -> Any:
    panels = _panels(measured)
    row = measured["rows"][0]
    threshold = measured["settings"]["threshold"]
    figure, axes = charts.pyplot.subplots(1, len(panels), figsize=(5.6 * len(panels), 4.2), squeeze=False)
    for axis, (key, title) in zip(axes[0], panels, strict=True):
        histograms = row[key]["histograms"]
        bins = len(histograms["same"])
        width = (histograms["to"] - histograms["from"]) / bins
        edges = [histograms["from"] + width * index for index in range(bins + 1)]
        for kind, label, style in (
            ("different", "unrelated", {"fill": True, "facecolor": "#cccccc", "edgecolor": "#777777"}),
            ("same", "belong together", {"fill": False, "edgecolor": "#000000", "hatch": "////", "linewidth": 1.5}),
        ):
            total = sum(histograms[kind])
            axis.stairs([100 * count / total for count in histograms[kind]], edges, label=label, **style)
        axis.axvline(threshold, color="black", linestyle="--", label=f"{threshold}")
        used = [edges[i] for i in range(bins) if histograms["same"][i] or histograms["different"][i]]
        axis.set(title=title, xlabel=f"cosine, {row['name']}", ylabel="share of these pairs, % per bin")
        axis.set_xlim(min(used) - width, 1.01)
        axis.legend(frameon=False)
    figure.tight_layout()
    return figure


def _draw_transforms(measured: Json) -> Any:
    names = list(measured["rows"][0]["copies"]["transforms"])
    threshold = measured["settings"]["threshold"]
    precision = measured["rows"][0]["copies"]["at_precision"]["precision"]
    figure, axes = charts.pyplot.subplots(1, 2, figsize=(12.5, 0.3 * len(names) + 1.6), sharey=True, squeeze=False)
    for axis, key, title in (
        (axes[0][0], "recall_at_threshold", f"recall at {threshold}"),
        (axes[0][1], "recall_at_precision", f"recall at a precision of {precision}"),
    ):
        for index, row in enumerate(measured["rows"]):
            axis.plot(
                [row["copies"]["transforms"][name][key] for name in names],
                range(len(names)),
                linestyle="none",
                marker=MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                markerfacecolor=COLOURS[index % len(COLOURS)] if index == 0 else "none",
                markersize=8 if index == 0 else 6,
                label=row["name"],
            )
        axis.set(xlabel=title, xlim=(-0.02, 1.02))
        charts.grid(axis)
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    charts.legend_beside(figure, axes[0][0])
    return figure
