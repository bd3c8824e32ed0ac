"""What is published about a frame: one definition, from which the JSON Schema, the encoder and the decoder come.

The JSON Schema is in ``schema/``, one file a version. A field that is added leaves the version as it is, because
readers ignore what they do not know; a field that is removed or means something else makes a new one.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

SCHEMA: Final = "rrn.frame/1"

# What a reader accepts. A message is small; a picture of 427x240 pixels has about 20 kB.
MAX_MESSAGE_BYTES = 256 * 1024
MAX_PICTURE_BYTES = 16 * 1024 * 1024
MAX_PEOPLE = 1000
MAX_NAME = 200

# "$" of Python also matches before a last line break, which the part behind it refuses.
_Side = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$(?!\n)")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Milliseconds = Annotated[float, msgspec.Meta(ge=0)]
_Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Pixels = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


class Person(msgspec.Struct, frozen=True):
    """A person in the frame.

    Attributes:
        id: The same for the same person over time; never used again within a session.
        box: Left, top, right, bottom, in pixels of the published picture.
        score: The detector's, 0 ... 1; where the box is predicted, that of the last detection.
        age: Seconds since the detector last found this person; 0 where it did in this frame. Older boxes are predicted.
    """

    id: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    box: tuple[_Pixels, _Pixels, _Pixels, _Pixels]
    score: _Score
    age: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Model(msgspec.Struct, frozen=True):
    """What detected: the model's name, the execution provider and the precision."""

    name: _Text
    provider: _Text
    precision: _Text


class Latency(msgspec.Struct, frozen=True):
    """How long each step of this frame took at the publisher, in milliseconds.

    Attributes:
        grab: From when the source had the frame to when the grabbing thread had it.
        decode: Decoding and conversion to RGB at the published size.
        wait: From the grabbing thread to the start of the detector.
        preprocess: Resizing and normalizing to the network's input.
        detect: The network and its boxes; 0 where the frame was tracked.
        track: Tracker and choice of the main person.
        encode: The JPEG picture.
    """

    grab: _Milliseconds
    decode: _Milliseconds
    wait: _Milliseconds
    preprocess: _Milliseconds
    detect: _Milliseconds
    track: _Milliseconds
    encode: _Milliseconds


class Counters(msgspec.Struct, frozen=True):
    """Frames of this session so far; captured = processed + corrupt + replaced + waiting.

    Attributes:
        captured: Frames that the source delivered, this one included.
        corrupt: Frames that could not be decoded.
        replaced: Frames that a newer one replaced before the detector was free.
        waiting: The frame, if any, that the grabbing thread holds for the detector now: 0 or 1.
        processed: Frames that the publisher took: processed = published + not_sent + rate_limited.
        published: Frames handed to the broker's connection, this one included.
        not_sent: Frames that were left out because too many bytes were still on their way, or no broker was there.
        rate_limited: Frames that `--fps` left out.
    """

    captured: _Count
    corrupt: _Count
    replaced: _Count
    waiting: Annotated[int, msgspec.Meta(ge=0, le=1)]
    processed: _Count
    published: _Count
    not_sent: _Count
    rate_limited: _Count


class Picture(msgspec.Struct, frozen=True):
    """The JPEG file of the same frame, which is the payload of the topic ``.../picture``.

    Attributes:
        bytes: Its size.
        sha256: Of these bytes, so that anybody can prove that boxes and picture belong together.
    """

    bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_PICTURE_BYTES)]
    sha256: _Digest


class FrameMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of the topic ``PREFIX/CAMERA/frame``.

    Attributes:
        schema: "rrn.frame/1".
        camera: The camera's name: letters, digits, "_" and "-".
        session: Of this start of the publisher; frame ids and sequence numbers begin again with it.
        frame: The id of the frame: how many the source had delivered with it. Ids of dropped frames are missing.
        sequence: 1, 2, 3 ... of the messages of a session: a gap is a message that was lost on the way.
        captured_at: When the frame was grabbed, in seconds since 1970 (UTC); the wall clock may jump.
        captured_ns: The same in nanoseconds of the monotonic clock that `clock` names.
        sent_ns: When the message was handed to the connection, on the same clock.
        clock: Names the monotonic clock: those of one machine since its start share a name, and may be compared.
        width, height: Of the published picture and of the boxes, in pixels.
        model: What detected.
        source: "detected", or "tracked" where the boxes were predicted from earlier frames.
        people: All people, by descending score.
        main: The id of the main person, one of `people`; null for nobody.
        main_since: For how many seconds this has been the main person; null for nobody.
        latency: How long each step took.
        counters: How many frames went where.
        picture: The picture of this frame; null where none is published.
    """

    schema: Literal["rrn.frame/1"]
    camera: _Name
    session: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
    frame: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    captured_at: Annotated[float, msgspec.Meta(ge=0)]
    captured_ns: _Count
    sent_ns: _Count
    clock: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    width: _Side
    height: _Side
    model: Model
    source: Literal["detected", "tracked"]
    people: Annotated[list[Person], msgspec.Meta(max_length=MAX_PEOPLE)]
    main: int | None
    main_since: Annotated[float, msgspec.Meta(ge=0)] | None
    latency: Latency
    counters: Counters
    picture: Picture | None

    def main_person(self) -> Person | None:
        """Returns the main person, or None for nobody."""
        return next((person for person in self.people if person.id == self.main), None)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(FrameMessage)


def encode(message: FrameMessage) -> bytes:
    """Returns the JSON text of a message, UTF-8 on one line."""
    return _ENCODER.encode(message)


def decode(payload: bytes) -> FrameMessage:
    """Reads a message from anybody.

    Raises:
        ValueError: It is too long, is not JSON, or does not match the schema; one line says where.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(payload)} bytes; at most {MAX_MESSAGE_BYTES} are read")
    try:
        message = _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    if message.main is not None and message.main_person() is None:
        raise ValueError(f"the main person {message.main} is not among the people - at `$.main`")
    if (message.main is None) != (message.main_since is None):
        raise ValueError("main and main_since are null together - at `$.main_since`")
    return message


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of the messages, as the file in ``schema/`` has it."""
    made = msgspec.json.schema(FrameMessage)
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:rrn:frame:1", "title": SCHEMA}
    return {**title, **made}
