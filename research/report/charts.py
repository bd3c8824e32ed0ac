"""The charts of the report, each from the JSON files alone, as PNG (for the documents) and SVG.

Everything is black, white and grey; series are told apart by shade and hatch or by marker and line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image as Pillow

from research.report.results import Json, NotMeasuredError, Results

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import FancyArrowPatch, Rectangle

_SHADES = ("0.2", "0.8", "0.5", "1.0", "0.65", "0.35")
_HATCHES = ("", "///", "...", "", "\\\\\\", "xxx")
_MARKERS = ("o", "s", "^", "D", "v", "x", "P")
_LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
_DPI = 200
_STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "font.size": 10,
    "mathtext.fontset": "stix",
    "axes.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": _DPI,
    # With a fixed salt and no date, the same chart is the same file.
    "svg.hashsalt": "rrn",
    "svg.fonttype": "path",
}
Figure = Any


class Charts:
    """Draws into a folder.

    Args:
        results: The numbers.
        folder: Where `KEY.png` and `KEY.svg` go; made if it is not there.
    """

    def __init__(self, results: Results, folder: Path) -> None:
        self._results = results
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, key: str) -> Path:
        """Draws the chart of that name and returns the PNG.

        Raises:
            NotMeasuredError: Its numbers are missing.
        """
        with pyplot.rc_context(_STYLE):
            return self._save(key, _DRAWINGS[key](self._results))

    def formula(self, key: str, latex: str, size: float = 13) -> tuple[Path, float]:
        """Renders a formula; returns the PNG and its width in inches."""
        with pyplot.rc_context(_STYLE):
            figure = pyplot.figure(figsize=(0.1, 0.1))
            figure.text(0, 0, f"${latex}$", fontsize=size)
            path = self._save(key, figure)
        pixels = pyplot.imread(path).shape[1]
        return path, pixels / _DPI

    def _save(self, key: str, figure: Figure) -> Path:
        path = self._folder / f"{key}.png"
        for place, metadata in (
            (path.with_suffix(".svg"), {"Date": None, "Creator": None}),
            (path, {"Software": None}),
        ):
            temporary = place.with_name(f".{place.name}.part")
            figure.savefig(temporary, format=place.suffix[1:], metadata=metadata, bbox_inches="tight", pad_inches=0.03)
            temporary.replace(place)
        pyplot.close(figure)
        # In grey levels the picture is the same and a third of the size.
        grey = path.with_name(f".{path.name}.part")
        with Pillow.open(path) as picture:
            picture.convert("L").save(grey, "PNG", optimize=True, dpi=(_DPI, _DPI))
        grey.replace(path)
        return path


def _axes(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", **options)
    return figure, axes


def _grid(axis: Any, which: str = "y") -> None:
    axis.grid(axis=which, color="0.85", linewidth=0.6)
    axis.set_axisbelow(True)


def _grouped_bars(
    axis: Any,
    groups: Sequence[str],
    series: Sequence[str],
    value: Callable[[str, str], float | None],
    spread: Callable[[str, str], tuple[float, float]] | None = None,
) -> None:
    width = 0.82 / len(series)
    for index, name in enumerate(series):
        found = [(at, value(group, name)) for at, group in enumerate(groups)]
        kept = [(at, number) for at, number in found if number is not None]
        errors = None
        if spread:
            ends = [spread(groups[at], name) for at, _ in kept]
            errors = [
                [n - low for (_, n), (low, _) in zip(kept, ends, strict=True)],
                [high - n for (_, n), (_, high) in zip(kept, ends, strict=True)],
            ]
        axis.bar(
            [at - 0.41 + width * (index + 0.5) for at, _ in kept],
            [number for _, number in kept],
            width * 0.94,
            yerr=errors,
            label=name,
            color=_SHADES[index % len(_SHADES)],
            hatch=_HATCHES[index % len(_HATCHES)],
            edgecolor="black",
            linewidth=0.6,
            error_kw={"elinewidth": 0.7, "capsize": 1.5},
        )
    axis.set_xticks(range(len(groups)), groups)
    _grid(axis)


def _find(rows: Sequence[Json], **wanted: Any) -> Json | None:
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), None)


def _architecture(results: Results) -> Figure:
    """The network with its four taps; sizes are those of a 224 x 224 input."""
    figure, axis = _axes(7.2, 3.0)
    axis.set(xlim=(0, 14.6), ylim=(-0.35, 5.6))
    axis.axis("off")

    def box(x: float, y: float, width: float, height: float, text: str, shade: str = "1.0", size: float = 9) -> None:
        axis.add_patch(Rectangle((x, y), width, height, facecolor=shade, edgecolor="black", linewidth=0.8))
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, linespacing=1.25)

    def arrow(start: tuple[float, float], end: tuple[float, float], line: str = "-") -> None:
        axis.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=8, linewidth=0.8, linestyle=line, color="black"
            )
        )

    box(0, 3.9, 1.5, 1.3, "image\n3×224×224", "0.93")
    box(1.95, 3.9, 1.55, 1.3, "stem\n64×56×56")
    arrow((1.5, 4.55), (1.95, 4.55))
    stages = [("layer1", 64, 56), ("layer2", 128, 28), ("layer3", 256, 14), ("layer4", 512, 7)]
    before = 3.5
    for index, (name, channels, side) in enumerate(stages):
        x = 4.0 + index * 1.95
        box(x, 3.9, 1.55, 1.3, f"{name}\n{channels}×{side}×{side}", "0.93" if index % 2 else "1.0")
        arrow((before, 4.55), (x, 4.55))
        before = x + 1.55
        box(x, 2.25, 1.55, 0.75, f"mean of {side}×{side}", size=8)
        arrow((x + 0.775, 3.9), (x + 0.775, 3.0))
        repeats = 512 // channels
        box(x, 0.75, 1.55, 0.95, f"{channels} → 512\neach {repeats}×", "0.8" if repeats > 1 else "1.0", 8.5)
        arrow((x + 0.775, 2.25), (x + 0.775, 1.7))
        axis.plot([x + 0.775, x + 0.775], [0.75, 0.2], color="black", linewidth=0.8)
    axis.plot([4.775, 10.625], [0.2, 0.2], color="black", linewidth=0.8)
    arrow((10.625, 0.2), (12.15, 0.2))
    box(12.15, -0.3, 2.3, 1.0, "mean of the four\nembedding: 512", "0.93")
    axis.add_patch(Rectangle((3.72, -0.35), 10.85, 3.55, fill=False, edgecolor="black", linewidth=0.8, linestyle="--"))
    axis.text(14.4, 2.75, "the operator", ha="right", va="center", fontsize=10, style="italic")
    return figure


def short_name(path: str) -> str:
    """The file's name, with its folder where that tells two apart."""
    return path.rsplit("/", 1)[-1]


