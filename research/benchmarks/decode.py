"""How long from a file to the network's input: rrn, Pillow and OpenCV, by format and size."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rrn_native
from PIL import Image

from research.benchmarks import planted
from research.common import photos, timing

Json = dict[str, Any]
Floats = npt.NDArray[np.float32]

SIDE = 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def with_rrn(path: Path) -> Floats:
    """Reads and prepares a file as rrn does: large JPEG and WebP files at a fraction of their size."""
    return rrn_native.preprocess(path, SIDE)


def with_rrn_whole(path: Path) -> Floats:
    """The same from the whole picture (--full-decode)."""
    return rrn_native.preprocess(rrn_native.decode(path), SIDE)


def with_pillow(path: Path) -> Floats:
    """Reads and prepares a file with Pillow and NumPy: the same resizing, bit for bit."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _normalised(np.asarray(small))


def with_pillow_draft(path: Path) -> Floats:
    """As `with_pillow`, but lets libjpeg decode to a smaller size where that is at least twice the wanted one."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _normalised(np.asarray(small))


def with_opencv(path: Path) -> Floats:
    """Reads and prepares a file with OpenCV; INTER_AREA, its only resizing that averages when it shrinks."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"OpenCV cannot read {path.name}")
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _normalised(np.asarray(small, np.uint8))


def _normalised(pixels: npt.NDArray[np.uint8]) -> Floats:
    return np.ascontiguousarray(((pixels.astype(np.float32) / 255 - _MEAN) / _STD).transpose(2, 0, 1))


def psnr(one: Floats, other: Floats) -> float | None:
    """Peak signal-to-noise ratio of two network inputs seen as pictures, in decibels; None if they are equal."""
    squares = np.mean(((one - other) * _STD[:, None, None]) ** 2, dtype=np.float64)
    return timing.significant(-10 * math.log10(squares), 4) if squares > 1e-14 else None


READERS: dict[str, Callable[[Path], Floats]] = {
    "rrn": with_rrn,
    "rrn, whole": with_rrn_whole,
    "Pillow": with_pillow,
    "Pillow, draft": with_pillow_draft,
    "OpenCV": with_opencv,
}


def measure(quick: bool) -> Json:
    """Times every reader on every format and size, each on one thread.

    Returns:
        {"rows": [...]}: milliseconds for a picture (median, lowest and highest of the rounds), the file's size, and the
        largest difference of the result from Pillow's full decoding, in units of the network's input, and the PSNR of
        the two (None where they are equal).
    """
    sizes = {"small": (160, 120)} if quick else planted.SIZES
    rounds = 2 if quick else 15
    source = photos.originals(1, drawn=quick)
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as scratch:
        for size_name, size in sizes.items():
            picture = planted.enlarge(source.pictures[0], size, 0)
            for format_name, (suffix, options) in planted.FORMATS.items():
                path = Path(scratch) / f"{size_name}_{format_name}.{suffix}".replace(" ", "_")
                picture.save(path, **options)
                expected = with_pillow(path)
                # Only JPEG can be decoded to a smaller size.
                readers = {name: read for name, read in READERS.items() if name != "Pillow, draft" or suffix == "jpg"}
                times = timing.interleaved({name: partial(read, path) for name, read in readers.items()}, rounds)
                for name, read in readers.items():
                    rows.append(
                        {
                            "size": size_name,
                            "format": format_name,
                            "reader": name,
                            "kilobytes": round(path.stat().st_size / 1e3, 1),
                            **times[name].to_json("ms", 1e3),
                            "max_difference": timing.significant(float(np.abs(read(path) - expected).max()), 3),
                            "psnr_db": psnr(read(path), expected),
                        }
                    )
    return {"origin": source.origin, "side": SIDE, "threads": 1, "rows": rows}
