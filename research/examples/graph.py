"""Draws the end of a model's graph, read from its ONNX file."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import onnx

from research.common import charts

# A side that was halved, as torch.export writes it: floor((side - 1) / n) + 1, which is side / n rounded up.
_DIVIDED = re.compile(r"\(*(\w+) - 1\)//(\d+)\)+ \+ 1")
# Nodes above the operator that are drawn in each branch.
_DEPTH = 3
_BOX = {"boxstyle": "round,pad=0.45", "edgecolor": "black", "linewidth": 0.8}
_ARROW = {"arrowstyle": "-|>", "color": "black", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}


@dataclasses.dataclass(frozen=True)
class Branch:
    """What leads into one input of the last node.

    Attributes:
        nodes: Operators, the last one first.
        shapes: Of what each of them puts out, such as "batch × 64"; one more than nodes, the last is what comes in.
    """

    nodes: list[str]
    shapes: list[str]


def tail(model: Path, depth: int = _DEPTH) -> tuple[str, str, str, list[Branch]]:
    """Reads the last node and what leads into it.

    Args:
        model: An ONNX file.
        depth: Nodes of a branch at most.

    Returns:
        Operator, output's name and output's shape of the last node, and its branches in the order of its inputs.
    """
    proto = onnx.shape_inference.infer_shapes(onnx.load(model))
    graph = proto.graph
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    makers = {name: node for node in graph.node for name in node.output}
    output = graph.output[0].name
    last = makers[output]
    branches = []
    for name in last.input:
        nodes: list[str] = []
        values = [name]
        while len(nodes) < depth and values[-1] in makers:
            node = makers[values[-1]]
            nodes.append(node.op_type)
            values.append(node.input[0])
        branches.append(Branch(nodes, [shapes.get(value, "") for value in values]))
    return last.op_type, output, shapes[output], branches


def _shape(value: onnx.ValueInfoProto) -> str:
    dimensions = value.type.tensor_type.shape.dim
    return " × ".join(_DIVIDED.sub(r"⌈\1/\2⌉", each.dim_param) or str(each.dim_value or "?") for each in dimensions)


def draw(model: Path) -> Any:
    """Returns a figure of the end of the model: its last node, and for each input the operators before it."""
    operator, output, shape, branches = tail(model)
    width, top = len(branches), _DEPTH + 2
    figure, axes = charts.pyplot.subplots(figsize=(3.2 * width, 1.05 * top))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(-0.4, top - 0.2)
    axes.set_axis_off()
    middle = (width - 1) / 2
    for column, branch in enumerate(branches):
        below = (middle + (column - middle) * 0.12, 1.0)
        for row, (node, made) in enumerate(zip(branch.nodes, branch.shapes, strict=False), start=2):
            _arrow(axes, (column, row), below, made)
            _box(axes, (column, row), node, "white")
            below = (column, row)
        _arrow(axes, (column, top), below, "")
    _arrow(axes, (middle, 1.0), (middle, 0.0), shape)
    _box(axes, (middle, 1.0), operator, "0.2", colour="white")
    _box(axes, (middle, 0.0), output, "0.9")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure


def _box(axes: Any, place: tuple[float, float], words: str, fill: str, colour: str = "black") -> None:
    box = {**_BOX, "facecolor": fill}
    axes.text(*place, words, ha="center", va="center", fontsize=13, color=colour, bbox=box, zorder=3)


def _arrow(axes: Any, above: tuple[float, float], below: tuple[float, float], shape: str) -> None:
    """An arrow from a box down to the upper edge of another; the shape of what it carries stands on its middle."""
    start, end = (above[0], above[1] - 0.2), (below[0], below[1] + 0.2)
    axes.annotate("", end, start, arrowprops=_ARROW, zorder=1)
    if shape:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        ground = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        axes.text(x, y, shape, ha="center", va="center", fontsize=10, bbox=ground, zorder=2)
