"""What TensorRT's parser will make of a file, as far as its published list of operators says so; needs no TensorRT.

    python -m research.tensorrt.parser_view MODEL.onnx

`operators.json` holds the facts of that list: operators, element types, and which have a restriction in words.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, shape_inference

from research.tensorrt.inline import STANDARD_DOMAINS

Json = dict[str, Any]

LIST = Path(__file__).with_name("operators.json")
# The list's names of element types.
_TYPES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.FLOAT8E4M3FN: "FP8",
    TensorProto.FLOAT4E2M1: "FP4",
}
# What a tensor may be quantised to.
_QUANTISED = ("INT8", "FP8", "FP4", "INT4")
_SPATIAL = ("Conv", "ConvTranspose", "AveragePool", "MaxPool", "LpPool")


@dataclasses.dataclass(frozen=True)
class Published:
    """The list.

    Attributes:
        release: Of TensorRT.
        source: Where it is from.
        opsets: The oldest and the newest version of the standard operators.
        operators: The element types of each operator; none for one that is not supported.
        restricted: Operators with a restriction in words.
    """

    release: str
    source: str
    opsets: tuple[int, int]
    operators: Mapping[str, tuple[str, ...]]
    restricted: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that the list does not allow, or that could not be checked.

    Attributes:
        node: Its name, or "" for the model as a whole.
        operator: Its type.
        what: In words.
        refused: False where nobody could check it.
    """

    node: str
    operator: str
    what: str
    refused: bool = True


@dataclasses.dataclass(frozen=True)
class View:
    """A model against the list.

    Attributes:
        rows: One for each operator: "operator", "nodes", "types", "supported"; the most frequent first.
        findings: In the order of the nodes.
    """

    rows: Sequence[Json]
    findings: Sequence[Finding]

    @property
    def accepted(self) -> bool:
        """Whether the list refuses nothing."""
        return not any(each.refused for each in self.findings)

    def to_json(self) -> Json:
        """Returns {"accepted", "nodes", "operators", "findings"}, the last with equal ones together."""
        equal: dict[tuple[str, str, bool], list[str]] = {}
        for each in self.findings:
            equal.setdefault((each.operator, each.what, each.refused), []).append(each.node)
        return {
            "accepted": self.accepted,
            "nodes": sum(row["nodes"] for row in self.rows),
            "operators": list(self.rows),
            "findings": [
                {"operator": operator, "what": what, "refused": refused, "nodes": len(nodes), "first": nodes[0]}
                for (operator, what, refused), nodes in equal.items()
            ],
        }


def published(path: Path = LIST) -> Published:
    """Reads the list."""
    value = json.loads(path.read_text(encoding="utf-8"))
    operators = {name: tuple(filter(None, types.split(", "))) for name, types in value["operators"].items()}
    oldest, newest = value["opsets"]
    return Published(value["release"], value["source"], (oldest, newest), operators, frozenset(value["restricted"]))


def look(proto: onnx.ModelProto, known: Published) -> View:
    """Compares every node of the main graph with the list.

    Checked are the operator, the version of the standard operators, the element type that the operator's first input
    has (for Cast, QuantizeLinear and constants also that of the result), and these restrictions: zero points, axes,
    dilations, 2-D or 3-D pictures, indices of MaxPool, kinds of constants, and uint8 inside of a network.

    Args:
        proto: A model. Functions are not looked into: inline them first.
        known: The list.
    """
    graph = _Graph(proto)
    findings = list(_whole(proto, known))
    counts: dict[str, collections.Counter[str]] = {}
    good: dict[str, bool] = {}
    for node in proto.graph.node:
        name = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
        types = graph.main_types(node)
        counts.setdefault(name, collections.Counter()).update(["/".join(types)])
        found = list(_node(node, types, graph, known))
        findings += [Finding(node.name, name, what) for what in found]
        good[name] = good.get(name, True) and not found
    for name in sorted(set(counts) & known.restricted - set(RESTRICTIONS)):
        findings.append(Finding("", name, "the list has a restriction for it that is not checked here", refused=False))
    rows = [
        {"operator": name, "nodes": kinds.total(), "types": sorted(kinds), "supported": good[name]}
        for name, kinds in sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    ]
    return View(rows, findings)


