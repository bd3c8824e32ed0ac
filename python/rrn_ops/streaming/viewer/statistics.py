"""Latency of each stage over the last seconds, frames a second, and what got lost."""

from __future__ import annotations

from collections.abc import Iterable

from rrn_ops.streaming.message import Counters, FrameMessage
from rrn_ops.streaming.windows import Percentiles, Rate, Stages

# In the order of a frame's way. The publisher measures those of the message; "publish" goes from the publisher through
# the broker to this process, "send" from there to the browser, and "end_to_end" from the grab to the screen.
MESSAGE_STAGES = ("grab", "decode", "wait", "preprocess", "detect", "track", "encode")
BROWSER_STAGES = ("send", "paint", "end_to_end")
STAGES = (*MESSAGE_STAGES, "publish", *BROWSER_STAGES)

# An hour at 60 frames a second.
_MOST_LOST = 216_000


class CameraStatistics:
    """What is counted of a camera. Not thread-safe.

    Attributes:
        received: Messages that were taken.
        lost: Messages of the present and earlier sessions that are missing by their sequence numbers.
        unpaired: Messages whose picture did not arrive.
        sessions: Starts of the publisher.
        counters: Of the newest message; None before the first.
    """

    def __init__(self) -> None:
        self.received = self.lost = self.unpaired = self.sessions = 0
        self.counters: Counters | None = None
        self._stages = Stages()
        self._rate = Rate()
        self._last: tuple[str, int] = ("", 0)

    def arrived(self, message: FrameMessage, publish: float | None, now: float) -> None:
        """Counts a message.

        Args:
            message: Newer than the last of its session.
            publish: The time from its publisher to here, in milliseconds; None where it is unknown.
            now: In seconds.
        """
        session, sequence = self._last
        if message.session == session:
            # A gap that no camera can make is a message that was forged or damaged.
            gap = message.sequence - sequence - 1
            self.lost += gap if 0 <= gap <= _MOST_LOST else 0
        else:
            self.sessions += 1
        self._last = (message.session, message.sequence)
        self.received += 1
        self.counters = message.counters
        self._rate.add(now)
        for stage in MESSAGE_STAGES:
            self._stages.add(stage, getattr(message.latency, stage), now)
        self._stages.add("publish", publish, now)

    def fps(self, now: float) -> float:
        """Returns messages a second."""
        return self._rate.value(now)

    def percentiles(self, now: float) -> dict[str, Percentiles]:
        """Returns those of the stages up to this process."""
        return self._stages.percentiles(now)


def merged(parts: Iterable[dict[str, Percentiles]]) -> dict[str, Percentiles]:
    """Returns the stages of several measurements as one, in the order of a frame's way."""
    found = {stage: value for part in parts for stage, value in part.items()}
    return {stage: found[stage] for stage in STAGES if stage in found}
