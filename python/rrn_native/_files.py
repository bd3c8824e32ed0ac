"""Small helpers of the modules that write files and show pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import rrn_native


def write_file(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it: it is complete, or untouched.

    Raises:
        OSError: The folder does not exist or cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def thumbnail(picture: rrn_native.PathLike | rrn_native.PixelArray, side: int) -> rrn_native.PixelArray:
    """Returns a small copy of a picture whose longer side is at most `side` pixels; nothing is enlarged.

    Args:
        picture: A file, read as the engine reads it (upright, RGB, large files at a fraction), or uint8
            [height, width, 3].
        side: In pixels, at least 1.

    Returns:
        uint8 [height, width, 3].

    Raises:
        OSError: The file cannot be read.
        rrn_native.RrnError: It is no picture.
        ModuleNotFoundError: Pillow is not installed.
    """
    from PIL import Image

    pixels = picture if isinstance(picture, np.ndarray) else rrn_native.decode(picture, target=side)
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
