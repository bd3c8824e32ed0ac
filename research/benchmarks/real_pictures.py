"""100,000 pictures to measure the search on: photos and small labelled pictures that the user has, and copies of them.

The set: every photo of UKBench (500) and COCO val2017 (128), every picture of Tiny ImageNet's subset at 32x32 and of
CIFAR-100's (10,000 each to test and to train), 40,628 in all, in the order of their names, then two copies of each
(`research.common.copies`): the transforms take turns, so that picture i gets transforms i and i + 9 modulo 18. Tiny
pictures are copied at 64x64, or text and frames would cover them. A fixed permutation of all these is cut after as many
pictures as are wanted, 100,000 of 121,884. Any first part of it is a sample of the whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from research.common import copies, image_sets

COPIES = 2
SMALL_SIDE = 64
_SEED = 20


@dataclasses.dataclass(frozen=True)
class Originals:
    """Pictures without copies: files of photos, then small pictures.

    Attributes:
        files: Photos, sorted by name.
        small: Labelled pictures, split after split.
    """

    files: Sequence[Path]
    small: Sequence[image_sets.Split]

    def __len__(self) -> int:
        """Returns the number of originals."""
        return len(self.files) + sum(len(split) for split in self.small)

    def load(self, index: int) -> Image.Image:
        """Returns one original, RGB."""
        if index < len(self.files):
            return Image.open(self.files[index]).convert("RGB")
        index -= len(self.files)
        for split in self.small:
            if index < len(split):
                return Image.fromarray(split.pixels[index])
            index -= len(split)
        raise IndexError("no such picture")


def read_originals(data: Path) -> Originals:
    """Reads what is in a folder; what it lacks is left out.

    Args:
        data: With ukbench/*.jpg, coco_val128/images/*.jpg, and the archives of Tiny ImageNet and CIFAR-100.

    Raises:
        ValueError: An archive cannot be read.
    """
    files = sorted(data.glob("ukbench/*.jpg")) + sorted(data.glob("coco_val128/images/*.jpg"))
    small = []
    tiny, cifar = data / image_sets.TINY_IMAGENET, data / image_sets.CIFAR
    if tiny.is_file():
        small += [image_sets.tiny_imagenet(tiny, "test"), image_sets.tiny_imagenet(tiny, "train")]
    if cifar.is_file():
        small += [image_sets.cifar100(cifar, "test"), image_sets.cifar100(cifar, "train")]
    return Originals(files, small)


def order(originals: int) -> npt.NDArray[np.int64]:
    """Returns which picture is where: a permutation of originals * (1 + COPIES) numbers, int64.

    Numbers below `originals` are originals, copy c of original i is originals * (1 + c) + i.
    """
    return np.random.default_rng(_SEED).permutation(originals * (1 + COPIES)).astype(np.int64)


def picture(originals: Originals, number: int) -> Image.Image:
    """Returns the picture of a number of `order`, RGB; the same one every time."""
    copy, index = divmod(number, len(originals))
    image = originals.load(index)
    if copy == 0:
        return image
    if max(image.size) < SMALL_SIDE:
        image = image.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BICUBIC)
    names = list(copies.TRANSFORMS)
    return copies.make_copy(image, names[(index + (copy - 1) * len(names) // COPIES) % len(names)], _SEED)
