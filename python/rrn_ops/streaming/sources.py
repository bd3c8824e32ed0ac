"""Where frames come from: a camera, a file, a network stream, a folder of pictures, or a test pattern.

Decoding is done by PyAV (FFmpeg's libraries), which lets other threads run meanwhile.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.container
import numpy as np
import rrn_native
from av.video.reformatter import VideoReformatter
from rrn_native import PixelArray
from rrn_native.cli.common import one_line

DEFAULT_SIZE = (427, 240)
MAX_SIDE = 8192
# Seconds that opening a network stream or camera, and waiting for its next data, may take.
_OPEN_SECONDS = 10.0
_READ_SECONDS = 5.0
_STREAM_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://", "srt://")
# FFmpeg must neither collect frames before it gives the first one nor wait for late ones.
_LIVE = {"fflags": "nobuffer", "flags": "low_delay", "max_delay": "0"}
_CAMERA = re.compile(r"/dev/video\d+")
TEST_PATTERN = "test"
_FROM_ENVIRONMENT = "env:"
# Time stamps that go on or back by this many seconds or more are a mistake of the file.
_JUMP = 5.0


class SourceError(Exception):
    """A source cannot be opened, or gives nothing more; one line says which and why."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame as it was grabbed; its pixels are made when they are asked for.

    Attributes:
        number: How many frames the source had given with it: 1, 2, 3 ...
        seconds: Its time in the video, or since the source was opened.
        captured_ns: When the source had it, in nanoseconds of the monotonic clock.
        captured_at: The same in seconds since 1970 (UTC).
        grab_ms: From then until it was here, in milliseconds.
        decode_ms: How long decoding took; converting the pixels comes on top.
    """

    number: int
    seconds: float
    captured_ns: int
    captured_at: float
    grab_ms: float
    decode_ms: float
    picture: av.VideoFrame
    # The frames of a source share one, because it remembers how to convert them.
    converter: VideoReformatter = dataclasses.field(default_factory=VideoReformatter, repr=False)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as the picture is meant to be seen."""
        width, height = self.picture.width, self.picture.height
        return (height, width) if self._quarters % 2 else (width, height)

    @property
    def _quarters(self) -> int:
        """Quarter turns counterclockwise that make it upright: phones write them beside the video."""
        return int(round(self.picture.rotation / 90) % 4)

    def pixels(self, size: tuple[int, int]) -> PixelArray:
        """Returns RGB, uint8 [height, width, 3], resized to `size` (width, height); areas are averaged.

        Not for two threads at the same time, for all frames of a source together.
        """
        width, height = size if self._quarters % 2 == 0 else (size[1], size[0])
        frame = self.converter.reformat(self.picture, width=width, height=height, format="rgb24", interpolation="AREA")
        pixels = frame.to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, self._quarters) if self._quarters else pixels)


@dataclasses.dataclass(frozen=True)
class BrokenFrame:
    """A frame that could not be decoded; `reason` is one line."""

    number: int
    seconds: float
    reason: str


Frames = Iterator[Frame | BrokenFrame]


@dataclasses.dataclass(frozen=True)
class Source:
    """A source that can be opened, more than once.

    Attributes:
        name: What was asked for.
        live: A camera or stream: it is opened again when it ends or fails.
        opened: Opens it and gives its frames; raises SourceError.
    """

    name: str
    live: bool
    opened: Callable[[], Frames]

    def frames(self) -> Frames:
        """Opens the source and gives its frames, as they come.

        Raises:
            SourceError: It cannot be opened, or reading it failed.
        """
        return self.opened()


