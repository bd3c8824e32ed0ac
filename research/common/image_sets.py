"""Small labelled pictures: CIFAR-100 and Tiny ImageNet from archives that the user has, and scikit-learn's digits.

A split is read on its own, so that a program that must not see the test set never opens it.
"""

from __future__ import annotations

import dataclasses
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from research.common.results import sha256

SplitName = Literal["train", "test"]
# One name of each in a folder that --data names.
CIFAR = "cifar100_subset.zip"
TINY_IMAGENET = "tinyimagenet32_subset.zip"
_SYNSET = re.compile(r"^(?:train/)?(n\d{8})/")
# Of scikit-learn's digits, the last ones are for testing.
_TEST_DIGITS = 0.3


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled pictures.

    Attributes:
        pixels: uint8 [n, side, side, 3], RGB, sorted by the name of the file.
        labels: int64 [n], an index into `classes`.
        classes: Names, sorted.
        source: What it is, in words.
        digest: SHA-256 of the file that it comes from; "" for pictures of a package.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    source: str
    digest: str

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.labels)

    def take(self, chosen: npt.NDArray[np.int64]) -> Split:
        """Returns the pictures of these indices, with the same classes."""
        return dataclasses.replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])

    def first_classes(self, count: int) -> Split:
        """Returns the pictures of the first `count` classes, and these classes only."""
        kept = self.labels < count
        return Split(self.pixels[kept], self.labels[kept], self.classes[:count], self.source, self.digest)

    def each_class(self, count: int, *, skip: int = 0) -> Split:
        """Returns up to `count` pictures of each class, in order, without the first `skip` of each."""
        places = [np.flatnonzero(self.labels == label)[skip : skip + count] for label in range(len(self.classes))]
        return self.take(np.sort(np.concatenate(places)))


def cifar100(archive: Path, split: SplitName) -> Split:
    """Reads a split of CIFAR-100 from a zip file with SPLIT/CLASS/NAME.png, each 32x32.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no such pictures.
    """

    def label(name: str) -> str | None:
        parts = name.split("/")
        return parts[1] if len(parts) == 3 and parts[0] == split and parts[2].endswith(".png") else None

    return _read(archive, label, f"CIFAR-100, {split}")


def tiny_imagenet(archive: Path, split: SplitName) -> Split:
    """Reads Tiny ImageNet at 32x32 from a zip file as it is distributed; its validation set is the test set.

    Its classes are WordNet's synsets, such as "n01443537", each a class of ImageNet, too.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no such pictures.
    """
    if split == "train":
        return _read(archive, _synset, "Tiny ImageNet at 32x32, train")
    try:
        with zipfile.ZipFile(archive) as opened:
            lines = opened.read("val/val_annotations.txt").decode().splitlines()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{archive.name}: expected Tiny ImageNet's archive ({error})") from error
    labels = {f"val/images/{name}": synset for name, synset, *_ in (line.split("\t") for line in lines)}
    return _read(archive, labels.get, "Tiny ImageNet at 32x32, validation")


def digits(split: SplitName) -> Split:
    """Returns scikit-learn's handwritten digits (1797, 8x8, ten classes) as pictures of 32x32; needs no file."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    levels = np.round(loaded.images * (255 / 16)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    pixels = np.ascontiguousarray(np.broadcast_to(levels[..., None], (*levels.shape, 3)))
    border = round(len(pixels) * (1 - _TEST_DIGITS))
    part = slice(border) if split == "train" else slice(border, None)
    classes = tuple(str(digit) for digit in range(10))
    return Split(pixels[part], loaded.target[part].astype(np.int64), classes, f"scikit-learn's digits, {split}", "")


def _synset(name: str) -> str | None:
    found = _SYNSET.match(name)
    return found[1] if found and name.endswith(".JPEG") else None


def _read(archive: Path, label: Callable[[str], str | None], source: str) -> Split:
    from PIL import Image

    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive.name}: expected a zip file ({error})") from error
    with opened:
        named: Mapping[str, str] = {
            name: found for name in sorted(opened.namelist()) if (found := label(name)) is not None
        }
        if not named:
            raise ValueError(f"{archive.name}: holds no picture of {source}")
        classes = tuple(sorted(set(named.values())))
        place = {name: number for number, name in enumerate(classes)}
        try:
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(opened.read(name))).convert("RGB")) for name in named])
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ValueError(f"{archive.name}: a picture of {source} cannot be read ({error})") from error
    labels = np.array([place[each] for each in named.values()], np.int64)
    return Split(pixels, labels, classes, source, sha256(archive))
