"""Writes findings/scale_plan.md and its chart from results/scale_plan.json; measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rrn_ops.scale import plan

from research.common import charts, machine, pages, results
from research.common.tables import table

Json = dict[str, Any]

# Where it was measured, research.scale.throughput has written it.
THROUGHPUT = "scale_throughput.json"


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    path = measured / THROUGHPUT
    timed = results.read(path) if path.is_file() else None
    return pages.write("scale_plan", measured, folder, chart=chart, markdown=lambda value: markdown(value, timed))


def markdown(value: Json, timed: Json | None) -> str:
    """Returns the page.

    Args:
        value: Of research.scale.run.
        timed: Of research.scale.throughput; None if that was not measured.
    """
    most = value["plans"][-1]
    lines = [
        "# The plan of a large collection",
        "",
        "Generated from `results/scale_plan.json` by `scripts/findings.sh`; made by `research.scale.run`, see "
        "`research/scale/README.md`.",
        "",
        "## The largest collection",
        "",
        f"{_count(most['images'])} images:",
        "",
        *_figures(most),
        f"The band of every figure is a factor of {value['band']:g} to both sides. With cells, and float16 embeddings "
        f"kept for a month, all of it costs {most['cost']['low']:,.0f} to {most['cost']['high']:,.0f} at the prices "
        "below.",
        "",
        "## What it comes from",
        "",
        *_values(most),
        "## Smaller collections",
        "",
        *_sizes(value["plans"]),
        "## Failures, slow machines and unequal cells",
        "",
        *_simulated(value),
        "## Chart",
        "",
        "![time by length of a partition; time of unequal cells](scale_plan.png)",
        "",
        "## Throughput of the whole pipeline",
        "",
        *_throughput(timed),
        f"Made on {machine.words(value)}.",
    ]
    return "\n".join(lines) + "\n"


def _count(images: float) -> str:
    return f"{images:,.0f}"


def _figures(made: Json) -> list[str]:
    rows = []
    for each in made["figures"]:
        exact = each["low"] == each["high"]
        band = "-" if exact else " to ".join(plan.shown(each[end], each["unit"]) for end in ("low", "high"))
        cost = each.get("cost", each.get("cost_month"))
        paid = "-" if cost is None else f"{cost:,.0f}{' a month' if 'cost_month' in each else ''}"
        rows.append(
            [
                each["stage"],
                each["words"],
                plan.shown(each["value"], each["unit"]),
                band,
                f"{each['machines']:,}" if "machines" in each else "-",
                paid,
                f"`{each['formula']}`",
            ]
        )
    header = ["stage", "figure", "value", "band", "machines for the deadline", "cost", "formula"]
    return table(header, rows, [False, False, True, True, True, True, False])


def _values(made: Json) -> list[str]:
    rows = [
        [
            f"`{name}`",
            f"{each['value']:,.6g}",
            each["unit"],
            "measured" if each["measured"] else "assumed",
            each["source"],
        ]
        for name, each in made["values"].items()
    ]
    return table(["name", "value", "unit", "", "source"], rows, [False, True, False, False, False])


def _one(made: Json, stage: str, words: str) -> Json:
    found: Json = next(each for each in made["figures"] if (each["stage"], each["words"]) == (stage, words))
    return found


def _sizes(plans: list[Json]) -> list[str]:
    rows = []
    for made in plans:
        exact, cells = (
            _one(made, "pairs, exact", "machine time"),
            _one(made, "pairs, cells", "machine time in the cells"),
        )
        embed, kept = _one(made, "embed", "machine time"), _one(made, "store", "embeddings in float16")
        shown = [plan.shown(each["value"], each["unit"]) for each in (kept, embed, exact, cells)]
        rows.append([_count(made["images"]), *shown])
    return table(["images", "float16", "embedding", "all pairs, exactly", "pairs in cells"], rows)


def _simulated(value: Json) -> list[str]:
    settings = value["settings"]
    worst = max(value["failures"], key=lambda row: float(row["time"]["value"]))
    best = min(value["failures"], key=lambda row: float(row["time"]["value"]))
    skewed = value["cells"][-1]
    return [
        f"Simulated: {settings['machines']} machines with {settings['hours']:g} hours of work each, "
        f"{settings['slow_share'] * 100:.0f} % of them {settings['slow_factor']:g} times slower, "
        f"{settings['repair_min']} minutes away after a failure; median and range of "
        f"{settings['seeds']} seeds. Times are multiples of the time without failures and with no machine idle.",
        "",
        *table(
            ["minutes of a partition", "hours between failures", "time", "work that is lost"],
            [
                [str(row["partition_min"]), str(row["failure_h"]), _ranged(row["time"], 2), _share(row["lost"])]
                for row in value["failures"]
            ],
        ),
        f"Partitions of {best['partition_min']} minutes take {best['time']['value']:.2f} times the least time where a "
        f"machine fails every {best['failure_h']} hours; those of {worst['partition_min']} minutes take "
        f"{worst['time']['value']:.1f} times where one fails every {worst['failure_h']} hours.",
        "",
        *table(
            ["spread of cells", "largest cell", "work", "time of whole cells", "time in chunks"],
            [
                [
                    f"{row['spread']:g}",
                    *(_ranged(each, 2) for each in (row["largest"], row["skew"], *row["time"].values())),
                ]
                for row in value["cells"]
            ],
        ),
        f"Spread is the standard deviation of the logarithm of the sizes of {settings['cells']:,} cells, the largest "
        "cell is in multiples of the mean, work in multiples of that of equal cells (the plan's `skew`), and time in "
        f"multiples of that work in equal shares. Where cells are most unequal, whole cells take "
        f"{skewed['time']['whole']['value']:.0f} times as long as the work needs, and chunks of the mean size "
        f"{skewed['time']['chunks']['value']:.2f} times: so `rrn scale pairs` searches cells in chunks.",
        "",
    ]


def _ranged(each: Json, digits: int) -> str:
    return f"{each['value']:.{digits}f} ({each['low']:.{digits}f} to {each['high']:.{digits}f})"


def _share(each: Json) -> str:
    return f"{each['value'] * 100:.1f} %"


def _throughput(timed: Json | None) -> list[str]:
    if timed is None:
        return ["Not measured; `research.scale.throughput` does it.", ""]
    rows = [
        [row["way"], f"{row['images_per_s']['median']:.1f}", f"{row['ratio']['median']:.3f}", str(row["runs"])]
        for row in timed["rows"]
    ]
    return [
        f"{timed['files']:,} JPEG files of {timed['megapixels']:.1f} megapixels ({timed['mean_kilobytes']:.0f} kB on "
        f"average) on {timed['machine']['cores']} cores; each way in turn, {timed['rounds']} rounds of "
        f"{timed['files_of_a_round']:,} files. The ratio is to one process of `build/similarity` in the same round.",
        "",
        *table(["way", "images/s", "ratio", "runs"], rows),
        f"Measured on {machine.words(timed)}.",
        "",
    ]


def chart(value: Json) -> Any:
    """Draws the time by length of a partition, and that of unequal cells."""
    figure, (left, right) = charts.pyplot.subplots(1, 2, figsize=(11, 4))
    hours = sorted({row["failure_h"] for row in value["failures"]})
    for number, each in enumerate(hours):
        rows = [row for row in value["failures"] if row["failure_h"] == each]
        left.plot(
            [row["partition_min"] for row in rows],
            [row["time"]["value"] for row in rows],
            linestyle=charts.DASHES[number],
            marker=charts.MARKERS[number],
            color=charts.COLOURS[number],
            label=f"a failure every {each} h",
        )
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("minutes of a partition")
    left.set_ylabel("times the least time")
    for number, way in enumerate(("whole", "chunks")):
        right.plot(
            [row["spread"] for row in value["cells"]],
            [row["time"][way]["value"] for row in value["cells"]],
            linestyle=charts.DASHES[number],
            marker=charts.MARKERS[number],
            color=charts.COLOURS[number],
            label={"whole": "whole cells", "chunks": "cells in chunks"}[way],
        )
    right.set_yscale("log")
    right.set_xlabel("spread of the sizes of cells")
    right.set_ylabel("times equal shares")
    for axes in (left, right):
        charts.grid(axes)
        axes.legend(frameon=False)
    figure.tight_layout()
    return figure
