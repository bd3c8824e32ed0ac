"""Makes folders of pictures to measure on: of any size and format, with planted near-duplicates whose truth is known.

All pictures are scaled to the wanted size and get fine grain: a scaled photo without any is much quicker to decode than
what a camera writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from research.common.photos import Originals

GRAIN = 6.0
QUALITY = 90
SIZES = {"12 MP": (4000, 3000), "2 MP": (1632, 1224), "VGA": (640, 480)}
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("jpg", {"quality": QUALITY}),
    "JPEG progressive": ("jpg", {"quality": QUALITY, "progressive": True}),
    "PNG": ("png", {"compress_level": 6}),
    "WebP": ("webp", {"quality": 85}),
}


def enlarge(picture: Image.Image, size: tuple[int, int], seed: int) -> Image.Image:
    """Scales a picture to fill the size, cuts off what is too much, and adds grain."""
    scale = max(size[0] / picture.width, size[1] / picture.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    # Rounding may step over the edge by the last bit.
    left, top = max(left, 0.0), max(top, 0.0)
    box = (left, top, min(left + width, picture.width), min(top + height, picture.height))
    array = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box), dtype=np.int16)
    random = np.random.default_rng(seed)
    grain = (random.standard_normal(array.shape[:2], dtype=np.float32) * GRAIN).astype(np.int16)
    return Image.fromarray(np.clip(array + grain[..., None], 0, 255).astype(np.uint8))


def _crop(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 12, height // 12, width - width // 20, height - height // 20))


# Name, what is done to the picture, and how the copy is saved.
COPIES: list[tuple[str, Callable[[Image.Image], Image.Image], int]] = [
    ("resized", lambda p: p.resize((p.width * 2 // 5, p.height * 2 // 5), Image.Resampling.LANCZOS), QUALITY),
    ("recompressed", lambda p: p, 25),
    ("cropped", _crop, QUALITY),
    ("mirrored", lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT), QUALITY),
    ("brighter", lambda p: ImageEnhance.Brightness(p).enhance(1.3), QUALITY),
]


@dataclasses.dataclass(frozen=True)
class Planted:
    """A folder of JPEG files and what belongs together in it.

    Attributes:
        folder: Holds nothing else.
        families: By file name, the number of the original that it shows; files that are there for the time they take
            alone ("again...") are not among them.
        files: How many, with those.
        megabytes: Of all files.
        origin: Of the pictures, in words.
    """

    folder: Path
    families: dict[str, int]
    files: int
    megabytes: float
    origin: str

    def truth(self) -> set[tuple[str, str]]:
        """Returns all pairs (a < b) of one family."""
        names = sorted(self.families)
        return {
            (first, second)
            for index, first in enumerate(names)
            for second in names[index + 1 :]
            if self.families[first] == self.families[second]
        }


def plant(source: Originals, folder: Path, size: tuple[int, int], count: int, times: int = 1) -> Planted:
    """Fills a folder: `count` originals of the size, and five copies of every second one.

    There are few photos, and a small folder measures how long a tool takes to start. So the same is repeated, with
    other grain, in files that do not count for precision and recall.

    Args:
        source: Where the originals come from; fewer than `count` give fewer.
        folder: Must not exist or be empty.
        size: Width and height of the originals.
        count: How many originals.
        times: How often everything is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    families: dict[str, int] = {}
    for time in range(times):
        for number, picture in enumerate(source.pictures[:count]):
            original = enlarge(picture, size, number + time * count)
            versions = [("original", original, QUALITY)]
            if number % 2 == 0:
                versions += [(name, change(original), quality) for name, change, quality in COPIES]
            for name, version, quality in versions:
                file = f"{number:04d}_{name}.jpg"
                if time == 0:
                    families[file] = number
                version.save(folder / (f"again{time}_{file}" if time else file), quality=quality)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return Planted(folder, families, len(sizes), sum(sizes) / 1e6, source.origin)


def precision_recall(found: Sequence[Sequence[str]], folder: Planted) -> tuple[float | None, float]:
    """Returns precision and recall of pairs of file names, in any order; precision is None where nothing was found."""
    truth = folder.truth()
    pairs = {(min(a, b), max(a, b)) for a, b in found if a != b and a in folder.families and b in folder.families}
    hits = len(pairs & truth)
    return (hits / len(pairs) if pairs else None), hits / len(truth)
