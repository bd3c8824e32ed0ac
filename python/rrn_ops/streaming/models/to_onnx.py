"""TensorFlow's operations as ONNX's: NHWC becomes NCHW, ``SAME`` becomes numbers.

A tensor is stored in one order of its axes and seen by TensorFlow in another; :class:`Value` keeps both. So a Transpose
of TensorFlow costs nothing, and ONNX gets one only where an operation needs another order than the one there is, which
between convolutions is never. Likewise padding waits for the convolution that takes it in. Every shape is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rrn_ops.streaming.models.builder import Builder, Term
from rrn_ops.streaming.models.contract import DetectorError
from rrn_ops.streaming.models.evaluate import evaluate
from rrn_ops.streaming.models.graph import Array, Graph, Node

_NCHW_OF_NHWC = (0, 3, 1, 2)
# What TensorFlow pads with before a pooling by maximum: no less is ever found.
_LOWEST = -1e30


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor.

    Attributes:
        name: Its name in the ONNX graph.
        shape: Its sides in TensorFlow's order, `pads` included.
        order: Axis i as it is stored is TensorFlow's axis order[i].
        pads: Before and after, for each of TensorFlow's axes, which the stored tensor lacks; empty for none.
        fill: What to pad with.
    """

    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    pads: tuple[tuple[int, int], ...] = ()
    fill: float = 0.0


def picture(name: str, height: int, width: int, layout: str = "NHWC") -> Value:
    """Returns an ONNX input [1, 3, height, width] as a TensorFlow graph of this layout sees it."""
    if layout == "NHWC":
        return Value(name, (1, height, width, 3), _NCHW_OF_NHWC)
    return Value(name, (1, 3, height, width), (0, 1, 2, 3))


class Lowering:
    """Writes the nodes of a graph into a builder.

    Args:
        builder: Where they go.
        graph: A canonical graph in order.
        inputs: The tensors that the graph lacks.
    """

    def __init__(self, builder: Builder, graph: Graph, inputs: Mapping[str, Value]) -> None:
        self.builder = builder
        self.constants = dict(graph.constants)
        self._values = dict(inputs)
        for node in graph.nodes:
            self._lower(node)

    def _lower(self, node: Node) -> None:
        if all(name in self.constants for name in node.inputs):
            found = evaluate(node, [self.constants[name] for name in node.inputs])
            if found is not None:
                self.constants[node.name] = found
                return
        if node.op == "Shape":
            self.constants[node.name] = np.array(self.value(node.inputs[0]).shape, np.int64)
            return
        function = _OPERATIONS.get(node.op)
        if function is None:
            raise DetectorError(f"{node.name!r}: the operation {node.op} is not known to the converter")
        made = function(self, node)
        for index, value in enumerate([made] if isinstance(made, Value) else made):
            self._values[f"{node.name}:{index}" if index else node.name] = value

    def value(self, name: str) -> Value:
        """Returns a tensor, with its padding still to come; a constant in TensorFlow's order.

        Raises:
            DetectorError: No tensor has this name.
        """
        if name in self._values:
            return self._values[name]
        if name not in self.constants:
            raise DetectorError(f"the graph has no tensor {name!r}")
        array = self.constants[name]
        return Value(self.builder.constant(array, name), array.shape, tuple(range(array.ndim)))

    def constant(self, node: Node, index: int) -> Array:
        """Returns an input that has to be a constant.

        Raises:
            DetectorError: It is not.
        """
        name = node.inputs[index]
        if name not in self.constants:
            raise DetectorError(f"{node.op} {node.name!r}: the input {name!r} is not a constant")
        return self.constants[name]

    def stored(self, value: Value, order: Sequence[int] | None = None) -> Value:
        """Returns a tensor with its padding, stored in an order (any by default)."""
        wanted = tuple(value.order if order is None else order)
        if value.pads:
            pads = [value.pads[axis] for axis in value.order]
            flat = np.array([before for before, _ in pads] + [after for _, after in pads], np.int64)
            name = self.builder.add("Pad", [value.name, flat, np.float32(value.fill)], f"{value.name}/pad")
            value = Value(name, value.shape, value.order)
        if wanted != value.order:
            axes = [value.order.index(axis) for axis in wanted]
            name = self.builder.add("Transpose", [value.name], f"{value.name}/transpose", perm=axes)
            value = Value(name, value.shape, wanted)
        return value