def parse_size(text: str) -> tuple[int, int]:
    """Reads a size in pixels as "427x240"; raises ValueError with one line."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not found:
        raise ValueError(f"'{text}' is no size, expected WIDTHxHEIGHT such as 427x240")
    size = (int(found[1]), int(found[2]))
    if not all(16 <= side <= MAX_SIDE for side in size):
        raise ValueError(f"'{text}' is out of range, expected sides of 16 ... {MAX_SIDE} pixels")
    return size


def open_source(
    name: str, *, fps: float | None = None, paced: bool = False, loop: bool = False, camera_size: str = ""
) -> Source:
    """Returns the source of this name; nothing is opened yet.

    Args:
        name: "test", /dev/videoN, an rtsp:// or http:// address, a video file, a folder of pictures, or "env:NAME" for
            what the environment's variable NAME holds: addresses with a password are not for the command line.
        fps: Frames a second of a camera, folder or test pattern; None: the camera's own, 25 for the others.
        paced: Give the frames of a file or folder at their times, as a camera would, instead of as fast as they are
            taken.
        loop: Begin a file or folder again when it ends.
        camera_size: Ask a camera for this size, such as "1280x720".

    Raises:
        SourceError: No such file or device.
    """
    if camera_size:
        parse_size(camera_size)
    if name.startswith(_FROM_ENVIRONMENT):
        variable = name.removeprefix(_FROM_ENVIRONMENT)
        if not os.environ.get(variable):
            raise SourceError(f"{name}: the environment has no variable {variable}")
        name = os.environ[variable]
    if name == TEST_PATTERN:
        return Source(name, True, lambda: _paced(_pattern(fps or 25.0)))
    if name.startswith(_STREAM_SCHEMES):
        return Source(without_password(name), True, lambda: _video(name, options=_stream_options(name), live=True))
    if _CAMERA.fullmatch(name):
        options = {**_LIVE, **({"framerate": str(fps)} if fps else {})}
        if camera_size:
            options["video_size"] = camera_size
        return Source(name, True, lambda: _video(name, options=options, live=True, container="v4l2"))
    path = Path(name)
    if path.is_dir():
        return Source(name, False, lambda: _maybe_paced(_repeated(lambda: _folder(path, fps or 25.0), loop), paced))
    if not path.is_file():
        raise SourceError(
            f"{name}: no such file, folder or device; expected a video, a folder of pictures, "
            "/dev/videoN, an rtsp:// address, or test"
        )
    return Source(name, False, lambda: _maybe_paced(_repeated(lambda: _video(name, options={}), loop), paced))


def _stream_options(name: str) -> dict[str, str]:
    return {**_LIVE, "rtsp_transport": "tcp"} if name.startswith("rtsp") else dict(_LIVE)


def without_password(text: str) -> str:
    """Returns an address, or a text that holds some, without users and passwords."""
    return re.sub(r"(?<=://)[^/@\s']*@", "", text)


def _error_text(error: Exception) -> str:
    said = error.strerror if isinstance(error, av.FFmpegError) and error.strerror else str(error)
    return without_password(one_line(said)) or type(error).__name__


def _video(name: str, *, options: dict[str, str], live: bool = False, container: str | None = None) -> Frames:
    try:
        opened = av.open(
            name, format=container, options=options, timeout=(_OPEN_SECONDS, _READ_SECONDS) if live else None
        )
    except (OSError, ValueError, av.FFmpegError) as error:
        raise SourceError(f"{without_password(name)}: cannot be opened as a video: {_error_text(error)}") from error
    with opened:
        if not opened.streams.video:
            raise SourceError(f"{without_password(name)}: has no video stream")
        try:
            yield from _decoded(opened, name, live=live)
        except (OSError, av.FFmpegError) as error:
            raise SourceError(f"{without_password(name)}: reading failed: {_error_text(error)}") from error


def _decoded(opened: av.container.InputContainer, name: str, *, live: bool) -> Frames:
    stream = opened.streams.video[0]
    # Threads of whole frames would each hold one back.
    stream.thread_type = "SLICE" if live else "AUTO"
    number = 0
    times = _Times()
    converter = VideoReformatter()
    for packet in opened.demux(stream):
        arrived = time.monotonic_ns()
        wall = time.time()
        seconds = float(packet.pts * packet.time_base) if packet.pts is not None and packet.time_base else None
        captured = _source_time(seconds, arrived) if live else arrived
        begin = time.perf_counter()
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError as error:
            number += 1
            yield BrokenFrame(number, times.last, _error_text(error))
            continue
        took = (time.perf_counter() - begin) * 1000
        for picture in pictures:
            number += 1
            at = times.of(picture.time if picture.time is not None else seconds)
            if picture.is_corrupt:
                yield BrokenFrame(number, at, "damaged: the decoder had to fill in missing parts")
                continue
            grab = (arrived - captured) / 1e6
            yield Frame(number, at, captured, wall - grab / 1000, grab, took, picture, converter)
    if number == 0:
        raise SourceError(f"{without_password(name)}: holds no frame")


class _Times:
    """Times of frames that begin at 0 and go on, whatever a file or stream says."""

    def __init__(self) -> None:
        self.last = 0.0
        self._offset: float | None = None
        self._step = 0.04

    def of(self, stamp: float | None) -> float:
        """Returns the time of the next frame; a jump of its time stamp counts as an ordinary step."""
        if stamp is None:
            stamp = self.last + self._step + (self._offset or 0.0)
        if self._offset is None:
            self._offset = stamp
        step = stamp - self._offset - self.last
        if not -_JUMP < step < _JUMP:
            self._offset = stamp - self.last - self._step
        elif step > 0:
            self._step = step
        self.last = max(stamp - self._offset, self.last)
        return self.last


def _source_time(seconds: float | None, arrived: int) -> int:
    """Returns when a camera took the frame: V4L2 stamps frames with the monotonic clock; others with their own."""
    stamp = round((seconds or 0.0) * 1e9)
    return stamp if 0 <= arrived - stamp < 1_000_000_000 else arrived


def _natural(path: Path) -> list[tuple[int, str]]:
    """Orders names as people do: frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


