"""What a detector's file is: the names of its tensors, and the metadata that says how a picture becomes its input.

A file has one input, ``image`` float32 [1, 3, H, W], and two outputs: ``boxes`` float32 [1, K, 4], left, top, right and
bottom in pixels of the input, and ``scores`` float32 [1, K], 0 ... 1, of people only. Boxes may reach outside the
picture and, unless the model has removed those itself, overlap.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

VERSION = 1
INPUT = "image"
BOXES = "boxes"
SCORES = "scores"
# The metadata's key.
KEY = "rrn.detector"


class DetectorError(ValueError):
    """A model's files are not what the converter knows; one line that says which part, and what was expected."""


@dataclasses.dataclass(frozen=True)
class Detector:
    """How a picture becomes a detector's input, and what its outputs still need.

    Attributes:
        name: The model's name, as "fast".
        size: Width and height of the input in pixels.
        resize: "stretch" fills the input whatever the picture's sides; "letterbox" keeps them and fills the rest.
        channels: The order of the input's channels.
        scale: What a pixel, 0 ... 255, is multiplied by: "1/255", or a number.
        mean: Subtracted after scaling, in the order of the channels.
        std: Divided by after that.
        nms: The overlap (intersection over union) above which the lower of two boxes is removed; None where the model
            has removed them.
        score: Boxes below this score are not reported unless another threshold is asked for.
        fill: RGB, 0 ... 255, of what a letterbox leaves free.
    """

    name: str
    size: tuple[int, int]
    resize: Literal["stretch", "letterbox"]
    channels: Literal["RGB", "BGR"]
    scale: str | float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    nms: float | None
    score: float
    fill: tuple[int, int, int] | None = None

    def to_json(self) -> str:
        """Returns the metadata's text."""
        record: dict[str, Any] = {"version": VERSION, "name": self.name, "resize": self.resize}
        if self.resize == "letterbox":
            record["fill"] = list(self.fill or (114, 114, 114))
        record |= {"channels": self.channels, "scale": self.scale, "mean": list(self.mean), "std": list(self.std)}
        return json.dumps(record | {"nms": self.nms, "score": self.score})


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where a model's weights come from, for the metadata.

    Attributes:
        origin: A package, its version and licence, or a file.
        sha256: Of the package or file, in hexadecimal.
    """

    origin: str
    sha256: str
