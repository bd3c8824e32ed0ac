"""Brings the two messages of a frame together: boxes and picture, proven to be of the same frame.

The picture's topic carries the bytes alone, with session and frame as user properties; the frame's message has the
picture's size and SHA-256. Whatever fits nothing is refused with a reason, and never shown beside something else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Literal

from rrn_native.files import sha256_of_bytes

from rrn_ops.streaming.message import FrameMessage, decode
from rrn_ops.streaming.viewer.options import Limits
from rrn_ops.streaming.viewer.pictures import jpeg_size

Reason = Literal[
    "topic",
    "retained",
    "message",
    "camera",
    "cameras",
    "properties",
    "content_type",
    "picture_size",
    "not_jpeg",
    "digest",
    "unpaired",
    "old",
    "status",
    "internal",
]
# In words, for the documentation of the metric and the page.
REASONS: dict[Reason, str] = {
    "topic": "a topic that no publisher of rrn uses",
    "retained": "a retained frame or picture, which may be of any age",
    "message": "no frame message by the schema",
    "camera": "a camera's name that is not the topic's",
    "cameras": "more cameras than are followed",
    "properties": "a picture without one session and one frame",
    "content_type": "a picture of another content type",
    "picture_size": "a picture whose bytes or pixels are not the message's, or too many",
    "not_jpeg": "a picture that is no JPEG file",
    "digest": "a picture whose SHA-256 is not the message's",
    "unpaired": "a frame whose picture did not arrive",
    "old": "a sequence number that is not above the last",
    "status": "a status that is neither online nor offline",
    "internal": "an error of this program, which its log has",
}

_SESSION = re.compile(r"[0-9a-f]{16}")
_FRAME = re.compile(r"[1-9][0-9]{0,15}")
_JPEG = "image/jpeg"


class RefusedError(Exception):
    """A message is not taken.

    Attributes:
        reason: A short name, one of :data:`REASONS`.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{REASONS[reason]}{f': {detail}' if detail else ''}")
        self.reason: Reason = reason


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame to show.

    Attributes:
        message: Its boxes and all else that is known of it.
        jpeg: Its picture; None where none is published.
        received_ns: When the second of its messages was here, of :func:`time.monotonic_ns`.
    """

    message: FrameMessage
    jpeg: bytes | None
    received_ns: int

    @property
    def key(self) -> tuple[str, str, int]:
        """Camera, session and frame, which name it."""
        return self.message.camera, self.message.session, self.message.frame


@dataclasses.dataclass(frozen=True)
class Loose:
    """A picture that has not found its message.

    Attributes:
        session, frame: What it says it belongs to.
        jpeg: The file.
    """

    session: str
    frame: int
    jpeg: bytes

    def belongs_to(self, message: FrameMessage) -> bool:
        """Whether it says that it belongs to a message."""
        return (self.session, self.frame) == (message.session, message.frame)


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a frame's message leads to.

    Attributes:
        message: It.
        frame: The frame to show; None where its picture is still to come.
        unpaired: Whether the message before it is dropped, because its picture did not arrive.
        refusal: Why the picture that arrived is not the message's; None where it is, or is still to come.
    """

    message: FrameMessage
    frame: Frame | None
    unpaired: bool
    refusal: RefusedError | None = None


# This often in a row a camera may seem to go back before it is believed.
_MOST_OLD = 20


@dataclasses.dataclass
class _Waiting:
    """One picture and one message of a camera that wait for the other part; a newer one takes the place."""

    picture: Loose | None = None
    message: FrameMessage | None = None
    last: tuple[str, int] = ("", 0)
    old: int = 0


def read(camera: str, payload: bytes) -> FrameMessage:
    """Reads the payload of ``.../frame``.

    Args:
        camera: By the topic.
        payload: From anybody.

    Raises:
        RefusedError: It is not by the schema, or of another camera.
    """
    try:
        message = decode(payload)
    except ValueError as error:
        raise RefusedError("message", str(error)) from error
    if message.camera != camera:
        raise RefusedError("camera")
    # The pattern of the schema lets a line's end follow, which must not get into a header of HTTP.
    if not _SESSION.fullmatch(message.session):
        raise RefusedError("message", "a session that is not 16 hexadecimal digits - at `$.session`")
    return message


