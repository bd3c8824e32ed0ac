"""The same detector in other precisions: as ONNX files, as the engine, OpenVINO and PyTorch run them.

Every variant takes a picture and gives boxes; its time is that of the network with its boxes, without the way of the
pixels to the network's input, which is the same for all.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import fnmatch
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image
from rrn_native import Detections, Detector, PixelArray
from rrn_native.session import session_options

from research.common import what_ran

Json = dict[str, Any]
Floats = npt.NDArray[np.float32]

# Boxes from this score on are given, and at most this number of them.
LEAST_SCORE = 0.01
_MOST_BOXES = 300
# What is computed in 8 bits, where the parts that are named below allow it.
_WEIGHTED = ("Conv", "Gemm")
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
_EIGHT_BITS = (*_WEIGHTED, *_ACTIVATIONS, "MaxPool", "Add", "Concat", "Resize")


@dataclasses.dataclass(frozen=True)
class Parts:
    """Which nodes of a detector stay in float32, as patterns of their names.

    Attributes:
        predictors: The last layer of each head; the boxes are made of what these compute.
        heads: What else is the heads'.
    """

    predictors: tuple[str, ...]
    heads: tuple[str, ...]


_SSD = Parts(("BoxPredictor_*/*Predictor/*",), ("BoxPredictor_*",))
PARTS: Mapping[str, Parts] = {
    "fast": _SSD,
    "openpibo": _SSD,
    "accurate": Parts(
        tuple(f"PartitionedCall/Add_{number}" for number in (29, 33, 37)),
        tuple(f"PartitionedCall/Add_{number}" for number in (28, 32, 36)),
    ),
    "faster-rcnn": Parts(
        ("rpn.head.cls_logits*", "rpn.head.bbox_pred*", "roi_heads.box_predictor.*"), ("roi_heads.*",)
    ),
}


def float_nodes(proto: onnx.ModelProto, patterns: Sequence[str]) -> list[str]:
    """Returns the nodes that stay in float32: those named, and all that is made of what they compute.

    Of the latter, layers with weights and the activation right after one are not among them: a second stage is a
    network of its own.

    Args:
        proto: Its nodes are in order, and have names.
        patterns: As in Parts.

    Raises:
        ValueError: A pattern names no node.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(node.name, pattern) for node in proto.graph.node):
            raise ValueError(f"no node is called {pattern}; this is another network")
    made: set[str] = set()
    weighted: set[str] = set()
    kept = []
    for node in proto.graph.node:
        named = any(fnmatch.fnmatchcase(node.name, pattern) for pattern in patterns)
        after = node.op_type in _ACTIVATIONS and node.input[0] in weighted
        if named or made & set(node.input):
            made.update(node.output)
        if named or (made & set(node.input) and node.op_type not in _WEIGHTED and not after):
            kept.append(node.name)
        elif node.op_type in _WEIGHTED:
            weighted.update(node.output)
    return kept


