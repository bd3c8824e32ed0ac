"""Models of other people: what is accepted, and what is said about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rrn_native
from conftest import RunSimilarity, make_picture
from rrn_native import _load
from rrn_native.model import onnx_file, validate

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def save_model(
    path: Path,
    shape: tuple[Any, ...] = ("n", 3, "h", "w"),
    *,
    element: int = TensorProto.FLOAT,
    inputs: int = 1,
    sequence: bool = False,
    flatten: bool = True,
    preprocessing: dict[str, Any] | None = None,
) -> Path:
    """A network that averages its picture: its embedding is the mean colour."""
    out = "pooled" if flatten else "y"
    nodes = [helper.make_node("GlobalAveragePool", ["x0"], [out])]
    if element == TensorProto.DOUBLE:  # of which there is no GlobalAveragePool
        nodes = [helper.make_node("ReduceMean", ["x0"], [out], axes=[2, 3])]
    if flatten:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"x{i}", element, shape) for i in range(inputs)],
        [helper.make_tensor_value_info("y", element, None)],
    )
    if sequence:
        graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x0", element, shape))
        graph.node[0].CopyFrom(helper.make_node("ConcatFromSequence", ["x0"], ["pooled"], axis=0))
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
        ({"element": TensorProto.FLOAT16}, ()),
    ],
    ids=["free", "batch of one", "fixed size", "size in the metadata", "own normalisation", "float16"],
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
        ({"element": TensorProto.DOUBLE}, "expected an input of float32 or float16 [N, 3, H, W]"),
        ({"inputs": 2}, "one input, got 2"),
        ({"flatten": False}, "[N, D]"),
        ({"preprocessing": {"size": 0}}, "size 0"),
        ({"preprocessing": {"size": 1_000_000}}, "size 1000000"),
        ({"preprocessing": {"std": [1, 0, 1]}}, "standard deviation"),
        (
            {"preprocessing": {"size": "large"}},
            'm.onnx: its metadata rrn.preprocessing has size "large", expected a whole',
        ),
        ({"preprocessing": {"channels": "GRAY"}}, 'has channels "GRAY", expected "RGB" or "BGR"'),
        ({"preprocessing": {"layout": "NHWC"}}, 'has layout "NHWC", expected "NCHW"'),
        ({"preprocessing": {"resize": "bicubic"}}, 'has resize "bicubic", expected "bilinear antialiased'),
        ({"preprocessing": {"scale": "1/0"}}, 'has scale "1/0", expected "1/255"'),
        ({"preprocessing": {"crop": 0.875}}, 'has a field "crop", expected none but resize'),
        ({"sequence": True}, "[N, 3, H, W]"),
    ],
)
def test_refused(run_similarity: RunSimilarity, photos: Path, options: dict[str, Any], words: str) -> None:
    model = save_model(photos.parent / "m.onnx", **options)
    run = run_similarity(photos, "--model", model)
    assert run.returncode == 4
    assert words in run.stderr.decode()
    assert run.stderr.count(b"\n") == 1


def test_embeddings_follow_the_metadata(tmp_path: Path) -> None:
    picture = np.full((5, 6, 3), (200, 100, 50), np.uint8)

    def embed(**fields: Any) -> Any:
        preprocessing = {"mean": [0, 0, 0], "std": [1, 1, 1]} | fields
        model = save_model(tmp_path / "m.onnx", preprocessing=preprocessing)
        return rrn_native.Embedder(model, 32).embed([picture])[0]

    assert embed(scale=1).tolist() == [200, 100, 50]
    assert embed(scale=1, channels="BGR").tolist() == [50, 100, 200]
    assert embed(scale=1, channels="BGR", mean=[104, 117, 124], std=[1, 2, 4]).tolist() == [-54, -8.5, 19]
    np.testing.assert_allclose(embed(), np.divide([200, 100, 50], 255), rtol=1e-5)


def test_what_export_writes_is_what_the_engine_reads() -> None:
    written = onnx_file.preprocessing(160)
    read = _load.native.parse_model_input(json.dumps(written))
    assert read["size"] == 160
    assert read["channels"] == written["channels"]
    assert read["divisor"] == 255
    np.testing.assert_array_equal(read["mean"], np.float32(onnx_file.MEAN))
    np.testing.assert_array_equal(read["std"], np.float32(onnx_file.STDDEV))


@pytest.mark.parametrize(
    "metadata",
    [{}, {"channels": "BGR", "scale": 1, "mean": [104, 117, 124], "std": [1, 2, 4]}, {"scale": "1/127.5"}],
    ids=["default", "BGR", "scale"],
)
def test_preprocessing_follows_the_metadata(tmp_path: Path, metadata: dict[str, Any]) -> None:
    model = save_model(tmp_path / "m.onnx", preprocessing=metadata)
    recorded = onnx_file.recorded_input(onnx.load(model))
    pixels = np.asarray(make_picture(1))
    embedder = rrn_native.Embedder(model, 48)
    np.testing.assert_array_equal(embedder.preprocess(pixels), validate.preprocess(pixels, recorded, 48))
    # The model's embedding is the mean of its input.
    expected = validate.preprocess(pixels, recorded, 48).mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(embedder.embed([pixels])[0], expected, atol=1e-3)
