"""What a page and this process say to each other over the websocket.

To the page, binary: the length of a header (uint32, little-endian), the header (JSON, :class:`Header`), and the JPEG
file, which is empty where the frame has no picture. To the page, text: :class:`State` about once a second and an
:class:`Answer` to each question about the clock. From the page, text: :data:`Text`.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

from rrn_ops.streaming.viewer.cameras import BrokerState, CameraState, Status
from rrn_ops.streaming.viewer.pairing import Reason
from rrn_ops.streaming.windows import Percentiles

# Codes of a websocket that is closed, of the range that RFC 6455, section 7.4.2 leaves to applications.
BAD_TEXT = 4400
NO_ACKNOWLEDGEMENT = 4408
TAKES_NOTHING = 4409
TOO_MANY_TEXTS = 4429
TOO_MANY_VIEWERS = 4503
CLOSED: dict[int, str] = {
    BAD_TEXT: "a message that is not understood",
    NO_ACKNOWLEDGEMENT: "a frame was not acknowledged in time",
    TAKES_NOTHING: "nothing was taken for too long",
    TOO_MANY_TEXTS: "too many messages",
    TOO_MANY_VIEWERS: "as many viewers as may be are connected",
}

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
_Time = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]


class Header(msgspec.Struct, frozen=True):
    """What goes before a picture.

    Attributes:
        frame: The frame's message, as it was checked.
        server_ns: When this process had the frame, in nanoseconds of its monotonic clock.
        age_ms: How long ago that is, in milliseconds: a page that comes late gets a frame that may be old.
        old: Whether it was there before the page asked for a camera, so that its age says nothing about the way.
        same_clock: Whether `captured_ns` is of this process's clock, so that the times may be compared.
        publish_ms: From the publisher's connection to this process; null where the clocks are not the same.
        viewers: How many pages and streams are connected.
        skipped: Frames that this page did not get because it was behind.
        cameras: What the publisher of each camera says of itself.
    """

    frame: msgspec.Raw
    server_ns: int
    age_ms: float
    old: bool
    same_clock: bool
    publish_ms: float | None
    viewers: int
    skipped: int
    cameras: dict[str, Status]


class State(msgspec.Struct, frozen=True, tag="state"):
    """What a page gets about once a second, and at once when the broker or a camera comes or goes.

    Attributes:
        broker: The connection to the broker.
        camera: The one that this page gets; null before the first.
        cameras: All that is known of each.
        viewers, skipped: As of :class:`Header`.
        invalid: Messages that were not taken, by reason.
        latency: Percentiles of the stages of this page's camera, and of this page, in milliseconds.
    """

    broker: BrokerState
    camera: str | None
    cameras: dict[str, CameraState]
    viewers: int
    skipped: int
    invalid: dict[Reason, int]
    latency: dict[str, Percentiles]


class Answer(msgspec.Struct, frozen=True, tag="clock"):
    """The answer to :class:`Clock`: its `t0`, and when it arrived and left, in milliseconds of this process's clock."""

    t0: float
    t1: float
    t2: float


class Ack(msgspec.Struct, frozen=True, tag="ack", forbid_unknown_fields=True):
    """A frame was dealt with, which makes room for another one.

    Attributes:
        camera, session, frame: Which one.
        received_ms: When the page had it, by its estimate of this process's clock; null while it has none.
        painted_ms: When it was on the screen, likewise; null where it was not painted.
    """

    camera: _Name
    session: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
    frame: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    received_ms: _Time | None
    painted_ms: _Time | None


class Clock(msgspec.Struct, frozen=True, tag="clock", forbid_unknown_fields=True):
    """A question about the time; `t0` is the page's own."""

    t0: _Time


class Camera(msgspec.Struct, frozen=True, tag="camera", forbid_unknown_fields=True):
    """The camera that the page wants from now on."""

    name: _Name


class Pause(msgspec.Struct, frozen=True, tag="pause", forbid_unknown_fields=True):
    """Whether the page wants no frames for now."""

    paused: bool


Text = Ack | Clock | Camera | Pause
_TEXT = msgspec.json.Decoder(Text)
_ENCODER = msgspec.json.Encoder()


def read_text(text: str) -> Text:
    """Reads a message from a page.

    Raises:
        ValueError: It is no such message.
    """
    try:
        return _TEXT.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from error


def text_of(message: State | Answer) -> str:
    """Returns the JSON text of a message to a page."""
    return _ENCODER.encode(message).decode()


def packet(header: Header, jpeg: bytes | None) -> bytes:
    """Returns the binary message of a frame."""
    text = _ENCODER.encode(header)
    return b"".join((struct.pack("<I", len(text)), text, jpeg or b""))
