"""The comparison of all implementations, on small images and untrained weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import torch
from PIL import Image
from rrn_native.cli import export as cli_export
from rrn_native.cli import validate as cli_validate
from rrn_native.model import export, onnx_file, runtimes, validate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.onnx and images of several kinds in photos/."""
    path = tmp_path_factory.mktemp("validate")
    assert cli_export.main(["--weights", "random:3", "--output", str(path / "model.onnx"), "--size", "64"]) == 0
    photos = path / "photos" / "nested"
    photos.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index, mode in enumerate(["RGB", "L", "RGBA", "P"]):
        small = random.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((90 + index, 61)).convert(mode)
        image.save(photos / f"{mode}.png")
    Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(photos.parent / "photo.jpg")
    (photos / "notes.txt").write_text("not an image")
    return path


def test_all_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(folder / "model.onnx"), "--images", str(folder / "photos")]
    assert cli_validate.main([*arguments, "--json", str(folder / "result.json")]) == 0
    output = capsys.readouterr().out
    assert output.startswith("5 images, model.onnx\n")
    result = json.loads((folder / "result.json").read_text())
    by_name = {row["what"]: row for row in result["comparisons"]}
    embeddings = [row for name, row in by_name.items() if name.startswith("embedding: ")]
    assert len(embeddings) == 5
    assert all(row["verdict"] == "ok" and row["max_abs"] <= 1e-5 for row in embeddings)
    assert by_name["preprocessing of the same pixels: C++, Pillow + NumPy"]["verdict"] == "ok"
    assert str(folder) not in (folder / "result.json").read_text()


def test_weights_stored_as_float16_are_compared_as_they_are_stored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(dict(export.random_weights(3).state_dict), tmp_path / "random.pth")
    source = ["--weights", str(tmp_path / "random.pth")]
    model = str(tmp_path / "small.onnx")
    assert cli_export.main([*source, "--output", model, "--size", "64", "--store", "float16"]) == 0
    arguments = ["--model", model, "--images", str(folder / "photos")]
    assert cli_validate.main(arguments) == 0
    assert "rounding" not in capsys.readouterr().out
    assert cli_validate.main([*arguments, *source, "--json", str(tmp_path / "result.json")]) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "result.json").read_text())["comparisons"]}
    row = rows["embedding: PyTorch, the weights before their rounding to float16"]
    assert row["verdict"] == ""
    assert row["max_abs"] > 10 * rows["embedding: C++ engine"]["max_abs"]


def test_other_weights_do_not_pass(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = export.random_weights(4).state_dict
    torch.save(dict(other), tmp_path / "other.pth")
    arguments = ["--model", str(folder / "model.onnx"), "--images", str(folder / "photos")]
    assert cli_validate.main([*arguments, "--weights", str(tmp_path / "other.pth")]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_rows() -> None:
    row = validate.Row("x", 1e-5)
    row.add(np.zeros(3, dtype=np.float32), np.full(3, 1e-6, dtype=np.float32))
    assert row.verdict == "ok"
    row.add(np.zeros(3, dtype=np.float32), np.array([0, np.nan, 0], dtype=np.float32))
    assert row.verdict == "FAILED"
    with pytest.raises(ValueError, match=r"shape \[2\] instead of \[3\]"):
        row.add(np.zeros(3, dtype=np.float32), np.zeros(2, dtype=np.float32))


def test_preprocessing_by_hand() -> None:
    grey = np.full((3, 5, 3), 128, dtype=np.uint8)
    recorded = {"channels": "RGB", "divisor": 255.0, "mean": onnx_file.MEAN, "std": onnx_file.STDDEV}
    actual = validate.preprocess(grey, recorded, 4)
    expected = [(128 / 255 - mean) / std for mean, std in zip(onnx_file.MEAN, onnx_file.STDDEV, strict=True)]
    assert actual.shape == (3, 4, 4)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, np.broadcast_to(np.reshape(expected, (3, 1, 1)), (3, 4, 4)), atol=1e-6)


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert validate.load_pixels(tmp_path / "clear.png").min() == 255


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "no readable image in"),
        (lambda path: (path.mkdir(), (path / "broken.jpg").write_bytes(b"no")), "no readable image in"),
    ],
    ids=["absent", "empty", "broken"],
)
def test_unusable_folder_is_one_line(
    make: object, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    assert callable(make)
    make(images)
    arguments = ["--model", str(folder / "model.onnx"), "--images", str(images)]
    assert cli_validate.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unreadable_files_are_left_out_and_listed(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(folder / "photos", images)
    (images / "broken.jpg").write_bytes(b"no")
    assert cli_validate.main(["--model", str(folder / "model.onnx"), "--images", str(images)]) == 0
    assert "left out: " in capsys.readouterr().out


def test_model_that_is_not_an_export_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    assert cli_validate.main(["--model", str(tmp_path / "broken.onnx"), "--images", str(folder / "photos")]) == 4
    assert capsys.readouterr().err.startswith(f"rrn validate: {tmp_path / 'broken.onnx'}: ")
    assert cli_validate.main(["--model", str(tmp_path / "absent.onnx"), "--images", str(folder / "photos")]) == 2
    assert "no model" in capsys.readouterr().err


def test_one_picture_through_every_runtime(folder: Path) -> None:
    photo = folder / "photos" / "photo.jpg"
    found = runtimes.compare(runtimes.local(folder / "model.onnx"), photo, rounds=2)
    results = {each.runtime: each for each in found}
    assert list(results) == [
        "engine, Python",
        "PyTorch",
        "TorchScript",
        "ONNX Runtime, with libreduction_op.so",
        "ONNX Runtime, without it",
        "OpenVINO",
        "engine, C++ program",
    ]
    ran = [each for each in found if not each.note.startswith(("the OpenVINO plugin", "provider"))]
    for each in ran:
        assert each.max_abs is not None and each.max_abs <= 1e-5
        assert each.cosine == pytest.approx(1, abs=1e-6)
        assert each.low_ms <= each.median_ms <= each.high_ms  # type: ignore[operator]
    assert runtimes.table(found).count("\n") == len(found)


def test_a_runtime_that_is_wrong_or_missing_shows(tmp_path: Path) -> None:
    row = np.array([3, 4], np.float32)
    found = runtimes.compare(
        {runtimes.REFERENCE: lambda path: row, "other": lambda path: row + np.float32(0.5), "no": "not here"},
        tmp_path,
        1,
    )
    assert [each.max_abs for each in found] == [0, 0.5, None]
    assert found[1].cosine == pytest.approx(28.5 / 5 / np.hypot(3.5, 4.5))
    assert "not run: not here" in runtimes.table(found)
    with pytest.raises(KeyError, match="gone"):
        runtimes.compare({runtimes.REFERENCE: "gone"}, tmp_path)
