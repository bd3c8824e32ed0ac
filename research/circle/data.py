"""The data set: a blank canvas with one circle, drawn from a seed and an index alone.

Any worker makes the same sample, in any order, without a file. Pixel (x, y) covers [x, x + 1) x [y, y + 1), so a circle
whose centre is (0.5, 0.5) is centred on the first pixel.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

COLOURS = ("red", "green", "blue")
CANVAS = 255
# Radius as a share of the shorter side, and its least value in pixels.
LEAST_SHARE, MOST_SHARE, LEAST_RADIUS = 0.05, 0.25, 4.0
# Rows in which a pixel's coverage is summed; along a row it is exact.
_ROWS = 8
# Keeps the generators of samples and of orders apart.
_SAMPLES, _ORDERS = 0, 1


@dataclasses.dataclass(frozen=True)
class Spec:
    """A data set.

    Attributes:
        seed: Another one gives other samples.
        count: Samples.
        least: The least side in pixels, at least 16.
        most: The greatest side, included.
        square: Whether width and height are equal; otherwise each is drawn on its own.
    """

    seed: int
    count: int
    least: int
    most: int
    square: bool = False

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: One is out of its range.
        """
        if not 16 <= self.least <= self.most:
            raise ValueError(f"sides: expected 16 <= least <= most, got {self.least} and {self.most}; choose others")
        if self.count < 1 or self.seed < 0:
            raise ValueError(f"data set: expected count >= 1 and seed >= 0, got {self.count} and {self.seed}")


@dataclasses.dataclass(frozen=True)
class Label:
    """What a picture shows.

    Attributes:
        height: Of the picture, in pixels.
        width: Of the picture.
        x: Of the centre, in pixels from the left edge.
        y: From the upper edge.
        radius: In pixels.
        colour: Index in COLOURS.
    """

    height: int
    width: int
    x: float
    y: float
    radius: float
    colour: int


def label(spec: Spec, index: int) -> Label:
    """Returns what sample `index` shows; cheap, because nothing is drawn.

    Raises:
        IndexError: There is no such sample.
    """
    if not 0 <= index < spec.count:
        raise IndexError(f"sample {index}: expected 0 ... {spec.count - 1}")
    random = np.random.default_rng([_SAMPLES, spec.seed, index])
    height, width = (int(side) for side in random.integers(spec.least, spec.most + 1, 2))
    width = height if spec.square else width
    shorter = min(height, width)
    least = max(LEAST_SHARE * shorter, LEAST_RADIUS)
    radius = random.uniform(least, max(MOST_SHARE * shorter, least))
    x = random.uniform(radius, width - radius)
    y = random.uniform(radius, height - radius)
    return Label(height, width, x, y, radius, int(random.integers(len(COLOURS))))


def draw(shown: Label) -> Pixels:
    """Draws a label: uint8 [H, W, 3], a circle of pure colour on white, its edge by the covered share of each pixel."""
    canvas = np.full((shown.height, shown.width, 3), CANVAS, np.uint8)
    top, left = (max(int(np.floor(middle - shown.radius)), 0) for middle in (shown.y, shown.x))
    bottom = min(int(np.ceil(shown.y + shown.radius)), shown.height)
    right = min(int(np.ceil(shown.x + shown.radius)), shown.width)
    rows = top + (np.arange((bottom - top) * _ROWS) + 0.5) / _ROWS
    half = np.sqrt(np.maximum(shown.radius**2 - (rows - shown.y) ** 2, 0))[:, None]
    columns = np.arange(left, right)
    ends = [np.clip(shown.x + sign * half - columns, 0, 1) for sign in (1, -1)]
    covered = (ends[0] - ends[1]).reshape(bottom - top, _ROWS, right - left).mean(1)
    blank = np.rint(CANVAS * (1 - covered)).astype(np.uint8)
    for channel in range(3):
        if channel != shown.colour:
            canvas[top:bottom, left:right, channel] = blank
    return canvas


def order(count: int, seed: int, epoch: int) -> Integers:
    """Returns the order of the samples in an epoch: a permutation of 0 ... count - 1, from seed and epoch alone."""
    return np.random.default_rng([_ORDERS, seed, epoch]).permutation(count)


def batch_indices(step: int, batch: int, count: int, seed: int) -> Integers:
    """Returns the samples of a step's batch, of all processes together.

    Epochs follow each other without a gap, so every batch is full.

    Args:
        step: From 0.
        batch: Samples of a step.
        count: Samples of the data set.
        seed: Of the order.
    """
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = {int(epoch): order(count, seed, int(epoch)) for epoch in np.unique(places // count)}
    return np.array([epochs[int(place // count)][place % count] for place in places], np.int64)


def share(indices: Integers, rank: int, world: int) -> Integers:
    """Returns the part of a batch that one of `world` processes computes; the parts together are the batch."""
    return indices[rank::world]
