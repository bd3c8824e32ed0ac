"""The pictures that a search may see: training and validation. What is held back is read elsewhere (`final`)."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from research.common import image_sets
from research.common.image_sets import Split, SplitName
from research.tuning import cifar_binary

Kind = Literal["digits", "subset", "binary"]

# Of each class; drawn with this seed.
VALIDATION = 0.2
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """Where pictures come from.

    Attributes:
        kind: "digits" (scikit-learn's, needs no file), "subset" (a zip of PNG files) or "binary" (CIFAR-100 as its
            authors distribute it).
        archive: The file; None for digits.
        classes: How many of the first classes are used, at most.
        per_class: Pictures of a class for training and validation, at most; None for all.
    """

    kind: Kind
    archive: Path | None
    classes: int
    per_class: int | None

    def read(self, split: SplitName) -> Split:
        """Reads a split with the first classes only.

        Raises:
            OSError: The archive cannot be read.
            ValueError: It is no such archive.
        """
        if self.kind == "digits":
            found = image_sets.digits(split)
        else:
            assert self.archive is not None
            found = (image_sets.cifar100 if self.kind == "subset" else cifar_binary.read)(self.archive, split)
        return found.first_classes(self.classes)


@dataclasses.dataclass(frozen=True)
class Learning:
    """What a search learns from.

    Attributes:
        train: Pictures that weights are fitted to.
        validation: Pictures that configurations are compared by.
        digest: SHA-256 of the archive; of the pictures if there is no archive.
    """

    train: Split
    validation: Split
    digest: str

    def whole(self) -> Split:
        """Returns training and validation pictures together."""
        pixels = np.concatenate([self.train.pixels, self.validation.pixels])
        labels = np.concatenate([self.train.labels, self.validation.labels])
        return dataclasses.replace(self.train, pixels=pixels, labels=labels)


def learning(source: Source) -> Learning:
    """Reads the pictures for a search, the same ones each time.

    Raises:
        OSError: The archive cannot be read.
        ValueError: It is no such archive, or has too few pictures of a class to set one apart.
    """
    found = source.read("train")
    if source.per_class is not None:
        found = found.each_class(source.per_class)
    random = np.random.default_rng(_SEED)
    train, validation = [], []
    for label in range(len(found.classes)):
        places = random.permutation(np.flatnonzero(found.labels == label))
        count = round(len(places) * VALIDATION)
        if count < 1:
            raise ValueError(f"class {found.classes[label]} has {len(places)} pictures, expected at least 3")
        validation.append(places[:count])
        train.append(places[count:])
    digest = found.digest or hashlib.sha256(found.pixels.tobytes() + found.labels.tobytes()).hexdigest()
    parts = [found.take(np.sort(np.concatenate(each))) for each in (train, validation)]
    return Learning(parts[0], parts[1], digest)
