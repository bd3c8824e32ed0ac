"""The sets of pictures, which share none, and the classifiers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

for _name in ("torch", "sklearn", "PIL"):
    pytest.importorskip(_name, reason=f"{_name} is missing")

import torch  # noqa: E402

from research.common.image_sets import Split  # noqa: E402
from research.quantisation import labelled  # noqa: E402
from research.quantisation.labelled import Amount  # noqa: E402
from research.quantisation.networks import NETWORKS, Network  # noqa: E402


def test_the_sets_of_digits_share_no_picture() -> None:
    amount = Amount(probe=5, test=4, most=30, calibration=12, validation=20)
    found = labelled.pictures(NETWORKS["resnet18"], None, amount)
    assert found.probe is not None
    assert found.outputs is None
    sets = {"probe": found.probe, "calibration": found.calibration, "validation": found.validation}
    assert {name: len(split) for name, split in sets.items()} == {"probe": 50, "calibration": 12, "validation": 20}
    assert len(found.test) == 30
    seen = [picture.tobytes() for split in (*sets.values(), found.test) for picture in split.pixels]
    # Two digits of the whole set may be the same 64 numbers; none of these are.
    assert len(set(seen)) == len(seen)
    assert len(set(found.calibration.labels.tolist())) >= 6


def test_a_set_that_is_too_small_is_an_error() -> None:
    amount = Amount(probe=120, test=4, most=30, calibration=64, validation=100)
    with pytest.raises(ValueError, match="expected 164 pictures beside 120 of each class"):
        labelled.pictures(NETWORKS["resnet18"], None, amount)


def test_a_network_with_classes_of_its_own_needs_no_pictures_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    from research.common import image_sets

    def split(archive: Path, name: str) -> Split:
        labels = np.repeat(np.arange(20), 50 if name == "train" else 3)
        pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
        return Split(pixels, labels, tuple(f"n{number:08}" for number in range(20)), "drawn", "")

    monkeypatch.setattr(image_sets, "tiny_imagenet", split)
    synsets = tuple(f"n{number:08}" for number in range(30))
    network = Network("classes", 8, (0.0,) * 3, (1.0,) * 3, lambda weights: torch.nn.Identity(), lambda: synsets)
    found = labelled.pictures(network, Path("data"), labelled.FULL)
    assert found.probe is None
    assert (len(found.calibration), len(found.validation)) == (256, 400)
    other = dataclasses.replace(network, classes=lambda: synsets[:10])
    with pytest.raises(ValueError, match="n00000010 is no class of ImageNet"):
        labelled.pictures(other, Path("data"), labelled.FULL)


def test_a_missing_archive_is_an_error(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(OSError, match="cifar100"):
        labelled.pictures(NETWORKS["resnet18"], Path(str(tmp_path)), labelled.SHORT)


def test_pictures_are_enlarged_and_normalised() -> None:
    pixels = np.full((3, 32, 32, 3), 127, np.uint8)
    split = Split(pixels, np.zeros(3, np.int64), ("a",), "drawn", "")
    made = labelled.prepared(split, NETWORKS["lite0"])
    assert made.shape == (3, 3, 224, 224)
    # EfficientNet-Lite's own formula: (level - 127) / 128.
    np.testing.assert_allclose(made, 0, atol=1e-6)
    brighter = labelled.prepared(Split(pixels + 64, split.labels, ("a",), "drawn", ""), NETWORKS["lite0"])
    np.testing.assert_allclose(brighter, 0.5, atol=1e-6)


def test_a_probe_finds_classes_that_can_be_told_apart_by_a_line() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = random.normal(0, 0.3, (90, 8)) + np.eye(3, 8)[labels] * 50 + 1000
    head = labelled.probe(features, labels)
    assert (head.classes(features) == labels).all()
    assert (head.classes(features[:, ::-1].copy()) == labels).mean() < 0.7


def test_a_probe_of_two_classes() -> None:
    features = np.array([[0.0, 1], [0.1, 1], [5, 1], [5.2, 1]])
    head = labelled.probe(features, np.array([0, 0, 1, 1]))
    assert head.classes(features).tolist() == [0, 0, 1, 1]


def test_a_network_s_own_outputs_are_chosen_among() -> None:
    head = labelled.own_head(np.array([7, 2]), 10)
    outputs = np.zeros((2, 10))
    outputs[0, 2], outputs[1, 7] = 1, 1
    outputs[:, 5] = 9
    assert head.classes(outputs).tolist() == [1, 0]
