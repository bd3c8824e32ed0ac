"""The cosine taken apart: by law, against NumPy, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rrn_native
from conftest import make_picture
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")

from rrn_native.analysis import explain  # noqa: E402
from rrn_native.cli import explain as cli_explain  # noqa: E402

SIZE = 64
EPSILON = float(np.finfo(np.float32).eps)
# The engine's averages add up to (64 / 4)^2 float32 terms, all of one sign after the last ReLU, and a repeat, a sum of
# four and a dot product of 512 follow: an embedding is off by (256 + 8) epsilon relative to itself, at most, and a
# cosine by that for each of its two vectors, their norms, and the dot product's own rounding.
TOLERANCE = (4 * (256 + 8) + 512) * EPSILON


@pytest.fixture(scope="module")
def explainer() -> explain.Explainer:
    return explain.Explainer(size=SIZE)


def pixels(seed: int, width: int = 96, height: int = 72) -> npt.NDArray[np.uint8]:
    return np.asarray(make_picture(seed, width, height))


@given(st.integers(0, 1000), st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_shares_sum_to_the_cosine(first: int, second: int) -> None:
    explainer = test_shares_sum_to_the_cosine.explainer  # type: ignore[attr-defined]
    explanation = explainer.explain(pixels(first), pixels(second, 80, 90))
    similarity = explanation.similarity
    assert explanation.shares.sum() == pytest.approx(similarity, abs=1e-12)
    for side in (explanation.first, explanation.second):
        assert side.shares.sum() == pytest.approx(similarity, abs=1e-12)
        assert sum(layer.sum() for layer in side.maps) == pytest.approx(similarity, abs=1e-12)
        assert [layer.shape for layer in side.maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert explanation.matrix.sum(axis=1) == pytest.approx(explanation.first.shares, abs=1e-12)
    assert explanation.matrix.sum(axis=0) == pytest.approx(explanation.second.shares, abs=1e-12)
    rows = rrn_native.Embedder(size=SIZE).embed([pixels(first), pixels(second, 80, 90)])
    assert abs(rrn_native.cosine_similarity(*rows) - similarity) <= TOLERANCE


@pytest.fixture(scope="module", autouse=True)
def _shared(explainer: explain.Explainer) -> None:
    # hypothesis would make a function's fixture only once, and complain about it.
    test_shares_sum_to_the_cosine.explainer = explainer  # type: ignore[attr-defined]


def direct(explainer: explain.Explainer, picture: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float64]]:
    """Every place's own embedding, float64 [H W, 512] a layer: interleaved, over the places and the four layers."""
    rows = []
    for layer in explainer._features(picture):
        places = layer.reshape(len(layer), -1).T
        rows.append(np.repeat(places, 512 // len(layer), axis=1) / (4 * len(places)))
    return rows


def test_against_a_direct_computation(explainer: explain.Explainer) -> None:
    a, b = pixels(1), pixels(2)
    places_a, places_b = direct(explainer, a), direct(explainer, b)
    e_a, e_b = (sum(rows.sum(axis=0) for rows in places) for places in (places_a, places_b))
    scale = np.linalg.norm(e_a) * np.linalg.norm(e_b)
    explanation = explainer.explain(a, b)
    for k in range(4):
        assert explanation.first.maps[k].ravel() == pytest.approx(places_a[k] @ e_b / scale, abs=1e-12)
        assert explanation.second.maps[k].ravel() == pytest.approx(places_b[k] @ e_a / scale, abs=1e-12)
    assert explanation.similarity == pytest.approx(e_a @ e_b / scale, abs=1e-12)
    engine = rrn_native.Embedder(size=SIZE).embed([a])[0]
    assert np.abs(engine - e_a).max() <= 264 * EPSILON * np.abs(e_a).max()


def test_swapping_the_images_swaps_the_sides(explainer: explain.Explainer) -> None:
    one, two = explainer.explain(pixels(1), pixels(2)), explainer.explain(pixels(2), pixels(1))
    assert one.shares == pytest.approx(two.shares, abs=1e-15)
    for ours, theirs in zip(one.first.maps, two.second.maps, strict=True):
        assert np.array_equal(ours, theirs)
    assert one.matrix == pytest.approx(two.matrix.T, abs=1e-15)


def test_an_image_with_itself(explainer: explain.Explainer) -> None:
    explanation = explainer.explain(pixels(1), pixels(1))
    assert explanation.similarity == pytest.approx(1.0, abs=1e-12)
    assert np.array_equal(explanation.first.shares, explanation.second.shares)


def test_reference_images_take_their_mean_away(explainer: explain.Explainer) -> None:
    reference = rrn_native.Embedder(size=SIZE).embed([pixels(seed) for seed in range(5, 9)])
    plain = explainer.explain(pixels(1), pixels(2))
    explanation = explainer.explain(pixels(1), pixels(2), against=reference)
    assert np.array_equal(plain.shares, explanation.shares)
    assert plain.usual_shares is None
    assert np.array_equal(plain.specific_shares, plain.shares)
    own = rrn_native.Embedder(size=SIZE).embed([pixels(1), pixels(2)])
    for side, row in zip((explanation.first, explanation.second), own, strict=True):
        mean = np.mean([rrn_native.cosine_similarity(row, other) for other in reference])
        assert side.usual_shares is not None
        assert abs(side.usual_shares.sum() - mean) <= TOLERANCE
        together = sum(layer.sum() for layer in side.specific_maps())
        assert together == pytest.approx(explanation.similarity - side.usual_shares.sum(), abs=1e-12)
    # Of one reference image, the other image itself, nothing specific is left.
    nothing = explainer.explain(pixels(1), pixels(2), against=own[1:])
    assert max(np.abs(layer).max() for layer in nothing.first.specific_maps()) <= TOLERANCE
    with pytest.raises(ValueError, match=r"expected embeddings \[n, 512\]"):
        explainer.explain(pixels(1), pixels(2), against=own[0])
    with pytest.raises(ValueError, match="not finite"):
        explainer.explain(pixels(1), pixels(2), against=own * np.nan)


def test_heat_maps_keep_their_mean(explainer: explain.Explainer) -> None:
    explanation = explainer.explain(pixels(1, 96, 64), pixels(2))
    side = explanation.first
    assert side.heat_map().shape == (64, 96)
    for layer in range(4):
        assert side.heat_map(layer).mean() == pytest.approx(side.shares[layer], rel=1e-5, abs=1e-9)
    assert side.heat_map().mean() == pytest.approx(explanation.similarity, rel=1e-5)
    with pytest.raises(IndexError):
        side.heat_map(4)


def test_heat_maps_lie_the_right_way_round() -> None:
    cells = np.zeros((4, 4))
    cells[0, 3] = 2.0  # top right
    side = explain.Side("x", np.zeros((40, 80, 3), np.uint8), (cells, np.full((2, 2), 0.25)), None)
    heat = side.heat_map(0)
    assert (heat[:15, 50:] > 0).all()
    assert not heat[15:].any()
    assert not heat[:, :50].any()
    assert np.unravel_index(heat.argmax(), heat.shape)[0] < 10
    assert heat.max() == pytest.approx(2.0 * cells.size)
    assert heat.mean() == pytest.approx(2.0)
    assert side.heat_map(1) == pytest.approx(np.ones((40, 80)))
    assert side.heat_map() == pytest.approx(heat + 1)


def other_model(path: Path, change: str) -> Path:
    """The default model with other weights, or one that cannot be explained."""
    proto = onnx.load(rrn_native.default_model())
    if change == "weights":
        random = np.random.default_rng(0)
        for tensor in proto.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            noisy = values * random.uniform(0.5, 1.5, values.shape).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(noisy, tensor.name))
    elif change == "no reduction":
        proto.graph.node[-1].output[0] = "reduced"
        proto.graph.node.append(onnx.helper.make_node("Tanh", ["reduced"], ["embedding"]))
    elif change == "other pooling":
        node = next(node for node in proto.graph.node if node.op_type == "GlobalAveragePool")
        node.op_type = "GlobalMaxPool"
    elif change == "not an average":  # between the average and the reduction: the layer has no places any more
        node = next(node for node in proto.graph.node if node.op_type == "Flatten")
        node.output[0] = "before"
        proto.graph.node.insert(
            len(proto.graph.node) - 1, onnx.helper.make_node("Exp", ["before"], [proto.graph.node[-1].input[0]])
        )
    onnx.save(proto, path)
    return path


def test_other_weights(tmp_path: Path) -> None:
    model = other_model(tmp_path / "m.onnx", "weights")
    explanation = explain.explain(pixels(1), pixels(2), model, size=SIZE)
    rows = rrn_native.Embedder(model, SIZE).embed([pixels(1), pixels(2)])
    assert abs(rrn_native.cosine_similarity(*rows) - explanation.similarity) <= TOLERANCE
    assert explanation.model == "m.onnx"


@pytest.mark.parametrize("change", ["other pooling", "not an average"])
def test_a_layer_without_averages_is_one_place(tmp_path: Path, change: str) -> None:
    model = other_model(tmp_path / "m.onnx", change)
    explanation = explain.explain(pixels(1), pixels(2), model, size=SIZE)
    assert explanation.first.maps[0].shape == (1, 1)
    assert explanation.first.maps[1].shape == (8, 8)
    rows = rrn_native.Embedder(model, SIZE).embed([pixels(1), pixels(2)])
    assert abs(rrn_native.cosine_similarity(*rows) - explanation.shares.sum()) <= TOLERANCE


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"comes from Tanh, expected rrn\.Reduction"):
        explain.Explainer(other_model(tmp_path / "m.onnx", "no reduction"), SIZE)
    with pytest.raises(FileNotFoundError):
        explain.Explainer(tmp_path / "none.onnx")


