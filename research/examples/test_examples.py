"""What is recorded of the example photos comes back, and the graph's tail is that of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import rrn_native
from rrn_native.analysis import explain

from research.common import charts
from research.common.photos import draw as draw_picture
from research.examples import draw, graph, record


def test_numbers_are_rounded_and_all_else_stays() -> None:
    value = {"a": np.array([[1.23456789, 1e-9]], np.float64), "b": [None, 3, "x", (0.1234567,)]}
    assert record.rounded(value) == {"a": [[1.235, 1e-9]], "b": [None, 3, "x", [0.1235]]}


def test_an_explanation_comes_back_from_json(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, file in enumerate(files):
        draw_picture(seed, 64).save(file)
    against = rrn_native.Embedder(size=64).embed(files)
    whole = explain.explain(*files, size=64, against=against)
    again = draw.explanation(json.loads(json.dumps(record.rounded(whole.to_dict()))))
    assert again.similarity == pytest.approx(whole.similarity, rel=1e-3)
    assert again.reference_images == 2 and again.model == whole.model
    for one, other in zip((again.first, again.second), (whole.first, whole.second), strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        for mine, theirs in zip(one.specific_maps(), other.specific_maps(), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_tail_of_a_graph(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Neg", ["r"], ["n"]),
        helper.make_node("Add", ["n", "x"], ["sum"]),
    ]
    shape = ["batch", "((height - 1)//4) + 1"]
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "sum")]
    path = tmp_path / "tail.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:])), path)
    operator, output, made, branches = graph.tail(path)
    assert (operator, output, made) == ("Add", "sum", "batch × ⌈height/4⌉")
    assert [branch.nodes for branch in branches] == [["Neg", "Relu"], []]
    assert branches[0].shapes == ["batch × ⌈height/4⌉"] * 3
    figure = graph.draw(path)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert {"Add", "Neg", "Relu", "sum"} <= set(words)
    charts.pyplot.close(figure)


def test_the_default_model_ends_in_the_operator() -> None:
    operator, output, shape, branches = graph.tail(Path(rrn_native.default_model()), 2)
    assert (operator, output, shape) == ("Reduction", "embedding", "batch × 512")
    assert [branch.shapes[0] for branch in branches] == [f"batch × {channels}" for channels in (64, 128, 256, 512)]
    assert all(branch.nodes == ["Flatten", "GlobalAveragePool"] for branch in branches)
