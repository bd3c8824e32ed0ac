"""Writes the table and draws the plots. Everything comes from the JSON; nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# Told apart by dash and marker, so that a grey print stays readable.
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2)))
_MARKERS = "osD^vP*X"
_SHADES = ("#000000", "#0b5394", "#b45f06", "#38761d", "#8e7cc3", "#cc4125", "#999999", "#45818e")


def markdown(results: Json) -> str:
    """Returns the page of tables.

    Args:
        results: What `evaluate.py` wrote.
    """
    threshold = results["settings"]["threshold"]
    lines = [
        "# How good are the embeddings?",
        "",
        "Generated from `results/evaluation.json` by `scripts/evaluate.sh`; `research/evaluation/README.md` says what "
        "is measured and how.",
        f"Pictures are resized to {results['settings']['size']} x {results['settings']['size']}; "
        "similarity is the cosine of the raw embedding, for a hash 1 - (bits that differ) / 64.",
        "",
    ]
    if "groups" in results["datasets"]:
        lines += _groups(results, threshold)
    else:
        lines += ["Labelled photos were not at hand in this run.", ""]
    if "copies" in results["datasets"]:
        lines += _copies(results, threshold)
    lines += ["## The rows", ""]
    lines += [f"- {row['name']}: {row['detail']}" for row in results["rows"]]
    lines += [f"- not measured: {what}" for what in results["missing"]]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines += ["", f"Commit {results['commit']}, {results['machine']}; {versions}.", ""]
    return "\n".join(lines)


def summary(results: Json) -> str:
    """Returns the main numbers as plain text, a line for each row."""
    width = max(len(row["name"]) for row in results["rows"])
    threshold = results["settings"]["threshold"]
    lines = []
    for row in results["rows"]:
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
    precision, recall, _ = _at(numbers)
    return f"best F1 {_best(numbers)}  at {threshold}: P {precision} R {recall}"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    ruler = ["---", *("---:" for _ in header[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (header, ruler, *rows)] + [""]


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _at(numbers: Json) -> list[str]:
    return [_three(numbers["at_threshold"][key]) for key in ("precision", "recall", "f1")]


def _best(numbers: Json) -> str:
    return f"{_three(numbers['best_f1']['f1'])} ({numbers['best_f1']['threshold']:.3f})"


def _groups(results: Json, threshold: float) -> list[str]:
    dataset = results["datasets"]["groups"]
    measured = [(row["name"], row["groups"]) for row in results["rows"]]
    first = measured[0][1]
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
            _three(numbers["average_precision"]),
            *_at(numbers),
            _best(numbers),
            _percent(numbers["different_above_threshold"]),
        ]
        for name, numbers in measured
    ]
    pairs = first["pairs"]
    return [
        f"## Different photos of one thing: {dataset['name']}, {dataset['photos']} photos",
        "",
        f"{dataset['groups']} groups, {pairs['same']} pairs of one group, {pairs['different']} unrelated pairs. N-S is "
        "the mean number of photos of the own group, the photo itself included, among the four most similar.",
        "",
        *_table(header, rows),
        "Quantiles of the similarity:",
        "",
        *_quantiles([(name, numbers) for name, numbers in measured]),
    ]


def _quantiles(measured: list[tuple[str, Json]]) -> list[str]:
    at = measured[0][1]["quantiles"]["at"]
    header = ["", "pairs", *(f"{100 * share:g} %" for share in at)]
    rows = [
        [name if kind == "same" else "", words, *(f"{value:.3f}" for value in numbers["quantiles"][kind])]
        for name, numbers in measured
        for kind, words in (("same", "together"), ("different", "unrelated"))
    ]
    return _table(header, rows)


def _copies(results: Json, threshold: float) -> list[str]:
    dataset = results["datasets"]["copies"]
    measured = [(row["name"], row["copies"]) for row in results["rows"]]
    precision = measured[0][1]["at_precision"]["precision"]
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
            _three(numbers["average_precision"]),
            *_at(numbers),
            _best(numbers),
            f"{_three(numbers['at_precision']['recall'])} ({numbers['at_precision']['threshold']:.3f})",
            _percent(numbers["different_above_threshold"]),
        ]
        for name, numbers in measured
    ]
    every = [
        [
            name,
            _three(numbers["every_pair"]["average_precision"]),
            *_at(numbers["every_pair"]),
            _best(numbers["every_pair"]),
            _percent(numbers["every_pair"]["different_above_threshold"]),
        ]
        for name, numbers in measured
    ]
    names = list(measured[0][1]["transforms"])
    lines = [
        f"## Copies of one photo: {dataset['name']}, {dataset['photos']} photos",
        "",
        f"{dataset['copies']} copies of each, one by each transform (seed {dataset['seed']}). Every photo is compared "
        "with every copy.",
        "",
        *_table(header, rows),
        "All pairs of the set, copies with copies included:",
        "",
        *_table([*header[:6], header[7]], every),
    ]
    for key, title in (
        ("recall_at_threshold", f"Recall at {threshold} for each transform:"),
        ("recall_at_precision", f"Recall at the one threshold that gives all copies a precision of {precision}:"),
    ):
        table = [[name, *(_three(numbers["transforms"][name][key]) for _, numbers in measured)] for name in names]
        lines += [title, "", *_table(["", *(name for name, _ in measured)], table)]
    return lines


def plots(results: Json, folder: Path, prefix: str = "evaluation") -> list[Path]:
    """Draws what the JSON holds.

    Args:
        results: What `evaluate.py` wrote.
        folder: Where the PNG files go.
        prefix: What their names begin with.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    drawings: list[tuple[str, Callable[[Any, Json], Any]]] = [
        ("precision_recall", _draw_curves),
        ("histograms", _draw_histograms),
    ]
    if "copies" in results["datasets"]:
        drawings.append(("transforms", _draw_transforms))
    for name, draw in drawings:
        figure = draw(pyplot, results)
        path = folder / f"{prefix}_{name}.png"
        figure.savefig(path, dpi=110, metadata={"Software": None})
        pyplot.close(figure)
        written.append(path)
    return written


