"""Quantisation, on small networks with the operator at their end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import RunSimilarity, make_picture

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime.quantization")
pytest.importorskip("torch")

import rrn_native  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from rrn_native.analysis import comparison  # noqa: E402
from rrn_native.cli import quantize as cli_quantize  # noqa: E402
from rrn_native.model import activations, onnx_function, quantize, storage  # noqa: E402
from rrn_native.session import cpu_session  # noqa: E402


def small_network(loud: float = 1.0) -> onnx.ModelProto:
    """Two stages, one of them with a shortcut, averaged by the operator into 16 numbers.

    `loud` makes one channel so much louder on its way from conv2 to conv3; the result is the same.
    """
    random = np.random.default_rng(0)
    tensors = []

    def convolution(
        name: str, source: str, inputs: int, outputs: int, stride: int, scale: float = 1.0
    ) -> onnx.NodeProto:
        weight = (random.standard_normal((outputs, inputs, 3, 3)) / np.sqrt(4 * inputs)).astype(np.float32)
        if name == "conv3":
            weight[:, 0] /= loud
        bias = random.standard_normal(outputs).astype(np.float32) / 4
        if name == "conv2":
            weight[0] *= loud
            bias[0] *= loud
        tensors.extend(
            [numpy_helper.from_array(weight, f"{name}.weight"), numpy_helper.from_array(bias, f"{name}.bias")]
        )
        return helper.make_node(
            "Conv", [source, f"{name}.weight", f"{name}.bias"], [name], name, pads=[1] * 4, strides=[stride] * 2
        )

    nodes = [
        convolution("conv1", "images", 3, 8, 2),
        helper.make_node("Relu", ["conv1"], ["relu1"], "relu1"),
        helper.make_node(
            "MaxPool", ["relu1"], ["maxpool"], "maxpool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]
        ),
        convolution("conv2", "maxpool", 8, 8, 1),
        helper.make_node("Relu", ["conv2"], ["relu2"], "relu2"),
        convolution("conv3", "relu2", 8, 8, 1),
        helper.make_node("Add", ["conv3", "maxpool"], ["add"], "add"),
        helper.make_node("Relu", ["add"], ["relu3"], "relu3"),
        convolution("conv4", "relu3", 8, 16, 2),
        helper.make_node("Relu", ["conv4"], ["relu4"], "relu4"),
    ]
    for stage, source in enumerate(("relu3", "relu4")):
        nodes.append(helper.make_node("GlobalAveragePool", [source], [f"pool{stage}"], f"pool{stage}"))
        nodes.append(helper.make_node("Flatten", [f"pool{stage}"], [f"flat{stage}"], f"flat{stage}"))
    nodes.append(
        helper.make_node(
            "Reduction", ["flat0", "flat1"], ["embedding"], "reduction", domain=onnx_function.DOMAIN, channels=16
        )
    )
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 16])],
        tensors,
    )
    model = helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(onnx_function.DOMAIN, 1)],
        functions=[onnx_function.reduction_function(2, 18)],
    )
    preprocessing = {"size": 48, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    properties = {
        "rrn.version": "test",
        "rrn.embedding_dim": "16",
        "rrn.preprocessing": json.dumps(preprocessing),
        "rrn.weights.origin": "made up",
        "rrn.weights.sha256": "0" * 64,
    }
    helper.set_model_props(model, properties)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with model.onnx, ten pictures in photos/ and their labels in photos/groups.csv."""
    onnx.save(small_network(), tmp_path / "model.onnx")
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = []
    for number in range(5):
        picture = make_picture(number)
        picture.save(photos / f"{number}.png")
        picture.save(photos / f"{number}.jpg", quality=60)
        rows += [(f"{number}.png", number), (f"{number}.jpg", number)]
    with (photos / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "group"), *rows])
    return tmp_path


def embed(model: Path, batch: npt.NDArray[np.float32], library: bool) -> npt.NDArray[np.float32]:
    session = cpu_session(str(model), rrn_native.custom_op_library() if library else None)
    found: npt.NDArray[np.float32] = session.run(None, {"images": batch})[0]
    return found


