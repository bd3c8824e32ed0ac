"""Inlining: the same numbers, no custom domain, free and fixed shapes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from rrn_native.model import onnx_function

from research.tensorrt import forms, inline
from research.tensorrt.pictures import min_cosine, noise

BATCH = "batch"


def operator_model(channels: list[int], total: int) -> onnx.ModelProto:
    """One node of the operator, and its function."""
    inputs = [
        helper.make_tensor_value_info(f"x{at}", TensorProto.FLOAT, [BATCH, each]) for at, each in enumerate(channels)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [BATCH, total])
    names = [each.name for each in inputs]
    node = helper.make_node("Reduction", names, ["y"], "reduction", domain=onnx_function.DOMAIN, channels=total)
    graph = helper.make_graph([node], "operator", inputs, [output])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(onnx_function.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model.functions.append(onnx_function.reduction_function(len(channels), 18))
    return model


@settings(max_examples=10, deadline=None)
@given(
    divisors=st.lists(st.sampled_from([1, 2, 3, 4, 6, 12]), min_size=1, max_size=4),
    batch=st.integers(min_value=0, max_value=3),
    seed=st.integers(min_value=0, max_value=99),
)
def test_the_inlined_operator_repeats_and_averages(divisors: list[int], batch: int, seed: int) -> None:
    import onnxruntime

    random = np.random.default_rng(seed)
    values = [random.standard_normal((batch, each), dtype=np.float32) for each in divisors]
    plain = inline.inlined(operator_model(divisors, 12))
    session = onnxruntime.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {f"x{at}": each for at, each in enumerate(values)})[0]
    expected = np.mean([np.repeat(each, 12 // each.shape[1], axis=1) for each in values], axis=0)
    np.testing.assert_allclose(found, expected.reshape(batch, 12), atol=1e-6)


def test_nothing_of_the_domain_is_left() -> None:
    model = operator_model([4, 8], 8)
    plain = inline.inlined(model)
    assert inline.custom_domains(model) == {"rrn"}
    assert inline.custom_domains(plain) == set()
    assert [each.domain for each in plain.opset_import] == [""]
    assert len(plain.functions) == 0


def test_a_node_without_a_function_is_an_error() -> None:
    model = operator_model([4, 8], 8)
    del model.functions[:]
    with pytest.raises(ValueError, match="nodes of rrn: expected a model with functions"):
        inline.inlined(model)


def test_the_shipped_model_stays_the_same_for_free_and_fixed_shapes() -> None:
    shipped = onnx.load(forms.MODEL)
    found = inline.differences(shipped, inline.inlined(shipped), (1, 3), 64)
    assert found == {"dynamic": {"1": 0.0, "3": 0.0}, "static": {"1": 0.0, "3": 0.0}}


def test_a_difference_would_be_seen() -> None:
    shipped = onnx.load(forms.MODEL)
    changed = inline.inlined(shipped)
    (count,) = (node for node in changed.graph.node if node.op_type == "Constant" and node.attribute[0].type == 1)
    count.attribute[0].f = 3.0
    assert inline.differences(shipped, changed, (1,), 64)["dynamic"]["1"] > 1e-3


def test_a_fixed_shape_is_everywhere() -> None:
    fixed = inline.with_fixed_shape(inline.inlined(onnx.load(forms.MODEL)), 2, 64)
    assert [each.dim_value for each in fixed.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 64, 64]
    assert [each.dim_value for each in fixed.graph.output[0].type.tensor_type.shape.dim] == [2, 512]


def test_noise_repeats() -> None:
    assert noise(2, 8).tobytes() == noise(2, 8).tobytes()
    assert noise(2, 8, seed=1).tobytes() != noise(2, 8).tobytes()


def test_the_least_cosine_is_that_of_the_worst_row() -> None:
    first = np.float32([[1, 0], [1, 0]])
    assert min_cosine(first, np.float32([[2, 0], [1, 1]])) == pytest.approx(2**-0.5)
