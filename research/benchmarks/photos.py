"""Makes folders of pictures to measure on: of any size and format, with planted near-duplicates whose truth is known.

The pictures are the held-out photos of research/training where they have been packed (free licences, not trained on),
otherwise scikit-image's sample photos, otherwise drawn ones. All are scaled to the wanted size and get fine grain: a
scaled photo without any is much quicker to decode than what a camera writes.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parents[2]
PACKED = ROOT / ".cache" / "training"
GRAIN = 6.0
QUALITY = 90
SIZES = {"12 MP": (4000, 3000), "2 MP": (1632, 1224), "VGA": (640, 480)}
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("jpg", {"quality": QUALITY}),
    "JPEG progressive": ("jpg", {"quality": QUALITY, "progressive": True}),
    "PNG": ("png", {"compress_level": 6}),
    "WebP": ("webp", {"quality": 85}),
}


@dataclasses.dataclass(frozen=True)
class Originals:
    """Pictures without copies among them.

    Attributes:
        pictures: RGB.
        origin: What they are, in words.
    """

    pictures: list[Image.Image]
    origin: str


def originals(count: int, *, drawn: bool = False) -> Originals:
    """Returns at most `count` pictures of different photos; fewer where there are not so many.

    Args:
        count: At least 1.
        drawn: Draw them, whatever is there.
    """
    if not drawn and (PACKED / "index.json").is_file():
        return Originals(_packed(count), "held-out photos of research/training (free licences, not trained on)")
    if not drawn:
        try:
            pictures = _samples()
        except (SystemExit, OSError, ImportError):
            pass
        else:
            return Originals(pictures[:count], "scikit-image's sample photos")
    return Originals([draw(seed) for seed in range(count)], "drawn pictures: says nothing about precision and recall")


def draw(seed: int, side: int = 256) -> Image.Image:
    """Draws a picture of smooth colours and some discs; other seeds look different."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    array = np.asarray(Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)).copy()
    y, x = np.mgrid[:side, :side]
    for _ in range(6):
        centre = random.integers(0, side, 2)
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < random.integers(side // 20, side // 4) ** 2
        array[inside] = random.integers(0, 256, 3)
    return Image.fromarray(array)


def _packed(count: int) -> list[Image.Image]:
    """One picture of each held-out photo: parts of one photo would be near-duplicates that nobody planted."""
    pictures = json.loads((PACKED / "index.json").read_text())["pictures"]
    first: dict[str, Any] = {}
    for picture in pictures:
        if picture["split"] == "held_out" and not picture["alpha"]:
            first.setdefault(picture["photo"], picture)
    chosen = list(first.values())[:count]
    found = []
    for picture in chosen:
        with (PACKED / picture["shard"]).open("rb") as shard:
            shard.seek(picture["offset"])
            found.append(Image.open(io.BytesIO(shard.read(picture["length"]))).convert("RGB"))
    return found


def _samples() -> list[Image.Image]:
    spec = importlib.util.spec_from_file_location("make_examples", ROOT / "scripts" / "make_examples.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [photo.convert("RGB") for _, photo in sorted(module.fetch_photos().items())]


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

    There are only so many photos, and a small folder measures how long a tool takes to start. So the same is repeated,
    with other grain, in files that do not count for precision and recall.

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


def precision_recall(found: Sequence[Sequence[str]], planted: Planted) -> tuple[float | None, float]:
    """Returns precision and recall of pairs of file names, in any order; precision is None where nothing was found."""
    truth = planted.truth()
    pairs = {(min(a, b), max(a, b)) for a, b in found if a != b and a in planted.families and b in planted.families}
    hits = len(pairs & truth)
    return (hits / len(pairs) if pairs else None), hits / len(truth)
