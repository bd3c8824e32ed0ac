"""Variants of tiny detectors: what is quantised, what stays, what ran, and what the page says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rrn_native import Detections, Detector

from research.common import results
from research.common.places import RESULTS

for _name in ("av", "cv2", "onnx", "onnxruntime", "faster_coco_eval", "PIL"):
    pytest.importorskip(_name, reason=f"{_name} is missing")

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from research.watch import data, precision, precision_report, scoring, variants  # noqa: E402
from research.watch.variants import Parts  # noqa: E402

SIDE = 32
PARTS = Parts(("predict_*",), ("head*",))


def tiny_model(path: Path, *, shared: bool = False) -> Path:
    """Writes a network of a detector's form: backbone, head, predictors for boxes and scores, and a way to boxes.

    Args:
        path: The file.
        shared: Two heads have the same weights and bias.
    """
    random = np.random.default_rng(1)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weights(name: str, outputs: int, inputs: int, size: int) -> list[str]:
        values = random.normal(0, 0.3, (outputs, inputs, size, size)).astype(np.float32)
        return [constant(f"{name}.w", values), constant(f"{name}.b", random.normal(0, 0.1, outputs).astype(np.float32))]

    def layer(source: str, name: str, terms: list[str], size: int, stride: int = 1) -> str:
        made = node("Conv", [source, *terms], name, kernel_shape=[size] * 2, pads=[size // 2] * 4, strides=[stride] * 2)
        return node("Relu", [made], f"{name}.relu")

    low = layer("image", "backbone_1", weights("backbone_1", 8, 3, 3), 3, 2)
    high = layer(low, "backbone_2", weights("backbone_2", 8, 8, 3), 3, 2)
    head = weights("head", 8, 8, 3)
    found = []
    for level, source in enumerate((low, high)):
        terms = head if shared or level == 0 else weights("head_other", 8, 8, 3)
        last = layer(source, f"head_{level}", terms, 3)
        boxes = node("Conv", [last, *weights(f"boxes_{level}", 4, 8, 1)], f"predict_boxes_{level}")
        logits = node("Conv", [last, *weights(f"logits_{level}", 1, 8, 1)], f"predict_logits_{level}")
        shapes = [constant(f"shape_{level}_{count}", np.array([1, count, -1])) for count in (4, 1)]
        found.append(
            [node("Reshape", [one, shape], f"{one}.flat") for one, shape in zip((boxes, logits), shapes, strict=True)]
        )
    flat = [node("Concat", list(each), f"all_{k}", axis=2) for k, each in enumerate(zip(*found, strict=True))]
    # Left and top, and what is added to them.
    turned = node("Transpose", [flat[0]], "turned", perm=[0, 2, 1])
    halves = constant("halves", np.array([2, 2]))
    nodes.append(helper.make_node("Split", [turned, halves], ["first", "more"], "split", axis=2))
    scale = constant("scale", np.float32(10))
    corner = node("Mul", [node("Sigmoid", ["first"], "inside"), scale], "corner")
    end = node("Add", [corner, node("Mul", [node("Exp", ["more"], "grown"), scale], "side")], "end")
    node("Concat", [corner, end], "boxes", axis=2)
    node("Reshape", [node("Sigmoid", [flat[1]], "probable"), constant("row", np.array([1, -1]))], "scores")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [value("boxes", TensorProto.FLOAT, [1, "n", 4]), value("scores", TensorProto.FLOAT, [1, "n"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    layout = '{"version": 1, "name": "tiny", "resize": "letterbox", "channels": "BGR", "nms": 0.5, "score": 0.1}'
    helper.set_model_props(model, {"rrn.detector": layout})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def pictures(count: int, size: tuple[int, int] = (48, 40)) -> list[Any]:
    random = np.random.default_rng(2)
    return [random.integers(0, 256, (size[1], size[0], 3), np.uint8) for _ in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    return tiny_model(folder / "model.onnx")


def test_predictors_and_what_follows_them_stay_in_float(model: Path) -> None:
    kept = set(variants.float_nodes(onnx.load(model), PARTS.predictors))
    assert {"predict_boxes_0", "predict_logits_1", "probable", "end", "boxes"} <= kept
    assert not kept & {"backbone_1", "backbone_1.relu", "head_0", "head_1.relu"}
    more = set(variants.float_nodes(onnx.load(model), (*PARTS.predictors, *PARTS.heads)))
    assert more - kept == {"head_0", "head_0.relu", "head_1", "head_1.relu"}


def test_a_pattern_without_a_node_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="no node is called BoxPredictor"):
        variants.float_nodes(onnx.load(model), variants.PARTS["fast"].predictors)


def test_eight_bits_run_where_they_are_asked_for(model: Path, tmp_path: Path) -> None:
    layout = variants.Layout.read(model)
    for name, patterns, expected in (
        ("int8", PARTS.predictors, {"float": 4, "uint8": 4}),
        ("mixed", (*PARTS.predictors, *PARTS.heads), {"float": 6, "uint8": 2}),
    ):
        path = tmp_path / f"{name}.onnx"
        variants.write_int8(model, path, map(layout.prepared, pictures(4)), patterns)
        assert variants.ran_in_onnxruntime(path)["convolutions"] == expected
        first, second = (variants.Engine(each, 1).run(pictures(1)[0])[0] for each in (model, path))
        assert np.abs(first.scores[:5] - second.scores[:5]).max() < 0.1


def test_heads_that_share_a_bias_can_be_quantised(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "shared.onnx", shared=True)
    layout = variants.Layout.read(model)
    variants.write_int8(model, tmp_path / "int8.onnx", map(layout.prepared, pictures(2)), PARTS.predictors)
    assert variants.ran_in_onnxruntime(tmp_path / "int8.onnx")["convolutions"]["uint8"] == 4


def test_half_precision_is_converted_back_on_the_processor(model: Path, tmp_path: Path) -> None:
    variants.write_fp16(model, tmp_path / "fp16.onnx")
    plain, half = (variants.ran_in_onnxruntime(path) for path in (model, tmp_path / "fp16.onnx"))
    assert plain["casts"] == 0
    assert half["casts"] > 0
    assert sum(half["convolutions"].values()) == 8
    assert (tmp_path / "fp16.onnx").stat().st_size < model.stat().st_size


def test_dynamic_quantisation_says_what_it_replaced(model: Path, tmp_path: Path) -> None:
    assert variants.write_dynamic(model, tmp_path / "dynamic.onnx") == {"Conv": [8, 8]}
    assert variants.ran_in_onnxruntime(tmp_path / "dynamic.onnx")["convolutions"] == {"uint8": 8}


def test_openvino_gives_the_engines_boxes(model: Path) -> None:
    pytest.importorskip("openvino")
    picture = pictures(1)[0]
    theirs = variants.OpenVino(model, 1, "f32")
    first, second = variants.Engine(model, 1).run(picture)[0], theirs.run(picture)[0]
    assert len(first) > 3
    np.testing.assert_allclose(second.scores, first.scores, atol=1e-4)
    np.testing.assert_allclose(second.boxes, first.boxes, atol=1e-2)
    assert theirs.ran()["convolutions"] == {"f32": 8}


def test_pytorch_replaces_linear_layers_only() -> None:
    torch = pytest.importorskip("torch")
    from research.watch import torch_rcnn

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    changed = torch_rcnn.replaced(model, torch_rcnn.quantized(model))
    assert changed == {"Linear": [1, 1], "Conv2d": [0, 1]}


def test_every_picture_goes_through_all_rows_in_turn(model: Path, tmp_path: Path) -> None:
    made: list[Any] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, pixels: Any) -> tuple[Detections, float]:
            made.append((self.name, int(pixels[0, 0, 0])))
            return Detections.empty((4, 4)), 0.002

        def ran(self) -> dict[str, Any]:
            return {}

    from PIL import Image

    several = []
    for k in range(4):
        Image.new("RGB", (4, 4), (k, k, k)).save(tmp_path / f"{k}.png")
        several.append(data.Picture(tmp_path / f"{k}.png", scoring.plain_truth(np.zeros((0, 4)), (4, 4))))
    rows = {
        "a": [precision.Row(name, "engine", Noted(name), 1) for name in ("x", "y")],
        "b": [precision.Row("z", "engine", Noted("z"), 1), precision.Row("t", "torch", Noted("t"), 1, most=1)],
    }
    taken = precision.run(rows, several, {"a": 0, "b": 2})
    warmup, measured = made[:4], made[4:]
    assert [name for name, _ in warmup] == ["x", "y", "z", "t"]
    assert [sorted(name for name, shade in measured if shade == k) for k in range(4)] == [
        ["t", "x", "y", "z"],
        ["x", "y"],
        ["x", "y"],
        ["x", "y", "z"],
    ]
    assert taken["a"].times["x", "engine"] == [2, 2, 2, 2]
    assert len(taken["b"].truths) == 2


def test_agreement_looks_both_ways() -> None:
    one = Detections(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0.9, 0.8]), (40, 40))
    other = Detections(
        np.array([[0, 0, 10, 9.5], [20, 0, 30, 6], [0, 20, 9, 29], [9, 20, 18, 29]]), np.full(4, 0.5), (40, 40)
    )
    value = precision.agreement([one], [other])
    assert value == {"boxes": [2, 4], "at_0.5": [1.0, 0.5], "at_0.9": [0.5, 0.25]}


def test_the_difference_to_itself_is_nothing() -> None:
    truth = scoring.plain_truth(np.array([[0, 0, 20, 20], [30, 0, 50, 30]], np.float64), (60, 60))
    found = [Detections(np.array([[0, 0, 20, 18]]), np.array([0.9]), (60, 60))] * 3
    value = precision.accuracy(found, found, [truth] * 3)
    assert value["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert 0 < value["ap"]["value"] < 1


def test_all_rows_of_a_tiny_detector_are_made_and_recorded(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from PIL import Image

    several = []
    for k, pixels in enumerate(pictures(3)):
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        best = Detector(model, "cpu", threads=1).detect(pixels).boxes[:2].astype(np.float64)
        several.append(data.Picture(tmp_path / f"{k}.png", scoring.plain_truth(best, (48, 40))))
    rows = {"tiny": precision.make_rows(model, PARTS, pictures(4), tmp_path, 1)}
    taken = precision.run(rows, several, {"tiny": 0})["tiny"]
    records = [precision.record(row, taken, trained=True) for row in rows["tiny"]]
    keys = [(each["precision"], each["runtime"]) for each in records]
    assert keys[:5] == [(name, "engine") for name in ("fp32", "fp16", "int8", "mixed", "dynamic")]
    assert keys[5:] == [(name, "openvino") for name in ("fp32", "fp16", "bf16", "int8")]
    assert records[0]["ratio"] == 1
    assert records[0]["difference"]["value"] == 0
    assert all(each["rounds"] == 3 for each in records)
    value = results.read(RESULTS / "watch_precision.json") | {"models": {"tiny": {"trained": True, "rows": records}}}
    page = precision_report.markdown(value)
    assert page.count("\n| tiny ") == 9


def test_rounds_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert precision._rounds("faster-rcnn=3") == ("faster-rcnn", 3)
    with pytest.raises(SystemExit):
        precision.main(["--data", ".", "--rounds", "slow=3"])
    assert "'slow=3' is not NAME=N" in capsys.readouterr().err


def test_the_front_has_what_nothing_beats() -> None:
    assert precision_report.front([(3, 0.5), (1, 0.2), (2, 0.1), (4, 0.5), (5, 0.9)]) == [(1, 0.2), (3, 0.5), (5, 0.9)]


def test_what_is_committed_is_complete() -> None:
    value = results.read(RESULTS / "watch_precision.json")
    assert set(value["models"]) == {"fast", "accurate", "faster-rcnn"}
    for name, each in value["models"].items():
        keys = {(row["precision"], row["runtime"]) for row in each["rows"]}
        assert {("fp32", "engine"), ("int8", "engine"), ("mixed", "engine"), ("bf16", "openvino")} <= keys, name
        for row in each["rows"]:
            assert row["p50_ms"] <= row["p95_ms"]
            assert ("ap" in row) == each["trained"]
    plain = results.read(RESULTS / "watch_accuracy.json")["coco"]
    for name in ("fast", "accurate"):
        fp32 = value["models"][name]["rows"][0]
        assert fp32["ap"]["value"] == pytest.approx(plain[name]["ap"]["value"], abs=1e-3)


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    value = results.read(RESULTS / "watch_precision.json")
    value["models"]["fast"]["rows"][2]["ratio"] = 0.123
    results.write(tmp_path / "watch_precision.json", value)
    page, picture = precision_report.write(tmp_path, tmp_path)
    text = page.read_text()
    assert "`fast` in 8 bits takes 0.12 of the time of fp32" in text
    assert text.count("\n| ") == 2 + sum(len(each["rows"]) for each in value["models"].values())
    assert picture.read_bytes().startswith(b"\x89PNG")
