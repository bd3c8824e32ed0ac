"""Weights that are stored as float16: which, how exactly, and back again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rrn_native.model import storage

SIDE = 64  # 64 x 64 weights are just enough to be stored as float16


def model(*weights: npt.NDArray[Any]) -> onnx.ModelProto:
    """Y = X W1 W2 ..., with weights of any floating-point type, which a Cast makes float32."""
    nodes, tensors, last = [], [], "x"
    for number, weight in enumerate(weights, start=1):
        name = f"w{number}"
        tensors.append(numpy_helper.from_array(weight, name))
        if weight.dtype != np.float32:
            nodes.append(helper.make_node("Cast", [name], [f"{name}.wide"], to=TensorProto.FLOAT))
            name = f"{name}.wide"
        nodes.append(helper.make_node("MatMul", [last, name], [f"y{number}"]))
        last = f"y{number}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", SIDE])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", None])],
        tensors,
    )
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(made)
    return made


def weight(seed: int, shape: tuple[int, ...] = (SIDE, SIDE)) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def output(proto: onnx.ModelProto) -> npt.NDArray[np.float32]:
    """What ONNX Runtime computes for a fixed input; the model is checked."""
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    result: npt.NDArray[np.float32] = session.run(None, {"x": weight(99, (3, SIDE))})[0]
    return result


def types(proto: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in proto.graph.initializer}


def test_large_weights_are_rounded_to_nearest_and_keep_their_names() -> None:
    before = model(weight(1), weight(2))
    after = storage.to_float16(before)
    assert types(after) == {"w1.float16": TensorProto.FLOAT16, "w2.float16": TensorProto.FLOAT16}
    assert storage.stored_as_float16(after) == {"w1", "w2"}
    assert types(before) == {"w1": TensorProto.FLOAT, "w2": TensorProto.FLOAT}, "the argument stays as it is"
    assert after.ByteSize() < 0.55 * before.ByteSize()
    for number, tensor in enumerate(after.graph.initializer, start=1):
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weight(number).astype(np.float16))
    rounded = model(weight(1).astype(np.float16).astype(np.float32), weight(2).astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(output(after), output(rounded))


def test_back_to_float32_is_the_original_with_rounded_weights() -> None:
    exact = model(weight(1).astype(np.float16).astype(np.float32), weight(2, (SIDE, 8)))
    stored = storage.to_float16(exact)
    assert storage.stored_as_float16(stored) == {"w1"}, "512 weights are too few"
    assert storage.to_float32(stored).SerializeToString() == exact.SerializeToString()
    assert storage.to_float32(exact).SerializeToString() == exact.SerializeToString()


@pytest.mark.parametrize("scale", [1e5, 1e-8], ids=["too large", "too small"])
def test_what_float16_cannot_hold_stays_in_float32(scale: float) -> None:
    before = model(weight(1) * np.float32(scale), weight(2))
    after = storage.to_float16(before)
    assert storage.stored_as_float16(after) == {"w2"}
    np.testing.assert_array_equal(numpy_helper.to_array(after.graph.initializer[0]), weight(1) * np.float32(scale))


def test_infinity_stays_in_float32() -> None:
    infinite = weight(1)
    infinite[3, 4] = np.inf
    assert storage.stored_as_float16(storage.to_float16(model(infinite))) == set()


def test_the_files_of_others_with_casts_are_read_too() -> None:
    theirs = model(weight(1).astype(np.float16), weight(2))
    plain = storage.to_float32(theirs)
    assert types(plain) == {"w1.wide": TensorProto.FLOAT, "w2": TensorProto.FLOAT}
    assert [node.op_type for node in plain.graph.node] == ["MatMul", "MatMul"]
    np.testing.assert_array_equal(output(plain), output(theirs))


def test_a_constant_with_several_readers_is_kept_for_those_that_remain() -> None:
    theirs = model(weight(1).astype(np.float16), weight(2))
    graph = theirs.graph
    # A second Cast to float32, a reader in float16, and an output that is such a Cast.
    graph.node.append(helper.make_node("Cast", ["w1"], ["w1.again"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("MatMul", ["y2", "w1.again"], ["y3"]))
    graph.node.append(helper.make_node("Neg", ["w1"], ["minus"]))
    graph.node.append(helper.make_node("Cast", ["w1"], ["w1.output"], to=TensorProto.FLOAT))
    for name, element in (("y3", TensorProto.FLOAT), ("minus", TensorProto.FLOAT16), ("w1.output", TensorProto.FLOAT)):
        graph.output.append(helper.make_tensor_value_info(name, element, [None, None]))
    plain = storage.to_float32(theirs)
    onnx.checker.check_model(plain, full_check=True)
    assert types(plain) == {
        "w1.wide": TensorProto.FLOAT,
        "w1.again": TensorProto.FLOAT,
        "w1": TensorProto.FLOAT16,
        "w2": TensorProto.FLOAT,
    }
    assert [node.op_type for node in plain.graph.node] == ["MatMul", "MatMul", "MatMul", "Neg", "Cast"]
    outputs = []
    for proto in (theirs, plain):
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"x": weight(99, (3, SIDE))}))
    for mine, expected in zip(*reversed(outputs), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_a_constant_that_a_branch_reads_is_kept() -> None:
    theirs = model(weight(1).astype(np.float16))
    branch = helper.make_graph(
        [helper.make_node("Abs", ["w1"], ["absolute"])],
        "branch",
        [],
        [helper.make_tensor_value_info("absolute", TensorProto.FLOAT16, [SIDE, SIDE])],
    )
    theirs.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    theirs.graph.node.append(helper.make_node("If", ["condition"], ["z"], then_branch=branch, else_branch=branch))
    theirs.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT16, [SIDE, SIDE]))
    plain = storage.to_float32(theirs)
    assert types(plain).keys() == {"w1.wide", "w1", "condition"}
    np.testing.assert_array_equal(output(plain), output(theirs))
