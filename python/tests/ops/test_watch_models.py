"""Detectors: a graph of TensorFlow becomes an ONNX file that computes the same."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rrn_native
from blob_detector import blob_model
from detector_models import Array, TinyModel, convolved, sigmoid, tiny_nanodet, tiny_ssd

onnx = pytest.importorskip("onnx", reason="onnx is missing: scripts/build.sh --tests")
ort = pytest.importorskip("onnxruntime")

from rrn_native.model.onnx_file import to_bytes  # noqa: E402
from rrn_ops.streaming.models import contract, faster_rcnn, frozen, nanodet, ssd, tfjs  # noqa: E402
from rrn_ops.streaming.models.builder import Builder  # noqa: E402
from rrn_ops.streaming.models.contract import Detector, DetectorError, Weights  # noqa: E402
from rrn_ops.streaming.models.evaluate import simplified  # noqa: E402
from rrn_ops.streaming.models.graph import Graph  # noqa: E402
from rrn_ops.streaming.models.to_onnx import convert, picture  # noqa: E402

WEIGHTS = Weights("a test", "0" * 64)


def tiny_detector(width: int, height: int) -> Detector:
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Detector("tiny", (width, height), "stretch", "RGB", 1, zeros, ones, nms=0.5, score=0.5)


def run(model: Any, image: Array) -> tuple[Array, Array]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    boxes, scores = session.run([contract.BOXES, contract.SCORES], {contract.INPUT: image.astype(np.float32)})
    return boxes, scores


def converted(graph: Graph, height: int, width: int) -> Any:
    """The detector of a graph with the tensors x, boxes [1, K, 4] and scores [1, K]."""
    builder = Builder()
    outputs = ["boxes_", "scores_"]
    made = convert(builder, simplified(graph, outputs, ["x"]), {"x": picture("image", height, width)}, outputs)
    return builder.finish(tiny_detector(width, height), WEIGHTS, made[0].name, made[1].name)


def nhwc(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def nchw(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, 3, 1))


# ---- A whole network -----------------------------------------------------------------------------------------------


def heads(model: TinyModel, sources: list[str]) -> None:
    """Reshapes as the Object Detection API writes them: the batch is taken from a Shape."""
    for name, value in (("zero", [0]), ("one", [1])):
        model.constant(name, value)
    for name, value in (("minus_one", -1), ("four", 4), ("axis", 1)):
        model.constant(name, np.int32(value))
    for source in sources:
        model.add("Shape", f"{source}/shape", source)
        inputs = (f"{source}/shape", "zero", "one", "one")
        model.add("StridedSlice", f"{source}/batch", *inputs, shrink_axis_mask=1, begin_mask=0, end_mask=0)
        model.add("Pack", f"{source}/rows", f"{source}/batch", "minus_one", "four", axis=0)
        model.add("Pack", f"{source}/row", f"{source}/batch", "minus_one", axis=0)
        model.conv(f"{source}/box_conv", source, "wb")
        model.add("BiasAdd", f"{source}/box", f"{source}/box_conv", "bb")
        model.add("Reshape", f"{source}/boxes", f"{source}/box", f"{source}/rows")
        model.conv(f"{source}/class", source, "ws")
        model.add("Reshape", f"{source}/logits", f"{source}/class", f"{source}/row")
    model.add("ConcatV2", "boxes_", *(f"{source}/boxes" for source in sources), "axis")
    model.add("ConcatV2", "logits", *(f"{source}/logits" for source in sources), "axis")
    model.add("Sigmoid", "scores_", "logits")


@pytest.fixture(params=[False, True], ids=["base64", "bytes"])
def network(request: pytest.FixtureRequest) -> tuple[TinyModel, dict[str, Array]]:
    random = np.random.default_rng(1)
    model = TinyModel(old=request.param)
    w: dict[str, Array] = {}
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "w1": ((3, 3, 3, 8), "uint8"),
        "b1": ((8,), ""),
        "wd": ((3, 3, 8, 1), "uint16"),
        "w2": ((1, 1, 8, 8), "float16"),
        "b2": ((8,), "float16"),
        "w3": ((1, 1, 8, 8), ""),
        "b3": ((8,), ""),
        "w4": ((3, 3, 8, 8), "uint8"),
        "wb": ((1, 1, 8, 4), ""),
        "bb": ((4,), ""),
        "ws": ((1, 1, 8, 1), ""),
        "gamma": ((8,), ""),
        "beta": ((8,), ""),
        "mean": ((8,), ""),
    }
    for name, (shape, quantised) in shapes.items():
        w[name] = model.constant(name, random.normal(size=shape), quantised)
    w["variance"] = model.constant("variance", random.uniform(0.5, 2, 8))
    model.add("Placeholder", "x")
    model.conv("conv", "x", "w1", 2)
    model.add("BiasAdd", "biased", "conv", "b1")
    model.add("Relu6", "a", "biased")
    model.conv("depthwise", "a", "wd", op="DepthwiseConv2dNative")
    norm = ("depthwise", "gamma", "beta", "mean", "variance")
    model.add("FusedBatchNorm", "d", *norm, epsilon=0.001, is_training=False)
    model.conv("e", "d", "w2", op="_FusedConv2D", extra=("b2",), fused_ops=["BiasAdd", "Relu"], epsilon=0.0)
    model.conv("third", "e", "w3")
    model.add("AddN", "sum", "third", "a")
    model.add("Add", "f", "b3", "sum")
    model.constant("ones", [[0, 0], [1, 1], [1, 1], [0, 0]])
    model.add("Pad", "padded", "f", "ones")
    model.conv("g", "padded", "w4", 2, "VALID")
    heads(model, ["f", "g"])
    return model, w


def expected(w: dict[str, Array], x: Array) -> tuple[Array, Array]:
    a = np.clip(convolved(x, w["w1"], 2, "SAME") + w["b1"], 0, 6)
    d = convolved(a, w["wd"], 1, "SAME", depthwise=True)
    d = (d - w["mean"]) / np.sqrt(w["variance"] + 0.001) * w["gamma"] + w["beta"]
    e = np.maximum(convolved(d, w["w2"], 1, "SAME") + w["b2"], 0)
    f = convolved(e, w["w3"], 1, "SAME") + a + w["b3"]
    g = convolved(np.pad(f, ((0, 0), (1, 1), (1, 1), (0, 0))), w["w4"], 2, "VALID")
    boxes = [(convolved(each, w["wb"], 1, "SAME") + w["bb"]).reshape(1, -1, 4) for each in (f, g)]
    scores = [sigmoid(convolved(each, w["ws"], 1, "SAME")).reshape(1, -1) for each in (f, g)]
    return np.concatenate(boxes, axis=1), np.concatenate(scores, axis=1)


def test_a_network_computes_the_same(network: tuple[TinyModel, dict[str, Array]]) -> None:
    model, w = network
    # An even and an odd side: at stride 2 SAME adds to one side of the former, to both of the latter.
    x = nhwc(2, 1, 10, 11, 3)
    boxes, scores = run(converted(tfjs.read(*model.files()), 10, 11), nchw(x))
    wanted = expected(w, x)
    assert (boxes.shape, scores.shape) == ((1, 39, 4), (1, 39))
    np.testing.assert_allclose(boxes, wanted[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, wanted[1], rtol=1e-4, atol=1e-5)


def test_what_can_be_folded_is_folded(network: tuple[TinyModel, dict[str, Array]]) -> None:
    made = converted(tfjs.read(*network[0].files()), 10, 11)
    ops = [node.op_type for node in made.graph.node]
    # Of all factors and terms only the residual connection is left, and of the padding nothing.
    assert (ops.count("Conv"), ops.count("Add"), ops.count("Mul"), ops.count("Pad")) == (9, 1, 0, 0)
    # One before each Reshape of a head, and none that a convolution reads.
    assert ops.count("Transpose") == 4
    producers = {output: node for node in made.graph.node for output in node.output}
    for node in made.graph.node:
        if node.op_type == "Conv":
            assert producers.get(node.input[0], node).op_type != "Transpose"


def test_the_same_input_gives_the_same_bytes(network: tuple[TinyModel, dict[str, Array]]) -> None:
    files = network[0].files()
    first, second = (to_bytes(converted(tfjs.read(*files), 10, 11)) for _ in range(2))
    assert first == second


def test_the_number_of_files_does_not_matter(network: tuple[TinyModel, dict[str, Array]]) -> None:
    one, five = (tfjs.read(*network[0].files(shards)).constants for shards in (1, 5))
    assert all(np.array_equal(one[name], five[name]) for name in one)


# ---- Operations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("window", "stride", "dilation"), [(1, 2, 1), (2, 2, 1), (3, 2, 1), (5, 3, 1), (3, 1, 2)])
def test_same_padding(size: int, window: int, stride: int, dilation: int) -> None:
    model = TinyModel()
    weights = model.constant("w", nhwc(5, window, window, 3, 4))
    model.add("Placeholder", "x")
    model.conv("c", "x", "w", stride, dilations=[1, dilation, dilation, 1])
    x = nhwc(6, 1, size, size, 3)
    wanted = convolved(x, weights, stride, "SAME", dilation=dilation)
    made = only(model, "c", size, size, nchw(x))
    np.testing.assert_allclose(np.moveaxis(made, 1, 3), wanted, rtol=1e-4, atol=1e-5)


def only(model: TinyModel, output: str, height: int, width: int, image: Array) -> Array:
    """What one tensor of a model is, as it is stored."""
    builder = Builder()
    graph = simplified(tfjs.read(*model.files(1)), [output], ["x"])
    (value,) = convert(builder, graph, {"x": picture("image", height, width)}, [output])
    boxes = builder.add("Reshape", [value.name, np.array([1, -1, 1], np.int64)])
    boxes = builder.add("Expand", [boxes, np.array([1, 1, 4], np.int64)])
    flat = builder.add("Reshape", [value.name, np.array([1, -1], np.int64)])
    _, scores = run(builder.finish(tiny_detector(width, height), WEIGHTS, boxes, flat), image)
    return np.asarray(scores.reshape([value.shape[axis] for axis in value.order]))


def test_pooling_takes_in_what_is_below_everything() -> None:
    x = nhwc(7, 1, 6, 6, 3)
    model = TinyModel()
    model.add("Placeholder", "x")
    model.constant("pads", [[0, 0], [1, 1], [1, 1], [0, 0]])
    model.constant("least", np.float32(-3.4e38))
    model.add("PadV2", "padded", "x", "pads", "least")
    model.add("MaxPool", "y", "padded", padding="VALID", ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(np.moveaxis(only(model, "y", 6, 6, nchw(x)), 1, 3), windows.max(axis=(-1, -2)))


def test_padding_with_another_value_stays() -> None:
    x = nhwc(8, 1, 4, 4, 3)
    model = TinyModel()
    weights = model.constant("w", nhwc(9, 3, 3, 3, 2))
    model.add("Placeholder", "x")
    model.constant("pads", [[0, 0], [1, 0], [0, 1], [0, 0]])
    model.constant("one", np.float32(1))
    model.add("PadV2", "padded", "x", "pads", "one")
    model.conv("y", "padded", "w", 1, "VALID")
    padded = np.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)), constant_values=1)
    wanted = convolved(padded, weights, 1, "VALID")
    np.testing.assert_allclose(np.moveaxis(only(model, "y", 4, 4, nchw(x)), 1, 3), wanted, rtol=1e-4, atol=1e-5)


def test_split_mean_and_resize_follow_the_order_of_the_axes() -> None:
    x = nhwc(10, 1, 4, 6, 3)
    model = TinyModel()
    model.add("Placeholder", "x")
    model.constant("axis", np.int32(3))
    model.constant("sizes", [1, 2])
    model.constant("large", [8, 12])
    model.constant("places", [1, 2])
    model.add("SplitV", "parts", "x", "sizes", "axis", num_split=2)
    model.add("ResizeNearestNeighbor", "up", "parts:1", "large")
    model.add("Mean", "y", "up", "places", keep_dims=True)
    np.testing.assert_allclose(only(model, "y", 4, 6, nchw(x)).ravel(), x[..., 1:].mean((0, 1, 2)), rtol=1e-5)


# ---- Detectors -----------------------------------------------------------------------------------------------------


def test_ssd_has_the_boxes_of_the_object_detection_api() -> None:
    model, w = tiny_ssd()
    x = nhwc(11, 1, 300, 300, 3)
    boxes, scores = run(ssd.build("fast", tfjs.read(*model.files()), WEIGHTS), nchw(x))
    last, wanted_boxes, wanted_scores = x, [], []
    for level, (cells, count) in enumerate(zip((19, 10, 5, 3, 2, 1), (3, 6, 6, 6, 6, 6), strict=True)):
        last = convolved(last, w[f"level_{level}/w"], 16 if level == 0 else 2, "SAME")
        assert last.shape[1] == cells
        found = {}
        for head, width in (("BoxEncodingPredictor", 4), ("ClassPredictor", 91)):
            name = f"BoxPredictor_{level}/{head}"
            found[head] = (convolved(last, w[f"{name}/w"], 1, "SAME") + w[f"{name}/b"]).reshape(-1, width)
        scale = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0]
        shapes = [(0.1, 1), (0.2, 2), (0.2, 0.5)]
        if level:
            shapes = [(scale[level], ratio) for ratio in (1, 2, 0.5, 3, 0.3333)]
            shapes.append((np.sqrt(scale[level] * scale[level + 1]), 1))
        for index, (dy, dx, dh, dw) in enumerate(found["BoxEncodingPredictor"]):
            cell, (size, ratio) = index // count, shapes[index % count]
            height, width = size / np.sqrt(ratio), size * np.sqrt(ratio)
            y = (cell // cells + 0.5) / cells + dy / 10 * height
            x_ = (cell % cells + 0.5) / cells + dx / 10 * width
            half = np.array([np.exp(dw / 5) * width, np.exp(dh / 5) * height]) / 2
            wanted_boxes.append([x_ - half[0], y - half[1], x_ + half[0], y + half[1]])
        wanted_scores.append(sigmoid(found["ClassPredictor"][:, 1]))
    np.testing.assert_allclose(boxes[0], np.array(wanted_boxes) * 300, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(scores[0], np.concatenate(wanted_scores), rtol=1e-3, atol=1e-5)


def test_nanodet_has_the_mean_of_its_distributions() -> None:
    model, w = tiny_nanodet()
    x = nhwc(12, 1, 416, 416, 3)
    boxes, scores = run(nanodet.build("accurate", tfjs.read(*model.files()), WEIGHTS), nchw(x))
    wanted_boxes, wanted_scores = [], []
    for stride, head in ((8, "Add_29"), (16, "Add_33"), (32, "Add_37")):
        name = f"PartitionedCall/{head}"
        made = (convolved(x, w[f"{name}/w"], stride, "SAME") + w[f"{name}/b"]).reshape(-1, 124)
        wanted_scores.append(sigmoid(made[:, 0]))
        powers = np.exp(made[:, 80:].reshape(-1, 4, 11))
        sides = (powers / powers.sum(-1, keepdims=True) * np.arange(11)).sum(-1) * stride
        cells = 416 // stride
        middle = np.array([((i % cells + 0.5) * stride, (i // cells + 0.5) * stride) for i in range(cells**2)])
        wanted_boxes.append(np.concatenate([middle - sides[:, :2], middle + sides[:, 2:]], axis=1))
    np.testing.assert_allclose(scores[0], np.concatenate(wanted_scores), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(boxes[0], np.concatenate(wanted_boxes), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["fast", "accurate"])
def test_the_metadata_say_how_a_picture_becomes_the_input(name: str) -> None:
    files = (tiny_ssd if name == "fast" else tiny_nanodet)()[0].files()
    made = (ssd if name == "fast" else nanodet).build(name, tfjs.read(*files), WEIGHTS)
    found = {entry.key: entry.value for entry in made.metadata_props}
    record = json.loads(found["rrn.detector"])
    wanted = {"version", "name", "resize", "channels", "scale", "mean", "std", "nms", "score"}
    assert set(record) == wanted | ({"fill"} if record["resize"] == "letterbox" else set())
    assert (record["version"], record["name"]) == (1, name)
    assert (found["rrn.weights.origin"], found["rrn.weights.sha256"]) == ("a test", "0" * 64)
    shape = [side.dim_value for side in made.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ([1, 3, 300, 300] if name == "fast" else [1, 3, 416, 416])


def test_another_network_is_refused_by_name() -> None:
    with pytest.raises(DetectorError, match="no node 'PartitionedCall/Add_29'"):
        nanodet.build("accurate", tfjs.read(*tiny_ssd()[0].files()), WEIGHTS)
    with pytest.raises(DetectorError, match="has 12 channels, expected more than 183"):
        ssd.build("fast", tfjs.read(*tiny_ssd(classes=4)[0].files()), WEIGHTS)


# ---- Damaged files -------------------------------------------------------------------------------------------------


def test_damaged_models_are_refused_by_part() -> None:
    model, parts = tiny_ssd()[0].files()
    first, second = parts
    for files, message in (
        ((b"{}", parts), "no graph model"),
        ((b"\xff", parts), "no graph model"),
        ((model, {first: parts[first]}), f"'{second}' is missing"),
        ((model, {first: parts[first], second: parts[second][:-1]}), "the weights end within"),
        ((model, {first: parts[first], second: parts[second] + b"1"}), "bytes, expected"),
        ((model.replace(b'"float32"', b'"complex"', 1), parts), "is complex, expected one of"),
    ):
        with pytest.raises(DetectorError, match=message):
            tfjs.read(*files)


def test_unknown_operations_and_circles_are_refused_by_name() -> None:
    model = TinyModel()
    model.add("Placeholder", "x")
    model.add("Erf", "odd", "x")
    with pytest.raises(DetectorError, match="'odd': the operation Erf is not known"):
        only(model, "odd", 4, 4, nhwc(1, 1, 3, 4, 4))
    model.add("Relu", "a", "b")
    model.add("Relu", "b", "a")
    with pytest.raises(DetectorError, match="'a' depends on itself"):
        only(model, "a", 4, 4, nhwc(1, 1, 3, 4, 4))


# ---- Frozen graphs -------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(name: str, op: str, *inputs: str, **attributes: bytes) -> bytes:
    content = field(1, name) + field(2, op) + b"".join(field(3, each) for each in inputs)
    entries = (field(1, key) + field(2, value) for key, value in attributes.items())
    return field(1, content + b"".join(field(5, each) for each in entries))


def tensor(kind: int, shape: list[int], values: bytes) -> bytes:
    sides = b"".join(field(2, field(1, side)) for side in shape)
    return field(8, field(1, kind) + field(2, sides) + values)


def tiny_frozen() -> tuple[bytes, Array]:
    weights = nhwc(13, 3, 3, 3, 2)
    strides = field(1, field(3, b"".join(varint(each) for each in (1, 2, 2, 1))))
    dilations = field(1, b"".join(field(3, 1) for _ in range(4)))
    message = node("w", "Const", value=tensor(1, [3, 3, 3, 2], field(4, weights.tobytes())))
    message += node("w/read", "Identity", "w")
    # One value that stands for both.
    message += node("b", "Const", value=tensor(1, [2], field(5, struct.pack("<f", 0.25))))
    message += node("x", "Placeholder", dtype=varint(6 << 3) + varint(1))
    message += node("axis", "Const", value=tensor(3, [], field(7, -1)))
    message += node("name", "Const", value=tensor(7, [], field(8, "text")))
    conv = {"strides": strides, "dilations": dilations, "padding": field(2, "SAME")}
    message += node("c", "Conv2D", "x", "w/read", "^name", **conv)
    message += node("y", "BiasAdd", "c:0", "b")
    return message, weights


def test_a_frozen_graph_computes_the_same() -> None:
    message, weights = tiny_frozen()
    graph = frozen.read(message)
    assert int(graph.constants["axis"]) == -1
    assert [(each.name, each.inputs) for each in graph.nodes if each.op == "Conv2D"] == [("c", ("x", "w/read"))]
    builder = Builder()
    x = nhwc(14, 1, 6, 5, 3)
    (value,) = convert(builder, simplified(graph, ["y"], ["x"]), {"x": picture("image", 6, 5)}, ["y"])
    flat = builder.add("Reshape", [value.name, np.array([1, -1], np.int64)])
    boxes = builder.add("Expand", [builder.add("Reshape", [flat, np.array([1, -1, 1])]), np.array([1, 1, 4])])
    _, scores = run(builder.finish(tiny_detector(5, 6), WEIGHTS, boxes, flat), nchw(x))
    wanted = nchw(convolved(x, weights, 2, "SAME") + 0.25)
    np.testing.assert_allclose(scores.ravel(), wanted.ravel(), rtol=1e-4, atol=1e-5)


def test_a_frozen_graph_that_ends_early_is_refused() -> None:
    message, _ = tiny_frozen()
    refused = 0
    for length in range(len(message)):
        try:
            frozen.read(message[:length])
        except DetectorError:
            refused += 1
    # What ends after one of the six nodes from w/read to c is a graph.
    assert refused == len(message) - 6


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "no nodes"),
        (b"\x0b", "wire type 3"),
        (b"\xff" * 11, "a number does not end"),
        (field(1, 3), "a number, expected a message"),
        (node("", "Relu"), "no name"),
        (node("w", "Const", value=tensor(1, [2], field(4, b"12345"))), "has 5 bytes"),
        (node("w", "Const", value=tensor(1, [1 << 40], b"")), "has the shape"),
        (node("w", "Const", value=tensor(1, [1], field(5, struct.pack("<2f", 1, 2)))), "has 2 values"),
    ],
)
def test_damaged_frozen_graphs_are_refused_by_reason(message: bytes, reason: str) -> None:
    with pytest.raises(DetectorError, match=reason):
        frozen.read(message)


@pytest.mark.parametrize(
    "made", [nanodet.detector("n"), ssd.detector("s"), faster_rcnn.detector("r")], ids=lambda made: made.name
)
def test_the_engine_reads_what_the_contract_says(made: Detector, tmp_path: Path) -> None:
    fields = json.loads(made.to_json())
    # "nms": null is a value here, and blob_model leaves out what is None.
    path = blob_model(tmp_path / "m.onnx", **{"nms": 1.0, **{k: v for k, v in fields.items() if v is not None}})
    info = rrn_native.Detector(path).info
    assert info.name == made.name
    assert info.model_score == pytest.approx(made.score)
    assert info.iou == pytest.approx(1 if made.nms is None else made.nms)
