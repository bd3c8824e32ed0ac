"""The published list: what it says, and that everything that it refuses is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from research.tensorrt import forms, parser_view
from research.tensorrt.parser_view import look, published

KNOWN = published()
Made = Callable[[str], onnx.ModelProto]


def one_node(node: onnx.NodeProto, kind: int, shape: list[int], *, opset: int = 18) -> onnx.ModelProto:
    """A model of one node with the input x, the output y, and constants called axes and zero."""
    source = helper.make_tensor_value_info("x", kind, shape)
    target = helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)
    constants = [numpy_helper.from_array(np.int64([0]), "axes"), numpy_helper.from_array(np.uint8(3), "zero")]
    constants.append(numpy_helper.from_array(np.float32(1), "scale"))
    graph = helper.make_graph([node], "one", [source], [target], constants)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("other", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def refused(model: onnx.ModelProto) -> list[str]:
    return [each.what for each in look(model, KNOWN).findings if each.refused]


def test_facts_of_the_list() -> None:
    assert KNOWN.release == "10.15"
    assert KNOWN.opsets == (9, 24)
    assert KNOWN.operators["Conv"] == ("FP32", "FP16", "BF16")
    assert KNOWN.operators["QLinearConv"] == ()
    assert KNOWN.operators["DequantizeLinear"] == ("INT8", "FP8", "FP4", "INT4")
    assert len(KNOWN.operators) == 200
    assert KNOWN.restricted <= set(KNOWN.operators)


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
def test_inlined_forms_have_only_operators_of_the_list(form: str, made: Made) -> None:
    view = look(made(form), KNOWN)
    assert view.findings == []
    assert all(row["supported"] for row in view.rows)


def test_the_shipped_file_has_one_node_that_is_not_on_it() -> None:
    view = look(onnx.load(forms.MODEL), KNOWN)
    assert [each.operator for each in view.findings] == ["rrn::Reduction"]
    assert not view.accepted


def test_rows_count_nodes_and_types(made: Made) -> None:
    view = look(made("fp16"), KNOWN).to_json()
    assert view["operators"][0] == {"operator": "Conv", "nodes": 20, "types": ["FP16"], "supported": True}
    assert view["nodes"] == sum(row["nodes"] for row in view["operators"])


FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
PLANTED = {
    "an operator that is not supported": (helper.make_node("Det", ["x"], ["y"]), FLOAT, [2, 2], "as not supported"),
    "one that nobody knows": (helper.make_node("Swirl", ["x"], ["y"]), FLOAT, [2], "not on the list"),
    "another domain": (helper.make_node("Relu", ["x"], ["y"], domain="other"), FLOAT, [2], "of another domain"),
    "double": (helper.make_node("Relu", ["x"], ["y"]), DOUBLE, [2], "type FP64: expected one of FP32"),
    "a conversion to double": (helper.make_node("Cast", ["x"], ["y"], to=DOUBLE), FLOAT, [2], "type FP64"),
    "dilations": (
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 1]),
        FLOAT,
        [1, 1, 8, 8],
        "dilations [2, 1]",
    ),
    "indices": (
        helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]),
        FLOAT,
        [1, 1, 8, 8],
        "the indices, is not supported",
    ),
    "one dimension": (
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2]),
        FLOAT,
        [1, 1, 8],
        "a tensor of rank 3",
    ),
    "axes that are computed": (helper.make_node("Unsqueeze", ["axes", "x"], ["y"]), TensorProto.INT64, [1], "computed"),
    "a zero point": (helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"]), FLOAT, [2], "that is not 0"),
    "uint8": (helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"]), FLOAT, [2], "a result of type UINT8"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted(name: str) -> None:
    node, kind, shape, words = PLANTED[name]
    found = refused(one_node(node, kind, shape))
    assert any(words in each for each in found), found


@pytest.mark.parametrize("opset", [8, 25])
def test_other_opsets_are_refused(opset: int) -> None:
    found = refused(one_node(helper.make_node("Relu", ["x"], ["y"]), FLOAT, [2], opset=opset))
    assert found == [f"opset {opset}: expected 9 to 24"]


def test_what_is_allowed_is_not_refused() -> None:
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1])
    assert refused(one_node(pool, FLOAT, [1, 1, 8, 8])) == []
    assert refused(one_node(helper.make_node("Unsqueeze", ["x", "axes"], ["y"]), FLOAT, [2])) == []


def test_a_restriction_that_is_not_checked_is_said() -> None:
    node = helper.make_node("CumSum", ["x", "axes"], ["y"])
    view = look(one_node(node, FLOAT, [2]), KNOWN)
    assert [(each.operator, each.refused) for each in view.findings] == [("CumSum", False)]
    assert view.accepted


def test_equal_findings_stand_together() -> None:
    nodes = [helper.make_node("Det", ["x"], [f"y{at}"], name=f"n{at}") for at in range(3)]
    model = one_node(nodes[0], FLOAT, [2, 2])
    model.graph.node.extend(nodes[1:])
    (found,) = look(model, KNOWN).to_json()["findings"]
    assert (found["nodes"], found["first"]) == (3, "n0")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.onnx"
    onnx.save(one_node(helper.make_node("Relu", ["x"], ["y"]), FLOAT, [2]), good)
    assert parser_view.main([str(good)]) == 0
    assert parser_view.main([str(forms.MODEL)]) == 1
    assert "refused: rrn::Reduction" in capsys.readouterr().out
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff")
    assert parser_view.main([str(tmp_path / "bad.onnx")]) == 1
    assert parser_view.main([str(tmp_path / "none.onnx")]) == 1
    assert capsys.readouterr().err.count("expected an ONNX model") == 2
