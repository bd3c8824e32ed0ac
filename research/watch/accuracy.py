"""Measures how well the detectors find people, through the engine, and how steadily the main person is followed.

COCO's pictures: average precision with intervals, recall and precision at the detector's own threshold. The labelled
frames of vtest at 427x240: the same, by the people's height, for the detector alone and with the tracker. Both videos
whole: how often the main person changes, for both rules and a detector that sees every frame, every second and every
third one. Takes some minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from rrn_native import Detections, Detector, PixelArray, RrnError
from rrn_native.detector import DetectorInfo, StepTimes
from rrn_ops.streaming.main_person import RULES, make_rule
from rrn_ops.streaming.models import store
from rrn_ops.streaming.sources import DEFAULT_SIZE, SourceError
from rrn_ops.streaming.watcher import Watcher, WatchOptions, make_detector

from research.common import intervals, machine, results, timing
from research.common.places import RESULTS
from research.watch import data, scoring
from research.watch.scoring import Floats, Truth

Json = dict[str, Any]

NAMES = ("fast", "accurate", "openpibo")
EVERY = (1, 2, 3)
# All that average precision asks for; the lowest boxes of a picture change it no more.
LEAST_SCORE = 0.01
# Heights in pixels at which groups of people begin; of COCO's pictures as they are, and of vtest at 427x240.
COCO_HEIGHTS = (0, 32, 64, 128, 256)
VTEST_HEIGHTS = (0, 29, 32, 35, 40)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a detector found in a video: one entry for each frame, and the frames' times in seconds."""

    found: list[Detections]
    seconds: list[float]


class Replayed:
    """Stands for a detector: gives what was recorded, so that each frame is computed once for all ways to follow.

    Attributes:
        info: Of the detector.
        at: Which of the recorded frames comes next.
    """

    def __init__(self, info: DetectorInfo, recorded: Recorded) -> None:
        self.info = info
        self.at = 0
        self._recorded = recorded

    def timed(self, pixels: PixelArray) -> tuple[Detections, StepTimes]:
        """Returns the boxes of the frame `at`."""
        return self._recorded.found[self.at], StepTimes(0.0, 0.0)


def measure_coco(detector: Detector, pictures: Sequence[data.Picture]) -> Json:
    """Returns the scores on COCO's pictures, with intervals over pictures, and recall by the people's height.

    A score is None without people that it is about.
    """
    found = [detector.detect(picture.pixels()).scaled(picture.truth.size) for picture in pictures]
    truths = [picture.truth for picture in pictures]
    value: Json = {}
    library = scoring.coco_scores(found, truths)
    for name, areas, levels in (
        ("ap", scoring.ALL, slice(None)),
        ("ap50", scoring.ALL, slice(1)),
        ("ap_large", scoring.LARGE, slice(None)),
    ):
        matches = scoring.CocoMatches(found, truths, areas)

        def precision(counts: Floats | None, matches: scoring.CocoMatches = matches, levels: slice = levels) -> float:
            return matches.average_precision(counts, levels)

        if np.isnan(precision(None)):
            value[name] = None
            continue
        if abs(precision(None) - library[name]) > 1e-6:
            raise ArithmeticError(f"{name} is {precision(None)}, and {library[name]} by faster-coco-eval")
        ends = intervals.interval(intervals.resampled(precision, len(pictures)))
        value[name] = intervals.Interval(library[name], *ends).to_json()
    return value | rates(found, truths, detector.info.model_score, COCO_HEIGHTS)


