"""The exported file: one custom node, right in every runtime, self-contained, repeatable."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
import rrn_native
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from rrn_native import _load
from rrn_native.cli import export as cli_export
from rrn_native.model import export, onnx_file, onnx_function, storage, torch_op, weights
from rrn_native.model.network import ReductionResNet18

ORIGIN = "random weights of a test"
SHAPES = [(1, 3, 224, 224), (3, 3, 97, 131), (2, 3, 64, 32), (1, 3, 1, 1), (0, 3, 64, 64)]


def save_random_weights(path: Path) -> None:
    """Writes weights whose batch normalisations do something and keep the activations near 1."""
    torch.manual_seed(5)
    state = ReductionResNet18().state_dict()
    for name, value in state.items():
        if name.endswith("running_mean") or (name.endswith(".bias") and value.dim() == 1):
            value.normal_(0, 0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.8, 1.5)
        elif value.dim() == 1:
            value.uniform_(0.3, 0.7)
    torch.save(state, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights.pth, and model.onnx exported from it by the command line."""
    path = tmp_path_factory.mktemp("export")
    save_random_weights(path / "weights.pth")
    arguments = ["--weights", str(path / "weights.pth"), "--output", str(path / "model.onnx"), "--origin", ORIGIN]
    assert cli_export.main([*arguments, "--size", "160"]) == 0
    return path


@pytest.fixture(scope="module")
def proto(folder: Path) -> Any:
    """The exported model."""
    return onnx.load(folder / "model.onnx")


@pytest.fixture(scope="module")
def network(folder: Path) -> Any:
    """The network in PyTorch, not folded."""
    return ReductionResNet18.from_state_dict(torch.load(folder / "weights.pth", weights_only=True)).eval()


def assert_equals_torch(session: Any, network: Any, shape: tuple[int, ...]) -> None:
    """Compares one run of a session with PyTorch."""
    images = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    (actual,) = session.run(["embedding"], {"images": images.numpy()})
    assert actual.shape == (shape[0], 512)
    if shape[0] > 0:
        with torch.inference_mode():
            expected = network(images).numpy()
        assert np.abs(actual - expected).max() <= 1e-5


def test_is_a_valid_model(folder: Path) -> None:
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)


def test_has_one_custom_node_on_pooled_layers(proto: Any) -> None:
    custom = [node for node in proto.graph.node if node.domain not in ("", "ai.onnx")]
    assert [(node.domain, node.op_type, node.name) for node in custom] == [("rrn", "Reduction", "reduction")]
    assert list(custom[0].input) == [f"pool{k}.flatten" for k in (1, 2, 3, 4)]
    assert [(a.name, a.i) for a in custom[0].attribute] == [("channels", 512)]
    kinds = [node.op_type for node in proto.graph.node]
    # Folded, and in the form that ONNX Runtime keeps in its blocked layout.
    assert kinds.count("Conv") == 20
    assert kinds.count("GlobalAveragePool") == 4
    assert set(kinds) == {"Conv", "Relu", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Reduction"}


def test_names_are_those_of_the_modules(proto: Any) -> None:
    names = [node.name for node in proto.graph.node]
    assert names[:3] == ["conv1", "relu", "maxpool"]
    assert {"layer1.0.conv1", "layer2.0.downsample.0", "layer4.1.add", "pool4"} <= set(names)
    assert len(set(names)) == len(names)
    inputs = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in proto.graph.input]
    assert inputs == [["batch", 3, "height", "width"]]


def test_old_runtimes_can_read_it(proto: Any) -> None:
    assert proto.ir_version <= 10
    assert all(entry.version <= 21 for entry in proto.opset_import)


def test_holds_everything_and_no_machine_path(folder: Path, proto: Any) -> None:
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    content = (folder / "model.onnx").read_bytes()
    # The weights are random bytes and may spell anything.
    text = onnx.load_model_from_string(content)
    for tensor in text.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
    rest = text.SerializeToString()
    for word in (str(folder), str(Path.home()), str(Path(__file__).parents[3]), "/tmp", "site-packages", ".py"):
        assert word.encode() not in rest


