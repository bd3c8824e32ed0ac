"""Building engines: what is asked of TensorRT, the equal commands, and NVIDIA's own library where it is installed."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import onnx
import pytest
from onnx import TensorProto, helper

from research.tensorrt import build_engine, inline, nvidia
from research.tensorrt.nvidia import BuildError, Library, MissingError, Settings

Made = Callable[[str], onnx.ModelProto]
FOLDER = Path("out")


def made_up(*, flags: tuple[str, ...] = ("STRONGLY_TYPED",), parses: bool = True) -> Library:
    """A TensorRT that notes what it is asked for."""
    module = MagicMock(name="tensorrt")
    module.ILogger = type("ILogger", (), {"ERROR": 1, "INTERNAL_ERROR": 0, "__init__": lambda self: None})
    module.NetworkDefinitionCreationFlag = types.SimpleNamespace(**{name: at for at, name in enumerate(flags)})
    module.INetworkDefinition = type("INetworkDefinition", (), {"add_plugin_v3": None})
    parser = module.OnnxParser.return_value
    parser.parse.return_value = parses
    error = parser.get_error.return_value
    error.desc.return_value = "Invalid Node - n1\nno such operator"
    error.node_operator.return_value, error.node_name.return_value = "Swirl", "n1"
    builder = module.Builder.return_value
    builder.build_serialized_network.return_value = b"plan"
    builder.create_network.return_value.get_input.return_value.name = "images"
    config = builder.create_builder_config.return_value
    config.get_timing_cache.return_value.serialize.return_value = b"times"
    return Library(module, "tensorrt", "11.4.0")


def test_networks_are_strongly_typed_in_every_release() -> None:
    assert made_up(flags=("EXPLICIT_BATCH", "STRONGLY_TYPED")).strongly_typed_flags == 2
    assert made_up(flags=("STRONGLY_TYPED",)).strongly_typed_flags == 1
    assert made_up(flags=()).strongly_typed_flags == 0


def test_what_the_builder_is_told(tmp_path: Path) -> None:
    library = made_up()
    cache = tmp_path / "times"
    cache.write_bytes(b"before")
    built = nvidia.build(library, b"model", Settings((1, 2, 4), 32, workspace=3, timing_cache=cache))
    assert built.plan == b"plan"
    trt = library.module
    config = trt.Builder.return_value.create_builder_config.return_value
    config.set_memory_pool_limit.assert_called_once_with(trt.MemoryPoolType.WORKSPACE, 3 * 2**20)
    config.clear_flag.assert_called_once_with(trt.BuilderFlag.TF32)
    config.create_timing_cache.assert_called_once_with(b"before")
    profile = trt.Builder.return_value.create_optimization_profile.return_value
    profile.set_shape.assert_called_once_with("images", (1, 3, 32, 32), (2, 3, 32, 32), (4, 3, 32, 32))
    config.add_optimization_profile.assert_called_once_with(profile)
    trt.Builder.return_value.create_network.assert_called_once_with(library.strongly_typed_flags)
    assert cache.read_bytes() == b"times"


def test_tf32_is_allowed_only_when_asked_for() -> None:
    library = made_up()
    nvidia.build(library, b"model", Settings(tf32=True))
    config = library.module.Builder.return_value.create_builder_config.return_value
    config.set_flag.assert_called_once_with(library.module.BuilderFlag.TF32)


def test_plugins_are_loaded_before_the_model_is_parsed() -> None:
    library = made_up()
    nvidia.build(library, b"model", Settings(plugins=(Path("p.so"),)))
    registry = library.module.Builder.return_value.get_plugin_registry.return_value
    registry.load_library.assert_called_once_with("p.so")
    registry.load_library.return_value = None
    with pytest.raises(BuildError, match=r"p\.so: expected a library of plugins"):
        nvidia.build(library, b"model", Settings(plugins=(Path("p.so"),)))


def test_reasons_are_one_line() -> None:
    with pytest.raises(BuildError, match=r"^Swirl n1: no such operator$"):
        nvidia.build(made_up(parses=False), b"model", Settings())
    library = made_up()
    library.module.Builder.return_value.build_serialized_network.return_value = None
    with pytest.raises(BuildError, match=r"built no engine: and gave no reason"):
        nvidia.build(library, b"model", Settings())
    library.module.Builder.side_effect = TypeError("factory function returned nullptr")
    with pytest.raises(MissingError, match=r"TensorRT 11\.4\.0 has no GPU"):
        nvidia.build(library, b"model", Settings())


def test_what_is_not_installed_is_said() -> None:
    with pytest.raises(MissingError, match=r"no_such_package: No module named .*: pip install tensorrt"):
        nvidia.find(("no_such_package",))


def test_commands_of_trtexec() -> None:
    settings = Settings((1, 8, 32), 224, timing_cache=Path("t.cache"), plugins=(Path("p.so"),))
    assert build_engine.trtexec_build(FOLDER, "fp16-plugin", settings, 10) == [
        "trtexec",
        "--onnx=out/reduction_resnet18.fp16-plugin.onnx",
        "--saveEngine=out/reduction_resnet18.fp16-plugin.plan",
        "--minShapes=images:1x3x224x224",
        "--optShapes=images:8x3x224x224",
        "--maxShapes=images:32x3x224x224",
        "--stronglyTyped",
        "--noTF32",
        "--memPoolSize=workspace:1024",
        "--timingCacheFile=t.cache",
        "--dynamicPlugins=p.so",
        "--profilingVerbosity=detailed",
        "--skipInference",
    ]
    ten, eleven = (build_engine.trtexec_build(FOLDER, "fp32", Settings(tf32=True), each) for each in (10, 11))
    assert [word for word in ten if word not in eleven] == ["--stronglyTyped"]
    assert "--noTF32" not in eleven
    assert "--shapes=images:4x3x224x224" in build_engine.trtexec_run(FOLDER, "fp32", settings, 4)


def test_no_command_has_a_flag_that_release_11_removed() -> None:
    words = " ".join(build_engine.trtexec_build(FOLDER, "int8", Settings(), 11))
    assert not [flag for flag in ("--fp16", "--int8", "--best", "--calib") if flag in words]


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "engines"
    assert build_engine.main(["--dry-run", "--form", "fp32", "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert "96 nodes" in text
    assert text.count("trtexec") == 5
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "8", "1", "32"], "expected 1 <= MIN <= OPT <= MAX"),
        (["--batch", "0", "1", "2"], "expected 1 <= MIN"),
        (["--form", "fp32-plugin"], "needs --plugin FILE"),
    ],
)
def test_wrong_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_engine.main(["--dry-run", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.fixture(scope="module")
def library() -> Any:
    """TensorRT for RTX, which needs no GPU for this."""
    pytest.importorskip("tensorrt_rtx")
    return nvidia.find(("tensorrt_rtx",))


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
def test_nvidias_parser_takes_the_forms(form: str, library: Library, made: Made) -> None:
    parsed = nvidia.parse(library, made(form).SerializeToString())
    assert parsed.error == ""
    assert parsed.layers["CONVOLUTION"] == 20
    assert parsed.outputs == [{"name": "embedding", "shape": [-1, 512], "type": "FLOAT"}]


def test_nvidias_parser_refuses_what_is_planted(library: Library) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Swirl", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    parsed = nvidia.parse(library, model.SerializeToString())
    assert not parsed.accepted
    assert "Swirl" in parsed.error
    assert "\n" not in parsed.error


def test_nvidias_builder_makes_an_engine_and_says_why_not(library: Library, made: Made) -> None:
    model = made("fp16")
    small = nvidia.build(library, model.SerializeToString(), Settings((1, 2, 4), 64))
    assert len(small.plan) > 20e6
    fixed = inline.with_fixed_shape(model, 3, 64)
    with pytest.raises(BuildError, match="static dimensions"):
        nvidia.build(library, fixed.SerializeToString(), Settings((1, 2, 4), 64))
    with pytest.raises(BuildError, match="has no plugins"):
        nvidia.build(library, model.SerializeToString(), Settings(plugins=(Path("p.so"),)))
