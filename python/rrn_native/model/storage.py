"""Large weights of an ONNX file, stored as float16 and computed with as float32.

`to_float16` replaces each large float32 initializer W by a float16 initializer W.float16 and a node Cast, whose result
has the old name. The rest of the graph stays as it is, and so does the arithmetic: every ONNX runtime folds a Cast of a
constant when it loads the model. The file is half as large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# In which large weights can be stored.
TYPES = ("float32", "float16")
# Smaller tensors (biases) stay as they are: in ReductionResNet-18 all of them together are 0.04 % of the weights.
MINIMUM = 4096
SUFFIX = ".float16"
# Rounding to float16 moves a number by at most this share of it, unless it is below float16's normal range.
_ROUNDING = 2.0**-11


def to_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model whose large float32 weights are stored as float16.

    Rounding moves each weight by at most 2**-11 of it. Tensors for which that does not hold, because float16 has no
    numbers so large or so small, stay in float32; so do tensors of fewer than 4096 elements.

    Args:
        proto: A model of any kind; initializers of its main graph are looked at.

    Returns:
        The copy; equal to `proto` where nothing is large.
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(proto)
    graph = stored.graph
    fixed = {value.name for value in (*graph.input, *graph.output)}
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in fixed or np.prod(tensor.dims) < MINIMUM:
            continue
        half = _rounded(numpy_helper.to_array(tensor))
        if half is None:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + SUFFIX))
        casts.append(helper.make_node("Cast", [name + SUFFIX], [name], name=name, to=TensorProto.FLOAT))
    _replace(graph.node, [*casts, *graph.node])
    return stored


def to_float32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model in which every Cast of an initializer from float16 to float32 has been carried out.

    What `to_float16` has made becomes the original again, with rounded weights.

    Args:
        proto: A model of any kind; its main graph is looked at.

    Returns:
        The copy; equal to `proto` where no float16 initializer goes into a Cast to float32.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    graph = plain.graph
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    outputs = {value.name for value in graph.output}
    casts: list[onnx.NodeProto] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        constant = _is_cast(node) and node.input[0] in halves and node.output[0] not in outputs
        (casts if constant else nodes).append(node)
    used = set(_names_read(nodes)) | outputs
    initializers = []
    for tensor in graph.initializer:
        names = [node.output[0] for node in casts if node.input[0] == tensor.name]
        if names:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            initializers += [numpy_helper.from_array(values, name) for name in names]
        if not names or tensor.name in used:
            initializers.append(tensor)
    _replace(graph.initializer, initializers)
    _replace(graph.node, nodes)
    return plain


def stored_as_float16(proto: onnx.ModelProto) -> set[str]:
    """Returns the names under which a model computes with weights that it stores as float16."""
    halves = {tensor.name for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    return {node.output[0] for node in proto.graph.node if _is_cast(node) and node.input[0] in halves}


def _rounded(values: Any) -> Any:
    """The values as float16, or None if float16 cannot hold them."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        return None
    error = np.linalg.norm(half.astype(np.float64) - values)
    return half if error <= _ROUNDING * np.linalg.norm(values.astype(np.float64)) else None


def _is_cast(node: onnx.NodeProto) -> bool:
    """Is it a Cast to float32?"""
    return (
        node.op_type == "Cast"
        and node.domain in ("", "ai.onnx")
        and any(attribute.name == "to" and attribute.i == TensorProto.FLOAT for attribute in node.attribute)
    )


def _names_read(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """The tensors that nodes and the graphs inside them read."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _names_read(graph.node)
                yield from (value.name for value in graph.output)


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Gives a repeated field of a message these values."""
    kept = list(values)
    del field[:]
    field.extend(kept)
