"""Measures what low precision gains and costs the person detectors on this processor.

Every detector in fp32, fp16, bf16, 8 bits throughout, 8 bits for backbone and neck only, and with dynamic quantisation;
by the engine (ONNX Runtime), by the library openvino and, for Faster R-CNN, by PyTorch. One picture after the other
goes through all of them in turn; the same boxes give times and accuracy. Takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rrn_native import Detections, PixelArray, RrnError
from rrn_ops.streaming.models import store
from rrn_ops.streaming.sources import SourceError

from research.common import intervals, machine, results, timing
from research.common.places import RESULTS
from research.watch import data, scoring, variants
from research.watch.variants import Engine, Layout, OpenVino, Parts, Variant

Json = dict[str, Any]

NAMES = ("fast", "accurate", "faster-rcnn")
RCNN = "faster-rcnn"
# Frames of each video that 8-bit ranges are measured on, and what each detector is measured on: 0 is all pictures.
CALIBRATION = 32
ROUNDS: Mapping[str, int] = {"fast": 0, "accurate": 0, RCNN: 8}
TORCH_ROUNDS = 3
# Between two measurements, so that threads that still wait for work do not disturb the next one.
_PAUSE = 0.02
_SEEDED = "seeded"


@dataclasses.dataclass(frozen=True)
class Row:
    """A detector in a precision.

    Attributes:
        precision: What was asked for.
        runtime: Who computes.
        variant: Computes.
        bytes: Of the file, or of the saved weights.
        reference: The runtime whose fp32 this is compared with.
        most: Rounds, at most; None for as many as the others.
    """

    precision: str
    runtime: str
    variant: Variant
    bytes: int
    reference: str = "engine"
    most: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Precision and runtime."""
        return self.precision, self.runtime


def make_rows(model: Path, parts: Parts, frames: Sequence[PixelArray], folder: Path, threads: int) -> list[Row]:
    """Makes a detector's variants.

    Args:
        model: The float32 file.
        parts: What stays in float32.
        frames: Pictures with people that ranges are measured on; none of them is evaluated on.
        folder: Gets the files.
        threads: That compute one picture together.
    """
    layout = Layout.read(model)
    files = {name: folder / f"{model.parent.name}-{name}.onnx" for name in ("fp16", "int8", "mixed", "dynamic")}
    for name, patterns in (("int8", parts.predictors), ("mixed", (*parts.predictors, *parts.heads))):
        variants.write_int8(model, files[name], map(layout.prepared, frames), patterns)
    variants.write_fp16(model, files["fp16"])
    replaced = variants.write_dynamic(model, files["dynamic"])
    rows = [Row("fp32", "engine", Engine(model, threads), model.stat().st_size)]
    for name, path in files.items():
        changed = replaced if name == "dynamic" else None
        rows.append(Row(name, "engine", Engine(path, threads, changed), path.stat().st_size))
    for name, path, hint in (
        ("fp32", model, "f32"),
        ("fp16", model, "f16"),
        ("bf16", model, "bf16"),
        ("int8", files["int8"], "f32"),
    ):
        rows.append(Row(name, "openvino", OpenVino(path, threads, hint), path.stat().st_size))
    return rows


def torch_rows(model: Path, threads: int) -> list[Row]:
    """Makes PyTorch's variants of Faster R-CNN with the seeded weights."""
    from research.watch.torch_rcnn import TorchModel

    rows = []
    for name in ("fp32", "dynamic"):
        made = TorchModel(Layout.read(model), threads, dynamic=name == "dynamic")
        rows.append(Row(name, "torch", made, made.size(), reference="torch", most=TORCH_ROUNDS))
    return rows


@dataclasses.dataclass
class Taken:
    """What the rows of a detector gave: for each picture boxes and milliseconds, by precision and runtime."""

    truths: list[scoring.Truth] = dataclasses.field(default_factory=list)
    found: dict[tuple[str, str], list[Detections]] = dataclasses.field(default_factory=dict)
    times: dict[tuple[str, str], list[float]] = dataclasses.field(default_factory=dict)


