"""One frame after the other: detector or prediction, tracker, main person."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Literal

from rrn_native import Detections, Detector, PixelArray

from rrn_ops.streaming.main_person import MainPerson, Rule, make_rule
from rrn_ops.streaming.tracking import PersonTracker, Tracks

MAX_EVERY = 8
LONGEST_GAP = 0.3
# Of sums of intervals.
_ROUNDING = 1e-3
# Boxes of a lower score than the threshold follow people that are known.
LOW_SCORE = 0.2
# Of the time between two frames, this much is for the detector.
_SHARE = 0.8
# How fast the averages of the times follow, by frame.
_FOLLOW = 0.1


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    """How people are followed.

    Attributes:
        score: A person starts with a box of at least this score, 0 ... 1; None for the model's own threshold.
        every: The detector looks at every n-th frame (1 ... 8), the tracker predicts the others; 0: as often as this
            machine can. It never waits longer than `LONGEST_GAP` seconds, so that nobody is lost at low rates.
        rule: Which person is the main one, see main_person.
        forget: Seconds for which people that are no longer found are predicted.
    """

    score: float | None = None
    every: int = 1
    rule: Rule = "steady"
    forget: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.every <= MAX_EVERY:
            raise ValueError(f"every is {self.every}, expected 0 ... {MAX_EVERY}")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"score is {self.score}, expected 0 ... 1")


@dataclasses.dataclass(frozen=True)
class Watched:
    """What is known of a frame.

    Attributes:
        tracks: The people, in pixels of the frame.
        main: The main person, one of them; None for nobody.
        source: "detected", or "tracked" where all boxes are predicted.
        preprocess_ms, detect_ms, track_ms: How long the steps took.
    """

    tracks: Tracks
    main: MainPerson | None
    source: Literal["detected", "tracked"]
    preprocess_ms: float
    detect_ms: float
    track_ms: float


def make_detector(
    model: str, *, provider: str = "auto", precision: str = "auto", threads: int | None = None
) -> Detector:
    """Returns a detector that also gives boxes of low score, which the tracker wants.

    Raises:
        ValueError, FileNotFoundError, RrnError: As rrn_native.Detector.
    """
    return Detector(model, provider, precision=precision, threads=threads, score=LOW_SCORE)  # type: ignore[arg-type]


class Watcher:
    """Follows the people of one camera or video. For one thread.

    Args:
        detector: Of :func:`make_detector`.
        options: How.
    """

    def __init__(self, detector: Detector, options: WatchOptions) -> None:
        self._detector = detector
        self._options = options
        score = detector.info.model_score if options.score is None else options.score
        self._tracker = PersonTracker(score=score, forget=options.forget)
        self._rule = make_rule(options.rule)
        self._since_detection = 0
        self._detected_at: float | None = None
        self._cost: float | None = None
        self._interval: float | None = None
        self._last: float | None = None

    @property
    def every(self) -> int:
        """The detector looks at every n-th frame."""
        if self._options.every:
            return self._options.every
        if not self._cost or not self._interval:
            return 1
        return min(max(math.ceil(self._cost / (self._interval * _SHARE)), 1), MAX_EVERY)

    def watch(self, pixels: PixelArray, seconds: float) -> Watched:
        """Looks at the next frame.

        Args:
            pixels: RGB, uint8 [height, width, 3].
            seconds: When it was captured, on a clock that goes on.

        Raises:
            RrnError: The model failed.
        """
        size = (int(pixels.shape[1]), int(pixels.shape[0]))
        self._measure_interval(seconds)
        detect = self._overdue(seconds) or self._since_detection >= self.every
        self._since_detection = 1 if detect else self._since_detection + 1
        found, preprocess, detecting = Detections.empty(size), 0.0, 0.0
        if detect:
            self._detected_at = seconds
            found, times = self._detector.timed(pixels)
            preprocess, detecting = times.preprocess * 1000, times.detect * 1000
            self._cost = _follow(self._cost, times.preprocess + times.detect)
        begin = time.perf_counter()
        tracks = self._tracker.detected(found, seconds) if detect else self._tracker.predicted(size, seconds)
        main = self._rule.choose(tracks, seconds)
        tracking = (time.perf_counter() - begin) * 1000
        return Watched(tracks, main, "detected" if detect else "tracked", preprocess, detecting, tracking)

    def _overdue(self, seconds: float) -> bool:
        """Whether the next frame would be too late for the detector."""
        if self._detected_at is None:
            return True
        gap = seconds - self._detected_at
        return not 0 < gap + (self._interval or 0.0) <= LONGEST_GAP + _ROUNDING

    def _measure_interval(self, seconds: float) -> None:
        if self._last is not None and 0 < seconds - self._last < 1:
            self._interval = _follow(self._interval, seconds - self._last)
        self._last = seconds


def _follow(average: float | None, value: float) -> float:
    return value if average is None else average + _FOLLOW * (value - average)
