"""The pictures and videos that are measured on; optional, and not part of the repository.

A folder with ``coco_val128/`` (``images/`` and ``instances.json`` in COCO's format) and ``person_video/`` (two videos,
and ``vtest_gt_sampled.csv`` with the true boxes of some frames).
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rrn_native
from rrn_native import PixelArray
from rrn_ops.streaming.sources import DEFAULT_SIZE, Frame, open_source

from research.watch.scoring import Truth, plain_truth

VTEST = "vtest_480x360.mp4"
ONE_BY_ONE = "one-by-one-person-detection.mp4"
_VTEST_TRUTH = "vtest_gt_sampled.csv"
_VTEST_SIZE = (480, 360)
_PERSON = "person"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with true boxes."""

    path: Path
    truth: Truth

    def pixels(self) -> PixelArray:
        """Returns RGB, uint8 [height, width, 3]."""
        return rrn_native.decode(self.path)


def coco(folder: Path, limit: int | None = None) -> list[Picture]:
    """Reads pictures and the people in them.

    Args:
        folder: Holds ``coco_val128``.
        limit: Take the first pictures only.

    Raises:
        OSError: A file cannot be read.
        ValueError: The file has no class of people.
    """
    root = folder / "coco_val128"
    content = json.loads((root / "instances.json").read_text(encoding="utf-8"))
    classes = [entry["id"] for entry in content["categories"] if entry["name"] == _PERSON]
    if len(classes) != 1:
        raise ValueError(f"{root / 'instances.json'}: {len(classes)} classes are called {_PERSON}, expected 1")
    by_image: dict[int, list[dict[str, object]]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content["annotations"]:
        if entry["category_id"] == classes[0]:
            by_image[entry["image_id"]].append(entry)
    pictures = []
    for entry in content["images"][:limit]:
        people = by_image[entry["id"]]
        boxes = np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        areas = np.array([person["area"] for person in people], np.float64)
        crowd = np.array([person.get("iscrowd", 0) for person in people], np.bool_)
        truth = Truth(boxes, areas, crowd, (entry["width"], entry["height"]))
        pictures.append(Picture(root / "images" / entry["file_name"], truth))
    return pictures


def vtest_truth(folder: Path, size: tuple[int, int] = DEFAULT_SIZE) -> dict[int, Truth]:
    """Reads the true boxes of the labelled frames of vtest, by the frame's number from 1, in pixels of `size`.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row is not what is expected.
    """
    rows: dict[int, list[tuple[float, ...]]] = {}
    with (folder / "person_video" / _VTEST_TRUTH).open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for frame, _, *box in lines:
            left, top, width, height = map(float, box[:4])
            rows.setdefault(int(frame), []).append((left, top, left + width, top + height))
    return {frame: plain_truth(np.array(boxes), _VTEST_SIZE).scaled(size) for frame, boxes in rows.items()}


def video(folder: Path, name: str) -> Path:
    """Returns a video's path."""
    return folder / "person_video" / name


def frames(path: Path, size: tuple[int, int] = DEFAULT_SIZE, limit: int | None = None) -> Iterator[Frame]:
    """Yields the frames of a video that can be decoded.

    Raises:
        SourceError: The video cannot be read.
    """
    for one in open_source(str(path)).frames():
        if limit is not None and one.number > limit:
            return
        if isinstance(one, Frame):
            yield one


def sampled(path: Path, count: int, size: tuple[int, int] = DEFAULT_SIZE) -> list[PixelArray]:
    """Returns about `count` frames of a video, evenly spread over it: RGB, uint8 [height, width, 3].

    Raises:
        SourceError: The video cannot be read.
    """
    total = sum(1 for _ in frames(path))
    wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
    return [one.pixels(size) for k, one in enumerate(frames(path)) if k in wanted]
