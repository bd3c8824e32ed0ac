"""Small copies of pictures, for figures and notebooks."""

from __future__ import annotations

import numpy as np

from rrn_native.arrays import PathLike, PixelArray, decode


def thumbnail(picture: PathLike | PixelArray, side: int) -> PixelArray:
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

    pixels = picture if isinstance(picture, np.ndarray) else decode(picture, target=side)
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
