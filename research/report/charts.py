"""The charts of the report, each from the JSON files alone, as PNG (for Word) and SVG (for the PDF).

Everything is black, white and grey; series are told apart by shade and hatch, or by marker and line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cycler import cycler
from matplotlib.container import BarContainer
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

from research import studies
from research.common.charts import DASHES, MARKERS, grouped_bars, pyplot
from research.common.results import Json, write_bytes
from research.report.results import Results

_FILLS = ("black", *("white",) * 7)
_STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "axes.titlesize": 10,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(marker=MARKERS, linestyle=DASHES, markerfacecolor=_FILLS, color=["black"] * 8),
    "grid.color": "0.85",
    "grid.linewidth": 0.6,
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.03,
    # With a fixed salt and no date, the same chart is the same file.
    "svg.hashsalt": "rrn",
}
Figure = Any


def draw(name: str, results: Results, folder: Path) -> None:
    """Draws the chart of that name into `folder`, as NAME.png and NAME.svg.

    Raises:
        LookupError, TypeError, ValueError, jinja2.UndefinedError: Its numbers are missing or incomplete.
    """
    vector, picture, small = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with pyplot.rc_context(_STYLE):
        figure = _DRAWINGS[name](results)
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(picture)
        pyplot.close(figure)
    # In grey levels the picture is the same and a third of the size.
    Image.open(picture).convert("L").save(small, "PNG", optimize=True, dpi=(200, 200))
    write_bytes(folder / f"{name}.svg", _rounded(vector.getvalue().decode()).encode())
    write_bytes(folder / f"{name}.png", small.getvalue())


def _rounded(drawing: str) -> str:
    """Returns an SVG whose paths have two decimals, a hundredth of a point, for a smaller document."""

    def short(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"-?\d+\.\d{3,}", short, path[0]), drawing)


def _axes(height: float, columns: int = 1, width: float = 7.2, **options: Any) -> tuple[Figure, Any]:
    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    return figure, axes[0]


def _legend(figure: Figure, axes: Any, place: str, columns: int) -> Figure:
    figure.legend(*axes[0].get_legend_handles_labels(), loc=f"outside {place} center", ncols=columns)
    return figure


def _different(rows: Iterable[Json], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _bars(
    axis: Any, groups: Sequence[Any], series: Sequence[str], rows: dict[Any, Json], value: str, ends: str
) -> None:
    """Bars in groups, from rows by (group, series); whiskers go from the value `low` to `high` plus `ends`."""

    def height(*key: str) -> float | None:
        return rows[key][value] if key in rows else None

    def spread(*key: str) -> tuple[float, float]:
        return rows[key][f"low{ends}"], rows[key][f"high{ends}"]

    grouped_bars(axis, groups, series, height, spread if ends else None)
    axis.grid(visible=False, axis="x")


def _architecture(results: Results) -> Figure:
    """The network with its four taps; sizes are those of a 224 x 224 input."""
    figure, (axis,) = _axes(3.0)
    axis.set(xlim=(0, 14.6), ylim=(-0.35, 5.6))
    axis.axis("off")

    def box(x: float, y: float, width: float, height: float, text: str, shade: str = "1.0", size: float = 9) -> None:
        axis.add_patch(Rectangle((x, y), width, height, facecolor=shade, linewidth=0.8))
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, linespacing=1.25)

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, linewidth=0.8, color="black"))

    box(0, 3.9, 1.5, 1.3, "image\n3×224×224", "0.93")
    box(1.95, 3.9, 1.55, 1.3, "stem\n64×56×56")
    arrow((1.5, 4.55), (1.95, 4.55))
    for index, (channels, side) in enumerate(((64, 56), (128, 28), (256, 14), (512, 7))):
        x = 4.0 + index * 1.95
        box(x, 3.9, 1.55, 1.3, f"layer{index + 1}\n{channels}×{side}×{side}", "0.93" if index % 2 else "1.0")
        arrow((x - (0.4 if index else 0.5), 4.55), (x, 4.55))
        box(x, 2.25, 1.55, 0.75, f"mean of {side}×{side}", size=8)
        arrow((x + 0.775, 3.9), (x + 0.775, 3.0))
        repeats = 512 // channels
        box(x, 0.75, 1.55, 0.95, f"{channels} → 512\neach {repeats}×", "0.8" if repeats > 1 else "1.0", 8.5)
        arrow((x + 0.775, 2.25), (x + 0.775, 1.7))
        axis.vlines(x + 0.775, 0.2, 0.75, color="black", linewidth=0.8)
    axis.hlines(0.2, 4.775, 10.625, color="black", linewidth=0.8)
    arrow((10.625, 0.2), (12.15, 0.2))
    box(12.15, -0.3, 2.3, 1.0, "mean of the four\nembedding: 512", "0.93")
    axis.add_patch(Rectangle((3.72, -0.35), 10.85, 3.55, fill=False, linewidth=0.8, linestyle="--"))
    axis.text(14.4, 2.75, "the operator", ha="right", va="center", style="italic")
    return figure


def _examples(results: Results) -> Figure:
    example = results["example"]
    order: list[str] = []
    for group in example["groups"]:
        order += [group["representative"], *_different(group["members"], "path")]
    order += [image["path"] for image in example["images"] if image["path"] not in order]
    at = {path: index for index, path in enumerate(order)}
    figure, (axis,) = _axes(5.9, width=6.9)
    for pair in example["pairs"]:
        column, row = sorted((at[pair["first"]], at[pair["second"]]))
        value, similar = pair["similarity"], pair["similarity"] > example["threshold"]
        shade = 1 - 0.75 * max(value, 0)
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=str(shade), edgecolor="white"))
        weight, colour = "bold" if similar else "normal", "white" if shade < 0.55 else "black"
        text = {"ha": "center", "va": "center", "fontsize": 7.5, "fontweight": weight, "color": colour}
        axis.text(column, row, f"{value:.2f}", **text)
        if similar:
            axis.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False))
    names = [path.rsplit("/", 1)[-1] for path in order]
    axis.set(xlim=(-0.5, len(order) - 1.5), ylim=(len(order) - 0.5, 0.5))
    axis.set_yticks(range(1, len(order)), names[1:], fontsize=8)
    axis.set_xticks(range(len(order) - 1), names[:-1], fontsize=8, rotation=60, ha="right")
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    return figure


def _shown(results: Results) -> list[Json]:
    """The rows of the evaluation that a chart can tell apart: 8 bits lie on top of the same model in float32."""
    return [row for row in results["evaluation"]["rows"] if not row["name"].endswith("8 bits")]


def _histograms(results: Results) -> Figure:
    rows = [row for row in _shown(results) if "histograms" in row.get("groups", {})]
    shown = [row for row in rows if not row["name"].endswith("Hash")][:4]
    figure, axes = _axes(2.3, len(shown), sharey=True)
    for axis, row in zip(axes, shown, strict=True):
        histograms = row["groups"]["histograms"]
        bins = len(histograms["same"])
        step = (histograms["to"] - histograms["from"]) / bins
        edges = [histograms["from"] + step * index for index in range(bins + 1)]
        looks = (("different", "unrelated", "0.45", "-"), ("same", "same object", "black", "--"))
        for name, label, colour, line in looks:
            total = sum(histograms[name])
            shares = [count / total * 100 for count in histograms[name]]
            axis.stairs(shares, edges, label=label, edgecolor=colour, linestyle=line, linewidth=1.1)
        axis.axvline(results["evaluation"]["settings"]["threshold"], linewidth=0.8, linestyle=":", marker="")
        first = next(edge for edge, count in zip(edges, histograms["different"], strict=False) if count)
        axis.set(xlim=(min(first, 0), 1.02), xlabel="cosine", yscale="symlog", title=row["name"].replace(", ", ",\n"))
    axes[0].set_ylabel("share of pairs, %")
    return _legend(figure, axes, "upper", 2)


def _curves(results: Results) -> Figure:
    figure, axes = _axes(3.3, 2, sharey=True)
    parts = {"groups": "labelled photos", "copies": "copies against originals"}
    for axis, (part, title) in zip(axes, parts.items(), strict=True):
        for index, row in enumerate(_shown(results)):
            if curve := row.get(part, {}).get("curve"):
                look = {"marker": MARKERS[index], "linestyle": DASHES[index], "markerfacecolor": _FILLS[index]}
                axis.plot(curve["recall"], curve["precision"], label=row["name"], markevery=(index * 4, 28), **look)
        axis.set(xlabel="recall", xlim=(0, 1), ylim=(0, 1.02), title=title)
    axes[0].set_ylabel("precision")
    return _legend(figure, axes, "lower", 3)


def _transforms(results: Results) -> Figure:
    rows = [row for row in _shown(results) if "transforms" in row.get("copies", {})]
    shown = [row for row in rows if row["name"] != "random" and "whitened" not in row["name"]]
    found = {row["name"]: row["copies"]["transforms"] for row in shown}
    first = found[rows[0]["name"]]
    names = sorted(first, key=lambda name: first[name]["recall_at_threshold"])
    figure, axes = _axes(3.1)
    for index, (name, transforms) in enumerate(found.items()):
        shares = [transforms[transform]["recall_at_threshold"] * 100 for transform in names]
        axes[0].plot(shares, label=name, linestyle="none" if index else "-", markersize=5 if index else 6)
    axes[0].set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    threshold = results["evaluation"]["settings"]["threshold"]
    axes[0].set(ylabel=f"found at {threshold}, %", ylim=(-3, 104))
    return _legend(figure, axes, "upper", len(shown))


def _stages(results: Results) -> Figure:
    rows = results["stage_shares"]["rows"]
    figure, axes = _axes(2.7, 2)
    for axis, (key, title) in zip(axes, {"labelled": "other views", "copies": "copies"}.items(), strict=True):
        for stage in _different([row for row in rows if row["share"] is not None], "varies"):
            kept = [row for row in rows if row["varies"] == stage]
            values = [row[key]["average_precision"] for row in kept]
            if len(kept) > 1:
                axis.plot([row["share"] for row in kept], values, label=stage)
            else:
                axis.axhline(values[0], linestyle=":", marker="", linewidth=0.8, label=stage)
        axis.set(xlabel="share", title=title)
    axes[0].set_ylabel("average precision")
    return _legend(figure, axes, "lower", 4)


def _end_to_end(results: Results) -> Figure:
    rows = results["bench_end_to_end"]["rows"]
    sizes, tools = _different(rows, "size"), _different(rows, "tool")
    figure, axes = _axes(0.24 * len(tools) + 0.9, len(sizes), sharey=True)
    for axis, size in zip(axes, sizes, strict=True):
        for row in (row for row in rows if row["size"] == size):
            look = {"color": "0.25"} if row["tool"].startswith("rrn") else {"color": "0.85", "hatch": "///"}
            axis.barh(tools.index(row["tool"]), row["images_per_s"], **look)
        parts = results["bench_end_to_end"]["best_parts"].get(size, {})
        for precision, line in (("fp32", "--"), ("bf16", ":")):
            if (speed := parts.get(f"images_per_s_{precision}")) is not None:
                axis.axvline(speed, linestyle=line, marker="", linewidth=1.5, label=f"best parts, {precision}")
        axis.grid(visible=False, axis="y")
        axis.set(title=size, xlabel="pictures per second")
    axes[0].set_yticks(range(len(tools)), tools, fontsize=9)
    axes[0].invert_yaxis()
    return _legend(figure, axes, "lower", 2)


def _decode(results: Results) -> Figure:
    rows = results["bench_decode"]["rows"]
    sizes, readers, formats = (_different(rows, key) for key in ("size", "reader", "format"))
    figure, axes = _axes(2.7, len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        found = {(row["format"], row["reader"]): row for row in rows if row["size"] == size}
        _bars(axis, formats, readers, found, "median_ms", "_ms")
        axis.set_xticks(range(len(formats)), [form.replace(" ", "\n") for form in formats], fontsize=8)
        axis.set_title(size)
    axes[0].set_ylabel("ms per picture, one thread")
    return _legend(figure, axes, "lower", len(readers))


def _network(results: Results) -> Figure:
    rows = results["bench_network"]["rows"]
    threads, batch = (max(row[key] for row in rows) for key in ("threads", "batch"))
    rows = [row for row in rows if (row["threads"], row["batch"]) == (threads, batch)]
    sizes, providers, precisions = (_different(rows, key) for key in ("size", "provider", "precision"))
    figure, axes = _axes(2.6, len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        found = {(row["precision"], row["provider"]): row for row in rows if row["size"] == size}
        _bars(axis, precisions, providers, found, "median_ms", "_ms")
        for bars in axis.containers:
            if isinstance(bars, BarContainer):
                axis.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axis.set_title(f"{size} × {size} pixels")
        axis.margins(y=0.12)
    axes[0].set_ylabel(f"ms per image, {threads} threads")
    return _legend(figure, axes, "lower", len(providers))


def _lines(axis: Any, rows: Sequence[Json], series: str, x: str, y: str) -> None:
    for name in _different(rows, series):
        kept = [row for row in rows if row[series] == name]
        axis.plot([row[x] for row in kept], [row[y] for row in kept], label=name)
    axis.set(xscale="log", yscale="log", xlabel="embeddings")


def _pairs(results: Results) -> Figure:
    content = results["bench_pairs"]
    threads = max(row["threads"] for row in content["paths"])
    figure, axes = _axes(3.0, 2, sharey=True)
    _lines(axes[0], content["rows"], "way", "rows", "median_s")
    _lines(axes[1], [row for row in content["paths"] if row["threads"] == threads], "path", "rows", "median_seconds")
    for axis, title in zip(axes, ("libraries", "instruction sets of rrn"), strict=True):
        axis.set_title(title)
        axis.legend(loc="upper left", fontsize=8)
    axes[0].set_ylabel("seconds")
    return figure


def _growth(results: Results) -> Figure:
    names = {"search": "search of embeddings", "program": "whole program, small pictures"}
    rows = [{**row, "label": names[row["what"]]} for row in results["bench_growth"]["rows"]]
    figure, axes = _axes(2.8, 2)
    for axis, key, label in zip(axes, ("median_s", "peak_mib"), ("seconds", "peak memory, MiB"), strict=True):
        _lines(axis, rows, "label", "count", key)
        axis.set(xlabel="embeddings or pictures", ylabel=label)
    kept = [row for row in rows if "input_mib" in row]
    look = {"linestyle": ":", "marker": "", "color": "0.4"}
    axes[1].plot([row["count"] for row in kept], [row["input_mib"] for row in kept], label="the embeddings", **look)
    axes[1].legend(fontsize=8)
    return figure


def _operator(results: Results) -> Figure:
    content = results["bench_operator"]
    batches = _different(content["rows"], "batch")
    found = {(row["batch"], f"{row['way']}, {row['type']}"): row for row in content["rows"]}
    figure, (axis,) = _axes(2.9, width=6.4)
    _bars(axis, batches, list(dict.fromkeys(name for _, name in found)), found, "gb_per_s", "")
    for index, moved in enumerate(content["bandwidth"]):
        best = max(number for key, number in moved.items() if key.startswith("read"))
        label = None if index else "fastest reading of as many bytes"
        axis.hlines(best, index - 0.45, index + 0.45, color="black", linestyle="--", linewidth=1.5, label=label)
    axis.set(xlabel="batch (feature maps of 224 × 224 pictures)", ylabel="input read, GB/s, one thread")
    axis.legend(fontsize=8)
    return figure


_ALL = (
    _architecture,
    _examples,
    _histograms,
    _curves,
    _transforms,
    _stages,
    _end_to_end,
    _decode,
    _network,
    _pairs,
    _growth,
)


def _study(name: str) -> Callable[[Results], Figure]:
    """Returns what draws the chart of a study's own page."""
    return lambda results: studies.report(name).chart(results[name])


_DRAWINGS: dict[str, Callable[[Results], Figure]] = {
    **{draw.__name__[1:]: draw for draw in (*_ALL, _operator)},
    # The others would make the document larger than a megabyte.
    **{name: _study(name) for name in ("circle", "quantisation", "tuning")},
}