def test_metadata(folder: Path, proto: Any) -> None:
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties.keys() == {
        "rrn.version",
        "rrn.embedding_dim",
        "rrn.preprocessing",
        "rrn.weights.origin",
        "rrn.weights.sha256",
    }
    assert properties["rrn.embedding_dim"] == "512"
    assert properties["rrn.weights.origin"] == ORIGIN
    assert properties["rrn.weights.sha256"] == hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    assert json.loads(properties["rrn.preprocessing"]) == onnx_file.preprocessing(160)
    assert proto.producer_name == "rrn"


def test_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    content = (folder / "model.onnx").read_bytes()
    assert manifest["file"] == "model.onnx"
    assert manifest["bytes"] == len(content)
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["origin"] == ORIGIN
    assert manifest["preprocessing"]["size"] == 160
    assert manifest["files_fingerprint"] == _load.native.files_fingerprint(bytes(folder / "model.onnx"))
    assert str(folder) not in (folder / "model.json").read_text()


def test_same_weights_give_the_same_bytes(folder: Path, network: Any) -> None:
    source = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    again = export.to_onnx(network, size=160, origin=ORIGIN, weights_sha256=source)
    assert onnx_file.to_bytes(again) == (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stock_runtime_equals_torch(folder: Path, network: Any, shape: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert_equals_torch(session, network, shape)


@pytest.fixture(scope="module")
def op_library() -> Path:
    """Returns libreduction_op.so."""
    return Path(rrn_native.custom_op_library())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_runtime_with_the_library_equals_torch(
    folder: Path, network: Any, op_library: Path, shape: tuple[int, ...]
) -> None:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(op_library))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    assert_equals_torch(session, network, shape)


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    """The same model with its weights stored as float16."""
    arguments = ["--weights", str(folder / "weights.pth"), "--output", str(folder / "small.onnx"), "--origin", ORIGIN]
    assert cli_export.main([*arguments, "--size", "160", "--store", "float16"]) == 0
    return folder / "small.onnx"


@pytest.fixture(scope="module")
def rounded(small: Path) -> Any:
    """The network in PyTorch with the weights of that file."""
    return ReductionResNet18.from_state_dict(weights.state_dict_from_onnx(small)).eval()


def test_float16_weights_halve_the_file_and_change_nothing_else(small: Path, folder: Path, proto: Any) -> None:
    stored = onnx.load(small)
    onnx.checker.check_model(stored, full_check=True)
    assert small.stat().st_size < 0.51 * (folder / "model.onnx").stat().st_size
    casts = [node for node in stored.graph.node if node.op_type == "Cast"]
    assert len(casts) == 20
    assert [node for node in stored.graph.node if node.op_type != "Cast"] == list(proto.graph.node)
    convolutions = {node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    assert storage.stored_as_float16(stored) == convolutions
    exact = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for tensor in storage.to_float32(stored).graph.initializer:
        values = exact[tensor.name]
        if tensor.name in convolutions:
            values = values.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), values)
    assert stored.metadata_props == proto.metadata_props
    assert stored.graph.input == proto.graph.input
    assert stored.graph.output == proto.graph.output


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float16_weights_run_in_every_runtime(
    small: Path, rounded: Any, op_library: Path, shape: tuple[int, ...]
) -> None:
    for library in (None, op_library):
        options = onnxruntime.SessionOptions()
        if library is not None:
            options.register_custom_ops_library(str(library))
        session = onnxruntime.InferenceSession(str(small), options, providers=["CPUExecutionProvider"])
        assert_equals_torch(session, rounded, shape)


def test_float16_weights_are_folded_when_the_model_is_loaded(small: Path, tmp_path: Path) -> None:
    operators = profiled_operators(small, None, tmp_path / "small")
    # The one of the operator's function is that of its result.
    assert operators.count("Cast") <= 1
    assert operators.count("Conv") == 20


