"""Where pictures to measure on come from: drawn, sample photos of a package, held-out photos, labelled folders."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import rrn_native
from PIL import Image

from research.common import examples
from research.common.places import CACHE

# Where research/training packs its photos.
PACKED = CACHE / "training"


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
    """Returns at most `count` pictures of different photos; fewer where there are not as many.

    They are the held-out photos of research/training if those are packed, otherwise sample photos, otherwise drawn.

    Args:
        count: At least 1.
        drawn: Draw them, whatever is there.
    """
    if not drawn and (PACKED / "index.json").is_file():
        return Originals(held_out(count), "held-out photos of research/training (free licences, not trained on)")
    if not drawn:
        try:
            return Originals(samples()[:count], "scikit-image's sample photos")
        except OSError:
            pass
    return Originals([draw(seed) for seed in range(count)], "drawn pictures: says nothing about precision and recall")


def draw(seed: int, width: int = 256, height: int | None = None) -> Image.Image:
    """Draws a picture of smooth colours and some discs; other seeds look different.

    Args:
        seed: What it shows.
        width: In pixels.
        height: In pixels; None for a square.
    """
    height = height or width
    side = min(width, height)
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    array = np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)).copy()
    y, x = np.mgrid[:height, :width]
    for _ in range(6):
        centre = random.integers(0, side, 2)
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < random.integers(side // 20, side // 4) ** 2
        array[inside] = random.integers(0, 256, 3)
    return Image.fromarray(array)


def samples() -> list[Image.Image]:
    """Fetches the sample photos of `examples`, RGB, in the order of their names.

    Raises:
        OSError: They cannot be downloaded.
    """
    return [photo.convert("RGB") for _, photo in sorted(examples.fetch_photos().items())]


def held_out(count: int) -> list[Image.Image]:
    """Returns one picture of each held-out photo of PACKED, at most `count`: parts of one photo show the same.

    Raises:
        OSError: Nothing is packed there.
    """
    pictures = json.loads((PACKED / "index.json").read_text())["pictures"]
    first: dict[str, Any] = {}
    for picture in pictures:
        if picture["split"] == "held_out" and not picture["alpha"]:
            first.setdefault(picture["photo"], picture)
    found = []
    for picture in list(first.values())[:count]:
        with (PACKED / picture["shard"]).open("rb") as shard:
            shard.seek(picture["offset"])
            found.append(Image.open(io.BytesIO(shard.read(picture["length"]))).convert("RGB"))
    return found


def labelled(folder: Path, table: Path | None = None) -> tuple[list[Path], list[str]]:
    """Reads labelled photos, as UKBench's: a CSV file with the columns file (relative to the folder) and group.

    Args:
        folder: Where the photos are.
        table: The labels; None for groups.csv in the folder.

    Returns:
        The photos and the group of each, in the table's order.

    Raises:
        ValueError: The columns are missing, the table is empty, or it names a file that is not there or names it twice.
        OSError: It cannot be read.
    """
    table = table or folder / "groups.csv"
    with table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"file", "group"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{table}: expected the columns file and group, got {', '.join(reader.fieldnames or ())}")
        lines = list(reader)
    files = [folder / line["file"] for line in lines]
    absent = [path for path in files if not path.is_file()]
    if not files or absent:
        raise ValueError(f"{table}: " + (f"names {absent[0]}, which is not there" if absent else "names no photo"))
    if len(set(files)) < len(files):
        raise ValueError(f"{table}: names a photo twice")
    return files, [line["group"] for line in lines]


def readable(folder: Path) -> list[Path]:
    """Returns the pictures below a folder, as COCO's, that the engine can read; prints which it cannot."""
    found = []
    for path in map(Path, rrn_native.find_images(folder)):
        try:
            rrn_native.decode(path)
        except (rrn_native.RrnError, OSError) as error:
            print(f"left out: {path.name}: {error}")
        else:
            found.append(path)
    return found
