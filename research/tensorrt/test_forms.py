"""The forms that TensorRT is given: float16, symmetric 8 bits, and one node for the plugin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from research.tensorrt import forms, inline, parser_view
from research.tensorrt.pictures import min_cosine, noise

Made = Callable[[str], onnx.ModelProto]


def quantised(scale: float, zero: int, *, relu: bool = False) -> onnx.ModelProto:
    """Input -> (Relu ->) uint8 -> output, float32 [4] each."""
    constants = [
        numpy_helper.from_array(np.float32(scale), "scale"),
        numpy_helper.from_array(np.uint8(zero), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["r" if relu else "x", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "dq"),
    ]
    if relu:
        nodes.insert(0, helper.make_node("Relu", ["x"], ["r"], "r"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "quantised", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(min_value=1e-3, max_value=10), zero=st.integers(min_value=0, max_value=255))
def test_the_symmetric_range_is_the_smallest_that_holds_the_other(scale: float, zero: int) -> None:
    made = forms.symmetric(quantised(scale, zero))
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    low, high = -zero * np.float64(np.float32(scale)), (255 - zero) * np.float64(np.float32(scale))
    assert values["zero"].dtype == np.int8
    assert values["zero"] == 0
    assert 127 * float(values["scale"]) == pytest.approx(max(-low, high), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    zero=st.integers(min_value=0, max_value=255),
    inputs=st.lists(st.floats(min_value=-300, max_value=300, width=32), min_size=4, max_size=4),
)
def test_values_move_by_at_most_one_step_of_each(zero: int, inputs: list[float]) -> None:
    original = quantised(1.0, zero)
    x = np.float32(inputs)
    before, after = inline.run(original, x), inline.run(forms.symmetric(original), x)
    # Outside of the old range the new one, which is larger, follows the input.
    inside = (x >= -zero) & (x <= 255 - zero)
    step = max(zero, 255 - zero) / 127
    assert np.abs(before - after)[inside].max(initial=0) <= 0.5 + step / 2 + 1e-4


def test_the_relu_that_uint8_was_is_put_back() -> None:
    original = quantised(1.0, 0)
    x = np.float32([-50, -1, 0, 100])
    made = forms.symmetric(original)
    assert [node.op_type for node in made.graph.node] == ["Relu", "QuantizeLinear", "DequantizeLinear"]
    assert inline.run(original, x).tolist() == [0, 0, 0, 100]
    assert inline.run(made, x)[:3].tolist() == [0, 0, 0]


def test_no_second_relu_and_none_where_negative_values_are_kept() -> None:
    kinds = [node.op_type for node in forms.symmetric(quantised(1.0, 0, relu=True)).graph.node]
    assert kinds == ["Relu", "QuantizeLinear", "DequantizeLinear"]
    assert forms.symmetric(quantised(1.0, 128)).graph.node[0].op_type == "QuantizeLinear"


def test_scales_for_each_channel_of_activations_are_refused() -> None:
    model = quantised(1.0, 0)
    for tensor, values in zip(model.graph.initializer, (np.ones(4, np.float32), np.zeros(4, np.uint8)), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ValueError, match="scale has 4 scales: expected one"):
        forms.symmetric(model)


def test_the_shipped_int8_file_becomes_one_that_is_accepted_and_near(made: Made) -> None:
    known = parser_view.published()
    assert not parser_view.look(inline.inlined(onnx.load(forms.QUANTISED)), known).accepted
    assert parser_view.look(made("int8"), known).accepted
    images = noise(2, 96)
    assert min_cosine(inline.run(made("fp32"), images), inline.run(made("int8"), images)) > 0.97


def test_float16_keeps_the_operators_sums_in_float32(made: Made) -> None:
    rows = {row["operator"]: row["types"] for row in parser_view.look(made("fp16"), parser_view.published()).rows}
    assert rows["Conv"] == ["FP16"]
    assert rows["Add"] == ["FP16", "FP32"]
    assert rows["Expand"] == ["FP32"]
    images = noise(2, 64)
    assert min_cosine(inline.run(made("fp32"), images), inline.run(made("fp16"), images)) > 0.9999


@pytest.mark.parametrize("form", ["fp32-plugin", "fp16-plugin"])
def test_the_plugins_form_names_it(form: str, made: Made) -> None:
    (node,) = (node for node in made(form).graph.node if node.domain == "rrn")
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    assert attributes == {"channels": 512, "plugin_version": b"1", "plugin_namespace": b"rrn"}
    assert len(made(form).functions) == 0


def test_what_cannot_be_made_is_an_error(made: Made) -> None:
    with pytest.raises(ValueError, match="form 'fp8': expected one of fp32, fp16"):
        forms.make("fp8")
    with pytest.raises(ValueError, match="no node of the domain rrn"):
        forms.for_plugin(made("fp32"))