def _examples(results: Results) -> Figure:
    pairs = results.get("example:pairs")
    groups = results.get("example:result.groups")
    names = [image["path"] for image in results.get("example:result.images")]
    order = [path for group in groups for path in (group["representative"], *(m["path"] for m in group["members"]))]
    order += [path for path in names if path not in order]
    at = {path: index for index, path in enumerate(order)}
    threshold = results.get("example:result.threshold")
    count = len(order)
    figure, axis = _axes(6.9, 5.9)
    values = [[0.0] * count for _ in range(count)]
    for pair in pairs:
        row, column = sorted((at[pair["first"]], at[pair["second"]]), reverse=True)
        values[row][column] = pair["similarity"]
    for row in range(count):
        for column in range(row):
            value = values[row][column]
            shade = 1 - 0.75 * max(value, 0)
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=str(shade), edgecolor="white"))
            axis.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if shade < 0.55 else "black",
                fontweight="bold" if value > threshold else "normal",
            )
            if value > threshold:
                axis.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor="black"))
    axis.set(xlim=(-0.5, count - 1.5), ylim=(count - 0.5, 0.5))
    axis.set_yticks(range(1, count), [short_name(path) for path in order[1:]], fontsize=8)
    axis.set_xticks(range(count - 1), [short_name(path) for path in order[:-1]], fontsize=8, rotation=60, ha="right")
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


