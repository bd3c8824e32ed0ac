"""What the network is fed with: photos, preprocessed as the model wants it; or noise where there is no Pillow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# As the metadata of the model says: RGB / 255, then ImageNet's mean and deviation.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
# Of a photo's sides, what a view shows; the first view shows all of it.
_SHARE = 0.6


def noise(count: int, size: int, seed: int = 0) -> Floats:
    """Returns standard normal numbers, float32 [count, 3, size, size]; the same seed gives the same."""
    return np.random.default_rng(seed).standard_normal((count, 3, size, size), dtype=np.float32)


def photos(count: int, size: int) -> tuple[Floats, str]:
    """Returns pictures as the network's input.

    They are the photos of :func:`research.common.photos.originals`, each whole first, then parts of them.

    Args:
        count: How many.
        size: Height and width, in pixels.

    Returns:
        float32 [count, 3, size, size], and what they are, in words.
    """
    try:
        from PIL import Image

        from research.common.photos import originals
    except ImportError:
        return noise(count, size), "noise: Pillow is not installed"
    found = originals(count)
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        picture = found.pictures[number % len(found.pictures)]
        if number >= len(found.pictures):
            width, height = (round(side * _SHARE) for side in picture.size)
            left, top = (int(random.integers(0, round(side * (1 - _SHARE)))) for side in picture.size)
            picture = picture.crop((left, top, left + width, top + height))
        pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32) / 255
        rows.append(((pixels - np.asarray(_MEAN)) / np.asarray(_DEVIATION)).transpose(2, 0, 1))
    views = f", {count} views" if count > len(found.pictures) else ""
    return np.ascontiguousarray(np.stack(rows), dtype=np.float32), found.origin + views


def min_cosine(first: Floats, second: Floats) -> float:
    """Returns the smallest cosine between rows of the same number, of two arrays [n, D] without rows of zeros."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())