class _Graph:
    """Types and constants of a model's tensors."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        inferred = shape_inference.infer_shapes(proto)
        values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
        self._opset = max((each.version for each in proto.opset_import if each.domain in STANDARD_DOMAINS), default=1)
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._types.update({name: tensor.data_type for name, tensor in self.constants.items()})
        self._ranks.update({name: len(tensor.dims) for name, tensor in self.constants.items()})
        for node in proto.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.constants[node.output[0]] = attribute.t
                    elif attribute.name.startswith("value_"):
                        given = np.asarray(helper.get_attribute_value(attribute))
                        self.constants[node.output[0]] = numpy_helper.from_array(given)

    def type(self, name: str) -> str:
        """Returns the list's name of a tensor's element type, "?" where it is not known."""
        number = self._types.get(name, 0)
        return _TYPES.get(number, TensorProto.DataType.Name(number) if number else "?")

    def rank(self, name: str) -> int:
        """Returns the number of dimensions; 0 where it is not known."""
        return self._ranks.get(name, 0)

    def main_types(self, node: onnx.NodeProto) -> list[str]:
        """Returns the types that the list speaks of.

        They are those of the first input and of what has its type by the rules of ONNX, and for conversions and
        constants that of the result.
        """
        names = list(node.input[:1])
        if node.domain in STANDARD_DOMAINS and onnx.defs.has(node.op_type, max_inclusive_version=self._opset):
            schema = onnx.defs.get_schema(node.op_type, self._opset)
            kinds = [each.type_str for each in schema.inputs]
            # The last one stands for all that follow, where there may be any number.
            names = [name for at, name in enumerate(node.input) if kinds[min(at, len(kinds) - 1)] == kinds[0]]
        if node.op_type in ("Cast", "CastLike", "Constant", "ConstantOfShape"):
            names.append(node.output[0])
        if node.op_type == "ConstantOfShape":
            names = names[-1:]
        return list(dict.fromkeys(self.type(name) for name in names if name))


def _whole(proto: onnx.ModelProto, known: Published) -> Iterator[Finding]:
    for each in proto.opset_import:
        oldest, newest = known.opsets
        if each.domain in STANDARD_DOMAINS and not oldest <= each.version <= newest:
            yield Finding("", "opset", f"opset {each.version}: expected {oldest} to {newest}")


def _node(node: onnx.NodeProto, types: Sequence[str], graph: _Graph, known: Published) -> Iterator[str]:
    if node.domain not in STANDARD_DOMAINS:
        yield "an operator of another domain: neither on the list nor a plugin of TensorRT"
        return
    allowed = known.operators.get(node.op_type)
    if not allowed:
        yield "not on the list" if allowed is None else "on the list as not supported"
        return
    for kind in types:
        if kind not in allowed:
            yield f"type {kind}: expected one of {', '.join(allowed)}"
    check = RESTRICTIONS.get(node.op_type)
    if check is not None:
        yield from check(node, graph)
    if node.op_type in _SPATIAL and graph.rank(node.input[0]) not in (0, 4, 5):
        yield f"a tensor of rank {graph.rank(node.input[0])}: expected pictures of 2 or 3 dimensions"


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)


def _zero_point(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    name = node.input[2] if len(node.input) > 2 else ""
    if name and name not in graph.constants:
        yield "a zero point that is not constant: expected 0"
    elif name and numpy_helper.to_array(graph.constants[name]).astype(int).any():
        yield "a zero point that is not 0"
    if node.op_type == "QuantizeLinear":
        kind = graph.type(name) if name else graph.type(node.output[0])
        if kind not in _QUANTISED:
            yield f"a result of type {kind}: expected one of {', '.join(_QUANTISED)}"


def _pooling(node: onnx.NodeProto, _: _Graph) -> Iterator[str]:
    dilations = _attribute(node, "dilations")
    if dilations is not None and set(dilations) - {1}:
        yield f"dilations {list(dilations)}: expected ones"
    if len(node.output) > 1 and node.output[1]:
        yield "its second output, the indices, is not supported"


def _axes(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    name = node.input[1] if len(node.input) > 1 else ""
    if name and name not in graph.constants:
        yield "axes that are computed: expected a constant"


def _constant(node: onnx.NodeProto, _: _Graph) -> Iterator[str]:
    for each in node.attribute:
        if each.name in ("sparse_value", "value_string", "value_strings"):
            yield f"a {each.name}"


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
# Operators whose restrictions are checked.
RESTRICTIONS: Mapping[str, Callable[[onnx.NodeProto, _Graph], Iterator[str]]] = {
    "QuantizeLinear": _zero_point,
    "DequantizeLinear": _zero_point,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "LpPool": _pooling,
    "Constant": _constant,
    "Squeeze": _axes,
    "Unsqueeze": _axes,
    **{f"Reduce{name}": _axes for name in _REDUCTIONS},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0 where the list refuses nothing."""
    parser = argparse.ArgumentParser(
        prog="research.tensorrt.parser_view", description="Compare a model with TensorRT's published list of operators."
    )
    parser.add_argument("model", type=Path, help="an ONNX file; functions are not looked into")
    arguments = parser.parse_args(argv)
    known = published()
    try:
        view = look(onnx.load(arguments.model), known)
    except (OSError, DecodeError) as error:
        print(f"error: {arguments.model}: expected an ONNX model, got {error}", file=sys.stderr)
        return 1
    print(f"TensorRT {known.release}: {known.source}")
    for row in view.rows:
        print(f"{row['nodes']:4}  {row['operator']:20} {', '.join(row['types']):30} {'' if row['supported'] else 'NO'}")
    for each in view.findings:
        print(f"{'refused' if each.refused else 'note'}: {each.operator} {each.node}: {each.what}")
    return 0 if view.accepted else 1


if __name__ == "__main__":
    sys.exit(main())
