"""Writes findings/watch_latency.md and its chart from results/watch_latency.json; measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research.common import charts, machine, pages
from research.common.tables import table

Json = dict[str, Any]

# In the order of a frame's way.
STAGES = ("grab", "decode", "wait", "preprocess", "detect", "track", "encode", "publish", "reach")
# How much is to come on top of the detector, at most.
AIM_BEYOND_MS = 15.0


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    return pages.write("watch_latency", measured, folder, chart=chart, markdown=markdown)


def of_way(value: Json, way: str) -> list[Json]:
    """Returns the cases of "rrn" or "plain"."""
    return [case for case in value["cases"] if case["way"] == way]


def label(case: Json) -> str:
    """Returns a case's name: "427x240, 10 fps"."""
    return f"{case['size']}, {case['source_fps']} fps"


def chart(value: Json) -> Any:
    """Draws the medians of the stages of each case of rrn as one bar."""
    figure, axes = charts.pyplot.subplots(figsize=(11, 4.2))
    cases = of_way(value, "rrn")
    begins = [0.0] * len(cases)
    for number, stage in enumerate(STAGES):
        widths = [case["stages_ms"][stage]["p50"] for case in cases]
        axes.barh(
            range(len(cases)),
            widths,
            left=begins,
            color=charts.FILLS[number % len(charts.FILLS)],
            hatch=charts.HATCHES[number % len(charts.HATCHES)],
            edgecolor="black",
            linewidth=0.5,
            label=stage,
        )
        begins = [begin + width for begin, width in zip(begins, widths, strict=True)]
    axes.set_yticks(range(len(cases)), [label(case) for case in cases])
    axes.invert_yaxis()
    axes.set_xlabel("median milliseconds of each step, from the capture to the decoded picture")
    charts.grid(axes, "x")
    charts.legend_beside(figure, axes)
    return figure


def three(values: Json) -> str:
    """Returns p50, p95 and p99 as "31.9 / 43.0 / 45.0"."""
    return " / ".join(f"{values[name]:.1f}" for name in ("p50", "p95", "p99"))


def sentences(value: Json) -> str:
    """Returns the sentences that say what came out."""
    ours = of_way(value, "rrn")
    worst = max(ours, key=lambda case: float(case["beyond_detection_ms"]["p95"]))
    best = min(ours, key=lambda case: float(case["beyond_detection_ms"]["p95"]))
    inside = [label(case) for case in ours if case["beyond_detection_ms"]["p95"] < AIM_BEYOND_MS]
    fastest = max(ours, key=lambda case: float(case["fps"]))
    ratios = [one for one in value["plain_over_rrn"] if one["plain_keeps_up"]]
    behind = [label(one) for one in value["plain_over_rrn"] if not one["plain_keeps_up"]]
    age = [f"{one['age_p50_ratio']:.3g} ({label(one)})" for one in ratios]
    cpu = [f"{one['cpu_per_frame_ratio']:.3g}" for one in ratios]
    return (
        f"Beyond preprocessing and detection, 95 % of the frames take less than "
        f"{best['beyond_detection_ms']['p95']:.1f} ms ({label(best)}) to {worst['beyond_detection_ms']['p95']:.1f} ms "
        f"({label(worst)}); the aim of {AIM_BEYOND_MS:.0f} ms is reached at {', '.join(inside) or 'no rate'}. "
        f"{fastest['fps']:.1f} frames a second were shown at {label(fastest)}, "
        f"{fastest['detected']} of {fastest['frames']} of them seen by the detector. Where the plain way keeps up, its "
        f"median age of a frame is {', '.join(age)} times rrn's, and its CPU time a frame {', '.join(cpu)} times. "
        f"It falls behind at {', '.join(behind) or 'no rate'}: frames queue, and their age grows as long as it runs."
    )


def markdown(value: Json) -> str:
    """Returns the page."""
    rows = []
    for case in value["cases"]:
        rows.append(
            [
                case["way"],
                case["size"],
                str(case["source_fps"]),
                f"{case['fps']:.1f}",
                three(case["age_ms"]),
                three(case["beyond_detection_ms"]),
                f"{case['cpu_ms_per_frame']:.0f}",
            ]
        )
    stages = [
        [
            label(case),
            *(f"{case['stages_ms'][stage]['p50']:.1f} / {case['stages_ms'][stage]['p95']:.1f}" for stage in STAGES),
        ]
        for case in of_way(value, "rrn")
    ]
    lines = [
        "# How old a live frame is",
        "",
        "Generated from `results/watch_latency.json` by `scripts/findings.sh`; measured by `research.watch.latency`, "
        "see `research/watch/README.md`.",
        "",
        sentences(value),
        "",
        "![the steps of a frame](watch_latency.png)",
        "",
        f"Measured on {machine.words(value)}, detector `{value['detector']}`.",
        "",
        "The age is the time from the capture of a frame until a reader has its picture decoded; percentiles of all "
        "frames of all rounds. rrn: publisher, mosquitto and the live page's server are processes of their own, and "
        "the reader is behind the page's websocket. Plain: OpenCV, torchvision's SSDLite in PyTorch, base64 in JSON, "
        "and a reader at the broker. CPU time is that of all processes but the reader.",
        "",
        *table(
            [
                "way",
                "picture",
                "source fps",
                "shown fps",
                "age ms p50/p95/p99",
                "beyond detection ms",
                "CPU ms a frame",
            ],
            rows,
            [False, False, True, True, True, True, True],
        ),
        "## The steps of rrn",
        "",
        "Milliseconds, p50 / p95. Publish: from the publisher through the broker to the page's server. Reach: from "
        "there to the decoded picture of the reader.",
        "",
        *table(["case", *STAGES], stages, [False] + [True] * len(STAGES)),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"