@pytest.mark.parametrize("name", ["model.onnx", "small.onnx"])
def test_an_exported_file_becomes_a_state_dict_and_the_same_file_again(
    name: str, folder: Path, small: Path, network: Any, tmp_path: Path
) -> None:
    source = folder / name
    assert small.is_file()
    state = weights.state_dict_from_onnx(source)
    assert {value.dtype for value in state.values()} == {torch.float32}
    again = ReductionResNet18.from_state_dict(state).eval()
    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    assert_equals_torch(session, again, (2, 3, 97, 131))
    images = torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        similarity = torch.nn.functional.cosine_similarity(again(images), network(images))
    assert similarity.min() > (1 - 1e-6 if name == "model.onnx" else 1 - 1e-4)
    store = "float16" if name == "small.onnx" else "float32"
    arguments = ["--weights", str(source), "--output", str(tmp_path / name), "--size", "160", "--store", store]
    assert cli_export.main(arguments) == 0
    assert (tmp_path / name).read_bytes() == source.read_bytes()


def test_an_onnx_source_keeps_its_size_and_must_have_the_input_of_rrn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "again.onnx"
    assert cli_export.main(["--weights", str(folder / "model.onnx"), "--output", str(output)]) == 0
    assert onnx_file.recorded_input(onnx.load(output))["size"] == 160
    other = onnx.load(folder / "model.onnx")
    for entry in other.metadata_props:
        if entry.key == "rrn.preprocessing":
            entry.value = entry.value.replace("RGB", "BGR")
    onnx.save(other, tmp_path / "bgr.onnx")
    capsys.readouterr()
    assert cli_export.main(["--weights", str(tmp_path / "bgr.onnx"), "--output", str(tmp_path / "wrong.onnx")]) == 2
    assert "bgr.onnx wants channels BGR as its input, expected RGB" in capsys.readouterr().err
    assert not (tmp_path / "wrong.onnx").exists()
    for entry in other.metadata_props:
        if entry.key == "rrn.preprocessing":
            entry.value = entry.value.replace("BGR", "RGB").replace("160", "5")
    onnx.save(other, tmp_path / "tiny.onnx")
    assert cli_export.main(["--weights", str(tmp_path / "tiny.onnx"), "--output", str(tmp_path / "wrong.onnx")]) == 2
    assert "tiny.onnx: size is 5, expected 32 to 4096" in capsys.readouterr().err


def test_errors_name_the_file_that_was_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--weights", str(folder / "weights.pth"), "--output", str(folder / "none" / "m.onnx")]
    assert cli_export.main(arguments) == 4
    error = capsys.readouterr().err
    assert str(folder / "none" / "m.onnx") in error
    assert ".part" not in error


@pytest.mark.parametrize("size", [31, 5000])
def test_sizes_that_the_engine_refuses_are_not_recorded(network: Any, size: int) -> None:
    with pytest.raises(SystemExit):
        cli_export.main(["--weights", "random", "--output", "m.onnx", f"--size={size}"])
    with pytest.raises(ValueError, match=f"size is {size}, expected 32 to 4096"):
        export.to_onnx(network, size=size)


def test_other_types_are_refused(network: Any) -> None:
    with pytest.raises(ValueError, match="store is 'bfloat16', expected one of float32, float16"):
        export.to_onnx(network, store="bfloat16")
    made = cli_export.parser()
    (option,) = [action for action in made._actions if action.dest == "store"]
    assert tuple(option.choices or ()) == storage.TYPES


def test_the_default_models_are_what_their_manifests_say() -> None:
    models = ROOT / "models"
    manifest, eight_bits = (
        json.loads((models / f"reduction_resnet18{kind}.json").read_text()) for kind in ("", ".int8")
    )
    assert eight_bits["quantization"]["model_sha256"] == manifest["sha256"]
    assert eight_bits["weights_sha256"] == manifest["weights_sha256"]
    for each in (manifest, eight_bits):
        content = (models / each["file"]).read_bytes()
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
        assert onnx_file.manifest(content, each["file"]).items() <= each.items()
    notices = (models / "LICENSES.md").read_text()
    assert "| package | kind | licence |" in notices
    assert "Copyright (c) .NET Foundation and Contributors" in notices
    assert "Permission is hereby granted, free of charge" in notices


def test_the_default_model_becomes_a_state_dict_and_the_same_weights_again() -> None:
    default = ROOT / "models" / "reduction_resnet18.onnx"
    found = weights.load_weights(str(default))
    manifest = json.loads(default.with_suffix(".json").read_text())
    assert (found.origin, found.sha256) == (manifest["origin"], manifest["weights_sha256"])
    network = ReductionResNet18.from_state_dict(found.state_dict).eval()
    session = onnxruntime.InferenceSession(str(default), providers=["CPUExecutionProvider"])
    assert_equals_torch(session, network, (2, 3, 96, 64))
    again = export.to_onnx(network, store="float16")
    assert list(again.graph.initializer) == list(onnx.load(default).graph.initializer)


