"""Labelled pictures from archives of a few files, and the digits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow is missing")

from PIL import Image

from research.common import image_sets


def archive(path: Path, files: dict[str, int], texts: dict[str, str] | None = None) -> Path:
    """A zip file with pictures of one grey level each."""
    with zipfile.ZipFile(path, "w") as opened:
        for name, level in files.items():
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), (level,) * 3).save(buffer, "PNG")
            opened.writestr(name, buffer.getvalue())
        for name, text in (texts or {}).items():
            opened.writestr(name, text)
    return path


def test_a_split_of_cifar_does_not_open_the_other(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "set.zip", {"train/b/1.png": 1, "train/a/2.png": 2, "train/a/1.png": 3}, {"test/a/x.png": ""}
    )
    found = image_sets.cifar100(path, "train")
    assert found.classes == ("a", "b")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.pixels[:, 0, 0, 0].tolist() == [3, 2, 1]
    assert len(found.digest) == 64


def test_validation_labels_of_tiny_imagenet_are_in_a_list(tmp_path: Path) -> None:
    lines = "v1.JPEG\tn00000002\t0\t0\t1\t1\nv2.JPEG\tn00000001\t0\t0\t1\t1\n"
    files = {"train/n00000001/images/1.JPEG": 9, "train/n00000002/images/1.JPEG": 8}
    validation = {"val/images/v1.JPEG": 7, "val/images/v2.JPEG": 6}
    path = archive(tmp_path / "set.zip", files | validation, {"val/val_annotations.txt": lines})
    assert image_sets.tiny_imagenet(path, "train").labels.tolist() == [0, 1]
    found = image_sets.tiny_imagenet(path, "test")
    assert found.labels.tolist() == [1, 0]
    assert found.pixels[:, 0, 0, 0].tolist() == [7, 6]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ValueError, match="expected a zip file"):
        image_sets.cifar100(tmp_path / "text", "train")
    with pytest.raises(ValueError, match="holds no picture of CIFAR-100, test"):
        image_sets.cifar100(archive(tmp_path / "set.zip", {"train/a/1.png": 1}), "test")


def test_some_pictures_of_each_class() -> None:
    labels = np.array([0, 1, 0, 1, 2, 0])
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    found = image_sets.Split(pixels, labels, ("a", "b", "c"), "drawn", "")
    assert found.each_class(2).pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.each_class(1, skip=1).pixels[:, 0, 0, 0].tolist() == [2, 3]
    assert found.first_classes(2).classes == ("a", "b")
    assert len(found.first_classes(2)) == 5


def test_digits_of_training_and_test_are_other_ones() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is missing")
    train, test = image_sets.digits("train"), image_sets.digits("test")
    assert len(train) + len(test) == 1797
    assert train.pixels.shape[1:] == (32, 32, 3)
    assert set(test.labels.tolist()) == set(range(10))
