"""Writes findings/circle.md and its charts from results/circle.json; measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.patches import Circle

from research.circle import data
from research.common import charts, machine, pages, results
from research.common.tables import table

Json = dict[str, Any]

_CURVES = ("one", "two processes", "two nodes", "sharded", "mean of means")
_AIMS = {
    "centre_px_below_1": "at 100 pixels the mean centre error is below 1 pixel",
    "radius_px_below_1": "at 100 pixels the mean radius error is below 1 pixel",
    "colour_all": "at 100 pixels every colour is right",
    "iou_above_0.95": "at 100 pixels the mean IoU is above 0.95",
    "others_within_1_percent": "at every other size both mean errors are within 1 % of the side",
}


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its charts, see :func:`research.common.pages.write`; returns all files."""
    value = results.read(measured / "circle.json")
    others = {folder / "circle_predictions.png": predictions(value), folder / "circle_curves.png": curves(value)}
    for path, figure in others.items():
        charts.save(figure, path)
    return [*pages.write("circle", measured, folder, chart=chart, markdown=markdown), *others]


def chart(value: Json) -> Any:
    """Draws the errors by size, and the overlap."""
    figure, (left, right) = charts.pyplot.subplots(1, 2, figsize=(11, 4))
    rows = value["sizes"]
    sides = [row["side"] for row in rows]
    lines = [("centre, mean", "centre_px", "value"), ("centre, 95 % of the pictures", "centre_px", "p95")]
    lines += [("radius, mean", "radius_px", "value"), ("radius, 95 % of the pictures", "radius_px", "p95")]
    for number, (name, key, part) in enumerate(lines):
        left.plot(sides, [row[key][part] for row in rows], label=name, **_style(number))
    left.plot(sides, [side / 100 for side in sides], label="1 % of the side", color="0.5", linestyle=":")
    left.set_yscale("log")
    left.set_ylabel("error, pixels")
    for number, (name, part) in enumerate((("IoU, mean", "value"), ("IoU, least", "least"))):
        right.plot(sides, [row["iou"][part] for row in rows], label=name, **_style(number))
    right.axhline(0.95, color="0.5", linestyle=":", label="the aim for the mean")
    right.set_ylabel("IoU")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks([64, 100, 128, 256, 512], ["64", "100", "128", "256", "512"])
        axes.set_xlabel("side of the picture, pixels")
        axes.legend(frameon=False, fontsize=8)
        charts.grid(axes)
    figure.tight_layout()
    return figure


def _style(number: int) -> Json:
    return {
        "linestyle": charts.DASHES[number],
        "marker": charts.MARKERS[number],
        "color": charts.COLOURS[number],
    }


def curves(value: Json) -> Any:
    """Draws the training's loss, and short trainings by one process and by several over each other."""
    figure, (left, right) = charts.pyplot.subplots(1, 2, figsize=(11, 4))
    found = value["training"]["curve"]
    left.plot(range(1, len(found) + 1), found, color="0.15", linewidth=0.7)
    left.set_yscale("log")
    left.set_title("training, two processes")
    for number, way in enumerate(_CURVES):
        curve = value["processes"]["curves"][way]
        steps = range(1, len(curve) + 1)
        style = _style(number) | {"markevery": (2 * number, 8), "markersize": 9 - 2 * number}
        right.plot(steps, curve, label=way, linewidth=3.4 - 0.6 * number, **style)
    right.set_title(f"the same batches of {value['processes']['batch']}")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        charts.grid(axes)
    figure.tight_layout()
    return figure