class Pairing:
    """Pairs messages of several cameras; holds at most one picture and one message of each. Not thread-safe.

    Args:
        limits: The largest picture.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: dict[str, _Waiting] = {}

    def forget(self, camera: str) -> None:
        """Drops what is held of a camera."""
        self._waiting.pop(camera, None)

    def check_picture(self, jpeg: bytes, properties: Iterable[tuple[str, str]], content_type: str | None) -> Loose:
        """Reads a message of ``.../picture``.

        Args:
            jpeg: The payload.
            properties: The user properties.
            content_type: None where the message names none.

        Raises:
            RefusedError: It cannot be the picture of a frame.
        """
        if content_type not in (None, _JPEG):
            raise RefusedError("content_type")
        named = [(name, value) for name, value in properties if name in ("session", "frame")]
        found = dict(named)
        session, frame = found.get("session", ""), found.get("frame", "")
        if len(named) != 2 or not _SESSION.fullmatch(session) or not _FRAME.fullmatch(frame):
            raise RefusedError("properties")
        if len(jpeg) > self._limits.picture_bytes:
            raise RefusedError("picture_size", f"{len(jpeg)} bytes")
        return Loose(session, int(frame), jpeg)

    def picture(self, camera: str, picture: Loose, now_ns: int) -> Frame | None:
        """Takes a picture, which :meth:`check_picture` has read.

        Args:
            camera: By the topic.
            picture: Its picture.
            now_ns: The monotonic time.

        Returns:
            The frame that it completes; None where its message is still to come.

        Raises:
            RefusedError: It is not the picture of the message that waits for it.
        """
        waiting = self._waiting.setdefault(camera, _Waiting())
        waiting.picture = picture
        message = waiting.message
        if message is None or not picture.belongs_to(message):
            return None
        return self._complete(waiting, message, now_ns)

    def message(self, message: FrameMessage, now_ns: int) -> Taken:
        """Takes the message of ``.../frame``, as :func:`read` returns it.

        Raises:
            RefusedError: It is not newer than the last of its session.
        """
        camera = message.camera
        waiting = self._waiting.setdefault(camera, _Waiting())
        session, sequence = waiting.last
        if message.session == session and message.sequence <= sequence:
            waiting.old += 1
            # One forged or damaged message with a high number must not shut a camera out until it starts again.
            if waiting.old <= _MOST_OLD:
                raise RefusedError("old", f"{message.sequence} after {sequence}")
        waiting.old = 0
        waiting.last = (message.session, message.sequence)
        unpaired = waiting.message is not None
        try:
            return Taken(message, self._pair(waiting, message, now_ns), unpaired)
        except RefusedError as error:
            return Taken(message, None, unpaired, error)

    def _pair(self, waiting: _Waiting, message: FrameMessage, now_ns: int) -> Frame | None:
        waiting.message = None
        if message.picture is None:
            waiting.picture = None
            return Frame(message, None, now_ns)
        picture = waiting.picture
        if picture is None or not picture.belongs_to(message):
            waiting.message = message
            return None
        return self._complete(waiting, message, now_ns)

    def _complete(self, waiting: _Waiting, message: FrameMessage, now_ns: int) -> Frame:
        held, waiting.picture, waiting.message = waiting.picture, None, None
        if held is None or message.picture is None:
            raise RefusedError("unpaired")
        jpeg = held.jpeg
        if len(jpeg) != message.picture.bytes:
            raise RefusedError("picture_size", f"{len(jpeg)} bytes, the message says {message.picture.bytes}")
        if sha256_of_bytes(jpeg) != message.picture.sha256:
            raise RefusedError("digest")
        size = jpeg_size(jpeg)
        if size is None:
            raise RefusedError("not_jpeg")
        if size != (message.width, message.height) or size[0] * size[1] > self._limits.picture_pixels:
            raise RefusedError("picture_size", f"{size[0]}x{size[1]} pixels of {message.width}x{message.height}")
        return Frame(message, jpeg, now_ns)