def unshared(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy in which no two layers share a constant.

    A bias of a quantised layer has the scale of the layer's input, so that of a head which several levels share has as
    many; onnxruntime's quantiser gives all of them one name, and its sessions then refuse the file.
    """
    made = copy.deepcopy(proto)
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    used: set[str] = set()
    for node in made.graph.node:
        for place, name in enumerate(node.input):
            if node.op_type in _WEIGHTED and name in constants and name in used:
                own = made.graph.initializer.add()
                own.CopyFrom(constants[name])
                own.name = node.input[place] = f"{node.name}/{name}"
            used.add(name)
    return made


class _Frames(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Gives prepared frames to ONNX Runtime's calibration."""

    def __init__(self, inputs: Iterable[Floats]) -> None:
        self._inputs: Iterator[Floats] = iter(inputs)

    def get_next(self) -> dict[str, Floats] | None:
        """Returns the next input; None at the end."""
        one = next(self._inputs, None)
        return None if one is None else {"image": one}


def write_int8(model: Path, output: Path, inputs: Iterable[Floats], patterns: Sequence[str]) -> None:
    """Writes a copy with int8 weights (by output channel) and uint8 activations (by tensor).

    Args:
        model: The float32 file.
        output: The file that is written.
        inputs: What the ranges are measured on, float32 [1, 3, H, W] each: pictures with people, because a second stage
            sees nothing of a picture without proposals.
        patterns: What stays in float32, see float_nodes.
    """
    proto = unshared(onnx.load(model))
    quantization.quantize_static(
        proto,
        output,
        _Frames(inputs),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(_EIGHT_BITS),
        nodes_to_exclude=float_nodes(proto, patterns),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
    )


def write_fp16(model: Path, output: Path) -> None:
    """Writes a copy in float16, with inputs and outputs in float32."""
    made = ONNXModel(convert_float_to_float16(onnx.load(model), keep_io_types=True))
    made.topological_sort()
    onnx.save(made.model, output)


def write_dynamic(model: Path, output: Path) -> Json:
    """Writes a copy by ONNX Runtime's dynamic quantisation, and says how many nodes of each kind it replaced."""
    quantization.quantize_dynamic(model, output, weight_type=quantization.QuantType.QUInt8)
    counts = [collections.Counter(node.op_type for node in onnx.load(path).graph.node) for path in (model, output)]
    replaced = {op: counts[0][op] - counts[1][op] for op in ("Conv", "Gemm", "MatMul")}
    return {op: [count, counts[0][op]] for op, count in replaced.items() if counts[0][op]}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a picture becomes a detector's input, as its metadata say; bit for bit what the engine does."""

    size: tuple[int, int]
    letterbox: bool
    fill: tuple[int, int, int]
    bgr: bool
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    nms: float | None

    @classmethod
    def read(cls, model: Path) -> Layout:
        """Reads the metadata of a detector's file."""
        proto = onnx.load(model, load_external_data=False)
        (text,) = [entry.value for entry in proto.metadata_props if entry.key == "rrn.detector"]
        found = json.loads(text)
        height, width = (side.dim_value for side in proto.graph.input[0].type.tensor_type.shape.dim[2:])
        return cls(
            size=(width, height),
            letterbox=found["resize"] == "letterbox",
            fill=tuple(found.get("fill", (114, 114, 114))),
            bgr=found.get("channels", "RGB") == "BGR",
            scale=float(Fraction(str(found.get("scale", "1/255")))),
            mean=tuple(found.get("mean", (0.0, 0.0, 0.0))),
            std=tuple(found.get("std", (1.0, 1.0, 1.0))),
            nms=found["nms"],
        )

    def place(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Returns where a picture lies in the input: left, top, width, height."""
        if not self.letterbox:
            return (0, 0, *self.size)
        scale = min(self.size[0] / width, self.size[1] / height)
        sides = [
            min(max(int(side * scale + 0.5), 1), most) for side, most in zip((width, height), self.size, strict=True)
        ]
        return ((self.size[0] - sides[0]) // 2, (self.size[1] - sides[1]) // 2, sides[0], sides[1])

    def resized(self, pixels: PixelArray) -> PixelArray:
        """Returns the picture at the input's size, RGB, uint8 [H, W, 3]."""
        left, top, width, height = self.place(pixels.shape[1], pixels.shape[0])
        picture = Image.new("RGB", self.size, self.fill)
        picture.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR), (left, top))
        return np.asarray(picture)

    def prepared(self, pixels: PixelArray) -> Floats:
        """Returns the network's input, float32 [1, 3, H, W]."""
        rows = self.resized(pixels).astype(np.float32)[..., :: -1 if self.bgr else 1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (rows * np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)

    def restored(self, boxes: Floats, size: tuple[int, int]) -> Floats:
        """Returns boxes [n, 4] of the input as boxes of a picture of this width and height, and inside it."""
        left, top, width, height = self.place(*size)
        scale = np.array([size[0] / width, size[1] / height] * 2, np.float32)
        moved = (boxes - np.array([left, top] * 2, np.float32)) * scale
        return np.asarray(np.clip(moved, 0, np.array(size * 2, np.float32)), np.float32)


class Variant(Protocol):
    """A detector that is measured."""

    def run(self, pixels: PixelArray) -> tuple[Detections, float]:
        """Returns the people of a picture, and the seconds that the network took with its boxes."""

    def ran(self) -> Json:
        """Says what was really computed, and in what."""


class Engine:
    """A file that the engine runs on the processor, in the precision of the file."""

    def __init__(self, model: Path, threads: int, changed: Json | None = None) -> None:
        self._model = model
        self._changed = changed
        self._detector = Detector(model, "cpu", precision="fp32", threads=threads, score=LEAST_SCORE, cache=False)

    def run(self, pixels: PixelArray) -> tuple[Detections, float]:
        """See Variant."""
        found, times = self._detector.timed(pixels)
        return found, times.detect

    def ran(self) -> Json:
        """See Variant."""
        value = ran_in_onnxruntime(self._model)
        return value | ({"replaced": self._changed} if self._changed is not None else {})


def ran_in_onnxruntime(model: Path) -> Json:
    """Runs a file once with the engine's settings, see :func:`research.common.what_ran.in_onnxruntime`."""
    height, width = (side.dim_value for side in onnx.load(model).graph.input[0].type.tensor_type.shape.dim[2:])
    image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    return what_ran.in_onnxruntime(model, session_options(), {"image": image})


class OpenVino:
    """A file that the library openvino runs on the processor.

    Args:
        model: The file.
        threads: That compute one picture together.
        precision: What is asked for: "f32", "f16" or "bf16".
    """

    def __init__(self, model: Path, threads: int, precision: str) -> None:
        import openvino

        self._layout = Layout.read(model)
        self._asked = precision
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        core = openvino.Core()
        self._can = [str(each) for each in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
        self._compiled = core.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def run(self, pixels: PixelArray) -> tuple[Detections, float]:
        """See Variant."""
        size = (int(pixels.shape[1]), int(pixels.shape[0]))
        given = self._layout.prepared(pixels)
        begin = time.perf_counter()
        self._request.infer({"image": given})
        boxes, scores = (self._request.get_tensor(name).data[0] for name in ("boxes", "scores"))
        found = self._sorted_out(boxes, scores, size)
        return found, time.perf_counter() - begin

    def _sorted_out(self, boxes: Floats, scores: Floats, size: tuple[int, int]) -> Detections:
        above = scores >= LEAST_SCORE
        inside, scores = self._layout.restored(boxes[above], size), scores[above]
        some = np.prod(inside[:, 2:] - inside[:, :2], axis=1) > 0
        inside, scores = inside[some], np.array(scores[some])
        if self._layout.nms is not None and len(inside):
            sides = np.concatenate([inside[:, :2], inside[:, 2:] - inside[:, :2]], axis=1)
            chosen = cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), LEAST_SCORE, self._layout.nms)
            kept = np.asarray(chosen, np.int64).reshape(-1)
            inside, scores = inside[kept], scores[kept]
        return Detections(inside, scores, size).select(np.arange(min(len(scores), _MOST_BOXES)))

    def ran(self) -> Json:
        """See Variant."""
        return {"asked": self._asked, "processor": self._can} | what_ran.in_openvino(self._compiled)