def _same_pads(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """What ``SAME`` adds before and after: the odd pixel goes after, as for even sizes at stride 2."""
    total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(
    node: Node, value: Value, window: tuple[int, int], fill_is: Callable[[float], bool]
) -> tuple[bool, list[tuple[int, int]], list[int], list[int]]:
    """What a window that slides over NHWC needs: can it take the padding in, the padding, strides and dilations."""
    if node.attributes.get("data_format", "NHWC") != "NHWC" or len(value.shape) != 4:
        raise DetectorError(f"{node.op} {node.name!r}: expected a tensor NHWC")
    strides = [int(each) for each in node.attributes["strides"]][1:3]
    dilations = [int(each) for each in node.attributes.get("dilations") or [1] * 4][1:3]
    outer = value.pads or ((0, 0),) * 4
    absorbed = fill_is(value.fill) and outer[0] == outer[3] == (0, 0)
    padding = node.attributes["padding"]
    if padding == "SAME":
        pads = [_same_pads(value.shape[1 + i], window[i], strides[i], dilations[i]) for i in (0, 1)]
    elif padding == "VALID":
        pads = [(0, 0), (0, 0)]
    elif padding == "EXPLICIT":
        listed = [int(each) for each in node.attributes["explicit_paddings"]]
        pads = [(listed[2], listed[3]), (listed[4], listed[5])]
    else:
        raise DetectorError(f"{node.op} {node.name!r}: the padding {padding!r} is not known")
    if absorbed:
        pads = [(pads[i][0] + outer[1 + i][0], pads[i][1] + outer[1 + i][1]) for i in (0, 1)]
    return absorbed, pads, strides, dilations


def _slide(
    state: Lowering,
    node: Node,
    window: tuple[int, int],
    fill_is: Callable[[float], bool],
    write: Callable[[str, list[int], list[int], list[int]], str],
    channels: int,
) -> Value:
    value = state.value(node.inputs[0])
    absorbed, pads, strides, dilations = _window(node, value, window, fill_is)
    padded = list(value.shape[1:3])
    if absorbed:
        bare = tuple(side - sum(extra) for side, extra in zip(value.shape, value.pads or ((0, 0),) * 4, strict=True))
        padded = list(bare[1:3])
        value = Value(value.name, bare, value.order)
    value = state.stored(value, _NCHW_OF_NHWC)
    sides = []
    for i in (0, 1):
        length = padded[i] + sum(pads[i]) - (window[i] - 1) * dilations[i] - 1
        if length < 0:
            raise DetectorError(f"{node.op} {node.name!r}: its window is larger than the picture")
        sides.append(length // strides[i] + 1)
    name = write(value.name, [pads[0][0], pads[1][0], pads[0][1], pads[1][1]], strides, dilations)
    return Value(name, (value.shape[0], *sides, channels), _NCHW_OF_NHWC)


def _convolution(state: Lowering, node: Node) -> Value:
    weights = state.constant(node, 1)
    height, width, inputs, outputs = weights.shape
    group = 1
    if node.op == "DepthwiseConv2dNative":
        group, outputs = inputs, inputs * outputs
        kernel = np.transpose(weights, (2, 3, 0, 1)).reshape(outputs, 1, height, width)
    else:
        kernel = np.transpose(weights, (3, 2, 0, 1))
    if state.value(node.inputs[0]).shape[-1] != inputs:
        raise DetectorError(f"{node.op} {node.name!r}: its weights are for {inputs} channels")

    def write(source: str, pads: list[int], strides: list[int], dilations: list[int]) -> str:
        terms: list[Term] = [source, state.builder.constant(kernel, f"{node.name}/weights")]
        if len(node.inputs) > 2:
            terms.append(state.builder.constant(state.constant(node, 2), f"{node.name}/bias"))
        shape = {"kernel_shape": [height, width], "pads": pads, "strides": strides, "dilations": dilations}
        return state.builder.add("Conv", terms, node.name, group=group, **shape)

    return _slide(state, node, (height, width), lambda fill: fill == 0, write, outputs)


def _pool(state: Lowering, node: Node) -> Value:
    window = (int(node.attributes["ksize"][1]), int(node.attributes["ksize"][2]))
    largest = node.op == "MaxPool"

    def write(source: str, pads: list[int], strides: list[int], _: list[int]) -> str:
        op = "MaxPool" if largest else "AveragePool"
        return state.builder.add(op, [source], node.name, kernel_shape=list(window), pads=pads, strides=strides)

    # An average of TensorFlow leaves out what SAME adds, as ONNX's does, but counts what was padded before it.
    channels = state.value(node.inputs[0]).shape[-1]
    return _slide(state, node, window, lambda fill: largest and fill <= _LOWEST, write, channels)


def _unary(op: str, **attributes: float) -> Callable[[Lowering, Node], Value]:
    def lower(state: Lowering, node: Node) -> Value:
        value = state.stored(state.value(node.inputs[0]))
        name = state.builder.add(op, [value.name], node.name, **attributes)
        return dataclasses.replace(value, name=name)

    return lower


def _leaky_relu(state: Lowering, node: Node) -> Value:
    return _unary("LeakyRelu", alpha=float(node.attributes.get("alpha", 0.2)))(state, node)


def _clip(state: Lowering, node: Node) -> Value:
    value = state.stored(state.value(node.inputs[0]))
    name = state.builder.add("Clip", [value.name, np.float32(0), np.float32(6)], node.name)
    return dataclasses.replace(value, name=name)


def _softmax(state: Lowering, node: Node) -> Value:
    value = state.stored(state.value(node.inputs[0]))
    axis = value.order.index(len(value.shape) - 1)
    return dataclasses.replace(value, name=state.builder.add("Softmax", [value.name], node.name, axis=axis))


def _binary(op: str) -> Callable[[Lowering, Node], Value]:
    def lower(state: Lowering, node: Node) -> Value:
        first = next(state.stored(state.value(name)) for name in node.inputs if name not in state.constants)
        shapes = []
        names: list[Term] = []
        for source in node.inputs:
            if source in state.constants:
                array = state.constants[source]
                if array.ndim > len(first.shape):
                    raise DetectorError(f"{node.op} {node.name!r}: a constant has more axes than the other term")
                array = array.reshape((1,) * (len(first.shape) - array.ndim) + array.shape)
                shapes.append(array.shape)
                names.append(state.builder.constant(np.transpose(array, first.order), source))
            else:
                value = state.value(source)
                if len(value.shape) != len(first.shape):
                    raise DetectorError(f"{node.op} {node.name!r}: its terms have unlike numbers of axes")
                shapes.append(value.shape)
                names.append(state.stored(value, first.order).name)
        return Value(state.builder.add(op, names, node.name), np.broadcast_shapes(*shapes), first.order)

    return lower


def _pad(state: Lowering, node: Node) -> Value:
    value = state.value(node.inputs[0])
    if value.pads:
        value = state.stored(value)
    pads = tuple((int(before), int(after)) for before, after in state.constant(node, 1).tolist())
    shape = tuple(side + sum(extra) for side, extra in zip(value.shape, pads, strict=True))
    fill = float(state.constant(node, 2)) if node.op == "PadV2" else 0.0
    return Value(value.name, shape, value.order, pads, fill)


def _transpose(state: Lowering, node: Node) -> Value:
    value = state.value(node.inputs[0])
    axes = state.constant(node, 1).tolist()
    pads = tuple(value.pads[axis] for axis in axes) if value.pads else ()
    shape = tuple(value.shape[axis] for axis in axes)
    return Value(value.name, shape, tuple(axes.index(axis) for axis in value.order), pads, value.fill)


def _reshaped(state: Lowering, node: Node, shape: Sequence[int]) -> Value:
    value = state.value(node.inputs[0])
    plain = state.stored(value, range(len(value.shape)))
    name = state.builder.add("Reshape", [plain.name, np.array(shape, np.int64)], node.name)
    return Value(name, tuple(shape), tuple(range(len(shape))))


def _reshape(state: Lowering, node: Node) -> Value:
    shape = [int(side) for side in state.constant(node, 1).tolist()]
    count = int(np.prod(state.value(node.inputs[0]).shape))
    rest = int(np.prod([side for side in shape if side != -1]))
    shape = [count // rest if side == -1 else side for side in shape]
    if int(np.prod(shape)) != count:
        raise DetectorError(f"Reshape {node.name!r}: {count} values do not fit {shape}")
    return _reshaped(state, node, shape)


def _squeeze(state: Lowering, node: Node) -> Value:
    shape = state.value(node.inputs[0]).shape
    axes = [axis % len(shape) for axis in node.attributes.get("squeeze_dims") or ()]
    axes = axes or [axis for axis, side in enumerate(shape) if side == 1]
    return _reshaped(state, node, [side for axis, side in enumerate(shape) if axis not in axes])


def _expand(state: Lowering, node: Node) -> Value:
    shape = list(state.value(node.inputs[0]).shape)
    axis = int(state.constant(node, 1))
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
    return _reshaped(state, node, shape)


def _concat(state: Lowering, node: Node) -> Value:
    parts = [state.value(name) for name in node.inputs[:-1]]
    order = parts[0].order
    axis = int(state.constant(node, len(node.inputs) - 1)) % len(order)
    names = [state.stored(part, order).name for part in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return Value(state.builder.add("Concat", names, node.name, axis=order.index(axis)), tuple(shape), order)


def _split(state: Lowering, node: Node) -> list[Value]:
    sized = node.op == "SplitV"
    value = state.stored(state.value(node.inputs[0 if sized else 1]))
    axis = int(state.constant(node, 2 if sized else 0)) % len(value.shape)
    if sized:
        sizes = [int(each) for each in state.constant(node, 1).tolist()]
    else:
        count = int(node.attributes["num_split"])
        sizes = [value.shape[axis] // count] * count
    sizes = [value.shape[axis] - sum(sizes) - 1 if each == -1 else each for each in sizes]
    names = [f"{node.name}/{index}" for index in range(len(sizes))]
    where = {"axis": value.order.index(axis)}
    made = state.builder.add_several("Split", [value.name, np.array(sizes, np.int64)], names, **where)
    shapes = [(*value.shape[:axis], size, *value.shape[axis + 1 :]) for size in sizes]
    return [Value(name, shape, value.order) for name, shape in zip(made, shapes, strict=True)]


def _unpack(state: Lowering, node: Node) -> list[Value]:
    value = state.stored(state.value(node.inputs[0]))
    axis = int(node.attributes.get("axis", 0)) % len(value.shape)
    names = [f"{node.name}/{index}" for index in range(value.shape[axis])]
    parts = state.builder.add_several(
        "Split", [value.name], names, axis=value.order.index(axis), num_outputs=len(names)
    )
    stored = np.array([value.order.index(axis)], np.int64)
    order = tuple(each - (each > axis) for each in value.order if each != axis)
    shape = (*value.shape[:axis], *value.shape[axis + 1 :])
    return [Value(state.builder.add("Squeeze", [part, stored], f"{part}/flat"), shape, order) for part in parts]


def _pack(state: Lowering, node: Node) -> Value:
    parts = [state.value(name) for name in node.inputs]
    axis = int(node.attributes.get("axis", 0)) % (len(parts[0].shape) + 1)
    plain = [state.stored(part, range(len(part.shape))).name for part in parts]
    place = np.array([axis], np.int64)
    names = [state.builder.add("Unsqueeze", [part, place], f"{node.name}/term") for part in plain]
    shape = (*parts[0].shape[:axis], len(parts), *parts[0].shape[axis:])
    return Value(state.builder.add("Concat", names, node.name, axis=axis), shape, tuple(range(len(shape))))


def _slice(state: Lowering, node: Node) -> Value:
    value = state.stored(state.value(node.inputs[0]))
    first = state.constant(node, 1).tolist()
    size = [
        side - begin if length < 0 else length
        for side, begin, length in zip(value.shape, first, state.constant(node, 2).tolist(), strict=True)
    ]
    starts = np.array([first[axis] for axis in value.order], np.int64)
    ends = np.array([first[axis] + size[axis] for axis in value.order], np.int64)
    name = state.builder.add("Slice", [value.name, starts, ends], node.name)
    return Value(name, tuple(size), value.order)


def _mean(state: Lowering, node: Node) -> Value:
    value = state.stored(state.value(node.inputs[0]))
    axes = sorted(int(axis) % len(value.shape) for axis in np.atleast_1d(state.constant(node, 1)))
    stored = np.array(sorted(value.order.index(axis) for axis in axes), np.int64)
    name = state.builder.add("ReduceMean", [value.name, stored], node.name, keepdims=1)
    shape = tuple(1 if axis in axes else side for axis, side in enumerate(value.shape))
    made = Value(name, shape, value.order)
    if node.attributes.get("keep_dims", False):
        return made
    plain = state.stored(made, range(len(shape)))
    left = [side for axis, side in enumerate(shape) if axis not in axes]
    name = state.builder.add("Reshape", [plain.name, np.array(left, np.int64)], f"{node.name}/flat")
    return Value(name, tuple(left), tuple(range(len(left))))


def _resize(state: Lowering, node: Node) -> Value:
    value = state.stored(state.value(node.inputs[0]), _NCHW_OF_NHWC)
    height, width = (int(side) for side in state.constant(node, 1).tolist())
    where = "half_pixel" if node.attributes.get("half_pixel_centers") else "asymmetric"
    if node.attributes.get("align_corners"):
        where = "align_corners"
    linear = node.op == "ResizeBilinear"
    attributes = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": "floor"}
    sizes = np.array([value.shape[0], value.shape[3], height, width], np.int64)
    attributes["coordinate_transformation_mode"] = where
    name = state.builder.add("Resize", [value.name, "", "", sizes], node.name, **attributes)
    return Value(name, (value.shape[0], height, width, value.shape[3]), _NCHW_OF_NHWC)


_OPERATIONS: Mapping[str, Callable[[Lowering, Node], Value | list[Value]]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "MaxPool": _pool,
    "AvgPool": _pool,
    "Relu": _unary("Relu"),
    "Relu6": _clip,
    "LeakyRelu": _leaky_relu,
    "Elu": _unary("Elu"),
    "Sigmoid": _unary("Sigmoid"),
    "Tanh": _unary("Tanh"),
    "Exp": _unary("Exp"),
    "Neg": _unary("Neg"),
    "Identity": _unary("Identity"),
    "Softmax": _softmax,
    "Add": _binary("Add"),
    "Sub": _binary("Sub"),
    "Mul": _binary("Mul"),
    "RealDiv": _binary("Div"),
    "Maximum": _binary("Max"),
    "Minimum": _binary("Min"),
    "Pad": _pad,
    "PadV2": _pad,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ExpandDims": _expand,
    "ConcatV2": _concat,
    "Split": _split,
    "SplitV": _split,
    "Pack": _pack,
    "Unpack": _unpack,
    "Slice": _slice,
    "Mean": _mean,
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
}


def convert(builder: Builder, graph: Graph, inputs: Mapping[str, Value], outputs: Sequence[str]) -> list[Value]:
    """Writes a canonical graph in order; returns its outputs with their padding, each in the order it is stored in.

    Raises:
        DetectorError: An operation is not known, or its inputs do not fit; it names the operation.
    """
    lowered = Lowering(builder, graph, inputs)
    return [lowered.stored(lowered.value(name)) for name in outputs]
