"""Writes findings/watch_accuracy.md and its chart from results/watch_accuracy.json; measures nothing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from research.common import charts, machine, pages
from research.common.tables import table

Json = dict[str, Any]

_VTEST = "vtest_480x360.mp4"


def write(measured: Path, folder: Path) -> list[Path]:
    """Writes the page and its chart, see :func:`research.common.pages.write`."""
    return pages.write("watch_accuracy", measured, folder, chart=chart, markdown=markdown)


def names(groups: list[Json]) -> list[str]:
    """Returns the names of groups of heights: "0-31", "32-63" ... and "256+"."""
    begins = [group["from"] for group in groups]
    ends = [f"{low}-{high - 1}" for low, high in itertools.pairwise(begins)]
    return [*ends, f"{begins[-1]}+"]


def chart(value: Json) -> Any:
    """Draws recall against the people's height: COCO's pictures, and vtest with and without the tracker."""
    figure, (left, right) = charts.pyplot.subplots(1, 2, figsize=(12, 4.2))
    panels = [(left, {name: (each["heights"], None) for name, each in value["coco"].items()})]
    vtest = {name: (each["alone"]["heights"], each["tracked"]["1"]["heights"]) for name, each in value["vtest"].items()}
    panels.append((right, vtest))
    for axes, lines in panels:
        for number, (name, (alone, tracked)) in enumerate(lines.items()):
            for groups, with_tracker in ((alone, False), (tracked, True)):
                if groups is None:
                    continue
                shares = [group["found"] / group["people"] if group["people"] else float("nan") for group in groups]
                axes.plot(
                    range(len(groups)),
                    shares,
                    linestyle=charts.DASHES[with_tracker],
                    marker=charts.MARKERS[number],
                    markerfacecolor="white" if with_tracker else None,
                    color=charts.COLOURS[number],
                    label=f"{name}, tracked" if with_tracker else name,
                )
        groups = next(iter(lines.values()))[0]
        labels = [f"{name}\nn={group['people']}" for name, group in zip(names(groups), groups, strict=True)]
        axes.set_xticks(range(len(groups)), labels)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("share of the people found (IoU 0.5)")
        charts.grid(axes)
    left.set_xlabel("height in pixels of COCO's pictures")
    right.set_xlabel("height in pixels of vtest at 427x240")
    charts.legend_beside(figure, right)
    return figure


def interval(each: Json | None) -> str:
    """Returns a value with its interval: "0.311 (0.27 to 0.35)"; "-" for none."""
    return "-" if each is None else f"{each['value']:.3f} ({each['low']:.2f} to {each['high']:.2f})"


def share(number: float | None) -> str:
    """Returns a share with two digits; "-" for none."""
    return "-" if number is None else f"{number:.2f}"


def sentences(value: Json) -> str:
    """Returns the two sentences that say what came out."""
    best = max(value["coco"], key=lambda name: float(value["coco"][name]["ap"]["value"]))
    finder = max(value["vtest"], key=lambda name: float(value["vtest"][name]["alone"]["recall"]))
    found = value["vtest"][finder]
    steady, largest = (
        {
            name: videos[_VTEST]["every"]["1"]["rules"][rule]["switches_per_minute"]
            for name, videos in value["videos"].items()
        }
        for rule in ("steady", "largest")
    )
    first = next(iter(steady))
    return (
        f"`{best}` has the highest average precision on COCO's people ({interval(value['coco'][best]['ap'])}), and of "
        f"the small people of vtest `{finder}` finds the most: {share(found['alone']['recall'])} alone, "
        f"{share(found['tracked']['1']['recall'])} with the tracker. On vtest, where many people cross, the rule "
        f'"steady" changes the main person {steady[first]:.1f} times a minute with `{first}`, the rule "largest" '
        f"{largest[first]:.1f} times."
    )


def markdown(value: Json) -> str:
    """Returns the page."""
    coco = [
        [
            name,
            *(interval(each[key]) for key in ("ap", "ap50", "ap_large")),
            share(each["recall"]),
            share(each["precision"]),
        ]
        for name, each in value["coco"].items()
    ]
    vtest = []
    for name, each in value["vtest"].items():
        alone = each["alone"]
        vtest.append([name, "alone", f"{alone['ap']:.3f}", share(alone["recall"]), share(alone["precision"])])
        for every, tracked in each["tracked"].items():
            way = f"tracked, every {every}"
            vtest.append([name, way, "-", share(tracked["recall"]), share(tracked["precision"])])
    frames = next(iter(value["vtest"].values()))
    lines = [
        "# Finding and following people",
        "",
        "Generated from `results/watch_accuracy.json` by `scripts/findings.sh`; measured by `research.watch.accuracy`, "
        "see `research/watch/README.md`.",
        "",
        sentences(value),
        "",
        "![recall against the people's height](watch_accuracy.png)",
        "",
        f"Measured on {machine.words(value)}.",
        "",
        "## COCO's pictures",
        "",
        f"{next(iter(value['coco'].values()))['people']} people in {value['pictures']} pictures. Average precision "
        "(AP) as COCO defines it, at an overlap (IoU) of 0.5 alone (AP50), and of people larger than 96 x 96 pixels; "
        "in brackets the 95 % interval over 1,000 draws of the pictures with replacement. Recall and precision are "
        "those at the detector's own threshold and IoU 0.5.",
        "",
        *table(["detector", "AP", "AP50", "AP large", "recall", "precision"], coco),
        "## vtest at 427x240",
        "",
        f"{frames['frames']} labelled frames with {frames['alone']['people']} true boxes. Some people in these frames "
        'have no true box, so the precision and AP are lower bounds. "Tracked, every 2": the detector is to see '
        "every second frame, and the tracker predicts the others.",
        "",
        *table(["detector", "way", "AP", "recall", "precision"], vtest, [False, False, True, True, True]),
        "## The main person",
        "",
        "Both videos whole, at 427x240. Seen: share of the frames that the detector saw. Switches: "
        "somebody else than the last main person becomes it; interruptions: nobody follows a main person; share: of "
        "the frames, with a main person; people: different ids that the tracker gave. In one-by-one people pass one "
        "after the other, so each of them is a rightful switch.",
        "",
        *_videos(value),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _videos(value: Json) -> list[str]:
    rows = []
    for name, videos in value["videos"].items():
        for video, each in videos.items():
            for every, numbers in each["every"].items():
                row = [
                    name,
                    video.partition("_")[0].partition("-person")[0],
                    every,
                    share(numbers["share_seen"]),
                    str(numbers["people"]),
                ]
                for rule in ("steady", "largest"):
                    found = numbers["rules"][rule]
                    row += [
                        f"{found['switches_per_minute']:.1f}",
                        f"{found['interruptions_per_minute']:.1f}",
                        share(found["share_with_main"]),
                    ]
                rows.append(row)
    columns = [
        f"{rule}: {what}" for rule in ("steady", "largest") for what in ("switches/min", "interruptions/min", "share")
    ]
    header = ["detector", "video", "every", "seen", "people", *columns]
    return table(header, rows, [False, False] + [True] * (len(header) - 2))