def test_command_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(photos / "first.png"), str(photos / "second.png")
    output = tmp_path / "why.json"
    arguments = [a, b, "--size", str(SIZE), "--json", str(output), "--against", str(photos)]
    assert cli_explain.main(arguments) == 0
    text = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert sum(found["shares"]) == pytest.approx(found["similarity"])
    assert f"similarity {found['similarity']:.4f}" in text
    assert found["reference_images"] == 5, "the readable ones"
    assert found["images"][0]["path"] == a
    total = sum(np.sum(layer) for layer in found["images"][1]["maps"])
    assert total == pytest.approx(found["similarity"])
    rows = rrn_native.Embedder(size=SIZE).embed([a, b])
    assert abs(rrn_native.cosine_similarity(*rows) - found["similarity"]) <= TOLERANCE
    np.save(tmp_path / "e.npy", rows)
    assert cli_explain.main([a, b, "--size", str(SIZE), "--against", str(tmp_path / "e.npy")]) == 0
    assert "usual" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["first.png", "broken.png"], "broken.png", 3),
        (["first.png", "none.png"], "none.png", 2),
        (["first.png", "first.png", "--output", "why.gif"], "expected one of .png", 2),
        (["first.png", "first.png", "--against", "notes.txt"], "neither a folder nor", 2),
        (["first.png", "first.png", "--model", "notes.txt"], "notes.txt", 4),
        (["first.png", "first.png", "--model", "none.onnx"], "none.onnx", 4),
        (["first.png", "first.png", "--json", "nowhere/why.json"], "nowhere", 2),
    ],
)
def test_errors_are_one_line(
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
    code: int,
) -> None:
    if "--output" in arguments:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(photos)
    assert cli_explain.main(["--size", str(SIZE), *arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("rrn explain: ")
    assert words in error
    assert error.count("\n") == 1
