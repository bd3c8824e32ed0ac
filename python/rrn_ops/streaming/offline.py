"""``rrn watch VIDEO``: every frame of a file."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

from rrn_native.cli.common import write_json
from rrn_native.cli.parser import Parser

from rrn_ops.streaming.arguments import add_watching, make_watcher
from rrn_ops.streaming.sources import open_source, video_rate

_SUMMARY = "the people and the main person of every frame of a video or folder"
_EPILOG = """examples:
  rrn watch video.mp4 --output boxes.jsonl
  rrn watch video.mp4 --annotate out.mp4 --sheet sheet.png --model accurate
  rrn watch video.mp4 --json - --every 3

Rows of --output, one for each frame of the video: frame, seconds, width, height, source (detected or tracked), main
(the main person's id, or null) and people (id, box as left, top, right, bottom, score, age in seconds since the
detector found this person). A frame that cannot be decoded has frame, seconds and error."""


def add(verbs: argparse._SubParsersAction[Parser]) -> None:
    """Adds the verb to those of ``rrn watch``."""
    made = verbs.add_parser(
        "file", prog="rrn watch", description=f"{_SUMMARY.capitalize()}.", epilog=_EPILOG, help=_SUMMARY
    )
    made.add_argument("source", metavar="VIDEO", help="a video, or a folder of pictures")
    made.add_argument("--output", type=Path, metavar="FILE", help="a row of JSON for each frame")
    made.add_argument("--annotate", type=Path, metavar="FILE", help="the video with its boxes, MP4")
    made.add_argument("--sheet", type=Path, metavar="FILE", help="a picture of twelve frames with their boxes, PNG")
    made.add_argument("--json", metavar="FILE", help="the totals as JSON; - for standard output, not text")
    add_watching(made)
    made.set_defaults(run=run)


def check_outputs(arguments: argparse.Namespace) -> None:
    """Checks, before long work, that the outputs can be written and take nothing's place.

    Raises:
        ValueError: One cannot be written, or is the video or another output.
    """
    source = Path(arguments.source).resolve()
    json_file = Path(arguments.json) if arguments.json not in (None, "-") else None
    seen: dict[Path, Path] = {}
    for path in (arguments.output, arguments.annotate, arguments.sheet, json_file):
        if path is None:
            continue
        place = path.resolve()
        if not place.parent.is_dir():
            raise ValueError(f"{path}: no such folder to write to")
        if place.exists() and not place.is_file():
            raise ValueError(f"{path}: is there and no file, so it is not replaced")
        if not os.access(place.parent, os.W_OK):
            raise ValueError(f"{path}: its folder cannot be written")
        if place == source or source in place.parents:
            raise ValueError(f"{path}: is the video or lies in the folder that is watched; name another file")
        if place in seen:
            raise ValueError(f"{path}: two outputs have this name")
        seen[place] = path


def run(arguments: argparse.Namespace) -> int:
    """Watches a file; returns the exit code."""
    from rrn_ops.streaming.batch import CancelledError, Outputs, watch_all

    source = open_source(arguments.source)
    if source.live:
        raise ValueError(f"{arguments.source} has no end; rrn watch run or publish takes it")
    check_outputs(arguments)
    detector, watcher = make_watcher(arguments)
    outputs = Outputs(
        rows=arguments.output,
        annotate=arguments.annotate,
        sheet=arguments.sheet,
        size=arguments.size,
        fps=video_rate(arguments.source) or 25.0,
    )
    line = _Line()
    before = {number: signal.signal(number, line.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        summary = watch_all(source, watcher, outputs, line)
    except CancelledError:
        line.clear()
        return 128 + line.stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    line.clear()
    if arguments.json is not None:
        info = dataclasses.asdict(detector.info)
        found = {**dataclasses.asdict(summary), "switches_per_minute": round(summary.switches_per_minute, 2)}
        write_json(arguments.json, {"source": arguments.source, "model": info, **found})
    if arguments.json != "-":
        for one in summary.broken[:20]:
            print(f"broken: frame {one['frame']} at {one['seconds']} s: {one['reason']}")
        if len(summary.broken) > 20:
            print(f"broken: {len(summary.broken) - 20} more")
        print(
            f"{summary.frames} frames: {summary.read} read, {len(summary.broken)} broken; "
            f"{summary.detected} detected, {summary.read - summary.detected} predicted"
        )
        print(
            f"main person in {summary.with_main} frames: {summary.main_people} people, "
            f"{summary.switches} switches ({summary.switches_per_minute:.1f} a minute)"
        )
        print(f"{summary.read / max(summary.wall_seconds, 1e-9):.1f} frames a second with {detector.info.name}")
    return 0


class _Line:
    """Progress on a terminal's line."""

    def __init__(self) -> None:
        self._shown = 0.0
        self._begin = time.monotonic()
        self.stopped = 0
        self._terminal = sys.stderr.isatty()

    def stop(self, number: int, _frame: object) -> None:
        self.stopped = number

    def __call__(self, frames: int, seconds: float) -> bool:
        now = time.monotonic()
        if self._terminal and now - self._shown >= 0.2:
            self._shown = now
            rate = frames / max(now - self._begin, 1e-9)
            sys.stderr.write(f"\r{frames} frames, {seconds:.1f} s of the video, {rate:.1f} frames a second\x1b[K")
            sys.stderr.flush()
        return not self.stopped

    def clear(self) -> None:
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
