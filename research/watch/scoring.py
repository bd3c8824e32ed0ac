"""How well boxes fit true boxes: average precision as COCO defines it, with intervals, and recall and precision.

The values themselves are those of the library faster-coco-eval. Intervals need the average precision of thousands of
drawn sets of pictures; that is computed here from each picture's matches, which are found once (`CocoMatches`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rrn_native import Detections

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PERSON = 1
# COCO's overlaps (IoU), its recalls, its most boxes of a picture, and the areas that it calls large.
OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST_BOXES = 100
ALL, LARGE = (0.0, 1e10), (96.0**2, 1e10)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The people of a picture.

    Attributes:
        boxes: float64 [n, 4]: left, top, right, bottom in pixels of a picture of `size`.
        areas: float64 [n]: in square pixels, of the people's outlines where those are known, else of the boxes.
        crowd: bool [n]: a crowd in one box, which is neither found nor missed.
        size: Width and height of the picture in pixels.
    """

    boxes: Floats
    areas: Floats
    crowd: Bools
    size: tuple[int, int]

    def scaled(self, size: tuple[int, int]) -> Truth:
        """Returns the same people in pixels of the same picture at another width and height."""
        x, y = size[0] / self.size[0], size[1] / self.size[1]
        return Truth(self.boxes * [x, y, x, y], self.areas * x * y, self.crowd, size)


def plain_truth(boxes: Floats, size: tuple[int, int]) -> Truth:
    """Returns people of whom only the boxes are known."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return Truth(boxes, sides[:, 0] * sides[:, 1], np.zeros(len(boxes), np.bool_), size)


def overlaps(first: Floats, second: Floats, crowd: Bools | None = None) -> Floats:
    """Returns the IoU, float64 [n, m], of boxes [n, 4] and [m, 4]; of a crowd the share of the first box inside it."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    if crowd is not None:
        union = np.where(crowd[None], areas[0][:, None], union)
    return np.asarray(common / np.maximum(union, 1e-12), np.float64)


def coco_scores(found: Sequence[Detections], truths: Sequence[Truth]) -> dict[str, float]:
    """Returns "ap", "ap50" and "ap_large" of people, 0 ... 1, as faster-coco-eval computes them.

    Args:
        found: What was found in each picture; at least one box in all.
        truths: The people of each picture.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth: list[dict[str, object]] = []
    for number, one in enumerate(truths):
        for box, area, crowd in zip(one.boxes.tolist(), one.areas.tolist(), one.crowd.tolist(), strict=True):
            left, top, right, bottom = box
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": number,
                    "category_id": PERSON,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
    pictures = [{"id": number, "width": one.size[0], "height": one.size[1]} for number, one in enumerate(truths)]
    people = [{"id": PERSON, "name": "person"}]
    known = COCO({"images": pictures, "annotations": truth, "categories": people})
    results = [row for number, one in enumerate(found) for row in one.to_coco(number, PERSON)]
    judge = COCOeval_faster(known, known.loadRes(results), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    values = judge.stats_as_dict
    return {name: float(values[key]) for name, key in (("ap", "AP_all"), ("ap50", "AP_50"), ("ap_large", "AP_large"))}


@dataclasses.dataclass(frozen=True)
class _Side:
    """One picture's boxes, by descending score, and what each was matched with; T is the number of overlaps."""

    scores: Floats
    right: Bools  # [T, n]
    ignored: Bools  # [T, n]: counts neither as right nor as wrong
    people: int