def run(
    rows: Mapping[str, Sequence[Row]], pictures: Sequence[data.Picture], rounds: Mapping[str, int]
) -> dict[str, Taken]:
    """Sends one picture after the other through all rows, in turn; the first one twice, to warm up.

    Args:
        rows: By detector.
        pictures: One a round.
        rounds: How many pictures a detector gets, spread evenly over all; 0 for all.

    Returns:
        By detector.
    """
    taken = {name: Taken() for name in rows}
    chosen = {name: _spread(len(pictures), rounds[name]) for name in rows}
    warmup = pictures[0].pixels()
    for _, row in _each(rows):
        row.variant.run(warmup)
    for number, picture in enumerate(pictures):
        pixels = picture.pixels()
        here = [(name, row) for name, row in _each(rows) if number in chosen[name]]
        shift = number % len(here) if here else 0
        for name in {name for name, _ in here}:
            taken[name].truths.append(picture.truth)
        for name, row in (*here[shift:], *here[:shift]):
            boxes = taken[name].found.setdefault(row.key, [])
            if row.most is not None and len(boxes) >= row.most:
                continue
            time.sleep(_PAUSE)
            found, seconds = row.variant.run(pixels)
            boxes.append(found.scaled(picture.truth.size))
            taken[name].times.setdefault(row.key, []).append(seconds * 1000)
        if number % 16 == 0:
            print(f"picture {number + 1} of {len(pictures)}", flush=True)
    return taken


def _each(rows: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Row]]:
    for name, several in rows.items():
        for row in several:
            yield name, row


def _spread(total: int, count: int) -> set[int]:
    count = min(count or total, total)
    return set(np.linspace(0, total - 1, count).round().astype(int).tolist())


def record(row: Row, taken: Taken, *, trained: bool) -> Json:
    """Returns the record of a row.

    Args:
        row: Which.
        taken: What its detector's rows gave.
        trained: Whether true boxes say something about the detector.
    """
    times = taken.times[row.key]
    reference = taken.times["fp32", row.reference]
    p50, p95 = np.percentile(times, [50, 95]).tolist()
    value: Json = {
        "precision": row.precision,
        "runtime": row.runtime,
        "bytes": row.bytes,
        "ran": row.variant.ran(),
        "rounds": len(times),
        "p50_ms": timing.significant(p50),
        "p95_ms": timing.significant(p95),
        "ratio_to": f"fp32, {row.reference}",
        "ratio": timing.significant(p50 / float(np.median(reference[: len(times)])), 3),
    }
    found, fp32 = taken.found[row.key], taken.found["fp32", row.reference][: len(times)]
    if not trained:
        return value | {"agreement": agreement(fp32, found)}
    return value | accuracy(fp32, found, taken.truths)


def agreement(first: Sequence[Detections], second: Sequence[Detections]) -> Json:
    """Returns how many of the boxes of each side the other side has, too, at IoU 0.5 and 0.9.

    Args:
        first: In fp32, of each picture.
        second: In another precision, of the same pictures.
    """
    value: Json = {"boxes": [sum(map(len, first)), sum(map(len, second))]}
    for least in (0.5, 0.9):
        pairs = [
            scoring.pair(two.boxes.astype(np.float64), one.boxes.astype(np.float64), least)
            for one, two in zip(first, second, strict=True)
        ]
        shares = (scoring.rate([pair.found for pair in pairs]), scoring.rate([pair.right for pair in pairs]))
        value[f"at_{least:g}"] = [None if share is None else round(share, 4) for share in shares]
    return value


