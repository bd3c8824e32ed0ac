"""What the stages of a student give for pictures, kept so that many balances can be tried on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image, ImageOps

from research.training.student import Student, reduction
from research.training.trainer import Normaliser

BATCH = 32


@dataclass(frozen=True)
class Sample:
    """What the stages give for pictures.

    Attributes:
        averages: [N, C] of the first three stages.
        last: [N, C, H, W] of the last stage before its last ReLU, float16.
    """

    averages: list[torch.Tensor]
    last: torch.Tensor


@torch.inference_mode()
def look(student: Student, batches: Iterable[torch.Tensor]) -> Sample:
    """Runs the network on normalised pictures [N, 3, H, W] of one size."""
    averages: list[list[torch.Tensor]] = [[], [], []]
    last: list[torch.Tensor] = []
    student.eval()
    for pictures in batches:
        x = F.max_pool2d(F.relu(student.bn1(student.conv1(pictures))), 3, 2, 1)
        for stage, parts in zip((student.layer1, student.layer2, student.layer3), averages, strict=True):
            x = stage(x)
            parts.append(x.mean((2, 3)))
        x = student.layer4[0](x)
        block = student.layer4[1]
        y = F.relu(block.bn1(block.conv1(x)))  # type: ignore[operator]
        last.append((block.bn2(block.conv2(y)) + x).half())  # type: ignore[operator]
    return Sample([torch.cat(parts) for parts in averages], torch.cat(last))


def averages_of(sample: Sample, constants: torch.Tensor) -> list[torch.Tensor]:
    """The averages [N, C] of all four stages, with constants [C] taken off before the last ReLU of the last one."""
    parts = (sample.last[start : start + 256].float() for start in range(0, len(sample.last), 256))
    last = torch.cat([F.relu(part - constants[:, None, None]).mean((2, 3)) for part in parts])
    return [*sample.averages, last]


def embedding(averages: Sequence[torch.Tensor], scales: Sequence[torch.Tensor]) -> torch.Tensor:
    """The operator's result [N, C] for averages of the four stages, each channel times its factor."""
    return reduction([average * scale for average, scale in zip(averages, scales, strict=True)])


def opened(files: Iterable[Path]) -> Iterator[Image.Image]:
    """RGB pictures of files, upright by EXIF as the engine turns them."""
    for path in files:
        with Image.open(path) as image:
            yield ImageOps.exif_transpose(image).convert("RGB")


def batches(pictures: Iterable[Image.Image], normalised: Normaliser, size: int = 224) -> Iterator[torch.Tensor]:
    """Whole RGB pictures, resized as the engine does it: normalised [N, 3, size, size], up to BATCH at a time."""
    arrays = []
    for picture in pictures:
        resized = picture.resize((size, size), Image.Resampling.BILINEAR)
        arrays.append(np.asarray(resized, np.float32).transpose(2, 0, 1) / 255)
        if len(arrays) == BATCH:
            yield normalised(torch.from_numpy(np.stack(arrays)), "student")
            arrays.clear()
    if arrays:
        yield normalised(torch.from_numpy(np.stack(arrays)), "student")
