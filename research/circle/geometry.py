"""Two circles: their overlap, and how far one is from the other."""

from __future__ import annotations

import numpy as np

from research.circle.data import Floats


def iou(first: Floats, second: Floats) -> Floats:
    """Returns the area of the intersection over that of the union.

    The intersection of two discs is a lens: two circular segments (https://mathworld.wolfram.com/
    Circle-CircleIntersection.html, equation 14).

    Args:
        first: [n, 3], x, y and radius > 0.
        second: [n, 3].

    Returns:
        [n], between 0 and 1.
    """
    distance = np.hypot(*(first[:, :2] - second[:, :2]).T)
    small, large = np.minimum(first[:, 2], second[:, 2]), np.maximum(first[:, 2], second[:, 2])
    lens = np.where(distance >= small + large, 0.0, np.pi * small**2)
    crossing = (distance > large - small) & (distance < small + large)
    d, r, s = distance[crossing], small[crossing], large[crossing]
    # From the centre of a circle to the line through both crossings.
    to_line = (d**2 + r**2 - s**2) / (2 * d), (d**2 - r**2 + s**2) / (2 * d)
    lens[crossing] = sum(
        radius**2 * np.arccos(np.clip(at / radius, -1, 1)) - at * np.sqrt(np.maximum(radius**2 - at**2, 0))
        for radius, at in zip((r, s), to_line, strict=True)
    )
    union = np.pi * (first[:, 2] ** 2 + second[:, 2] ** 2) - lens
    return np.asarray(np.clip(lens / union, 0, 1), np.float64)


def centre_error(found: Floats, true: Floats) -> Floats:
    """Returns the distances of the centres in pixels, [n], of circles [n, 3]."""
    return np.asarray(np.hypot(*(found[:, :2] - true[:, :2]).T), np.float64)


def radius_error(found: Floats, true: Floats) -> Floats:
    """Returns the absolute differences of the radii in pixels, [n], of circles [n, 3]."""
    return np.abs(found[:, 2] - true[:, 2])


def moments(picture: Floats) -> tuple[float, float, float]:
    """Returns x, y and radius of a circle on a white canvas from the sums over its pixels; nothing is learned.

    What a picture lacks of white in its darkest channel is what the circle covers of a pixel. So the zeroth and first
    moments of that are area and centre. It is the ruler for a network, which may use as much as the pixels say.

    Args:
        picture: [H, W, 3], 0 ... 255, with a circle.
    """
    covered = 1 - picture.min(2) / 255
    area = covered.sum()
    x = (covered.sum(0) * (np.arange(covered.shape[1]) + 0.5)).sum() / area
    y = (covered.sum(1) * (np.arange(covered.shape[0]) + 0.5)).sum() / area
    return float(x), float(y), float(np.sqrt(area / np.pi))
