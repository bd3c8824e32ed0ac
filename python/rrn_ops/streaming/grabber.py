"""A thread that keeps the newest frame of a source, and counts the others."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

from rrn_ops.streaming.sources import BrokenFrame, Frame, Source, SourceError

# How long to wait before a camera or stream is opened again, in seconds: doubled after each failure.
_FIRST_WAIT = 0.25
_LAST_WAIT = 4.0
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class GrabCounts:
    """Frames so far: captured = taken + corrupt + replaced + waiting."""

    captured: int = 0
    corrupt: int = 0
    replaced: int = 0
    taken: int = 0
    waiting: int = 0


class Grabber:
    """Reads a source on a thread of its own; :meth:`take` gives the newest frame. Use it as a context manager.

    A camera or stream that ends or fails is opened again, with growing pauses; a file ends once. Thread-safe.

    Args:
        source: What to read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._counts = GrabCounts()
        self._error = self._failure = ""
        self._ended = False
        self._stop = threading.Event()
        self._frame_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="grabber", daemon=True)

    def __enter__(self) -> Grabber:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        # A camera that hangs in the driver cannot be interrupted; its thread ends with the process.
        self._thread.join(timeout=2)

    @property
    def counts(self) -> GrabCounts:
        """What became of the frames, all numbers of the same moment."""
        with self._changed:
            return self._counts

    @property
    def error(self) -> str:
        """Why there is no frame: one line; empty while frames come."""
        with self._changed:
            return self._error

    @property
    def failure(self) -> str:
        """What ended the source for good: one line; empty while it goes on, and at the end of a file."""
        with self._changed:
            return self._failure

    @property
    def ended(self) -> bool:
        """Whether the source has ended for good and its last frame has been taken."""
        with self._changed:
            return self._ended and self._newest is None

    def silent_seconds(self) -> float:
        """Returns for how many seconds the source has given nothing."""
        with self._changed:
            return time.monotonic() - self._frame_at

    def take(self, timeout: float) -> tuple[Frame, GrabCounts] | None:
        """Returns the newest frame that nobody has taken, with the counts at that moment.

        Args:
            timeout: How long to wait for a frame, in seconds.

        Returns:
            None where it gave up, or at the end.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._ended or self._stop.is_set(), timeout=timeout
            )
            frame = self._newest
            if frame is None:
                return None
            self._newest = None
            self._counts = dataclasses.replace(self._counts, taken=self._counts.taken + 1, waiting=0)
            return frame, self._counts

    def _run(self) -> None:
        wait = _FIRST_WAIT
        while not self._stop.is_set():
            before = self.counts.captured
            failure = ""
            try:
                for one in self._source.frames():
                    if self._stop.is_set():
                        return
                    self._put(one)
                problem = f"{self._source.name}: ended"
            except SourceError as error:
                problem = failure = str(error)
            if self.counts.captured > before:
                wait = _FIRST_WAIT
            with self._changed:
                if self._source.live and problem != self._error:
                    _log.warning("%s; trying again", problem)
                self._error = problem
                self._ended = not self._source.live
                self._failure = failure if self._ended else ""
                self._changed.notify_all()
                if self._ended:
                    return
            self._stop.wait(wait)
            wait = min(2 * wait, _LAST_WAIT)

    def _put(self, one: Frame | BrokenFrame) -> None:
        with self._changed:
            counts = self._counts
            self._frame_at = time.monotonic()
            number = counts.captured + 1
            if isinstance(one, BrokenFrame):
                self._counts = dataclasses.replace(counts, captured=number, corrupt=counts.corrupt + 1)
                self._error = f"frame {number}: {one.reason}"
                return
            # Numbers go on when a camera is opened again.
            self._newest = dataclasses.replace(one, number=number)
            self._counts = dataclasses.replace(
                counts, captured=number, replaced=counts.replaced + counts.waiting, waiting=1
            )
            self._error = ""
            self._changed.notify_all()
