"""Writes findings/watch_precision.md and its chart from results/watch_precision.json; measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research.common import charts, machine, pages, precisions
from research.common.tables import table

Json = dict[str, Any]

_RUNTIMES = {"engine": "engine (ONNX Runtime)", "openvino": "OpenVINO", "torch": "PyTorch, its layers only"}


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    return pages.write("watch_precision", measured, folder, chart=chart, markdown=markdown)


def trained(value: Json) -> dict[str, list[Json]]:
    """Returns the rows of the detectors with trained weights, by detector."""
    return {name: each["rows"] for name, each in value["models"].items() if each["trained"]}


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the points (time, accuracy) that no other one beats in both, by time (the Pareto front)."""
    best: list[tuple[float, float]] = []
    for time, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((time, accuracy))
    return best


def chart(value: Json) -> Any:
    """Draws average precision against the median time of every row with trained weights, and the Pareto front."""
    figure, axes = charts.pyplot.subplots(figsize=(9.5, 4.6))
    points = []
    for colour, (name, rows) in enumerate(trained(value).items()):
        for number, row in enumerate(rows):
            points.append((row["p50_ms"], row["ap"]["value"]))
            axes.plot(
                *points[-1],
                linestyle="none",
                marker=charts.MARKERS[number % len(charts.MARKERS)],
                color=charts.COLOURS[colour],
                markerfacecolor="white" if row["runtime"] == "openvino" else None,
                label=f"{name} {row['precision']}, {row['runtime']}",
            )
    line = front(points)
    axes.step(*zip(*line, strict=True), where="post", color="0.6", linewidth=1, linestyle="--", zorder=0)
    axes.set_xscale("log")
    ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500) if min(line)[0] / 2 < tick < 2 * max(points)[0]]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("median time of the network and its boxes, ms (logarithmic)")
    axes.set_ylabel("average precision of COCO's people")
    charts.grid(axes)
    charts.legend_beside(figure, axes)
    return figure


def ran(row: Json) -> str:
    """Returns what really ran, in a few words."""
    found = row["ran"]
    if row["runtime"] == "torch":
        changed = found["replaced"]
        if not changed:
            return "all in fp32"
        words = [f"{changed[kind][0]} of {changed[kind][1]} {kind}" for kind in ("Linear", "Conv2d")]
        return f"replaced: {', '.join(words)}"
    text = precisions.share(found["convolutions"], "convolutions")
    if found["linear"] and "replaced" not in found:
        text += f", {precisions.share(found['linear'], 'linear layers')}"
    if row["runtime"] == "openvino" and found["asked"] in ("f16", "bf16"):
        return f"{text}; asked for {found['asked']}, compiled as {found['compiled']}"
    if found.get("casts", 0) > 1:
        text += f", {found['casts']} casts"
    if "replaced" in found:
        more = [f"{count} of {all_} {kind}" for kind, (count, all_) in found["replaced"].items() if kind != "Conv"]
        text += f"; replaced, too: {', '.join(more)}" if more else ""
    return text


def accuracy(row: Json) -> tuple[str, str]:
    """Returns the accuracy, and the difference to fp32 with its interval; for untrained weights the agreement."""
    if "ap" in row:
        ap, change = row["ap"], row["difference"]
        first = f"AP {ap['value']:.3f} ({ap['low']:.2f} to {ap['high']:.2f})"
        return first, f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    both = [f"{there:.0%} / {back:.0%}" for there, back in (row["agreement"]["at_0.5"], row["agreement"]["at_0.9"])]
    return f"agrees at IoU 0.5: {both[0]}", f"at 0.9: {both[1]}"


def sentences(value: Json) -> str:
    """Returns the two sentences of conclusion."""
    rows = [(name, row) for name, several in trained(value).items() for row in several]
    half = [row for _, row in rows if row["precision"] in ("fp16", "bf16")]
    real = [row for row in half if set(row["ran"]["convolutions"]) - {"float", "f32"}]
    slow = max(row["ratio"] for row in half if row["runtime"] == "engine")
    first = (
        f"Of the {len(half)} rows that ask for fp16 or bf16, {len(real) or 'not one'} computed a convolution in it on "
        f"this processor ({value['machine']['class']}): OpenVINO goes back to fp32, and ONNX Runtime converts to fp32 "
        f"around the layers, which takes up to {slow:.2f} times as long as fp32 and only makes the file smaller."
    )
    gains = []
    for name in trained(value):
        found = {(row["precision"], row["runtime"]): row for each, row in rows if each == name}
        eight, mixed, fast = found["int8", "engine"], found["mixed", "engine"], found["int8", "openvino"]
        gains.append(
            f"`{name}` in 8 bits takes {eight['ratio']:.2f} of the time of fp32 in the engine "
            f"({eight['difference']['value']:+.3f} AP; {mixed['ratio']:.2f} and {mixed['difference']['value']:+.3f} "
            f"with the heads in fp32) and {fast['ratio']:.2f} in OpenVINO ({fast['difference']['value']:+.3f} AP)"
        )
    return f"{first} {'; '.join(gains)}."


