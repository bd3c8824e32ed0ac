"""Labelled pictures for each network, and the classifier that turns its outputs into classes.

Four sets that share no picture: the probe's training pictures, those for ranges (calibration) and those for choosing
(validation) from the training split, and the test pictures from the other one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from research.common import image_sets
from research.common.image_sets import Split
from research.quantisation.networks import Network

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Amount:
    """How many pictures of each class there are in each set.

    Attributes:
        probe: That a linear classifier is trained on.
        test: That accuracy is measured on.
        most: Test pictures altogether; of sets with many classes, these are spread evenly over them.
        calibration: Pictures that ranges are measured on.
        validation: Pictures that accuracy control looks at.
    """

    probe: int
    test: int
    most: int
    calibration: int
    validation: int


SHORT = Amount(probe=10, test=2, most=240, calibration=64, validation=100)
FULL = Amount(probe=40, test=20, most=2000, calibration=256, validation=400)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The sets of one network.

    Attributes:
        source: What they are, in words.
        digest: SHA-256 of the archive; "" for pictures of a package.
        probe: Training pictures of a linear classifier; None for a network with a classifier of its own.
        calibration: For ranges.
        validation: For choosing.
        test: For accuracy.
        outputs: int64 [classes]: which of the network's own outputs is a class; None where a probe is trained.
    """

    source: str
    digest: str
    probe: Split | None
    calibration: Split
    validation: Split
    test: Split
    outputs: Labels | None


def pictures(network: Network, folder: Path | None, amount: Amount) -> Pictures:
    """Chooses pictures: Tiny ImageNet for a network with ImageNet's classes, CIFAR-100 for the others.

    Args:
        network: Whose.
        folder: Holds the archives; None for scikit-learn's digits and a linear classifier for every network.
        amount: How many.

    Raises:
        OSError: An archive is missing.
        ValueError: It is not what it should be.
    """
    classes = network.classes() if folder is not None else ()
    if folder is None:
        train, test = image_sets.digits("train"), image_sets.digits("test")
    elif classes:
        archive = folder / image_sets.TINY_IMAGENET
        train, test = image_sets.tiny_imagenet(archive, "train"), image_sets.tiny_imagenet(archive, "test")
    else:
        archive = folder / image_sets.CIFAR
        train, test = image_sets.cifar100(archive, "train"), image_sets.cifar100(archive, "test")
    outputs = None
    if classes:
        place = {synset: number for number, synset in enumerate(classes)}
        unknown = sorted(set(train.classes) - set(place))
        if unknown:
            raise ValueError(f"{archive.name}: {unknown[0]} is no class of ImageNet")
        outputs = np.array([place[synset] for synset in train.classes], np.int64)
    # One class has this many for both, and what is left over is cut off evenly.
    wanted = amount.calibration + amount.validation
    both = -(-wanted // len(train.classes))
    rest = spread(train.each_class(both, skip=amount.probe if outputs is None else 0), wanted)
    if len(rest) < wanted:
        raise ValueError(
            f"{train.source}: expected {wanted} pictures beside {amount.probe} of each class for a classifier, "
            f"got {len(rest)}; give an archive with more"
        )
    order = np.arange(len(rest))
    step = len(rest) / amount.calibration
    chosen = np.unique((np.arange(amount.calibration) * step).astype(np.int64))
    return Pictures(
        test.source,
        test.digest,
        None if outputs is not None else train.each_class(amount.probe),
        rest.take(chosen),
        rest.take(np.setdiff1d(order, chosen)),
        spread(test.each_class(amount.test), amount.most),
        outputs,
    )


def spread(split: Split, most: int) -> Split:
    """Returns at most this many pictures, taken evenly in their order."""
    if len(split) <= most:
        return split
    return split.take((np.arange(most) * (len(split) / most)).astype(np.int64))


def prepared(split: Split, network: Network) -> Floats:
    """Returns a network's input, float32 [n, 3, side, side]: enlarged (bilinear), divided by 255, normalised."""
    import torch

    mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))
    made = np.empty((len(split), 3, network.side, network.side), np.float32)
    for start in range(0, len(split), _CHUNK):
        levels = torch.from_numpy(split.pixels[start : start + _CHUNK]).permute(0, 3, 1, 2).float() / 255
        size = (network.side, network.side)
        larger = torch.nn.functional.interpolate(levels, size, mode="bilinear", antialias=True)
        made[start : start + _CHUNK] = ((larger - mean) / std).numpy()
    return made


@dataclasses.dataclass(frozen=True)
class Head:
    """Turns outputs into classes, the same for every form of a network.

    Attributes:
        weight: float64 [classes, D].
        bias: float64 [classes].
    """

    weight: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def classes(self, outputs: npt.NDArray[Any]) -> Labels:
        """Returns int64 [n]: the class of each row of outputs [n, D]."""
        scores = outputs.astype(np.float64) @ self.weight.T + self.bias
        return np.asarray(scores.argmax(axis=1), np.int64)

    def save(self, path: Path) -> None:
        """Writes it as .npz."""
        np.savez(path, weight=self.weight, bias=self.bias)

    @classmethod
    def load(cls, path: Path) -> Head:
        """Reads what `save` wrote."""
        with np.load(path) as found:
            return cls(found["weight"], found["bias"])


def own_head(outputs: Labels, dim: int) -> Head:
    """Returns the head that chooses among some of a network's own outputs."""
    weight = np.zeros((len(outputs), dim))
    weight[np.arange(len(outputs)), outputs] = 1
    return Head(weight, np.zeros(len(outputs)))


def probe(features: npt.NDArray[Any], labels: Labels) -> Head:
    """Fits a linear classifier (logistic regression on standardised features) to the outputs of the float32 network.

    Args:
        features: [n, D].
        labels: int64 [n], each of 0 to classes - 1.
    """
    from sklearn.linear_model import LogisticRegression

    rows = features.astype(np.float64)
    mean, std = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    fitted = LogisticRegression(C=0.01, max_iter=1000).fit((rows - mean) / std, labels)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:
        # Two classes have one row of weights.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / std
    return Head(weight, bias - weight @ mean)