def rates(found: Sequence[Detections], truths: Sequence[Truth], score: float, heights: Sequence[int]) -> Json:
    """Returns recall and precision of the boxes from a score on at IoU 0.5, and the recall by the people's height.

    Args:
        found: Of each picture.
        truths: Of each picture.
        score: The threshold.
        heights: Where groups of people begin, in pixels.
    """
    pairs, tall = [], []
    for one, truth in zip(found, truths, strict=True):
        boxes = truth.boxes[~truth.crowd]
        pairs.append(scoring.pair(one.above(score).boxes.astype(np.float64), boxes))
        tall.append(boxes[:, 3] - boxes[:, 1])
    hits, height = np.concatenate([pair.found for pair in pairs]), np.concatenate(tall)
    groups = []
    for low, high in zip(heights, [*heights[1:], np.inf], strict=True):
        inside = (height >= low) & (height < high)
        groups.append({"from": low, "people": int(inside.sum()), "found": int(hits[inside].sum())})
    return {
        "people": len(hits),
        "recall": rounded(scoring.rate([hits])),
        "precision": rounded(scoring.rate([pair.right for pair in pairs])),
        "heights": groups,
    }


def rounded(value: float | None) -> float | None:
    """Rounds a share, for JSON."""
    return None if value is None else round(value, 4)


def record(detector: Detector, path: Path, limit: int | None = None) -> Recorded:
    """Runs a detector on every frame of a video at 427x240."""
    recorded = Recorded([], [])
    for frame in data.frames(path, limit=limit):
        recorded.found.append(detector.detect(frame.pixels(DEFAULT_SIZE)))
        recorded.seconds.append(frame.seconds)
    return recorded


def follow(info: DetectorInfo, recorded: Recorded, every: int) -> tuple[Json, list[Detections]]:
    """Follows the people of a recorded video.

    Args:
        info: Of the detector.
        recorded: What it found.
        every: Which frames it is to see; the watcher lets it see one earlier where the gap would be too long.

    Returns:
        "people" (different ids), "share_seen" (of the frames, by the detector) and for each rule its numbers; and the
        people of each frame.
    """
    replayed = Replayed(info, recorded)
    watcher = Watcher(cast(Detector, replayed), WatchOptions(every=every))
    rules = {name: make_rule(name) for name in RULES}
    mains: dict[str, list[int | None]] = {name: [] for name in RULES}
    size = recorded.found[0].size if recorded.found else DEFAULT_SIZE
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    people: list[Detections] = []
    seen = 0
    for replayed.at, seconds in enumerate(recorded.seconds):
        watched = watcher.watch(blank, seconds)
        tracks = watched.tracks
        seen += watched.source == "detected"
        people.append(tracks.people)
        for name, rule in rules.items():
            main = rule.choose(tracks, seconds)
            mains[name].append(None if main is None else main.id)
    ids = {number for one in people for number in one.ids.tolist()}
    minutes = recorded.seconds[-1] / 60 if recorded.seconds else 0.0
    value: Json = {"people": len(ids), "share_seen": rounded(seen / len(people)) if people else None}
    return value | {"rules": {name: steadiness(mains[name], minutes) for name in RULES}}, people


def steadiness(mains: Sequence[int | None], minutes: float) -> Json:
    """Says how steady a main person is.

    Args:
        mains: The main person's id in each frame; None for nobody.
        minutes: The video's length.

    Returns:
        "switches_per_minute": how often somebody else than the last main person becomes it, at once or later;
        "interruptions_per_minute": how often nobody follows a main person; "share_with_main" of the frames;
        "main_people": different ones.
    """
    known = [main for main in mains if main is not None]
    switches = sum(now != before for before, now in itertools.pairwise(known))
    gaps = sum(before is not None and now is None for before, now in itertools.pairwise(mains))
    return {
        "switches_per_minute": round(switches / minutes, 2) if minutes else None,
        "interruptions_per_minute": round(gaps / minutes, 2) if minutes else None,
        "share_with_main": rounded(len(known) / len(mains)) if mains else None,
        "main_people": len(set(known)),
    }


