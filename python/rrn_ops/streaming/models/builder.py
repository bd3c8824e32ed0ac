"""An ONNX graph while it is built; the same calls give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import rrn_native
from rrn_native.files import sha256_of_bytes

from rrn_ops.streaming.models import contract
from rrn_ops.streaming.models.contract import Detector, Weights
from rrn_ops.streaming.models.graph import Array

# What an operation may take: a name, or what becomes a constant.
Term = str | Array | float | np.floating[Any]

OPSET = 18
# ONNX Runtime 1.20 and older ones read it.
IR_VERSION = 8
# Part of the manifest: a number that grows whenever the converter writes other bytes for the same input.
CONVERTER_VERSION = 1


class Builder:
    """Collects nodes and constants. Not safe for calls from several threads."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._by_content: dict[tuple[Any, ...], str] = {}
        self._names: dict[str, int] = {contract.INPUT: 1, contract.BOXES: 1, contract.SCORES: 1}

    def _free_name(self, wanted: str) -> str:
        count = self._names.get(wanted, 0)
        self._names[wanted] = count + 1
        return self._free_name(f"{wanted}_{count}") if count else wanted

    def constant(self, values: Any, name: str = "constant") -> str:
        """Adds a constant, once for each content; returns its name. Floating point becomes float32."""
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int64)
        key = (array.dtype.str, array.shape, sha256_of_bytes(array.tobytes()))
        if key not in self._by_content:
            self._by_content[key] = self._free_name(name)
            tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
            tensor.name = self._by_content[key]
            self._constants[tensor.name] = tensor
        return self._by_content[key]

    def add(self, op: str, inputs: Sequence[Term], name: str = "", **attributes: Any) -> str:
        """Adds an operation with one output; returns the output's name.

        Args:
            op: ONNX's name of the operation.
            inputs: Names; arrays and numbers become constants; "" for an input that is left out.
            name: The output's name, which is made unique; the operation's name in small letters by default.
            attributes: ONNX's attributes.
        """
        return self.add_several(op, inputs, [name], **attributes)[0]

    def add_several(self, op: str, inputs: Sequence[Term], names: Sequence[str], **attributes: Any) -> list[str]:
        """Adds an operation with as many outputs as names."""
        outputs = [self._free_name(name or op.lower()) for name in names]
        sources = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self._nodes.append(onnx.helper.make_node(op, sources, outputs, outputs[0], **attributes))
        return outputs

    def finish(self, detector: Detector, weights: Weights, boxes: str, scores: str) -> onnx.ModelProto:
        """Returns the checked model.

        Args:
            detector: What the metadata say.
            weights: Where the weights come from, for the metadata.
            boxes: The name of a float32 [1, K, 4]: left, top, right, bottom in pixels of the input.
            scores: The name of a float32 [1, K].

        Raises:
            onnx.checker.ValidationError: The nodes do not fit each other.
        """
        width, height = detector.size
        for found, wanted in ((boxes, contract.BOXES), (scores, contract.SCORES)):
            self._nodes.append(onnx.helper.make_node("Identity", [found], [wanted], wanted))
        kind = onnx.TensorProto.FLOAT
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self._nodes,
            detector.name,
            [value(contract.INPUT, kind, [1, 3, height, width])],
            [value(contract.BOXES, kind, [1, "count", 4]), value(contract.SCORES, kind, [1, "count"])],
            list(self._constants.values()),
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rrn",
            producer_version=rrn_native.__version__,
        )
        properties: Mapping[str, str] = {
            "rrn.version": rrn_native.__version__,
            contract.KEY: detector.to_json(),
            "rrn.weights.origin": weights.origin,
            "rrn.weights.sha256": weights.sha256,
        }
        onnx.helper.set_model_props(model, dict(properties))
        onnx.checker.check_model(model, full_check=True)
        return model