def _panels(results: Json) -> list[tuple[str, str]]:
    words = {"groups": "different photos of one thing", "copies": "photos and their copies"}
    return [
        (key, f"{words[key]}\n({dataset['name']}, {dataset['photos']} photos)")
        for key, dataset in results["datasets"].items()
    ]


def _draw_curves(pyplot: Any, results: Json) -> Any:
    panels = _panels(results)
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5.2 * len(panels) + 2.4, 4.6), squeeze=False, sharey=True)
    for axis, (key, title) in zip(axes[0], panels, strict=True):
        for index, row in enumerate(results["rows"]):
            curve = row[key]["curve"]
            axis.plot(
                curve["recall"],
                curve["precision"],
                linestyle=_DASHES[index % len(_DASHES)],
                color=_SHADES[index % len(_SHADES)],
                linewidth=2.2 if index == 0 else 1.4,
                marker=_MARKERS[index % len(_MARKERS)],
                markevery=0.2,
                markersize=5,
                label=row["name"],
            )
        axis.set(title=title, xlabel="recall", xlim=(0, 1.01), ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("precision")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 1 - 2.3 / figure.get_figwidth(), 1))
    return figure


def _draw_histograms(pyplot: Any, results: Json) -> Any:
    panels = _panels(results)
    row = results["rows"][0]
    threshold = results["settings"]["threshold"]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5.6 * len(panels), 4.2), squeeze=False)
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


def _draw_transforms(pyplot: Any, results: Json) -> Any:
    names = list(results["rows"][0]["copies"]["transforms"])
    threshold = results["settings"]["threshold"]
    precision = results["rows"][0]["copies"]["at_precision"]["precision"]
    figure, axes = pyplot.subplots(1, 2, figsize=(12.5, 0.3 * len(names) + 1.6), sharey=True, squeeze=False)
    for axis, key, title in (
        (axes[0][0], "recall_at_threshold", f"recall at {threshold}"),
        (axes[0][1], "recall_at_precision", f"recall at a precision of {precision}"),
    ):
        for index, row in enumerate(results["rows"]):
            axis.plot(
                [row["copies"]["transforms"][name][key] for name in names],
                range(len(names)),
                linestyle="none",
                marker=_MARKERS[index % len(_MARKERS)],
                color=_SHADES[index % len(_SHADES)],
                markerfacecolor=_SHADES[index % len(_SHADES)] if index == 0 else "none",
                markersize=8 if index == 0 else 6,
                label=row["name"],
            )
        axis.set(xlabel=title, xlim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 1 - 2.3 / figure.get_figwidth(), 1))
    return figure
