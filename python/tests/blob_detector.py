"""A detector without weights: it finds the bright rectangle in the left and in the right half of a dark picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64


def blob_model(path: Path, *, side: int = SIDE, score: float = 0.5, resize: str = "stretch", **metadata: Any) -> Path:
    """Writes the detector: scores are the brightest pixel of each half, 0 ... 1.

    Args:
        path: The file.
        side: Width and height of its input.
        score: Its own threshold.
        resize: "stretch" or "letterbox".
        metadata: Fields of `rrn.detector` that replace or add to the usual ones; None leaves one out.
    """
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any, dtype: Any = np.int64) -> str:
        constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    half = side // 2
    threshold = constant("half_bright", 0.5, np.float32)
    grey = node("ReduceMax", ["image", constant("channel", [1])], "grey", keepdims=0)  # [1, H, W]
    boxes, scores = [], []
    for k in range(2):
        part = node("Slice", [grey, constant(f"from{k}", [k * half]), constant(f"to{k}", [(k + 1) * half]),
                              constant(f"axis{k}", [2])], f"part{k}")  # fmt: skip
        bright = node("Cast", [node("Greater", [part, threshold], f"above{k}")], f"bright{k}", to=TensorProto.INT32)
        corners = []
        for axis, name in ((1, "x"), (2, "y")):
            line = node("ReduceMax", [bright, constant(f"{name}{k}_axis", [axis])], f"{name}{k}_line", keepdims=0)
            first = node("ArgMax", [line], f"{name}{k}_first", axis=1, keepdims=1)
            last = node("ArgMax", [line], f"{name}{k}_last", axis=1, keepdims=1, select_last_index=1)
            offset = constant(f"{name}{k}_offset", [[k * half if name == "x" else 0]])
            end = constant(f"{name}{k}_end", [[1 + (k * half if name == "x" else 0)]])
            corners.append((node("Add", [first, offset], f"{name}{k}_1"), node("Add", [last, end], f"{name}{k}_2")))
        order = [corners[0][0], corners[1][0], corners[0][1], corners[1][1]]
        boxes.append(node("Cast", [node("Concat", order, f"box{k}_i", axis=1)], f"box{k}", to=TensorProto.FLOAT))
        scores.append(node("ReduceMax", [part, constant(f"all{k}", [1, 2])], f"score{k}", keepdims=0))
    shape = constant("box_shape", [1, 2, 4])
    node("Reshape", [node("Concat", boxes, "flat", axis=1), shape], "boxes")
    node("Reshape", [node("Concat", scores, "flat_scores", axis=0), constant("score_shape", [1, 2])], "scores")
    graph = helper.make_graph(
        nodes,
        "blob",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    fields = {"version": 1, "name": "blob", "resize": resize, "nms": 0.5, "score": score, **metadata}
    helper.set_model_props(
        model, {"rrn.detector": json.dumps({key: value for key, value in fields.items() if value is not None})}
    )
    onnx.save(model, path)
    return path


def scene(
    size: tuple[int, int], *rectangles: tuple[float, float, float, float], value: int = 255
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Returns a black picture of width and height `size` with bright rectangles: left, top, right, bottom in pixels."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for left, top, right, bottom in rectangles:
        pixels[round(top) : round(bottom), round(left) : round(right)] = value
    return pixels