def measure_vtest(
    detector: Detector, recorded: Recorded, followed: Mapping[int, Sequence[Detections]], folder: Path
) -> Json:
    """Returns the scores on the labelled frames of vtest, for the detector alone and with the tracker.

    Args:
        detector: Gives boxes from LEAST_SCORE on.
        recorded: Of the whole video, from the tracker's lowest score on.
        followed: The people of each frame, by which frames the detector sees.
        folder: Of the data.
    """
    labelled = {frame: truth for frame, truth in data.vtest_truth(folder).items() if frame <= len(recorded.found)}
    truths = list(labelled.values())
    pixels = {
        frame.number: frame.pixels(DEFAULT_SIZE)
        for frame in data.frames(data.video(folder, data.VTEST), limit=len(recorded.found))
        if frame.number in labelled
    }
    alone = [detector.detect(pixels[frame]) for frame in labelled]
    score = detector.info.model_score
    return {
        "frames": len(labelled),
        "alone": {"ap": round(scoring.coco_scores(alone, truths)["ap"], 4)}
        | rates(alone, truths, score, VTEST_HEIGHTS),
        # The tracker has its own way with low scores: all that it gives counts.
        "tracked": {
            str(every): rates([people[frame - 1] for frame in labelled], truths, 0.0, VTEST_HEIGHTS)
            for every, people in followed.items()
        },
    }


def measure(models: Mapping[str, Path], folder: Path, limit: int | None, threads: int) -> Json:
    """Measures all detectors.

    Args:
        models: Their files, by name.
        folder: Of the data.
        limit: Use the first pictures and frames only.
        threads: That compute one picture together.

    Returns:
        "coco", "vtest" and "videos", each by detector.
    """
    pictures = data.coco(folder, limit)
    value: Json = {"coco": {}, "vtest": {}, "videos": {}}
    for name, path in models.items():
        low = Detector(path, "cpu", threads=threads, score=LEAST_SCORE)
        value["coco"][name] = measure_coco(low, pictures)
        print(f"{name}: AP {value['coco'][name]['ap']['value']:.3f} on {len(pictures)} pictures", flush=True)
        watching = make_detector(str(path), provider="cpu", threads=threads)
        value["videos"][name] = {}
        for video in (data.VTEST, data.ONE_BY_ONE):
            recorded = record(watching, data.video(folder, video), limit)
            ways = {every: follow(watching.info, recorded, every) for every in EVERY}
            value["videos"][name][video] = {
                "frames": len(recorded.found),
                "seconds": round(recorded.seconds[-1], 2),
                "every": {str(every): numbers for every, (numbers, _) in ways.items()},
            }
            if video == data.VTEST:
                value["vtest"][name] = measure_vtest(
                    low, recorded, {every: people for every, (_, people) in ways.items()}, folder
                )
        print(f"{name}: recall {value['vtest'][name]['alone']['recall']} on the labelled frames of vtest", flush=True)
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.watch.accuracy", description="Measure the person detectors.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="coco_val128/ and person_video/")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME", help="(default: those installed of fast ...)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N pictures and frames only")
    parser.add_argument("--threads", type=int, default=machine.cores(), metavar="N", help="(default: the cores)")
    parser.add_argument("--output", type=Path, default=RESULTS / "watch_accuracy.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    try:
        installed = {found.name for found in store.installed()}
        names = arguments.models or [name for name in NAMES if name in installed]
        if not names:
            raise ValueError(f"none of {', '.join(NAMES)} is installed: rrn watch models add fast")
        models = {Path(name).stem if name not in NAMES else name: store.path_of(name) for name in names}
        value = machine.head(machine.command_line("research.watch.accuracy", words))
        value["pictures"] = len(data.coco(arguments.data, arguments.limit))
        value["size"] = list(DEFAULT_SIZE)
        value["sha256"] = {name: results.sha256(path) for name, path in models.items()}
        value |= measure(models, arguments.data, arguments.limit, arguments.threads)
    except (OSError, ValueError, RrnError, SourceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    value["load_after"] = timing.significant(os.getloadavg()[0], 3)
    results.write(arguments.output, value)
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
