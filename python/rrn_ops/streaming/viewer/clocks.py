"""How long the way from the publisher to the screen took, of times of three processes.

Times of the publisher are compared with this process's only where both read the same clock, which
:func:`rrn_ops.streaming.clock.clock_name` tells. A browser estimates this process's clock by four time stamps, as NTP
does (RFC 5905, section 8), and reports its times by that estimate.
"""

from __future__ import annotations

import dataclasses
import math
import time

from rrn_ops.streaming.message import FrameMessage

# An estimate of a clock is wrong by at most half a round trip: a time that is a little too early counts as no time,
# and one that is further off is no estimate but an error.
_TOLERANCE_MS = 50.0
_MOST_MS = 60_000.0


@dataclasses.dataclass(frozen=True)
class Way:
    """The part of a frame's way that a browser reports, in milliseconds; None where it is unknown.

    Attributes:
        send: From this process's having the frame to the browser's having it, the wait for a credit included.
        paint: From then to its being on the screen.
        end_to_end: From the grab to the screen.
    """

    send: float | None = None
    paint: float | None = None
    end_to_end: float | None = None


def now_ms() -> float:
    """Returns the time of this process's monotonic clock in milliseconds, which browsers estimate."""
    return time.monotonic_ns() / 1e6


def publish_ms(message: FrameMessage, received_ns: int, clock: str) -> float | None:
    """Returns the time from the publisher's connection through the broker to this process, in milliseconds.

    Args:
        message: Of the frame.
        received_ns: When it was here, of the monotonic clock.
        clock: The name of that clock.

    Returns:
        None where the publisher's clock is another one, or the time makes no sense.
    """
    return _span((received_ns - message.sent_ns) / 1e6) if message.clock == clock else None


def way(
    message: FrameMessage, received_ns: int, clock: str, *, browser_ms: float | None, painted_ms: float | None
) -> Way:
    """Returns what an acknowledgement says.

    Args:
        message: Of the frame.
        received_ns: When it was in this process, of the monotonic clock.
        clock: The name of that clock.
        browser_ms: When the browser had it, by its estimate of this process's clock; None while it has no estimate.
        painted_ms: When it was on the screen, likewise; None where it was not painted.
    """
    if browser_ms is None or not _has_been(browser_ms):
        return Way()
    send = _span(browser_ms - received_ns / 1e6)
    if painted_ms is None or not _has_been(painted_ms):
        return Way(send)
    end_to_end = _span(painted_ms - message.captured_ns / 1e6) if message.clock == clock else None
    return Way(send, _span(painted_ms - browser_ms), end_to_end)


def _has_been(at_ms: float) -> bool:
    return math.isfinite(at_ms) and at_ms <= now_ms() + _TOLERANCE_MS


def _span(milliseconds: float) -> float | None:
    return max(0.0, milliseconds) if -_TOLERANCE_MS <= milliseconds <= _MOST_MS else None