def run(folder: Path, *more: object) -> int:
    arguments = ["--images", str(folder / "photos"), "--model", str(folder / "model.onnx")]
    return cli_quantize.main([*arguments, *map(str, more)])


def test_one_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--groups", folder / "photos" / "groups.csv") == 0
    text = capsys.readouterr().out
    assert "calibrated on 10 images, 1 file was not readable" in text
    assert "F1 at 0.75" in text

    before, after = onnx.load(folder / "model.onnx"), onnx.load(folder / "model.int8.onnx")
    old, new = ({entry.key: entry.value for entry in model.metadata_props} for model in (before, after))
    details = json.loads(new.pop("rrn.quantization"))
    assert new == old, "the metadata stays, and nothing is added but rrn.quantization"
    assert details["images"] == 10
    assert details["size"] == 48
    assert details["float_nodes"] == []
    assert [(function.domain, function.name) for function in after.functions] == [("rrn", "Reduction")]
    assert sum(node.op_type == "Reduction" for node in after.graph.node) == 1
    assert before.graph.input == after.graph.input
    assert before.graph.output == after.graph.output

    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    for number in range(1, 5):
        assert weights[f"conv{number}.weight_quantized"].dtype == np.int8
        assert weights[f"conv{number}.weight_scale"].shape == weights[f"conv{number}.weight_quantized"].shape[:1]
        assert not any(name == f"conv{number}.weight" for name in weights)
    # The averages read dequantised float32 and give float32.
    producer = {output: node for node in after.graph.node for output in node.output}
    for node in after.graph.node:
        if node.op_type in ("GlobalAveragePool", "Flatten", "Reduction"):
            assert all(producer[name].op_type != "QuantizeLinear" for name in node.input)

    manifest = json.loads((folder / "model.int8.json").read_text())
    assert manifest["origin"] == "made up"
    assert manifest["quantization"] == details
    assert manifest["difference"]["pairs"] == 45
    assert manifest["difference"]["mean"] < 0.01


