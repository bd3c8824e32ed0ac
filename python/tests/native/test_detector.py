"""The detector: boxes of known pictures, what its options do, and files that are no detectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rrn_native
from blob_detector import SIDE, blob_model, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from rrn_native import Detections, Detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_model(tmp_path_factory.mktemp("blob") / "blob.onnx")


def test_finds_the_rectangle_in_pixels_of_the_picture(model: Path) -> None:
    found = Detector(model).detect(scene((2 * SIDE, 4 * SIDE), (20, 80, 40, 160)))
    assert found.size == (2 * SIDE, 4 * SIDE)
    np.testing.assert_allclose(found.boxes, [[20, 80, 40, 160]], atol=2 * 2)
    assert found.scores.tolist() == [1.0]
    assert found.ids.tolist() == [-1]


def test_orders_by_score_and_leaves_out_what_is_below_it(model: Path) -> None:
    picture = scene((SIDE, SIDE), (4, 4, 20, 30))
    picture[10:40, 40:50] = 204
    both = Detector(model).detect(picture)
    np.testing.assert_allclose(both.scores, [1, 0.8], atol=1e-3)
    assert len(Detector(model, score=0.9).detect(picture)) == 1
    assert len(Detector(model, max_boxes=1).detect(picture)) == 1


def test_nobody(model: Path) -> None:
    found = Detector(model).detect(scene((SIDE, SIDE)))
    assert len(found) == 0
    assert found == Detections.empty((SIDE, SIDE))


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000), (427, 240)])
def test_pictures_of_any_size(model: Path, size: tuple[int, int]) -> None:
    found = Detector(model).detect(np.full((size[1], size[0], 3), 255, np.uint8))
    assert found.size == size
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= np.array(size)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.data())
def test_a_letterbox_gives_the_same_box_as_the_whole_input(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, data: st.DataObject
) -> None:
    boxed = blob_model(tmp_path_factory.mktemp("blob") / "b.onnx", resize="letterbox", fill=[0, 0, 0])
    left = data.draw(st.integers(0, width // 3))
    top = data.draw(st.integers(0, height // 2))
    rectangle = (left, top, left + width // 8 + 6, top + height // 4 + 4)
    found = Detector(boxed, score=0.2).detect(scene((width, height), rectangle))
    # The part of it in the left half of the input, to a pixel of the input.
    pixel = max(width, height) / SIDE
    best = found.boxes[np.argmin(found.boxes[:, 0])]
    np.testing.assert_allclose(best[:2], rectangle[:2], atol=1.6 * pixel)
    assert abs(best[3] - rectangle[3]) <= 1.6 * pixel


def test_same_picture_same_boxes_with_any_number_of_threads(model: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (240, 427, 3), dtype=np.uint8)
    results = [Detector(model, threads=threads).detect(picture) for threads in (1, 2, 4)]
    assert results[0] == results[1]
    assert results[0] == results[2]


def test_several_pictures_and_times(model: Path) -> None:
    detector = Detector(model)
    pictures = [scene((SIDE, SIDE), (4, 4, 20, 30)), scene((2 * SIDE, SIDE))]
    assert [len(found) for found in detector.detect(pictures)] == [1, 0]
    found, times = detector.timed(pictures[0])
    assert len(found) == 1
    assert times.preprocess > 0
    assert times.detect > 0


def test_says_what_it_is(model: Path) -> None:
    info = Detector(model, "cpu", iou=0.3).info
    assert (info.name, info.file, info.size) == ("blob", "blob.onnx", (SIDE, SIDE))
    assert (info.provider, info.precision) == ("cpu", "fp32")
    assert info.score == info.model_score == 0.5
    assert info.iou == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": 1.5}, "score is 1.5"),
        ({"iou": -0.1}, "iou is -0.1"),
        ({"score": float("nan")}, "score is nan"),
        ({"max_boxes": 0}, "max_boxes is 0"),
        ({"threads": -1}, "threads"),
        ({"provider": "tpu"}, "provider is 'tpu'"),
    ],
)
def test_wrong_arguments(model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detector(model, **arguments)


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_wrong_pictures(model: Path, picture: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        Detector(model).timed(picture)


def test_files_that_are_no_detectors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.onnx"):
        Detector(tmp_path / "no.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(rrn_native.RrnError, match=r"text\.onnx"):
        Detector(tmp_path / "text.onnx")
    with pytest.raises(rrn_native.RrnError, match=r"rrn\.detector"):
        Detector(rrn_native.default_model())
    unknown = blob_model(tmp_path / "unknown.onnx", crop=3)
    with pytest.raises(rrn_native.RrnError, match='a field "crop"'):
        Detector(unknown)


def _other_outputs(path: Path, boxes: list[Any], scores: list[Any]) -> Path:
    """A detector whose outputs are constants of other shapes."""
    arrays = {"boxes": np.array(boxes, np.float32), "scores": np.array(scores, np.float32)}
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in arrays.items()
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape)) for name, value in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(made, {"rrn.detector": json.dumps({"version": 1, "name": "c", "nms": 0.5})})
    onnx.save(made, path)
    return path


@pytest.mark.parametrize(
    ("boxes", "scores"), [([[1, 2, 3, 4]], [[1]]), ([[[1, 2, 3, 4]]], [[1, 1]]), ([[[1, 2, 3]]], [[1]])]
)
def test_outputs_that_are_no_boxes(tmp_path: Path, boxes: list[Any], scores: list[Any]) -> None:
    with pytest.raises(rrn_native.RrnError, match="expected the outputs boxes"):
        Detector(_other_outputs(tmp_path / "c.onnx", boxes, scores))


def test_hostile_numbers(tmp_path: Path) -> None:
    nan, huge = float("nan"), 1e30
    boxes = [[nan, 0, 4, 4], [0, 0, 4, 4], [-huge, -huge, huge, huge], [5, 5, 2, 2], [1, 1, 3, 3]]
    path = _other_outputs(tmp_path / "c.onnx", [boxes], [[0.9, nan, 7, 0.9, 0.8]])
    found = Detector(path, iou=1).detect(np.zeros((8, 8, 3), np.uint8))
    assert found.boxes.tolist() == [[0, 0, 8, 8], [1, 1, 3, 3]]
    assert found.scores.tolist() == [1, pytest.approx(0.8)]


def test_an_empty_list_of_boxes(tmp_path: Path) -> None:
    path = _other_outputs(tmp_path / "c.onnx", np.zeros((1, 0, 4)).tolist(), [[]])
    with pytest.raises(rrn_native.RrnError):
        Detector(path)  # [1, 0], not [1, 0, 4]


def test_jpeg_round_trip() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    smooth = np.repeat(np.repeat(picture[:3, :5], 8, axis=0), 8, axis=1)
    file = rrn_native.encode_jpeg(smooth, 95)
    assert file == rrn_native.encode_jpeg(smooth, 95)
    assert np.abs(rrn_native.decode_bytes(file).astype(int) - smooth).mean() < 8
    assert len(rrn_native.encode_jpeg(smooth, 20)) < len(file)
    plain = rrn_native.encode_jpeg(smooth, 95, optimize=False)
    assert len(file) < len(plain)
    np.testing.assert_array_equal(rrn_native.decode_bytes(plain), rrn_native.decode_bytes(file))
    with pytest.raises(ValueError, match="quality"):
        rrn_native.encode_jpeg(smooth, 101)
    with pytest.raises(ValueError, match="uint8"):
        rrn_native.encode_jpeg(smooth[:, :, 0])
