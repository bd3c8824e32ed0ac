"""The forms of the network that TensorRT is given: float32, float16 and 8 bits, inlined or for the plugin.

Networks are strongly typed in TensorRT 11, and in 10 where one asks for it: a precision is what the file says, not a
flag of the builder. So each form is a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16
from rrn_native.model import onnx_function, storage

from research.common.places import ROOT
from research.tensorrt.inline import inlined

MODEL = ROOT / "models" / "reduction_resnet18.onnx"
QUANTISED = ROOT / "models" / "reduction_resnet18.int8.onnx"
# By name, what one is told.
NAMES: Mapping[str, str] = {
    "fp32": "float32, the function inlined",
    "fp16": "float16, sums of the operator in float32, the function inlined",
    "int8": "8 bits by Q/DQ, symmetric, the function inlined",
    "fp32-plugin": "float32, one node for the plugin",
    "fp16-plugin": "float16, one node for the plugin",
}
PLUGIN_VERSION = "1"
PLUGIN_NAMESPACE = "rrn"
# The largest number of a symmetric int8 tensor.
_MOST = 127


def make(name: str, model: Path = MODEL, quantised: Path = QUANTISED) -> onnx.ModelProto:
    """Returns a form.

    Args:
        name: One of NAMES.
        model: A file of `rrn export`.
        quantised: A file of `rrn quantize`.

    Raises:
        ValueError: There is no such form, or a file is another kind of model.
        OSError: A file cannot be read.
    """
    if name not in NAMES:
        raise ValueError(f"form {name!r}: expected one of {', '.join(NAMES)}")
    if name == "int8":
        return inlined(symmetric(onnx.load(quantised)))
    proto = storage.to_float32(onnx.load(model))
    if name.startswith("fp16"):
        # The function is left as it is: its body converts its inputs to float32, and its result back.
        converted = ONNXModel(convert_float_to_float16(proto, keep_io_types=True))
        # The conversion of the input stands behind its use.
        converted.topological_sort()
        proto = converted.model
    return for_plugin(proto) if name.endswith("-plugin") else inlined(proto)


def for_plugin(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy without functions whose nodes name the plugin.

    TensorRT's parser looks for functions first. Of a node that has none it looks for a plugin of this name, version and
    namespace; the last two are attributes of the node.

    Raises:
        ValueError: There is no node of the operator.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.functions[:]
    nodes = [node for node in made.graph.node if node.domain == onnx_function.DOMAIN]
    if not nodes:
        raise ValueError(f"no node of the domain {onnx_function.DOMAIN}: expected a file of rrn export")
    for node in nodes:
        for key, value in (("plugin_version", PLUGIN_VERSION), ("plugin_namespace", PLUGIN_NAMESPACE)):
            node.attribute.append(helper.make_attribute(key, value))
    return made


def symmetric(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of an 8-bit model that TensorRT can take: symmetric int8 activations, biases in float32.

    `rrn quantize` writes what processors are good at: uint8 activations with a zero point, and int32 biases. TensorRT
    wants int8 with zero point 0, and no int32 in a DequantizeLinear. A range [(0 - z) s, (255 - z) s] becomes the
    smallest symmetric one around it. Where z is 0 the conversion to uint8 was the ReLU as well, because it cuts off
    what is negative; a symmetric one does not, so the Relu is put back.

    Args:
        proto: A file of `rrn quantize`; constants of its main graph are looked at.

    Raises:
        ValueError: A tensor is quantised in a way that `rrn quantize` does not use.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    producers = {output: node for node in made.graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    # By the names of scale and zero point: each pair is changed once, for all nodes that use it.
    changed: set[tuple[str, str]] = set()
    for node in made.graph.node:
        if node.op_type == "DequantizeLinear" and _type(constants, node.input[0]) == TensorProto.INT32:
            constants[node.output[0]] = _dequantised(node, constants)
            continue
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            pair = (node.input[1], node.input[2])
            if node.op_type == "QuantizeLinear" and _cuts_off(node, constants, producers):
                relu = f"{node.input[0]}.relu"
                nodes.append(helper.make_node("Relu", [node.input[0]], [relu], name=relu))
                node.input[0] = relu
            if pair not in changed and _type(constants, pair[1]) == TensorProto.UINT8:
                _widen(*pair, constants)
                changed.add(pair)
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(tensor for name, tensor in constants.items() if name in used)
    return made


def _type(constants: Mapping[str, TensorProto], name: str) -> int | None:
    """The element type of a constant; None of anything else."""
    return int(constants[name].data_type) if name in constants else None


def _dequantised(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> TensorProto:
    """A constant in the place of a DequantizeLinear of int32; its zero point is 0 by ONNX's rules."""
    values, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
    return numpy_helper.from_array((values.astype(np.float64) * scale).astype(np.float32), node.output[0])


def _cuts_off(
    node: onnx.NodeProto, constants: Mapping[str, TensorProto], producers: Mapping[str, onnx.NodeProto]
) -> bool:
    """Is a QuantizeLinear also a ReLU, and none before it?"""
    zero = numpy_helper.to_array(constants[node.input[2]])
    before = producers.get(node.input[0])
    relu = before is not None and before.op_type == "Relu"
    return zero.dtype == np.uint8 and not zero.any() and not relu


def _widen(scale_name: str, zero_name: str, constants: dict[str, TensorProto]) -> None:
    """Gives a uint8 tensor's constants the values of the smallest symmetric int8 range that holds its own."""
    scale, zero = (numpy_helper.to_array(constants[name]) for name in (scale_name, zero_name))
    if scale.size != 1 or zero.size != 1:
        raise ValueError(f"{scale_name} has {scale.size} scales: expected one for a tensor of activations")
    largest = max(int(zero.item()), 255 - int(zero.item())) * float(scale.item())
    made = np.full(scale.shape, largest / _MOST, dtype=np.float32)
    constants[scale_name] = numpy_helper.from_array(made, scale_name)
    constants[zero_name] = numpy_helper.from_array(np.zeros(zero.shape, dtype=np.int8), zero_name)