def _folder(path: Path, fps: float) -> Frames:
    files = [file for file in sorted(path.iterdir(), key=_natural) if file.is_file() and not file.name.startswith(".")]
    if not files:
        raise SourceError(f"{path}: a folder without files, expected pictures")
    for number, file in enumerate(files, 1):
        begin = time.perf_counter()
        try:
            pixels = rrn_native.decode(file)
        except (OSError, rrn_native.RrnError) as error:
            yield BrokenFrame(number, (number - 1) / fps, f"{file.name}: {_error_text(error)}")
            continue
        took = (time.perf_counter() - begin) * 1000
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        yield Frame(number, (number - 1) / fps, time.monotonic_ns(), time.time(), 0.0, took, picture)


def _pattern(fps: float) -> Frames:
    """Colour bars with a square that moves over them, so that a still picture is told from a live one."""
    width, height = 640, 360
    colours = np.array(
        [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]], np.uint8
    )
    bars = np.broadcast_to(colours[np.arange(width) * len(colours) // width], (height, width, 3))
    number = 0
    converter = VideoReformatter()
    while True:
        pixels = bars.copy()
        left = (number * 5) % (width - 40)
        pixels[160:200, left : left + 40] = 255
        number += 1
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        yield Frame(number, (number - 1) / fps, time.monotonic_ns(), time.time(), 0.0, 0.0, picture, converter)


def _repeated(opened: Callable[[], Frames], loop: bool) -> Frames:
    """Begins again at the end, with numbers and times that go on."""
    numbers, seconds, last = 0, 0.0, 0.0
    while True:
        step = 0.04
        for one in opened():
            step = one.seconds + seconds - last if one.seconds + seconds > last else step
            last = one.seconds + seconds
            yield dataclasses.replace(one, number=one.number + numbers, seconds=last)
            count = one.number
        if not loop:
            return
        numbers, seconds = numbers + count, last + step


def _maybe_paced(frames: Frames, paced: bool) -> Frames:
    return _paced(frames) if paced else frames


def _paced(frames: Frames) -> Frames:
    """Holds each frame back until its time; a frame that is asked for later than that was captured at its time."""
    start = time.monotonic_ns()
    for one in frames:
        due = start + round(one.seconds * 1e9)
        wait = (due - time.monotonic_ns()) / 1e9
        if wait > 0:
            time.sleep(wait)
        if isinstance(one, BrokenFrame):
            yield one
            continue
        behind = (time.monotonic_ns() - due) / 1e6
        late = max(behind - one.decode_ms, 0.0)
        yield dataclasses.replace(one, captured_ns=due, captured_at=time.time() - behind / 1000, grab_ms=late)


def video_rate(name: str) -> float | None:
    """Returns the frames a second of a video file; None where it says nothing or is no video."""
    if not Path(name).is_file():
        return None
    try:
        with av.open(name) as opened:
            rate = opened.streams.video[0].average_rate if opened.streams.video else None
    except (OSError, ValueError, av.FFmpegError):
        return None
    return float(rate) if rate else None
