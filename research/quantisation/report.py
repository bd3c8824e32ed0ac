"""Writes findings/quantisation.md and its chart from results/quantisation.json; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import ticker

from research.common import charts, machine, pages, precisions, results
from research.common.tables import table
from research.quantisation.choose import built, is_harmless, quality, reason, title, to_ship

Json = dict[str, Any]

_LAYERS = {"convolutions": "convolutions", "linear": "linear layers", "products": "matrix products"}
_COLOURS = {"PyTorch": 0, "ONNX Runtime": 1, "OpenVINO": 2}


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see `research.common.pages.write`; with served forms where they were measured."""
    served = measured / "quantisation_served.json"
    more = behind_a_server(results.read(served)) if served.is_file() else []

    def page(value: Json) -> str:
        return markdown(value, more)

    return pages.write("quantisation", measured, folder, chart=chart, markdown=page)


def chart(value: Json) -> Any:
    """Draws quality against the median time of every form, a panel for each network, and the Pareto front."""
    networks = value["networks"]
    figure, panels = charts.pyplot.subplots(1, len(networks), figsize=(4.2 * len(networks), 4.4), squeeze=False)
    for axes, (name, network) in zip(panels[0], networks.items(), strict=True):
        rows = built(network)
        for number, row in enumerate(rows):
            if row["slow"]:
                continue
            axes.plot(
                row["p50_ms"],
                quality(row),
                linestyle="none",
                marker=charts.MARKERS[number % len(charts.MARKERS)],
                color=charts.COLOURS[_COLOURS[row["runtime"]]],
                markerfacecolor=None if row["frontier"] else "white",
                # Only what is on the front is named; the page has the others.
                label=title(row) if row["frontier"] else None,
            )
        best = sorted((row["p50_ms"], quality(row)) for row in rows if row["frontier"])
        axes.step(*zip(*best, strict=True), where="post", color="0.6", linewidth=1, linestyle="--", zorder=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set_title(name)
        axes.set_xlabel("median ms, batch 1 (logarithmic)")
        axes.set_ylabel("accuracy" if network["judged_by"] == "accuracy" else "least cosine to fp32")
        charts.grid(axes)
        axes.legend(fontsize=5.5, loc="lower right")
    figure.tight_layout()
    return figure


def ran(row: Json) -> str:
    """Returns what really ran, in a few words."""
    found = row["ran"]
    if row["runtime"] == "PyTorch":
        return _ran_in_torch(found)
    parts = [precisions.share(found[key], words) for key, words in _LAYERS.items() if found.get(key)]
    text = ", ".join(parts)
    if found.get("asked", "f32") != "f32":
        text += f"; asked for {found['asked']}, compiled as {found['compiled']}"
    if found.get("casts", 0) > 2:
        text += f", {found['casts']} casts"
    return text


def _ran_in_torch(found: Json) -> str:
    if "replaced" in found:
        words = [f"{changed} of {count} {kind}" for kind, (changed, count) in found["replaced"].items() if count]
        text = f"replaced: {', '.join(words)}"
    elif found["outputs"]:
        kinds: dict[str, int] = {}
        for name, count in found["outputs"].items():
            kind = name.split()[-1]
            kinds[kind] = kinds.get(kind, 0) + count
        text = precisions.share(kinds, "layers")
    else:
        text = "types not read"
    if "graphs" in found:
        text += f"; {found['graphs']} graphs, {found['graph_breaks']} breaks"
    return text


def rows_of(network: Json, instructions: Sequence[str]) -> list[list[str]]:
    """Returns the cells of a network's table, the fastest form first."""
    best = to_ship(network)
    base = network["rows"][0]
    cells = []
    for row in sorted(built(network), key=lambda row: row["p50_ms"]):
        gain, accuracy, difference = row["speedup"], row["accuracy"], row["difference"]
        agreement = row["agreement"]
        cells.append(
            [
                f"{title(row)}{' ◆' if row['frontier'] else ''}",
                f"{row['megabytes']:.1f}",
                f"{row['p50_ms']:.1f} / {_number(row['p95_ms'], '.1f')}",
                f"{row['images_per_s']:.1f}",
                f"{gain['value']:.2f} ({_number(gain['low'], '.2f')} to {_number(gain['high'], '.2f')})",
                f"{accuracy['value']:.3f} ({accuracy['low']:.2f} to {accuracy['high']:.2f})" if accuracy else "-",
                f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
                if difference
                else "-",
                f"{agreement['same_class']:.1%}" if "same_class" in agreement else "-",
                f"{agreement['least_cosine']:.4f}",
                ran(row),
                f"{row['build_s']:.1f}",
                reason(row, best, base, instructions),
            ]
        )
    return cells


def _number(value: float | None, form: str) -> str:
    """Returns a number, or "-" for none: a slow form was timed once."""
    return "-" if value is None else format(value, form)


_HEADER = [
    *("form", "MB", "p50 / p95 ms", "images/s", "times as fast", "accuracy", "to fp32", "same class", "least cosine"),
    *("what ran", "build s", "why (not)"),
]
_RIGHT = [False, True, True, True, True, False, False, True, True, False, True, False]


def behind_a_server(value: Json) -> list[str]:
    """Returns the lines about the forms behind a Triton server.

    Args:
        value: What `research.quantisation.served` measured.
    """
    cells = []
    for name, network in value["networks"].items():
        for case in network["cases"]:
            (base,) = (
                each
                for each in network["cases"]
                if each["form"] == "onnx" and each["concurrency"] == case["concurrency"]
            )
            cells.append(
                [
                    f"{name} {case['words']}",
                    str(case["concurrency"]),
                    f"{case['per_second']:.1f}",
                    f"{case['per_second'] / base['per_second']:.2f}",
                    f"{case['p50_ms']:.1f} / {case['p95_ms']:.1f}",
                    f"{case['compute_ms']:.1f}",
                ]
            )
    header = ["form", "in flight", "pictures/s", "ratio to fp32", "p50 / p95 ms", "computing, ms"]
    return [
        "## Behind a Triton server",
        "",
        f"{value['server']}. A request has one picture as PNG; it is decoded and enlarged by one model and embedded by "
        "another one, so a form saves less of the whole than of the network alone.",
        "",
        *table(header, cells),
        f"Measured on {machine.words(value)}.",
        "",
    ]


def markdown(value: Json, more: Sequence[str] = ()) -> str:
    """Returns the page.

    Args:
        value: The result.
        more: Lines that follow the tables.
    """
    lines = [
        "# Faster forms of three networks",
        "",
        *first_lines(value),
        "Generated from `results/quantisation.json` by `scripts/findings.sh`; measured by `research.quantisation.run`, "
        "see `research/quantisation/README.md`.",
        "",
        " ".join(value["conclusion"]),
        "",
    ]
    for name, network in value["networks"].items():
        lines += [
            f"## {name}: {network['words']}",
            "",
            *table(_HEADER, rows_of(network, value["machine"]["instructions"]), _RIGHT),
        ]
        failed = [f"{title(row)}: {row['error']}" for row in network["rows"] if row["error"]]
        lines += [f"Not built: {'; '.join(failed)}.", ""] if failed else []
        lines += [_pictures(network), ""]
    lines += more
    exports = ", ".join(f"{name} {network['export_s']:.0f} s" for name, network in value["networks"].items())
    lines += [
        "![quality against the median time](quantisation.png)",
        "",
        f"Measured on {machine.words(value)}; load after {value['load_after']}; governor "
        f"{value['machine']['governor']}. Each form ran in a process of its own, all forms in turn in every round. "
        "p50, p95: batch of 1; images/s: batch of 8. Times as fast: median of fp32 in PyTorch divided by this one's, "
        "with the 95 % interval over the same rounds. A form that takes over four times as long was timed once, is "
        "compared on 8 pictures, and has neither intervals nor accuracy. To fp32: accuracy minus that of fp32 in "
        "PyTorch on the same pictures, with the 95 % interval. ◆: on the Pareto front of time and accuracy. The form "
        "to ship is chosen by these same pictures. Build: conversion, ranges, and compiling for both batches, without "
        f"the export to ONNX ({exports}).",
    ]
    return "\n".join(lines) + "\n"


def first_lines(value: Json) -> list[str]:
    """Returns what has to be read before any number, and an empty line; nothing if all weights are trained ones."""
    names = [network["words"] for network in value["networks"].values() if not network["trained"]]
    if not names:
        return []
    return [
        f"**{', '.join(names)}: weights from a seed, because no package holds trained ones; its rows say times and "
        "agreement with fp32, and nothing about accuracy.**",
        "",
    ]


def _pictures(network: Json) -> str:
    found = network["pictures"]
    text = (
        f"{found['test']} pictures of {found['source']} ({found['classes']} classes), {found['calibration']} others "
        f"for ranges, {found['validation']} others for accuracy control"
    )
    if not network["trained"]:
        return f"{text}; no accuracy, because the weights are not trained."
    if found["probe"]:
        return f"{text}; classes by a linear classifier, trained on the fp32 outputs of {found['probe']} others."
    return f"{text}; classes are the network's own, restricted to the set's."


def figures(value: Json) -> list[str]:
    """Returns the figures of the README: for each network the base, the best of each runtime, and the two sentences."""
    cells = []
    for name, network in value["networks"].items():
        shown = [network["rows"][0]]
        for runtime in _COLOURS:
            rows = [row for row in built(network) if row["runtime"] == runtime and is_harmless(row)]
            shown += [row for row in sorted(rows, key=lambda row: row["p50_ms"])[:1] if row not in shown]
        for row in shown:
            value_of = f"{row['accuracy']['value']:.3f}" if row["accuracy"] else "-"
            cells.append([name, title(row), f"{row['p50_ms']:.1f}", f"{row['speedup']['value']:.2f}", value_of])
    header = ["network", "form", "p50 ms", "times as fast", "accuracy"]
    return [*table(header, cells, [False, False, True, True, True]), " ".join(value["conclusion"])]
