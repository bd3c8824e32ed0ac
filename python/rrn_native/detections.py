"""What was found in one picture: the one data class between detector, tracker, annotator and sink."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# The id of a box that no tracker has seen yet.
UNTRACKED = -1


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of people in a picture, ordered by descending score.

    Attributes:
        boxes: float32 [n, 4]: left, top, right, bottom, in pixels of a picture of `size`; 0 is the picture's left or
            upper edge, so a box of the whole picture is (0, 0, width, height).
        scores: float32 [n], 0 ... 1.
        size: Width and height of the picture in pixels.
        ids: int64 [n]: the same person has the same id in every picture of a video; -1 where no tracker was asked.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float32]
    size: tuple[int, int]
    ids: Ids = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, np.float32).reshape(-1)
        ids = np.asarray(self.ids, np.int64).reshape(-1)
        if not ids.size:
            ids = np.full(len(boxes), UNTRACKED, np.int64)
        if not len(boxes) == len(scores) == len(ids):
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(ids)} ids; expected the same number")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError("a box or score is not a finite number")
        order = np.argsort(-scores, kind="stable")
        object.__setattr__(self, "boxes", boxes[order])
        object.__setattr__(self, "scores", scores[order])
        object.__setattr__(self, "ids", ids[order])
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    def __len__(self) -> int:
        return len(self.boxes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Detections)
            and self.size == other.size
            and np.array_equal(self.boxes, other.boxes)
            and np.array_equal(self.scores, other.scores)
            and np.array_equal(self.ids, other.ids)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def areas(self) -> npt.NDArray[np.float32]:
        """float32 [n]: areas of the boxes in square pixels."""
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 0)
        return np.asarray(sides[:, 0] * sides[:, 1], np.float32)

    def select(self, rows: npt.NDArray[Any] | Sequence[int]) -> Detections:
        """Returns some of the boxes: positions, or a bool [n]."""
        index = np.asarray(rows)
        if index.dtype != np.bool_:
            index = index.astype(np.int64)
        return Detections(self.boxes[index], self.scores[index], self.size, self.ids[index])

    def above(self, score: float) -> Detections:
        """Returns the boxes with at least this score."""
        return self.select(self.scores >= score)

    def scaled(self, size: tuple[int, int]) -> Detections:
        """Returns the same boxes in pixels of the same picture at another width and height."""
        factors = np.array([size[0] / self.size[0], size[1] / self.size[1]] * 2, np.float32)
        return Detections(self.boxes * factors, self.scores, size, self.ids)

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Detections:
        """Returns what a picture without people gives."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), size)

    @classmethod
    def from_coco(cls, annotations: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> Detections:
        """Reads annotations or results of COCO's format: `bbox` is x, y, width, height; `score` is 1 where missing."""
        entries = list(annotations)
        boxes = np.array([entry["bbox"] for entry in entries], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return cls(boxes, np.array([entry.get("score", 1.0) for entry in entries], np.float32), size)

    @classmethod
    def from_torchvision(cls, output: Mapping[str, Any], size: tuple[int, int], label: int = 1) -> Detections:
        """Reads what torchvision's detection models return for one picture: tensors `boxes`, `scores`, `labels`."""
        values = {name: np.asarray(output[name].detach().cpu()) for name in ("boxes", "scores", "labels")}
        chosen = values["labels"] == label
        return cls(values["boxes"][chosen], values["scores"][chosen], size)

    @classmethod
    def from_supervision(cls, detections: Any, size: tuple[int, int]) -> Detections:
        """Reads a `supervision.Detections`: `xyxy`, `confidence` and, where there is one, `tracker_id`."""
        scores = detections.confidence
        ids = detections.tracker_id
        return cls(
            detections.xyxy,
            np.ones(len(detections.xyxy), np.float32) if scores is None else scores,
            size,
            np.empty(0, np.int64) if ids is None else ids,
        )

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """Returns results in COCO's format."""
        corners = self.boxes.astype(np.float64)
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score in zip(corners.tolist(), self.scores, strict=True)
        ]