def dynamic(value: Json) -> str:
    """Returns what dynamic quantisation does to convolutions, and why."""
    text = (
        "Dynamic quantisation: ONNX Runtime replaces convolutions, too, by ones of whole numbers that look for the "
        "range of their input in each picture; "
    )
    parts = []
    for name, rows in trained(value).items():
        (row,) = [row for row in rows if row["precision"] == "dynamic"]
        changed, total = row["ran"]["replaced"]["Conv"]
        parts.append(f"`{name}` with {changed} of {total} replaced takes {row['ratio']:.2f} times as long as fp32")
    text += ", ".join(parts) + "."
    torch = [row for each in value["models"].values() for row in each["rows"] if row["runtime"] == "torch"]
    if torch:
        before, after = (row["ran"]["median_ms"] for row in torch)
        linear, convolution = (torch[1]["ran"]["replaced"][kind] for kind in ("Linear", "Conv2d"))
        text += (
            f" PyTorch's replaces {linear[0]} of {linear[1]} linear layers and {convolution[0]} of {convolution[1]} "
            "convolutions, although it is asked for both: it has no dynamically quantised convolution. The linear "
            f"layers take {before['Linear']:.0f} ms before and {after['Linear']:.0f} ms after."
        )
    return text


def noise(value: Json) -> str:
    """Returns how far rows that compute the same are apart: what of a ratio is the machine's load."""
    words = []
    for name, each in value["models"].items():
        same = [
            row["ratio"]
            for row in each["rows"]
            if row["runtime"] == "openvino" and row["ran"]["convolutions"].keys() == {"f32"}
        ]
        if len(same) > 1:
            words.append(f"`{name}` {min(same):.2f} to {max(same):.2f}")
    text = (
        "How much of a ratio is noise: OpenVINO's rows that all computed in fp32 are the same computation, and have "
        f"ratios of {', '.join(words)}."
    )
    torch = [row for each in value["models"].values() for row in each["rows"] if row["runtime"] == "torch"]
    if torch:
        spent = [row["ran"]["median_ms"]["Conv2d"] for row in torch]
        text += (
            f" PyTorch's convolutions, the same code in both rows, differ by a factor of {max(spent) / min(spent):.1f} "
            f"over {torch[0]['rounds']} pictures: its ratio, and those of the few pictures of Faster R-CNN, say little "
            "about the time and all about what ran."
        )
    return text


def markdown(value: Json) -> str:
    """Returns the page."""
    rows = []
    for name, each in value["models"].items():
        for row in each["rows"]:
            times = [f"{row[key]:.0f}" if row[key] >= 100 else f"{row[key]:.1f}" for key in ("p50_ms", "p95_ms")]
            rows.append(
                [
                    f"{name} {row['precision']}",
                    _RUNTIMES[row["runtime"]],
                    *times,
                    f"{row['ratio']:.2f}",
                    f"{row['bytes'] / 1e6:.1f}",
                    *accuracy(row),
                    ran(row),
                ]
            )
    header = ["detector", "runtime", "p50 ms", "p95 ms", "ratio", "MB", "accuracy", "to fp32", "what ran"]
    lines = [
        "# Person detectors in low precision",
        "",
        "Generated from `results/watch_precision.json` by `scripts/findings.sh`; measured by "
        "`research.watch.precision`, see `research/watch/README.md`.",
        "",
        sentences(value),
        "",
        *table(header, rows, [False, False, True, True, True, True, False, False, False]),
        "![average precision against the median time](watch_precision.png)",
        "",
        dynamic(value),
        "",
        noise(value),
        "",
        f"Measured on {machine.words(value)}; load after {value['load_after']}, {value['threads']} threads. "
        f"{_rounds(value)} Every picture went through all rows in turn. "
        "Times are those of the network and its boxes; ratio: of the medians, to fp32 in the engine (PyTorch's "
        "rows: to its own fp32). AP is that of COCO's people, in brackets the 95 % interval over 1,000 draws of the "
        "pictures; the difference is taken on the same draws. Where the weights are not trained, the accuracy says "
        "which share of the boxes of fp32 this row has, too / of this row's, fp32. int8: ranges from frames of two "
        "videos, the last layer of each head and what makes boxes of it in fp32; mixed: the heads whole in fp32. "
        "Batch 1 only: a detector takes one picture.",
    ]
    return "\n".join(lines) + "\n"


def _rounds(value: Json) -> str:
    words = []
    for name, each in value["models"].items():
        counts = sorted({row["rounds"] for row in each["rows"]}, reverse=True)
        words.append(f"{name} {counts[0]}" + (f" (PyTorch {counts[-1]})" if len(counts) > 1 else ""))
    return f"Pictures: {', '.join(words)}."