def accuracy(fp32: Sequence[Detections], found: Sequence[Detections], truths: Sequence[scoring.Truth]) -> Json:
    """Returns the average precision and its difference to fp32, with intervals from the same drawn sets of pictures."""
    value = scoring.coco_scores(found, truths)["ap"]
    drawn = [_drawn(scoring.CocoMatches(boxes, truths)) for boxes in (found, fp32)]
    difference = value - scoring.coco_scores(fp32, truths)["ap"]
    return {
        "ap": intervals.Interval(value, *intervals.interval(drawn[0])).to_json(),
        "difference": intervals.Interval(difference, *intervals.interval(drawn[0] - drawn[1])).to_json(),
    }


def _drawn(matches: scoring.CocoMatches) -> scoring.Floats:
    return intervals.resampled(matches.average_precision, matches.pictures)


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        limit: Pictures; None for all.
        rounds: Pictures of each detector, see `run`.
        calibration: Frames of each video that ranges are measured on.
        threads: That compute one picture together.
    """

    limit: int | None
    rounds: Mapping[str, int]
    calibration: int
    threads: int


def measure(names: Sequence[str], folder: Path, effort: Effort) -> Json:
    """Makes all variants and measures them.

    Args:
        names: The detectors.
        folder: Of the data.
        effort: How much.

    Raises:
        ValueError: A detector is unknown.
        FileNotFoundError: A detector is not installed.
    """
    installed = {name: store.find(name) for name in names}
    frames = calibration_frames(folder, effort.calibration)
    seeded = {name: str(found.manifest["weights"]["origin"]).startswith(_SEEDED) for name, found in installed.items()}
    with tempfile.TemporaryDirectory() as made:
        rows: dict[str, list[Row]] = {}
        for name, found in installed.items():
            # A second each, and nothing more to learn from untrained weights.
            few = frames[:: max(1, len(frames) // 8)] if seeded[name] else frames
            rows[name] = make_rows(found.path, variants.PARTS[name], few, Path(made), effort.threads)
            if name == RCNN and seeded[name]:
                rows[name] += torch_rows(found.path, effort.threads)
            print(f"{name}: {len(rows[name])} variants", flush=True)
        taken = run(rows, data.coco(folder, effort.limit), effort.rounds)
        return {
            name: {
                "trained": not seeded[name],
                "calibration_frames": len(frames[:: max(1, len(frames) // 8)] if seeded[name] else frames),
                "rows": [record(row, taken[name], trained=not seeded[name]) for row in several],
            }
            for name, several in rows.items()
        }


def calibration_frames(folder: Path, count: int) -> list[PixelArray]:
    """Returns frames of both videos: people, and none of COCO's pictures."""
    videos = (data.VTEST, data.ONE_BY_ONE)
    return [frame for name in videos for frame in data.sampled(data.video(folder, name), count)]


def _rounds(text: str) -> tuple[str, int]:
    name, equals, count = text.partition("=")
    if not equals or name not in NAMES or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=N with one of {', '.join(NAMES)}")
    return name, int(count)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.watch.precision", description="Measure precisions.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="coco_val128/ and person_video/")
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N pictures only")
    parser.add_argument(
        "--rounds", type=_rounds, nargs="+", default=[], metavar="NAME=N", help="pictures of a detector; 0: all"
    )
    parser.add_argument("--calibration", type=int, default=CALIBRATION, metavar="N", help="frames of each video")
    parser.add_argument("--threads", type=int, default=machine.cores(), metavar="N", help="(default: the cores)")
    parser.add_argument("--output", type=Path, default=RESULTS / "watch_precision.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    rounds = dict(ROUNDS) | dict(arguments.rounds)
    try:
        value = machine.head(machine.command_line("research.watch.precision", words))
        value["versions"] |= {name: importlib.metadata.version(name) for name in ("openvino", "faster-coco-eval")}
        value["threads"] = arguments.threads
        value["pictures"] = len(data.coco(arguments.data, arguments.limit))
        effort = Effort(arguments.limit, rounds, arguments.calibration, arguments.threads)
        value["models"] = measure(arguments.models, arguments.data, effort)
    except (OSError, ValueError, RrnError, SourceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    value["load_after"] = timing.significant(os.getloadavg()[0], 3)
    results.write(arguments.output, value)
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