def predictions(value: Json) -> Any:
    """Draws pictures with the true circle (a grey band) and the found one (a black line on it)."""
    figure, grid = charts.pyplot.subplots(2, 4, figsize=(11, 5.6))
    for axes, example in zip(grid.flat, value["examples"], strict=True):
        shown = data.Label(**example["label"])
        axes.imshow(data.draw(shown), extent=(0, shown.width, shown.height, 0), interpolation="nearest")
        x, y, radius = example["circle"]
        circles = (((shown.x, shown.y), shown.radius, "0.7", 3.5), ((x, y), radius, "black", 0.9))
        for middle, size, colour, width in circles:
            axes.add_patch(Circle(middle, size, fill=False, edgecolor=colour, linewidth=width))
            axes.plot(*middle, marker="+", color=colour, markersize=7, markeredgewidth=width)
        off = ((x - shown.x) ** 2 + (y - shown.y) ** 2) ** 0.5
        words = f"{shown.width} x {shown.height}: {data.COLOURS[example['colour']]}"
        axes.set_title(f"{words}\ncentre {off:.2f} px, radius {radius - shown.radius:+.2f} px off", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    return figure


def figures(value: Json) -> list[str]:
    """Returns the lines of the README's figures."""
    at = {row["side"]: row for row in value["sizes"]}
    worst = max(max(row["centre_share"], row["radius_share"]) for row in value["sizes"])
    found = value["processes"]["difference"]
    return [
        f"At 100 pixels ({at[100]['pictures']} pictures) the mean error is {_px(at[100], 'centre')} for the centre and "
        f"{_px(at[100], 'radius')} for the radius, the mean IoU {at[100]['iou']['value']:.4f}, and "
        f"{at[100]['colour']['value']:.1%} of the colours are right; at all sizes from {min(at)} to {max(at)} the mean "
        f"errors are at most {worst:.2%} of the side. {value['training']['parameters']:,} parameters, "
        f"{value['training']['config']['steps']} steps of {value['training']['config']['batch']} pictures. "
        f"{_aims(value)}",
        "",
        f"Over {value['processes']['steps']} steps the loss of two processes differs from that of one by at most "
        f"{found['two processes']:.0e} of it, that of two nodes by {found['two nodes']:.0e}, with sharded parameters "
        f"by {found['sharded']:.0e}, and with each process's own mean by {found['mean of means']:.0e}. ONNX Runtime "
        f"differs from PyTorch by at most {value['onnx']['most_px']:.4f} pixels, and a picture in a padded batch from "
        f"the picture alone by {value['alone_or_padded_px']:.0e} pixels.",
        "",
        f"{_fastest(value)} {_costs(value)}",
    ]


def _fastest(value: Json) -> str:
    """Which way is the fastest for each spread of sizes, with gradients."""
    parts = []
    rows = value["unequal"]["rows"]
    for spread in dict.fromkeys(row["spread"] for row in rows):
        times = {row["way"]: row["step"]["median_ms"] for row in rows if row["spread"] == spread}
        (low, high) = next(row["sides"] for row in rows if row["spread"] == spread)
        best = min(times, key=lambda way: times[way])
        sides = f"sides of {low}" if low == high else f"sides of {low} to {high}"
        parts.append(
            f"{sides}: {best} (padded {times['padded'] / times[best]:.1f}, nested {times['nested'] / times[best]:.1f} "
            "times its time)"
        )
    return f"The fastest way through a batch, with gradients, is for {'; for '.join(parts)}."


def _costs(value: Json) -> str:
    """What mistakes that raise no error cost."""
    rows = {row["bug"]: row for row in value["first_attempt"]["rows"] if "raises" not in row}
    parts = [
        f"{name} {row['centre_px']['value']:.1f} px and {row['colour_reported']:.0%}" for name, row in rows.items()
    ]
    return (
        f"First attempts after {value['first_attempt']['steps']} steps, one training of one seed each, mean centre "
        "error and colours as reported: "
        f"{'; '.join(parts)}."
    )


def _px(row: Json, name: str) -> str:
    found = row[f"{name}_px"]
    return f"{found['value']:.3f} px ({found['low']:.3f} to {found['high']:.3f})"


def _aims(value: Json) -> str:
    missed = [words for name, words in _AIMS.items() if not value["aims"][name]]
    return "All aims are reached." if not missed else f"Not reached: {'; '.join(missed)}."


def markdown(value: Json) -> str:
    """Returns the page."""
    lines = [
        "# One circle",
        "",
        "Generated from `results/circle.json` by `scripts/findings.sh`; measured by `research.circle.run`, see "
        "`research/circle/README.md`.",
        "",
        *figures(value),
        "",
        f"Measured on {machine.words(value)}.",
        "",
        *_sizes(value),
        *_training(value),
        *_unequal(value),
        *_attempts(value),
        *_onnx(value),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _sizes(value: Json) -> list[str]:
    header = ["side", "centre, px", "p95", "max", "radius, px", "p95", "max", "IoU", "least", "colour"]
    named = [(str(row["side"]), row) for row in value["sizes"]]
    named.append(("{} to {}, unequal".format(*value["mixed_sizes"]["sides"]), value["mixed_sizes"]))
    named += [(f"{row['side']}, ruler", row) for row in value["ruler"]]
    rows = []
    for name, row in named:
        cells = [f"{row[key][part]:.4f}" for key in ("centre_px", "radius_px") for part in ("value", "p95", "max")]
        rows.append([name, *cells, f"{row['iou']['value']:.4f}", f"{row['iou']['least']:.4f}", _colour(row)])
    return [
        "## Errors by size",
        "",
        "![errors and overlap against the side of the picture](circle.png)",
        "",
        *table(header, rows),
        f"{value['sizes'][0]['pictures']} pictures of each size, none of them trained on. The ruler takes area and "
        "centre of mass of what is not white: nothing is learned, and it misses what 8 bits of a pixel cannot say. "
        "Where all colours are right, the share in brackets is the least that 95 % confidence leaves possible.",
        "",
        "![pictures with the true circle, grey, and the found one, black](circle_predictions.png)",
        "",
    ]


def _colour(row: Json) -> str:
    found = row["colour"]
    return f"{found['value']:.1%}" + (f" (above {found['at_least']:.1%})" if found["at_least"] is not None else "")


def _training(value: Json) -> list[str]:
    found = value["processes"]
    rows = [[way, f"{each:.1e}"] for way, each in found["difference"].items()]
    return [
        "## One process or several",
        "",
        "![loss curves](circle_curves.png)",
        "",
        *table(["way", "greatest relative difference of the loss to one process"], rows),
        f"{found['steps']} steps with the same batches of {found['batch']} pictures, of which two processes have "
        f"{found['parts'][0]} and {found['parts'][1]}. DistributedDataParallel takes the mean of the gradients over "
        'the processes. "mean of means" is the loss as a mean over each process\'s own pictures: where the parts are '
        'unequal, the pictures of the smaller part weigh more. "sharded" is FSDP.',
        "",
    ]


def _unequal(value: Json) -> list[str]:
    found = value["unequal"]
    rows = []
    for row in found["rows"]:
        times = [f"{row[name]['median_ms']:.0f}" for name in ("answer", "step")]
        shares = [f"{row['filled']:.0%}", *times, f"{row['peak_mib']:.0f}", f"{row['difference']['px']:.0e}"]
        rows.append([f"{row['sides'][0]} to {row['sides'][1]}", row["way"], *shares])
    header = ["sides", "way", "pixels in use", "answers, ms", "with gradients, ms", "peak, MiB", "difference, px"]
    said = [
        [row["operator"], row["on"], row["layout"], row["error"] or "works", _gradient(row)]
        for row in found["operators"]
    ]
    without = found["without_masks"]
    return [
        "## Unequal sizes in a batch",
        "",
        *table(header, rows, [False, False, *[True] * 5]),
        f"Batches of {found['count']} pictures on one thread. Pixels in use is the share of one padded batch that is "
        "no padding; the difference is to each picture alone. Without masks, answers would change by up to "
        f"{without['black']['px']:.0f} pixels with black padding, and by {without['white']['px']:.2f} with padding in "
        "the canvas's white.",
        "",
        "What torch.nested can do here:",
        "",
        *table(["operator", "on", "layout", "result", "gradient"], said, [False] * 5),
    ]


def _gradient(row: Json) -> str:
    return "-" if row["error"] else row["gradient_error"] or "works"


def _attempts(value: Json) -> list[str]:
    found = value["first_attempt"]
    rows = []
    for row in found["rows"]:
        if "raises" in row:
            cells = [row["raises"], "-", "-", "-", "-"]
        else:
            errors = [f"{row[name]['value']:.2f}" for name in ("centre_px", "radius_px")]
            cells = ["trains", *errors, f"{row['colour']['value']:.1%}", f"{row['colour_reported']:.1%}"]
        rows.append([row["bug"], row["symptom"] or "-", *cells])
    header = ["mistake", "what its guard says", "training", "centre, px", "radius, px", "colour", "colour as reported"]
    return [
        "## The usual first attempt",
        "",
        f"A network of three convolutions, batch normalisation and a linear layer for pictures of {found['side']} "
        f"pixels, trained for {found['steps']} steps of {found['batch']} pictures, and the same with one mistake each. "
        "Each row is one training of one seed, which decides nothing between rows whose errors are near each other: "
        "only what the guards say and differences of an order of magnitude count.",
        "",
        *table(header, rows, [False, False, False, *[True] * 4]),
    ]


def _onnx(value: Json) -> list[str]:
    found = value["onnx"]
    rows = [[" to ".join(map(str, row["sides"])), f"{row['px']:.1e}", f"{row['logits']:.1e}"] for row in found["rows"]]
    return [
        "## As an ONNX file",
        "",
        *table(["sides", "difference to PyTorch, px", "of a logit"], rows),
        f"{found['bytes'] // 1000} kB, opset {found['opset']}, any number of pictures of any size; ONNX Runtime with "
        f"the engine's settings. At 100 pixels its mean errors are {found['at_100']['centre_px']['value']:.3f} and "
        f"{found['at_100']['radius_px']['value']:.3f} pixels.",
    ]
