"""Every frame of a video: a row for each, and the frames with their boxes as a video and as a sheet."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rrn_native import PixelArray
from rrn_native.files import replace_file, write_file

from rrn_ops.streaming import drawing
from rrn_ops.streaming.sources import DEFAULT_SIZE, BrokenFrame, Frame, Source
from rrn_ops.streaming.watcher import Watched, Watcher

# Called with the frames done so far and the video's seconds; returns False to cancel.
FrameProgress = Callable[[int, float], bool | None]


class CancelledError(Exception):
    """The progress callback asked to stop."""


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is written; None for nothing.

    Attributes:
        rows: JSON Lines: an object for each frame of the video, also for broken ones.
        annotate: A video (MP4) of the frames with their boxes.
        sheet: A picture (PNG) of some of them.
        size: Width and height of boxes, video and sheet, in pixels.
        fps: Of the video, frames a second.
    """

    rows: Path | None = None
    annotate: Path | None = None
    sheet: Path | None = None
    size: tuple[int, int] = DEFAULT_SIZE
    fps: float = 25.0


@dataclasses.dataclass
class Summary:
    """What a video held; frames = read + broken.

    Attributes:
        frames: Frames of the video.
        read: Frames that were decoded.
        broken: Frames that were not, each with its number, time and reason.
        detected: Frames that the detector saw; the others were predicted.
        with_main: Frames with a main person.
        people: Different people, by their ids.
        main_people: Different main people.
        switches: How often one main person followed another one directly.
        seconds: The time of the last frame.
        wall_seconds: How long it took.
    """

    frames: int = 0
    read: int = 0
    broken: list[dict[str, object]] = dataclasses.field(default_factory=list)
    detected: int = 0
    with_main: int = 0
    people: int = 0
    main_people: int = 0
    switches: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def switches_per_minute(self) -> float:
        """How often the main person changes; 0 for a video without length."""
        return self.switches / self.seconds * 60 if self.seconds > 0 else 0.0


def row_of(frame: Frame, watched: Watched) -> dict[str, object]:
    """Returns the row of a frame, as JSON has it: boxes are left, top, right, bottom in its pixels."""
    people = watched.tracks.people
    width, height = people.size
    return {
        "frame": frame.number,
        "seconds": round(frame.seconds, 4),
        "width": width,
        "height": height,
        "source": watched.source,
        "main": watched.main.id if watched.main else None,
        "people": [
            {"id": number, "box": box, "score": round(score, 4), "age": round(age, 3)}
            for number, box, score, age in zip(
                people.ids.tolist(),
                people.boxes.astype(float).round(2).tolist(),
                people.scores.tolist(),
                watched.tracks.ages.tolist(),
                strict=True,
            )
        ],
    }


class _Sinks:
    """The open outputs of one run."""

    def __init__(
        self, rows: IO[str] | None, video: drawing.VideoWriter | None, sampler: drawing.SheetSampler | None
    ) -> None:
        self._rows, self._video, self._sampler = rows, video, sampler

    def add(self, frame: Frame, pixels: PixelArray, watched: Watched) -> None:
        if self._rows is not None:
            self._rows.write(json.dumps(row_of(frame, watched)) + "\n")
        if self._video is None and self._sampler is None:
            return
        drawn = drawing.annotated(pixels, watched)
        if self._video is not None:
            self._video.add(drawn, frame.seconds)
        if self._sampler is not None:
            self._sampler.add(f"frame {frame.number}, {frame.seconds:.1f} s", drawn)

    def add_broken(self, one: BrokenFrame, size: tuple[int, int]) -> None:
        if self._rows is not None:
            row = {"frame": one.number, "seconds": round(one.seconds, 4), "error": one.reason}
            self._rows.write(json.dumps(row) + "\n")
        if self._video is not None:
            self._video.add(drawing.broken(size, one.reason), one.seconds)


def watch_all(source: Source, watcher: Watcher, outputs: Outputs, progress: FrameProgress | None = None) -> Summary:
    """Watches every frame of a file or folder. Files are complete or untouched.

    Raises:
        SourceError: The source cannot be read.
        OSError: An output cannot be written.
        RrnError: The model failed.
        CancelledError: The callback returned False.
    """
    summary = Summary()
    begin = time.monotonic()
    sampler = drawing.SheetSampler() if outputs.sheet is not None else None

    def with_rows(rows: Path | None) -> None:
        def with_video(video: Path | None) -> None:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(rows.open("w", encoding="utf-8")) if rows is not None else None
                writer = stack.enter_context(drawing.VideoWriter(video, outputs.size, outputs.fps)) if video else None
                _run(source, watcher, outputs.size, _Sinks(file, writer, sampler), summary, progress)

        if outputs.annotate is None:
            with_video(None)
        else:
            replace_file(outputs.annotate, with_video)

    if outputs.rows is None:
        with_rows(None)
    else:
        replace_file(outputs.rows, with_rows)
    if outputs.sheet is not None and sampler is not None:
        picture = io.BytesIO()
        drawing.sheet(sampler.frames()).save(picture, "PNG")
        write_file(outputs.sheet, picture.getvalue())
    summary.wall_seconds = time.monotonic() - begin
    return summary


def _run(
    source: Source,
    watcher: Watcher,
    size: tuple[int, int],
    sinks: _Sinks,
    summary: Summary,
    progress: FrameProgress | None,
) -> None:
    seen: set[int] = set()
    mains: set[int] = set()
    last: int | None = None
    for one in _frames(source):
        summary.frames += 1
        summary.seconds = max(summary.seconds, one.seconds)
        if progress is not None and progress(summary.frames, one.seconds) is False:
            raise CancelledError(f"{source.name}: cancelled after {summary.frames} frames")
        if isinstance(one, BrokenFrame):
            summary.broken.append({"frame": one.number, "seconds": round(one.seconds, 4), "reason": one.reason})
            sinks.add_broken(one, size)
            continue
        pixels = one.pixels(size)
        watched = watcher.watch(pixels, one.seconds)
        sinks.add(one, pixels, watched)
        summary.read += 1
        summary.detected += watched.source == "detected"
        seen.update(watched.tracks.people.ids.tolist())
        main = watched.main.id if watched.main is not None else None
        if main is not None:
            summary.with_main += 1
            mains.add(main)
            summary.switches += last is not None and main != last
        last = main
    summary.people, summary.main_people = len(seen), len(mains)


def _frames(source: Source) -> Iterator[Frame | BrokenFrame]:
    """Gives the frames with times that go on, which a damaged file may not have."""
    last = -1.0
    for one in source.frames():
        seconds = one.seconds if one.seconds > last else last + 0.001
        last = seconds
        yield dataclasses.replace(one, seconds=seconds)
