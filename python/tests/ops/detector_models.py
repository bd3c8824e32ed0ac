"""What the tests of the detectors share: small TensorFlow.js models, and the same operations in plain NumPy."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def same_pads(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """As TensorFlow's documentation of padding defines SAME."""
    reach = (window - 1) * dilation + 1
    total = max(reach - stride, 0) if size % stride == 0 else max(reach - size % stride, 0)
    return total // 2, total - total // 2


def convolved(
    x: Array, weights: Array, stride: int, padding: str, *, depthwise: bool = False, dilation: int = 1
) -> Array:
    """A convolution of NHWC, one output pixel after the other, in float64."""
    height, width = weights.shape[:2]
    if padding == "SAME":
        rows, columns = (same_pads(x.shape[1 + i], weights.shape[i], stride, dilation) for i in (0, 1))
        x = np.pad(x, ((0, 0), rows, columns, (0, 0)))
    reach = [(side - 1) * dilation + 1 for side in (height, width)]
    down, across = ((x.shape[1 + i] - reach[i]) // stride + 1 for i in (0, 1))
    outputs = weights.shape[2] * weights.shape[3] if depthwise else weights.shape[3]
    made = np.zeros((x.shape[0], down, across, outputs))
    for row in range(down):
        for column in range(across):
            top, left = row * stride, column * stride
            patch = x[:, top : top + reach[0] : dilation, left : left + reach[1] : dilation, :].astype(np.float64)
            if depthwise:
                made[:, row, column] = np.einsum("nhwc,hwcm->ncm", patch, weights).reshape(x.shape[0], -1)
            else:
                made[:, row, column] = np.einsum("nhwc,hwco->no", patch, weights)
    return made


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


class TinyModel:
    """A graph model of TensorFlow.js under construction.

    Args:
        old: Text attributes are lists of byte values, as older converters wrote them, not base64.
    """

    def __init__(self, *, old: bool = False) -> None:
        self.old = old
        self.nodes: list[dict[str, Any]] = []
        self.weights: list[dict[str, Any]] = []
        self.content = b""

    def _attribute(self, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            return {"s": list(value.encode()) if self.old else base64.b64encode(value.encode()).decode()}
        if isinstance(value, bool):
            return {"b": value}
        if isinstance(value, int):
            return {"i": str(value)}
        if isinstance(value, float):
            return {"f": value}
        if value and isinstance(value[0], str):
            return {"list": {"s": [self._attribute(each)["s"] for each in value], "i": []}}
        return {"list": {"i": [str(each) for each in value]}}

    def add(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        attr = {key: self._attribute(value) for key, value in attributes.items()}
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attr})
        return name

    def conv(self, name: str, x: str, weights: str, stride: int = 1, padding: str = "SAME", **more: Any) -> str:
        op, extra = more.pop("op", "Conv2D"), more.pop("extra", ())
        return self.add(op, name, x, weights, *extra, padding=padding, strides=[1, stride, stride, 1], **more)

    def constant(self, name: str, values: Any, quantised: str = "") -> Array:
        """Adds a weight; returns its values as a reader sees them."""
        array = np.asarray(values)
        array = array.astype(np.int32 if array.dtype.kind in "iu" else np.float32)
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        seen = array
        if quantised == "float16":
            stored = array.astype(np.float16)
            seen = stored.astype(np.float32)
            entry["quantization"] = {"dtype": quantised, "original_dtype": "float32"}
        elif quantised:
            least, most = float(array.min()), float(array.max())
            scale = (most - least) / (np.iinfo(quantised).max or 1)
            stored = np.rint((array - least) / scale).astype(quantised)
            seen = (stored.astype(np.float64) * scale + least).astype(np.float32)
            entry["quantization"] = {"dtype": quantised, "scale": scale, "min": least}
        else:
            stored = array
        self.weights.append(entry)
        self.content += stored.tobytes()
        self.nodes.append({"name": name, "op": "Const", "attr": {}})
        return seen

    def files(self, shards: int = 2) -> tuple[bytes, dict[str, bytes]]:
        """The model.json, and the weights in several files."""
        each = math.ceil(len(self.content) / shards)
        parts = {f"group1-shard{i + 1}of{shards}": self.content[i * each : (i + 1) * each] for i in range(shards)}
        manifest = [{"paths": list(parts), "weights": self.weights}]
        document = {"modelTopology": {"node": self.nodes}, "weightsManifest": manifest}
        return json.dumps(document).encode(), parts


def tiny_ssd(classes: int = 91, seed: int = 3) -> tuple[TinyModel, dict[str, Array]]:
    """A network with the names and the heads of the Object Detection API's SSD at 300 x 300, and little in it."""
    random = np.random.default_rng(seed)
    model = TinyModel()
    arrays: dict[str, Array] = {}

    def weight(name: str, *shape: int) -> str:
        arrays[name] = model.constant(name, random.normal(size=shape) * 0.5)
        return name

    model.add("Placeholder", "Preprocessor/sub")
    last, channels = "Preprocessor/sub", 3
    for level, count in enumerate((3, 6, 6, 6, 6, 6)):
        stride = 16 if level == 0 else 2
        last = model.conv(f"level_{level}", last, weight(f"level_{level}/w", 3, 3, channels, 4), stride)
        channels = 4
        for head, width in (("BoxEncodingPredictor", 4), ("ClassPredictor", classes)):
            name = f"BoxPredictor_{level}/{head}"
            made = model.conv(f"{name}/Conv2D", last, weight(f"{name}/w", 1, 1, 4, count * width))
            model.add("BiasAdd", f"{name}/BiasAdd", made, weight(f"{name}/b", count * width))
    return model, arrays


def tiny_nanodet(seed: int = 4) -> tuple[TinyModel, dict[str, Array]]:
    """A network with the names and the heads of NanoDet-g at 416 x 416, and little in it."""
    random = np.random.default_rng(seed)
    model = TinyModel(old=True)
    arrays: dict[str, Array] = {}
    model.add("Placeholder", "input_1")
    model.constant("axes", [0, 2, 3, 1])
    model.add("Transpose", "nhwc", "input_1", "axes")
    for stride, head in ((8, "Add_29"), (16, "Add_33"), (32, "Add_37")):
        name = f"PartitionedCall/{head}"
        arrays[f"{name}/w"] = model.constant(f"{name}/w", random.normal(size=(1, 1, 3, 124)), "float16")
        arrays[f"{name}/b"] = model.constant(f"{name}/b", random.normal(size=124), "float16")
        model.conv(f"{name}/conv", "nhwc", f"{name}/w", stride)
        model.add("Add", name, f"{name}/conv", f"{name}/b")
    return model, arrays