def _match(found: Detections, truth: Truth, areas: tuple[float, float]) -> _Side:
    """Matches as COCO does: each box, best first, takes the person that it overlaps most and that is still free."""
    ignore = truth.crowd | (truth.areas < areas[0]) | (truth.areas > areas[1])
    order = np.argsort(ignore, kind="stable")
    ignore, crowd = ignore[order], truth.crowd[order]
    boxes = found.boxes[:MOST_BOXES].astype(np.float64)
    iou = overlaps(boxes, truth.boxes[order], crowd)
    shape = (len(OVERLAPS), len(boxes))
    right, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for level, least in enumerate(np.minimum(OVERLAPS, 1 - 1e-10)):
        taken = np.zeros(len(order), np.bool_)
        for box in range(len(boxes)):
            free = (~taken | crowd) & (iou[box] >= least)
            # People who count come first; the others take only what is left.
            wanted = free & ~ignore if (free & ~ignore).any() else free
            if not wanted.any():
                continue
            # Of equal overlaps the last one, as COCO's loop has it.
            best = len(order) - 1 - int(np.argmax(np.where(wanted, iou[box], -1.0)[::-1]))
            taken[best] = True
            right[level, box], ignored[level, box] = not ignore[best], ignore[best]
    size = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    outside = (size < areas[0]) | (size > areas[1])
    ignored |= ~right & ~ignored & outside[None]
    return _Side(found.scores[:MOST_BOXES].astype(np.float64), right, ignored, int((~ignore).sum()))


class CocoMatches:
    """All pictures' matches, from which the average precision of any multiset of the pictures is computed.

    Args:
        found: What was found in each picture.
        truths: The people of each picture.
        areas: Least and most area of a person who counts, in square pixels.

    Attributes:
        pictures: How many there are.
    """

    def __init__(self, found: Sequence[Detections], truths: Sequence[Truth], areas: tuple[float, float] = ALL) -> None:
        sides = [_match(one, truth, areas) for one, truth in zip(found, truths, strict=True)]
        scores = np.concatenate([side.scores for side in sides])
        order = np.argsort(-scores, kind="stable")
        picture = np.concatenate([np.full(len(side.scores), k) for k, side in enumerate(sides)])
        self._picture = picture[order].astype(np.int64)
        right = np.concatenate([side.right for side in sides], axis=1)[:, order]
        wrong = ~right & ~np.concatenate([side.ignored for side in sides], axis=1)[:, order]
        self._right, self._wrong = right.astype(np.float64), wrong.astype(np.float64)
        self._people = np.array([side.people for side in sides], np.float64)
        self.pictures = len(sides)

    def average_precision(self, counts: Floats | None = None, levels: slice = slice(None)) -> float:
        """Returns the mean over overlaps and recalls of the precision; NaN without people.

        Args:
            counts: float64 [pictures]: how often each picture is there; None for once.
            levels: Which of the overlaps; `slice(1)` is that of 0.5.
        """
        counts = np.ones(len(self._people)) if counts is None else counts
        people = float(self._people @ counts)
        if people == 0:
            return float("nan")
        weight = counts[self._picture]
        found = []
        for right, wrong in zip(self._right[levels], self._wrong[levels], strict=True):
            hits, misses = np.cumsum(right * weight), np.cumsum(wrong * weight)
            precision = hits / np.maximum(hits + misses, np.spacing(1))
            best = np.maximum.accumulate(precision[::-1])[::-1]
            where = np.searchsorted(hits / people, RECALLS, side="left")
            found.append(np.append(best, 0.0)[where].mean())
        return float(np.mean(found))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Boxes of one picture matched with true ones.

    Attributes:
        found: bool [n]: whether each true box was found.
        right: bool [m]: whether each box is a true one.
    """

    found: Bools
    right: Bools


def pair(boxes: Floats, truth: Floats, least: float = 0.5) -> Pairs:
    """Matches boxes, best first, with the free true box that each overlaps most, if the IoU is at least `least`."""
    iou = overlaps(boxes, truth)
    found, right = np.zeros(len(truth), np.bool_), np.zeros(len(boxes), np.bool_)
    for box in range(len(boxes)):
        free = np.where(found, -1.0, iou[box])
        if free.size and free.max() >= least:
            found[int(free.argmax())] = right[box] = True
    return Pairs(found, right)


def rate(hits: Sequence[Bools]) -> float | None:
    """Returns the share of True in all arrays together; None if they are empty."""
    total = sum(len(one) for one in hits)
    return sum(int(one.sum()) for one in hits) / total if total else None