def profiled_operators(model: Path, library: Path | None, prefix: Path) -> list[str]:
    """Runs the model once and returns the operators that ONNX Runtime executed."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(prefix)
    if library is not None:
        options.register_custom_ops_library(str(library))
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    session.run(None, {"images": np.zeros((1, 3, 32, 32), dtype=np.float32)})
    events = json.loads(Path(session.end_profiling()).read_text())
    return [event["args"]["op_name"] for event in events if event.get("cat") == "Node" and "op_name" in event["args"]]


def test_the_library_runs_instead_of_the_function(folder: Path, op_library: Path, tmp_path: Path) -> None:
    operators = profiled_operators(folder / "model.onnx", op_library, tmp_path / "with")
    assert operators.count("Reduction") == 1
    assert "Expand" not in operators
    operators = profiled_operators(folder / "model.onnx", None, tmp_path / "without")
    assert "Reduction" not in operators
    assert "Expand" in operators


def run_function(layers: list[npt.NDArray[Any]], channels: int) -> npt.NDArray[Any]:
    """Runs the operator's ONNX function alone, in a stock runtime."""
    element = onnx.helper.np_dtype_to_tensor_dtype(layers[0].dtype)
    names = [f"layer{k}" for k in range(len(layers))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Reduction", names, ["result"], domain="rrn", channels=channels)],
        "reduction",
        [onnx.helper.make_tensor_value_info(n, element, [None] * a.ndim) for n, a in zip(names, layers, strict=True)],
        [onnx.helper.make_tensor_value_info("result", element, [None] * layers[0].ndim)],
    )
    model = onnx.helper.make_model(
        graph,
        functions=[onnx_function.reduction_function(len(layers), export.OPSET)],
        opset_imports=[onnx.helper.make_opsetid("", export.OPSET), onnx.helper.make_opsetid("rrn", 1)],
        ir_version=export.IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: npt.NDArray[Any] = session.run(None, dict(zip(names, layers, strict=True)))[0]
    return result


@settings(deadline=None, max_examples=40)
@given(
    rank=st.sampled_from([1, 2]),
    batch=st.integers(0, 3),
    channels=st.lists(st.sampled_from([1, 2, 4, 8, 16]), min_size=1, max_size=5),
    half=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_function_equals_the_kernel_to_the_bit(
    rank: int, batch: int, channels: list[int], half: bool, seed: int
) -> None:
    torch_op.load_library()
    generator = torch.Generator().manual_seed(seed)
    shapes = [[c] if rank == 1 else [batch, c] for c in channels]
    layers = [torch.randn(shape, generator=generator) for shape in shapes]
    if half:
        layers = [layer.half() for layer in layers]
    actual = run_function([layer.numpy() for layer in layers], 16)
    np.testing.assert_array_equal(actual, torch.ops.rrn.reduce_layers(layers, 16).numpy())


def test_function_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="inputs >= 1 and opset >= 18"):
        onnx_function.reduction_function(0, 18)
    with pytest.raises(ValueError, match="inputs >= 1 and opset >= 18"):
        onnx_function.reduction_function(4, 13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "absent.pth", "--output", "m.onnx"], "no weights file absent.pth"),
        (["--weights", "random:x", "--output", "m.onnx"], "is not a whole number"),
        (["--weights", "random", "--output", "m.bin"], "must end in .onnx"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli_export.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("rrn export: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_folder_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_export.main(["--weights", "random", "--output", str(tmp_path / "absent" / "m.onnx")]) == 4
    assert capsys.readouterr().err.startswith("rrn export: ")


def test_random_weights_follow_the_seed() -> None:
    assert export.random_weights(1).sha256 == export.random_weights(1).sha256
    assert export.random_weights(1).sha256 != export.random_weights(2).sha256


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli_export.main(["--help"])
    assert stopped.value.code == 0
    assert "examples:" in capsys.readouterr().out
