"""Boxes drawn on frames, a video of them, and a sheet of a few."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import av.video.stream
import numpy as np
import rrn_native
from PIL import Image, ImageDraw, ImageFont
from rrn_native import PixelArray

from rrn_ops.streaming.watcher import Watched

# Readable on every picture, also for most colour-blind people: vermilion and sky blue of Okabe and Ito (2008).
_MAIN, _OTHER, _PAPER, _INK = (213, 94, 0), (86, 180, 233), (255, 255, 255), (32, 32, 32)
_SHEET_WIDTH = 1600
_MARGIN = 12
_CODECS = ("libx264", "mpeg4")
# MPEG-4 of old allows no finer one.
_TIME_BASE = Fraction(1, 60_000)


def annotated(pixels: PixelArray, watched: Watched) -> PixelArray:
    """Returns a copy of a frame with its boxes: the main person thick with a label, predicted boxes thin.

    Args:
        pixels: RGB, uint8 [height, width, 3].
        watched: What is known of it, in its pixels.
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    unit = max(1, round(pixels.shape[0] / 240))
    font = ImageFont.load_default(11 * unit)
    main = watched.main.id if watched.main is not None else None
    people = watched.tracks.people
    # The main person last, on top of the others.
    order = sorted(range(len(people)), key=lambda row: int(people.ids[row]) == main)
    for row in order:
        is_main = int(people.ids[row]) == main
        colour = _MAIN if is_main else _OTHER
        box = [float(side) for side in people.boxes[row]]
        seen = watched.tracks.ages[row] == 0
        draw.rectangle(box, outline=colour, width=(2 if is_main and seen else 1) * unit)
        label = f"{'main ' if is_main else ''}{int(people.ids[row])}  {float(people.scores[row]):.2f}"
        _label(draw, (box[0], box[1]), label, colour, font)
    return np.asarray(image)


def broken(size: tuple[int, int], reason: str) -> PixelArray:
    """Returns what stands in a video for a frame that could not be decoded."""
    image = Image.new("RGB", size, (96, 96, 96))
    draw = ImageDraw.Draw(image)
    draw.text((8, size[1] / 2), f"broken frame: {reason}"[: size[0] // 6], fill=_PAPER, font=ImageFont.load_default(11))
    return np.asarray(image)


def _label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    height, width = bottom - top + 4, right - left + 6
    # Inside the box where there is no room above it.
    y = corner[1] - height if corner[1] >= height else corner[1]
    x = min(max(corner[0], 0), max(draw.im.size[0] - width, 0))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 3, y + 2 - top), text, fill=_PAPER, font=font)


class VideoWriter:
    """Writes frames as a video, H.264 where FFmpeg has it. Use it as a context manager.

    Args:
        path: The file; its content is MP4 whatever its name.
        size: Width and height of the frames; odd sides lose a row or column, which H.264 cannot have.
        fps: Frames a second.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self._size = (size[0] // 2 * 2, size[1] // 2 * 2)
        self._container = av.open(str(path), "w", format="mp4")
        codec = next((name for name in _CODECS if name in av.codecs_available), _CODECS[-1])
        stream = self._container.add_stream(codec, rate=max(1, round(fps)))
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        self._step = max(1, round(1 / fps / _TIME_BASE))
        self._next = 0
        stream.options = {"crf": "23", "preset": "veryfast"} if codec == "libx264" else {"qscale": "4"}
        self._stream = stream

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, pixels: PixelArray, seconds: float | None = None) -> None:
        """Adds a frame.

        Args:
            pixels: RGB, uint8 [height, width, 3].
            seconds: Its time, later than that of the frame before; None for a frame's time after that one.
        """
        cut = np.ascontiguousarray(pixels[: self._size[1], : self._size[0]])
        frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
        stamp = self._next if seconds is None else max(round(seconds / _TIME_BASE), self._next - self._step + 1)
        frame.pts, frame.time_base = stamp, _TIME_BASE
        self._next = stamp + self._step
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()


class SheetSampler:
    """Keeps a few frames, evenly spread over a video whose length nobody knows.

    Args:
        count: How many at the end, at most; 1 or more.
    """

    def __init__(self, count: int = 12) -> None:
        self._count = count
        self._step = 1
        self._seen = 0
        self._kept: list[tuple[str, bytes]] = []

    def add(self, title: str, pixels: PixelArray) -> None:
        """Takes the next frame, RGB uint8 [height, width, 3]; it is kept as a JPEG file, if at all."""
        if self._seen % self._step == 0:
            self._kept.append((title, rrn_native.encode_jpeg(pixels, 90)))
            if len(self._kept) == 4 * self._count:
                self._kept = self._kept[::2]
                self._step *= 2
        self._seen += 1

    def frames(self) -> list[tuple[str, PixelArray]]:
        """Returns the frames in their order, with their titles."""
        wanted = min(self._count, len(self._kept))
        rows = [round(k * (len(self._kept) - 1) / max(wanted - 1, 1)) for k in range(wanted)]
        return [(self._kept[row][0], rrn_native.decode_bytes(self._kept[row][1])) for row in rows]


def sheet(frames: list[tuple[str, PixelArray]]) -> Image.Image:
    """Returns frames of one size as one picture, in rows of four, each with its title below."""
    columns = min(4, max(1, len(frames)))
    width = (_SHEET_WIDTH - _MARGIN) // columns - _MARGIN
    height = round(width * frames[0][1].shape[0] / frames[0][1].shape[1]) if frames else 40
    rows = math.ceil(len(frames) / columns)
    cell = height + 24 + _MARGIN
    page = Image.new("RGB", (_MARGIN + columns * (width + _MARGIN), _MARGIN + max(rows, 1) * cell), _PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(14)
    for k, (title, pixels) in enumerate(frames):
        x = _MARGIN + k % columns * (width + _MARGIN)
        y = _MARGIN + k // columns * cell
        page.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS), (x, y))
        draw.text((x, y + height + 4), title, fill=_INK, font=font)
    return page
