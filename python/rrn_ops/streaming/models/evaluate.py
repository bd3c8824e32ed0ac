"""Computes what depends on constants alone, with NumPy, so that it does not end up in the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rrn_ops.streaming.models.graph import Array, Graph, Node, canonical, fold_convolutions, select, tensor_name


def _strided_slice(node: Node, data: Array, begin: Array, end: Array, strides: Array) -> Array:
    masks = {name: int(node.attributes.get(f"{name}_mask", 0)) for name in ("begin", "end", "shrink_axis")}
    index: list[Any] = []
    for axis, (first, last, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        bit = 1 << axis
        if masks["shrink_axis"] & bit:
            index.append(first)
        else:
            index.append(slice(None if masks["begin"] & bit else first, None if masks["end"] & bit else last, step))
    return np.asarray(data[tuple(index)])


def _slice(data: Array, begin: Array, size: Array) -> Array:
    ends = [None if length < 0 else first + length for first, length in zip(begin.tolist(), size.tolist(), strict=True)]
    return data[tuple(slice(first, end) for first, end in zip(begin.tolist(), ends, strict=True))]


def _sparse_to_dense(indices: Array, shape: Array, values: Array, default: Array) -> Array:
    made = np.full(tuple(shape.tolist()), default, np.asarray(default).dtype)
    if indices.size:
        made[tuple(np.atleast_2d(indices).T)] = values
    return made


def _squeeze(node: Node, data: Array) -> Array:
    axes = node.attributes.get("squeeze_dims") or None
    return np.squeeze(data, tuple(axes) if axes else None)


# Each takes the node and the arrays of its inputs.
_OPERATIONS: Mapping[str, Callable[..., Array]] = {
    "Identity": lambda _, x: x,
    "Add": lambda _, x, y: x + y,
    "Sub": lambda _, x, y: x - y,
    "Mul": lambda _, x, y: x * y,
    "RealDiv": lambda _, x, y: x / y,
    "Maximum": lambda _, x, y: np.maximum(x, y),
    "Minimum": lambda _, x, y: np.minimum(x, y),
    "Rsqrt": lambda _, x: 1 / np.sqrt(x),
    "Sqrt": lambda _, x: np.sqrt(x),
    "Neg": lambda _, x: -x,
    "Exp": lambda _, x: np.exp(x),
    "Pack": lambda node, *parts: np.stack(parts, int(node.attributes.get("axis", 0))),
    "ConcatV2": lambda _, *parts: np.concatenate(parts[:-1], int(parts[-1])),
    "Reshape": lambda _, x, shape: x.reshape(shape.tolist()),
    "Transpose": lambda _, x, axes: np.transpose(x, axes.tolist()),
    "ExpandDims": lambda _, x, axis: np.expand_dims(x, int(axis)),
    "Squeeze": _squeeze,
    "Tile": lambda _, x, multiples: np.tile(x, multiples.tolist()),
    "Range": lambda _, start, limit, step: np.arange(start, limit, step),
    "Fill": lambda _, shape, value: np.full(shape.tolist(), value, value.dtype),
    "Slice": lambda _, x, begin, size: _slice(x, begin, size),
    "StridedSlice": _strided_slice,
    "SparseToDense": lambda _, *inputs: _sparse_to_dense(*inputs),
    "Shape": lambda _, x: np.array(x.shape, np.int32),
}


def evaluate(node: Node, inputs: list[Array]) -> Array | None:
    """Returns an operation's one result; None if there is no rule for the operation.

    Args:
        node: The operation.
        inputs: The values of its inputs.

    Raises:
        ValueError: The inputs do not fit each other.
    """
    function = _OPERATIONS.get(node.op)
    return None if function is None else np.asarray(function(node, *inputs))


def fold_constants(graph: Graph) -> Graph:
    """Returns a graph in order whose operations with nothing but constants as inputs have become constants."""
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        inputs = [constants[name] for name in map(tensor_name, node.inputs) if name in constants]
        value = evaluate(node, inputs) if inputs and len(inputs) == len(node.inputs) else None
        if value is None:
            nodes.append(node)
        else:
            constants[node.name] = value
    return Graph(tuple(nodes), constants)


def simplified(graph: Graph, outputs: Sequence[str], inputs: Sequence[str]) -> Graph:
    """Returns the canonical graph between two sets of tensors, in order, with all that can be folded folded.

    Raises:
        DetectorError: A tensor is not there, or an operation is not known.
    """
    whole = canonical(select(graph, outputs, inputs), outputs)
    return fold_convolutions(select(fold_constants(whole), outputs, inputs), outputs)
