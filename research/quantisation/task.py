"""What a process that measures one form of a network is given, and what it builds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Json = dict[str, Any]
Floats = npt.NDArray[np.float32]

BATCHES = (1, 8)


@dataclasses.dataclass(frozen=True)
class Task:
    """A form of a network; it can be sent to another process.

    Attributes:
        network: A name of `networks.NETWORKS`.
        variant: A name of `variants.VARIANTS`.
        folder: Holds float.onnx, calibration.npy, validation.npz and head.npz, and gets what is built.
        threads: That compute one batch together.
        weights: Of the network; None for its usual ones.
    """

    network: str
    variant: str
    folder: Path
    threads: int
    weights: Path | None = None

    @property
    def onnx(self) -> Path:
        """The network as float32 ONNX."""
        return self.folder / "float.onnx"

    @property
    def calibration(self) -> Path:
        """float32 [n, 3, side, side] as .npy."""
        return self.folder / "calibration.npy"

    @property
    def validation(self) -> Path:
        """`inputs`, the float32 network's `outputs`, and `labels` as .npz; labels are empty for untrained weights."""
        return self.folder / "validation.npz"

    @property
    def head(self) -> Path:
        """The classifier, see `labelled.Head`; missing for untrained weights."""
        return self.folder / "head.npz"

    def file(self, ending: str) -> Path:
        """Returns the path for a file of this form."""
        return self.folder / f"{self.variant}{ending}"


class Built(Protocol):
    """A form of a network that can be run."""

    def run(self, images: Floats) -> Floats:
        """float32 [n, 3, side, side] to [n, D]; n is 1 or 8."""

    def ran(self) -> Json:
        """Says what is really computed, and in what."""

    def size(self) -> int:
        """Returns the bytes of what has to be kept to run it."""


def some(task: Task, batch: int) -> Floats:
    """Returns `batch` inputs for warming up and profiles: pictures for calibration, again where there are few."""
    images: Floats = np.load(task.calibration, mmap_mode="r")
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])
