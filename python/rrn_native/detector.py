"""Finding the people in pictures, with the engine."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import overload

import numpy as np

from rrn_native import _load
from rrn_native.arrays import PathLike, PixelArray, check_pixels, checked_threads
from rrn_native.detections import Detections
from rrn_native.embedder import Precision, Provider


@dataclasses.dataclass(frozen=True)
class DetectorInfo:
    """What a loaded detector says about itself.

    Attributes:
        name: The model's name.
        file: The file's name without its folders.
        size: Width and height of the network's input, in pixels.
        score: Boxes below this score are left out.
        iou: Of two boxes that overlap by more than this, one stays.
        model_score: The model's own threshold.
        provider: Who computes; never "auto".
        precision: What it computes in; never "auto".
    """

    name: str
    file: str
    size: tuple[int, int]
    score: float
    iou: float
    model_score: float
    provider: str
    precision: str


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """How long one picture took, in seconds: its pixels' way to the network's input, and the network with its boxes."""

    preprocess: float
    detect: float


class Detector:
    """A person detector, loaded and ready; use one from several threads if you like.

    Args:
        model: ONNX file with one input float32 [1, 3, H, W], the outputs ``boxes`` float32 [1, K, 4] (left, top, right,
            bottom in pixels of the input) and ``scores`` float32 [1, K], and the metadata ``rrn.detector`` (see
            ``include/rrn/detector.h``).
        provider: As for :class:`~rrn_native.Embedder`.
        precision: As for :class:`~rrn_native.Embedder`.
        threads: Threads that compute one picture together; None for one for each core. Results do not depend on it.
        score: Boxes below this score are left out (0 ... 1); None for the model's own threshold.
        iou: Of two boxes whose intersection over union is above this, only the one with the higher score stays
            (0 ... 1); None for what the model asks for.
        max_boxes: The most boxes of a picture (1 ... 1000).
        cache: As for :class:`~rrn_native.Embedder`.

    Warns:
        RuntimeWarning: With provider "auto", nothing here gains from the precision, so fp32 is computed.

    Raises:
        ValueError: An argument is out of its range.
        FileNotFoundError: No such model.
        RrnError: The file is no detector, ONNX Runtime refuses it, or the provider is not installed.
    """

    def __init__(
        self,
        model: PathLike,
        provider: Provider = "auto",
        *,
        precision: Precision = "auto",
        threads: int | None = None,
        score: float | None = None,
        iou: float | None = None,
        max_boxes: int = 300,
        cache: bool = True,
    ) -> None:
        for name, value in (("score", score), ("iou", iou)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected 0 ... 1")
        self._native = _load.native.Detector(
            model=os.fsencode(model),
            provider=provider,
            precision=precision,
            threads=checked_threads(threads),
            score=-1 if score is None else score,
            iou=-1 if iou is None else iou,
            max_boxes=max_boxes,
            cache=cache,
        )
        if self._native.info.note:
            warnings.warn(self._native.info.note, RuntimeWarning, stacklevel=2)

    @property
    def info(self) -> DetectorInfo:
        """Which model this is, where it is computed and in which precision."""
        info = self._native.info
        return DetectorInfo(
            name=info.name,
            file=info.file,
            size=(info.width, info.height),
            score=info.score,
            iou=info.iou,
            model_score=info.model_score,
            provider=info.provider,
            precision=info.precision,
        )

    def timed(self, frame: PixelArray) -> tuple[Detections, StepTimes]:
        """Finds the people in one picture, and says how long each step took.

        Args:
            frame: RGB, uint8 [height, width, 3].

        Returns:
            Boxes in pixels of `frame`, and the times.

        Raises:
            ValueError: The array is something else.
            RrnError: The model failed.
        """
        check_pixels(frame)
        boxes, scores, preprocess, detect = self._native.detect(frame)
        size = (int(frame.shape[1]), int(frame.shape[0]))
        return Detections(boxes, scores, size), StepTimes(preprocess, detect)

    @overload
    def detect(self, frames: PixelArray) -> Detections: ...
    @overload
    def detect(self, frames: Sequence[PixelArray]) -> list[Detections]: ...
    def detect(self, frames: PixelArray | Sequence[PixelArray]) -> Detections | list[Detections]:
        """Finds the people in one picture, or in each of several.

        Args:
            frames: RGB, uint8 [height, width, 3], or several such arrays of any sizes.

        Returns:
            Boxes in pixels of the picture; a list where several were given.

        Raises:
            ValueError: An array is something else.
            RrnError: The model failed.
        """
        if isinstance(frames, np.ndarray) and frames.ndim == 3:
            return self.timed(frames)[0]
        return [self.timed(frame)[0] for frame in frames]
