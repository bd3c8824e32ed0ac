"""Models of other people: what is accepted, and what is said about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import RunSimilarity

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def save_model(
    path: Path,
    shape: tuple[Any, ...] = ("n", 3, "h", "w"),
    *,
    element: int = TensorProto.FLOAT,
    inputs: int = 1,
    flatten: bool = True,
    preprocessing: dict[str, Any] | None = None,
) -> Path:
    """A network that averages its picture: its embedding is the mean colour."""
    nodes = [helper.make_node("GlobalAveragePool", ["x0"], ["pooled" if flatten else "y"])]
    if flatten:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"x{i}", element, shape) for i in range(inputs)],
        [helper.make_tensor_value_info("y", element, None)],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    if preprocessing is not None:
        helper.set_model_props(model, {"rrn.preprocessing": json.dumps(preprocessing)})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, ()),
        ({"shape": (1, 3, "h", "w")}, ()),
        ({"shape": ("n", 3, 64, 64)}, ("--size", 64)),
        ({"shape": ("n", 3, 96, 96), "preprocessing": {"size": 96}}, ()),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, ("--batch", 3)),
    ],
    ids=["free", "batch of one", "fixed size", "size in the metadata", "own normalisation"],
)
def test_accepted(
    run_similarity: RunSimilarity, photos: Path, options: dict[str, Any], arguments: tuple[Any, ...]
) -> None:
    model = save_model(photos.parent / "m.onnx", **options)
    run = run_similarity(photos, "--model", model, "--json", "-", *arguments)
    assert run.returncode == 0, run.stderr
    data = json.loads(run.stdout)
    assert data["model"]["embedding_dim"] == 3
    assert data["read"] == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (4, 3, "h", "w")}, "exactly 4 images"),
        ({"shape": ("n", 3, 64, 64)}, "set --size"),
        ({"shape": ("n", 1, "h", "w")}, "[N, 3, H, W]"),
        ({"shape": ("n", 3, "l")}, "[N, 3, H, W]"),
        ({"element": TensorProto.DOUBLE}, "float32"),
        ({"inputs": 2}, "one input, got 2"),
        ({"flatten": False}, "[N, D]"),
        ({"preprocessing": {"size": 0}}, "size 0"),
        ({"preprocessing": {"size": 1_000_000}}, "size 1000000"),
        ({"preprocessing": {"std": [1, 0, 1]}}, "standard deviation"),
        ({"preprocessing": {"size": "large"}}, "m.onnx"),
    ],
)
def test_refused(run_similarity: RunSimilarity, photos: Path, options: dict[str, Any], words: str) -> None:
    model = save_model(photos.parent / "m.onnx", **options)
    run = run_similarity(photos, "--model", model)
    assert run.returncode == 4
    assert words in run.stderr.decode()
    assert run.stderr.count(b"\n") == 1