@pytest.mark.parametrize("shape", [(1, 3, 48, 48), (5, 3, 32, 80)])
def test_runs_with_and_without_the_library(folder: Path, shape: tuple[int, ...]) -> None:
    assert run(folder) == 0
    batch = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = embed(folder / "model.onnx", batch, library=False)
    with_library = embed(folder / "model.int8.onnx", batch, library=True)
    without = embed(folder / "model.int8.onnx", batch, library=False)
    np.testing.assert_allclose(with_library, without, rtol=0, atol=1e-6)
    error = np.linalg.norm(with_library - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0 < error.max() < 0.1


def test_products_of_eight_bits_do_not_overflow(tmp_path: Path) -> None:
    """255 x 127, twice, is more than 16 bits hold, in which processors without VNNI add them up by default.

    On other processors this cannot fail.
    """
    channels = 8
    tensors = [
        numpy_helper.from_array(np.float32(2.64 / 255), "input_scale"),
        numpy_helper.from_array(np.uint8(0), "zero"),
        numpy_helper.from_array(np.full((channels, 3, 3, 3), 127, np.int8), "weight"),
        numpy_helper.from_array(np.float32(1 / 127), "weight_scale"),
        numpy_helper.from_array(np.int8(0), "weight_zero"),
        numpy_helper.from_array(np.float32(80 / 255), "output_scale"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "input_scale", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "input_scale", "zero"], ["pixels"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["weights"]),
        helper.make_node("Conv", ["pixels", "weights"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "output_scale", "zero"], ["sum_bytes"]),
        helper.make_node("DequantizeLinear", ["sum_bytes", "output_scale", "zero"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["averages"]),
        helper.make_node("Flatten", ["averages"], ["embedding"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, "H", "W"])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", channels])
    graph = helper.make_graph(nodes, "sums", [images], [embedding], tensors)
    model = tmp_path / "sums.int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    white = np.full((40, 40, 3), 255, np.uint8)
    embedder = rrn_native.Embedder(model, size=32, provider="cpu")
    session = cpu_session(str(model))
    # Each of the 27 products is a white pixel, normalised and rounded to a step, times 1.
    levels = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    expected = np.full((1, channels), 9 * levels.sum())
    for found in (embedder.embed([white]), session.run(None, {"images": embedder.preprocess(white)[None]})[0]):
        np.testing.assert_allclose(found, expected, rtol=0, atol=80 / 255)


def test_the_program_takes_it(folder: Path, run_similarity: RunSimilarity) -> None:
    assert run(folder) == 0
    found = run_similarity(folder / "photos", "--model", folder / "model.int8.onnx", "--json", "-")
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    assert result["model"]["size"] == 48
    assert result["model"]["weights_origin"] == "made up"
    assert result["read"] == 10


def test_same_input_same_bytes_whatever_the_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for workers in (1, 3, 3):
        for module in (activations, quantize):
            monkeypatch.setattr(module, "workers", lambda workers=workers: workers)
        assert run(folder, "--output", folder / "out.int8.onnx") == 0
        contents.append((folder / "out.int8.onnx").read_bytes())
    assert contents[0] == contents[1] == contents[2]
    # Other pictures give another model, and its metadata says so.
    assert run(folder, "--output", folder / "other.int8.onnx", "--count", 3) == 0
    assert (folder / "other.int8.onnx").read_bytes() != contents[0]


def test_weights_stored_as_float16_give_the_same_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MINIMUM", 16)
    stored = storage.to_float16(small_network())
    assert len(storage.stored_as_float16(stored)) >= 4
    quantized = []
    for proto in (stored, storage.to_float32(stored)):
        onnx.save(proto, folder / "model.onnx")
        assert run(folder) == 0
        quantized.append(onnx.load(folder / "model.int8.onnx"))
    assert quantized[0].graph == quantized[1].graph


def test_the_preprocessing_is_the_recorded_one(folder: Path) -> None:
    seen: list[npt.NDArray[np.float32]] = []
    original = activations.collect

    def spy(proto: onnx.ModelProto, pictures: object, **options: object) -> object:
        seen.extend(pictures)  # type: ignore[arg-type]
        return original(proto, iter(seen), **options)  # type: ignore[arg-type]

    files = sorted((folder / "photos").glob("*.png"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "collect", spy)
        quantize.quantize(folder / "model.onnx", files, target=None)
    expected = (np.asarray(make_picture(0).resize((48, 48), 2), np.float32) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(seen[0], expected.transpose(2, 0, 1), atol=1e-5)


def test_long_work_tells_how_far_it_is_and_can_be_cancelled(folder: Path) -> None:
    files = sorted((folder / "photos").glob("*.png"))
    told: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        told.append((done, total))

    quantize.quantize(folder / "model.onnx", files, target=None, progress=note)
    assert told == [(done, len(files)) for done in range(1, len(files) + 1)]
    with pytest.raises(rrn_native.CancelledError):
        quantize.quantize(folder / "model.onnx", files, target=None, progress=lambda done, total: done < 2)


def test_what_is_too_coarse_stays_in_float32(folder: Path) -> None:
    # The loud channel takes all the levels between conv2 and conv3.
    onnx.save(small_network(loud=2000.0), folder / "model.onnx")
    model, files = folder / "model.onnx", sorted((folder / "photos").glob("*.*g"))
    everything = quantize.quantize(model, files, target=None)
    chosen = quantize.quantize(model, files, target=0.002)
    details = json.loads({entry.key: entry.value for entry in chosen.metadata_props}["rrn.quantization"])
    assert details["float_nodes"]
    # Parts stay whole: a sum is not split from the convolutions that it adds.
    assert ("add" in details["float_nodes"]) == ("conv3" in details["float_nodes"])
    onnx.save(everything, folder / "all.onnx")
    onnx.save(chosen, folder / "some.onnx")
    coarse, fine = (comparison.compare(model, folder / name, files) for name in ("all.onnx", "some.onnx"))
    assert fine.mean < min(0.002, coarse.mean)


def test_units() -> None:
    assert quantize.units(small_network()) == [
        ["conv1", "relu1"],
        ["conv2", "relu2"],
        ["conv3", "add", "relu3"],
        ["conv4", "relu4"],
    ]


def observed(pictures: list[npt.NDArray[np.float32]]) -> activations.Activation:
    return activations._together([activations._observe("x", picture) for picture in pictures])


def relative_error(pictures: list[npt.NDArray[np.float32]], found: activations.Range) -> float:
    """By definition: quantise and compare."""
    step = (found[1] - found[0]) / 255
    each = [np.clip(np.round(picture / step) * step, *found) - picture for picture in pictures]
    return float(np.mean([np.linalg.norm(e) / np.linalg.norm(p) for e, p in zip(each, pictures, strict=True)]))


def test_the_range_is_the_best_one() -> None:
    random = np.random.default_rng(2)
    pictures = [(random.standard_t(3, 20_000) * loudness).astype(np.float32) for loudness in (0.5, 1, 1, 1.5, 2, 3, 20)]
    found = activations.choose_range(observed(pictures), "relative")
    grid = np.geomspace(10, 200, 14)
    best = min(relative_error(pictures, (-low, high)) for low in grid for high in grid)
    assert relative_error(pictures, found) < 1.03 * best
    seen = (min(float(p.min()) for p in pictures), max(float(p.max()) for p in pictures))
    assert activations.choose_range(observed(pictures), "minmax") == pytest.approx(seen)
    assert relative_error(pictures, found) < 0.6 * relative_error(pictures, seen)


@pytest.mark.parametrize("method", activations.METHODS)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_ranges_scale_with_the_values_and_keep_zero(method: str, scale: float) -> None:
    values = np.abs(np.random.default_rng(3).standard_normal(5000)).astype(np.float32)
    low, high = activations.choose_range(observed([values * np.float32(scale)]), method)
    assert low == 0
    assert 2 * scale < high < 5 * scale
    assert activations.choose_range(observed([np.zeros(5, np.float32)]), method) == (0, 0)


def test_every_picture_counts_alike() -> None:
    random = np.random.default_rng(4)
    quiet = [random.random(1000, dtype=np.float32) for _ in range(9)]
    found = activations.choose_range(observed([*quiet, np.full(1000, 1000, np.float32)]), "relative")
    assert found[1] < 10, "the loud picture is one of ten, though it has all the energy"


def test_activations_that_are_not_finite() -> None:
    with pytest.raises(activations.QuantizeError, match="images is not finite"):
        activations.collect(small_network(), [np.full((3, 8, 8), np.nan, np.float32)])


def test_nothing_to_calibrate_on() -> None:
    with pytest.raises(activations.QuantizeError, match="no image"):
        activations.collect(small_network(), [])


def test_digest_knows_contents_only(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1"), ("d", b"3")):
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert quantize.digest([a, b]) == quantize.digest([b, c])
    assert quantize.digest([a, b]) != quantize.digest([a, d])


def test_the_default_model_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_quantize.main(["--images", str(folder / "photos")]) == 2
    assert "has its int8 copy already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "absent.onnx"], "absent.onnx"),
        (["--output", "model.txt"], "must end in .int8.onnx"),
        (["--count", "1"], "--count must be at least 2"),
        (["--images", "nowhere"], "no such folder"),
        (["--images", "."], "at least two images"),
        (["--model", "model.int8.onnx"], "quantised already"),
        (["--model", "photos/0.png"], "not an ONNX file"),
        (["--output", "model.onnx"], "overwrite"),
    ],
)
def test_wrong_arguments_are_one_line(
    folder: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "model.int8.onnx" in arguments:
        assert run(folder) == 0
    if arguments[1] == ".":
        (folder / "empty").mkdir()
        arguments = ["--images", "empty"]
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert run(folder, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
