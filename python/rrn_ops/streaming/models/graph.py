"""A TensorFlow graph as a list of nodes and the arrays of its constants, and the rewrites that make it smaller.

All functions return a new graph. Names follow TensorFlow: the first output of a node ``a`` is ``a``, the others are
``a:1``, ``a:2``. Arrays are NHWC, weights of convolutions [height, width, input channels, output channels].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rrn_ops.streaming.models.contract import DetectorError

Array = npt.NDArray[Any]
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}
_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


@dataclasses.dataclass(frozen=True)
class Node:
    """An operation.

    Attributes:
        name: Its name, which is also that of its first output.
        op: TensorFlow's name of the operation; a convolution may have its bias as a third input.
        inputs: Names of outputs of other nodes or of constants.
        attributes: Text, numbers, and lists of them.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Graph:
    """Operations in any order, and constants by name."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]


def tensor_name(text: str) -> str:
    """Returns the one spelling of an output's name: ``a`` for ``a:0``."""
    return text.removesuffix(":0")


def node_name(tensor: str) -> str:
    """Returns the node of an output."""
    return tensor.partition(":")[0]


def data_inputs(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the inputs that carry data: without the nodes that only have to run before, which begin with ``^``."""
    return tuple(tensor_name(name) for name in names if not name.startswith("^"))


def select(graph: Graph, outputs: Sequence[str], inputs: Sequence[str] = ()) -> Graph:
    """Returns what `outputs` need, in an order in which it can be computed, cut off at the tensors `inputs`.

    Raises:
        DetectorError: A name is not there, or the nodes form a circle.
    """
    by_name = {node.name: node for node in graph.nodes}
    done: dict[str, Node] = {}
    used: set[str] = set()
    open_ones = [(name, False) for name in reversed(outputs)]
    under_way: set[str] = set()
    while open_ones:
        tensor, complete = open_ones.pop()
        name = node_name(tensor)
        if tensor in inputs or name in done:
            continue
        if tensor in graph.constants:
            used.add(tensor)
            continue
        if name not in by_name:
            raise DetectorError(f"the graph has no node {name!r}")
        node = by_name[name]
        if complete:
            under_way.discard(name)
            done[name] = node
            continue
        if name in under_way:
            raise DetectorError(f"the graph's node {name!r} depends on itself")
        under_way.add(name)
        open_ones.append((tensor, True))
        open_ones.extend((source, False) for source in reversed(node.inputs))
    return Graph(tuple(done.values()), {name: graph.constants[name] for name in graph.constants if name in used})


def canonical(graph: Graph, outputs: Sequence[str]) -> Graph:
    """Writes fused operations, batch normalisation and sums of several terms as convolutions, Mul and Add.

    Args:
        graph: What :func:`select` returns, in order.
        outputs: The tensors that must keep their names.

    Raises:
        DetectorError: A batch normalisation's statistics are no constants, or an activation is not known.
    """
    nodes: list[Node] = []
    constants = dict(graph.constants)
    same: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(same.get(name, name) for name in node.inputs)
        node = dataclasses.replace(node, inputs=inputs)
        if node.op in ("Identity", "StopGradient", "CheckNumerics"):
            same[node.name] = inputs[0]
        elif node.op in ("BiasAdd", "AddV2"):
            nodes.append(dataclasses.replace(node, op="Add"))
        elif node.op == "AddN":
            nodes.extend(_sum(node))
        elif node.op in _BATCH_NORMS:
            nodes.extend(_batch_norm(node, constants))
        elif node.op in _FUSED:
            nodes.extend(_unfused(node, constants))
        else:
            nodes.append(node)
    nodes.extend(Node(name, "Identity", (same[name],)) for name in outputs if name in same)
    return Graph(tuple(nodes), constants)


def _sum(node: Node) -> list[Node]:
    terms = node.inputs
    if len(terms) == 1:
        return [Node(node.name, "Identity", terms)]
    made = []
    left = terms[0]
    for index, right in enumerate(terms[1:], 1):
        name = node.name if index == len(terms) - 1 else f"{node.name}/{index}"
        made.append(Node(name, "Add", (left, right)))
        left = name
    return made


def _batch_norm(node: Node, constants: dict[str, Array]) -> list[Node]:
    missing = [name for name in node.inputs[1:5] if name not in constants]
    if missing:
        raise DetectorError(f"{node.op} {node.name!r}: {missing[0]!r} is not a constant")
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in node.inputs[1:5])
    factor = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-4))
    constants[f"{node.name}/factor"] = factor
    constants[f"{node.name}/offset"] = beta - mean * factor
    return [
        Node(f"{node.name}/scaled", "Mul", (node.inputs[0], f"{node.name}/factor")),
        Node(node.name, "Add", (f"{node.name}/scaled", f"{node.name}/offset")),
    ]


def _unfused(node: Node, constants: dict[str, Array]) -> list[Node]:
    """The operations that are one in TensorFlow: a convolution, then the names in its attribute `fused_ops`."""
    steps = [str(step) for step in node.attributes.get("fused_ops", ())]
    attributes = {name: value for name, value in node.attributes.items() if name not in ("fused_ops", "num_args")}
    made = [Node(f"{node.name}/0", _FUSED[node.op], node.inputs[:2], attributes)]
    extra = list(node.inputs[2:])
    for index, step in enumerate(steps, 1):
        before = made[-1].name
        name = f"{node.name}/{index}"
        if step == "BiasAdd":
            made.append(Node(name, "Add", (before, extra.pop(0))))
        elif step == "FusedBatchNorm":
            norm = Node(name, step, (before, *extra[:4]), {"epsilon": node.attributes.get("epsilon", 1e-4)})
            del extra[:4]
            made.extend(_batch_norm(norm, constants))
        elif step in ("Relu", "Relu6", "Elu", "Sigmoid", "Tanh"):
            made.append(Node(name, step, (before,)))
        elif step == "LeakyRelu":
            alpha = node.attributes.get("leakyrelu_alpha", 0.2)
            made.append(Node(name, step, (before,), {"alpha": alpha}))
        else:
            raise DetectorError(f"{node.op} {node.name!r}: the step {step!r} is not known")
    made[-1] = dataclasses.replace(made[-1], name=node.name)
    return made


class _Folder:
    """Moves factors and constant terms behind a convolution into its weights and its bias."""

    def __init__(self, graph: Graph, outputs: Sequence[str]) -> None:
        self.nodes = {node.name: node for node in graph.nodes}
        self.constants = dict(graph.constants)
        self.outputs = set(outputs)
        self.users: dict[str, list[str]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.users.setdefault(node_name(name), []).append(node.name)

    def only_user(self, name: str) -> Node | None:
        """The one node that reads a result, where nobody else sees it."""
        users = self.users.get(name, [])
        return self.nodes.get(users[0]) if len(users) == 1 and name not in self.outputs else None

    def per_channel(self, node: Node, other: str, channels: int) -> Array | None:
        """The constant that a node combines with its input `other`, as float64 [channels]; or None."""
        sources = [name for name in node.inputs if name != other]
        if len(sources) != 1 or sources[0] not in self.constants:
            return None
        found = self.constants[sources[0]]
        if found.size not in (1, channels) or (found.size > 1 and found.shape[-1] != channels):
            return None
        return np.broadcast_to(found.astype(np.float64).reshape(-1), (channels,))

    def fold(self, name: str) -> None:
        """Folds what follows a convolution, as long as each result has one reader."""
        node = self.nodes[name]
        if len(node.inputs) != 2 or node.inputs[1] not in self.constants:
            return
        weights = self.constants[node.inputs[1]].astype(np.float64)
        depthwise = node.op == CONVOLUTIONS[1]
        channels = weights.shape[-1] * (weights.shape[-2] if depthwise else 1)
        bias = np.zeros(channels)
        last = name
        while (user := self.only_user(last)) is not None and user.op in ("Mul", "Add"):
            values = self.per_channel(user, last, channels)
            if values is None:
                break
            if user.op == "Mul":
                weights = weights * (values.reshape(weights.shape[-2:]) if depthwise else values)
                bias = bias * values
            else:
                bias = bias + values
            del self.nodes[last]
            last = user.name
        # bias + (convolution + other): a sum's constant term belongs to the convolution as well.
        after = self.only_user(last)
        outer = self.only_user(after.name) if after is not None and after.op == "Add" else None
        if after is not None and outer is not None and outer.op == "Add":
            values = self.per_channel(outer, after.name, channels)
            if values is not None:
                bias = bias + values
                del self.nodes[after.name]
                self.nodes[outer.name] = dataclasses.replace(after, name=outer.name)
                for source in after.inputs:
                    users = self.users[node_name(source)]
                    users[users.index(after.name)] = outer.name
        self.constants[f"{last}/weights"] = weights
        self.constants[f"{last}/bias"] = bias
        inputs = (node.inputs[0], f"{last}/weights", f"{last}/bias")
        users = self.users[node_name(node.inputs[0])]
        users[users.index(name)] = last
        self.nodes[last] = Node(last, node.op, inputs, node.attributes)


def fold_convolutions(graph: Graph, outputs: Sequence[str]) -> Graph:
    """Gives every convolution its bias as a third input, with all factors and constant terms that follow it.

    Args:
        graph: A canonical graph.
        outputs: The tensors that must keep their names.

    Returns:
        The graph that `outputs` need, in order. A folded convolution has the name of the last operation it took in.
    """
    folder = _Folder(graph, [node_name(name) for name in outputs])
    for node in graph.nodes:
        if node.op in CONVOLUTIONS and node.name in folder.nodes:
            folder.fold(node.name)
    inputs = {name for node in graph.nodes for name in node.inputs}
    known = {node.name for node in graph.nodes} | set(graph.constants)
    outside = sorted(name for name in inputs if node_name(name) not in known)
    return select(Graph(tuple(folder.nodes.values()), folder.constants), outputs, outside)


def select_channels(graph: Graph, convolution: str, channels: Sequence[int]) -> Graph:
    """Returns the graph with some of a convolution's output channels only, in the order given.

    What reads the convolution has to expect that, so this is for convolutions that are outputs.

    Raises:
        DetectorError: There is no such folded convolution, or it has fewer channels.
    """
    node = next((each for each in graph.nodes if each.name == convolution and each.op == "Conv2D"), None)
    if node is None or len(node.inputs) != 3:
        raise DetectorError(f"the graph has no convolution {convolution!r} with a bias")
    weights, bias = (graph.constants[name] for name in node.inputs[1:])
    if max(channels) >= len(bias):
        raise DetectorError(f"{convolution!r} has {len(bias)} channels, expected more than {max(channels)}")
    index = list(channels)
    chosen = {node.inputs[1]: weights[..., index], node.inputs[2]: bias[index]}
    return Graph(graph.nodes, {**graph.constants, **chosen})