def _histograms(results: Results) -> Figure:
    rows = [row for row in results.get("evaluation:rows") if "histograms" in row.get("groups", {})]
    if not rows:
        raise NotMeasuredError("evaluation.json has no histograms")
    shown = [row for row in rows if not row["name"].endswith("Hash")][:4]
    figure, axes = _axes(7.2, 2.3, len(shown), sharey=True, squeeze=False)
    threshold = results.get("evaluation:settings.threshold")
    for axis, row in zip(axes[0], shown, strict=True):
        histograms = row["groups"]["histograms"]
        bins = len(histograms["same"])
        step = (histograms["to"] - histograms["from"]) / bins
        edges = [histograms["from"] + step * index for index in range(bins + 1)]
        for name, label, style in (("different", "unrelated", "-"), ("same", "same thing", "--")):
            total = sum(histograms[name])
            axis.stairs(
                [count / total * 100 for count in histograms[name]],
                edges,
                label=label,
                color="black" if name == "same" else "0.45",
                linestyle=style,
                fill=False,
                linewidth=1.1,
            )
        axis.axvline(threshold, color="black", linewidth=0.8, linestyle=":")
        axis.set(xlim=(-0.4 if histograms["different"][: bins // 2 - 5].count(0) < bins // 2 - 5 else 0, 1.02))
        axis.set_title(row["name"].replace(", ", ",\n"), fontsize=9)
        axis.set(xlabel="cosine", yscale="symlog")
        _grid(axis)
    axes[0][0].set_ylabel("share of pairs, %")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _curves(results: Results) -> Figure:
    rows = results.get("evaluation:rows")
    figure, axes = _axes(7.2, 3.3, 2, sharey=True)
    for axis, part, title in ((axes[0], "groups", "labelled photos"), (axes[1], "copies", "copies against originals")):
        for index, row in enumerate(rows):
            curve = row.get(part, {}).get("curve")
            if not curve:
                continue
            axis.plot(
                curve["recall"],
                curve["precision"],
                color="black" if index % 2 == 0 else "0.45",
                linestyle=_LINES[index % len(_LINES)],
                marker=_MARKERS[index % len(_MARKERS)],
                markevery=(index * 4, 28),
                markersize=4,
                linewidth=1,
                label=row["name"],
            )
        axis.set(xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        axis.set_title(title, fontsize=10)
        _grid(axis, "both")
    axes[0].set_ylabel("precision")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _transforms(results: Results) -> Figure:
    rows = results.get("evaluation:rows")
    first = rows[0]["copies"]["transforms"]
    shown = [row for row in rows if "transforms" in row.get("copies", {}) and row["name"] != "random"]
    shown = [row for row in shown if "whitened" not in row["name"]]
    names = sorted(first, key=lambda name: first[name]["recall_at_threshold"])
    figure, axis = _axes(7.2, 3.1)
    for index, row in enumerate(shown):
        transforms = row["copies"]["transforms"]
        axis.plot(
            range(len(names)),
            [transforms[name]["recall_at_threshold"] * 100 for name in names],
            linestyle="-" if index == 0 else "none",
            linewidth=0.8,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=6 if index == 0 else 5,
            markerfacecolor="black" if index == 0 else "white",
            color="black",
            label=row["name"],
        )
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    axis.set(ylabel=f"found at {results.get('evaluation:settings.threshold')}, %", ylim=(-3, 104))
    _grid(axis, "both")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(shown))
    return figure


def _end_to_end(results: Results) -> Figure:
    sizes = results.values("bench_end_to_end:rows", "size")
    tools = results.values("bench_end_to_end:rows", "tool")
    figure, axes = _axes(7.2, 0.24 * len(tools) + 0.9, len(sizes), sharey=True, squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        for row in results.rows("bench_end_to_end:rows", size=size):
            ours = row["tool"].startswith("rrn")
            axis.barh(
                tools.index(row["tool"]),
                row["images_per_s"],
                color="0.25" if ours else "0.85",
                hatch="" if ours else "///",
                edgecolor="black",
                linewidth=0.6,
            )
        parts = results.get("bench_end_to_end:best_parts").get(size, {})
        for precision, style in (("fp32", "--"), ("bf16", ":")):
            if parts.get(f"images_per_s_{precision}") is not None:
                axis.axvline(
                    parts[f"images_per_s_{precision}"],
                    color="black",
                    linestyle=style,
                    label=f"best parts, {precision}",
                )
        axis.set_title(size, fontsize=10)
        axis.set(xlabel="pictures a second")
        _grid(axis, "x")
    axes[0][0].set_yticks(range(len(tools)), tools, fontsize=9)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _decode(results: Results) -> Figure:
    rows = results.get("bench_decode:rows")
    sizes = results.values("bench_decode:rows", "size")
    readers = results.values("bench_decode:rows", "reader")
    formats = results.values("bench_decode:rows", "format")
    figure, axes = _axes(7.2, 2.7, len(sizes), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):

        def value(form: str, reader: str, key: str = "median_ms", size: str = size) -> float | None:
            row = _find(rows, size=size, format=form, reader=reader)
            return row[key] if row else None

        _grouped_bars(
            axis,
            formats,
            readers,
            value,
            lambda form, reader, value=value: (value(form, reader, "low_ms"), value(form, reader, "high_ms")),
        )
        axis.set_xticks(range(len(formats)), [form.replace(" ", "\n") for form in formats], fontsize=8)
        axis.set_title(size, fontsize=10)
    axes[0][0].set_ylabel("ms a picture, one thread")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(readers))
    return figure


def _network(results: Results) -> Figure:
    rows = results.get("bench_network:rows")
    sizes = results.values("bench_network:rows", "size")
    threads = max(row["threads"] for row in rows)
    batch = max(row["batch"] for row in rows)
    chosen = [row for row in rows if row["threads"] == threads and row["batch"] == batch]
    names = list(dict.fromkeys(f"{row['provider']}\n{row['precision']}" for row in chosen))
    figure, axes = _axes(7.2, 2.5, len(sizes), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        found = {f"{row['provider']}\n{row['precision']}": row for row in chosen if row["size"] == size}
        kept = [name for name in names if name in found]
        bars = axis.bar(
            range(len(kept)),
            [found[name]["median_ms"] for name in kept],
            yerr=[
                [found[name]["median_ms"] - found[name]["low_ms"] for name in kept],
                [found[name]["high_ms"] - found[name]["median_ms"] for name in kept],
            ],
            color=["0.35" if name.startswith("cpu") else "0.85" for name in kept],
            hatch=["" if name.startswith("cpu") else "///" for name in kept],
            edgecolor="black",
            linewidth=0.6,
            error_kw={"elinewidth": 0.7, "capsize": 2},
        )
        axis.bar_label(bars, [f"{found[name]['median_ms']:.1f}" for name in kept], fontsize=8, padding=2)
        axis.set_xticks(range(len(kept)), kept, fontsize=8)
        axis.set_title(f"{size} × {size} pixels", fontsize=10)
        axis.margins(y=0.12)
        _grid(axis)
    axes[0][0].set_ylabel(f"ms an image, {threads} threads")
    return figure


def _pairs(results: Results) -> Figure:
    rows = results.get("bench_pairs:rows")
    paths = results.get("bench_pairs:paths")
    figure, axes = _axes(7.2, 3.0, 2, sharey=True)
    for index, way in enumerate(results.values("bench_pairs:rows", "way")):
        chosen = [row for row in rows if row["way"] == way]
        axes[0].plot(
            [row["rows"] for row in chosen],
            [row["median_s"] for row in chosen],
            marker=_MARKERS[index],
            linestyle=_LINES[index],
            color="black",
            markerfacecolor="black" if index == 0 else "white",
            label=way,
        )
    threads = max(row["threads"] for row in paths)
    for index, path in enumerate(results.values("bench_pairs:paths", "path")):
        chosen = [row for row in paths if row["path"] == path and row["threads"] == threads]
        axes[1].plot(
            [row["rows"] for row in chosen],
            [row["median_seconds"] for row in chosen],
            marker=_MARKERS[index],
            linestyle=_LINES[index],
            color="black",
            markerfacecolor="black" if index == 0 else "white",
            label=path,
        )
    for axis, title in ((axes[0], "libraries"), (axes[1], "instruction sets of rrn")):
        axis.set(xscale="log", yscale="log", xlabel="embeddings")
        axis.set_title(title, fontsize=10)
        axis.legend(loc="upper left", fontsize=8)
        _grid(axis, "both")
    axes[0].set_ylabel("seconds")
    return figure


def _growth(results: Results) -> Figure:
    figure, axes = _axes(7.2, 2.8, 2)
    rows = results.get("bench_growth:rows")
    for axis, key, words in ((axes[0], "median_s", "seconds"), (axes[1], "peak_mib", "peak memory, MiB")):
        for what, marker, line, label in (
            ("search", "o", "-", "search of embeddings"),
            ("program", "s", "--", "whole program, small pictures"),
        ):
            chosen = [row for row in rows if row["what"] == what]
            axis.plot(
                [row["count"] for row in chosen],
                [row[key] for row in chosen],
                marker=marker,
                linestyle=line,
                color="black",
                markerfacecolor="black" if what == "search" else "white",
                label=label,
            )
        if key == "peak_mib":
            chosen = [row for row in rows if "input_mib" in row]
            axis.plot(
                [row["count"] for row in chosen],
                [row["input_mib"] for row in chosen],
                linestyle=":",
                color="0.4",
                label="the embeddings themselves",
            )
            axis.legend(fontsize=8)
        axis.set(xscale="log", yscale="log", xlabel="embeddings or pictures", ylabel=words)
        _grid(axis, "both")
    return figure


def _operator(results: Results) -> Figure:
    rows = results.get("bench_operator:rows")
    batches = [str(batch) for batch in results.values("bench_operator:rows", "batch")]
    series = list(dict.fromkeys(f"{row['way']}, {row['type']}" for row in rows))
    figure, axis = _axes(6.4, 2.9)

    def value(batch: str, name: str) -> float | None:
        way, kind = name.split(", ")
        row = _find(rows, batch=int(batch), way=way, type=kind)
        return row["gb_per_s"] if row else None

    _grouped_bars(axis, batches, series, value)
    for index, moved in enumerate(results.get("bench_operator:bandwidth")):
        best = max(number for key, number in moved.items() if key.startswith("read"))
        axis.plot(
            [index - 0.45, index + 0.45],
            [best, best],
            color="black",
            linestyle="--",
            label="fastest reading of as many bytes" if index == 0 else None,
        )
    axis.set(xlabel="batch (feature maps of 224 × 224 pictures)", ylabel="input read, GB/s, one thread")
    axis.legend(fontsize=8)
    return figure


_DRAWINGS: dict[str, Callable[[Results], Figure]] = {
    "architecture": _architecture,
    "examples": _examples,
    "histograms": _histograms,
    "curves": _curves,
    "transforms": _transforms,
    "end_to_end": _end_to_end,
    "decode": _decode,
    "network": _network,
    "pairs": _pairs,
    "growth": _growth,
    "operator": _operator,
}
