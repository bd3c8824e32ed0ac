"""The benchmark: what is measured in which order, what is said without a GPU, and candidates as far as a CPU goes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from research.tensorrt import bench, candidates, inline, nvidia  # noqa: E402
from research.tensorrt.candidates import Setup, layer_types  # noqa: E402
from research.tensorrt.nvidia import Library, MissingError  # noqa: E402
from research.tensorrt.pictures import noise  # noqa: E402


@dataclasses.dataclass
class Counted:
    """A candidate that notes the batches it gets; its output is the picture's first number and what is added."""

    name: str
    log: list[str]
    added: float = 0.0

    def device(self, images: Any) -> Any:
        self.log.append(self.name)
        ones = torch.ones(len(images), 2)
        ones[:, 0] = images[:, 0, 0, 0] + self.added
        return ones


class Ticks:
    """A stopwatch that runs what it is given; it shows 1, 2, 3, ... ms on the device and 100 by the wall."""

    def __init__(self) -> None:
        self.count = 0

    def device(self, run: Callable[[], object]) -> float:
        run()
        self.count += 1
        return float(self.count)

    def wall(self, run: Callable[[], object]) -> float:
        run()
        return 100.0


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "photos", lambda count, size: (noise(count, size), "noise"))


@pytest.mark.usefixtures("few_pictures")
def test_all_take_turns_and_every_row_is_complete() -> None:
    log: list[str] = []
    made = {bench.REFERENCE: Counted("a", log), ("other", "int8"): Counted("b", log, added=1.0)}
    rows = bench.measure(made, bench.Effort(rounds=2, calls=1, warmup=1, size=8), Ticks(), "cpu")
    assert [(row["name"], row["batch"]) for row in rows] == [
        (name, batch) for batch in bench.BATCHES for name in (bench.REFERENCE[0], "other")
    ]
    # Warmed up, then a device and a wall run in each round, which begin with another one each.
    assert "".join(log[:10]) == "ab" + "aabb" + "bbaa"
    first = rows[0]
    assert first["device_ms"] == {"p50": 2.5, "p95": 3.85, "runs": 2}
    assert first["wall_ms"]["p50"] == 100
    assert first["images_per_s"] == 400
    assert first["min_cosine"] == pytest.approx(1)
    assert rows[1]["min_cosine"] < 1


@pytest.mark.usefixtures("few_pictures")
def test_when_time_is_up_three_rounds_are_enough() -> None:
    made = {bench.REFERENCE: Counted("a", [])}
    rows = bench.measure(made, bench.Effort(rounds=9, calls=1, seconds=0, size=8), Ticks(), "cpu")
    assert {row["device_ms"]["runs"] for row in rows} == {3}


def test_what_fails_is_left_out_with_its_reason(tmp_path: Path) -> None:
    def broken(_: Setup) -> Any:
        raise RuntimeError("out of memory\nlong story")

    def absent(_: Setup) -> Any:
        raise MissingError("no library")

    log: list[str] = []
    wanted = [
        candidates.Named("good", "fp32", lambda _: Counted("g", log)),
        candidates.Named("broken", "fp16", broken),
        candidates.Named("absent", "int8", absent),
    ]
    made, seconds, missing = bench.prepare(wanted, Setup("cpu", (1, 8, 32), 8, tmp_path))
    assert list(made) == list(seconds) == [("good", "fp32")]
    assert log == ["g"] * len(bench.BATCHES)
    assert [each["reason"] for each in missing] == ["RuntimeError: out of memory", "no library"]


def test_percentiles() -> None:
    assert bench.percentiles([1, 2, 3, 4, 5]) == {"p50": 3.0, "p95": 4.8, "runs": 5}


def test_without_a_gpu_nothing_is_measured_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.main(["--output", str(tmp_path / "bench.json")]) == 0
    value = json.loads((tmp_path / "bench.json").read_text())["bench"]
    assert value["gpu"] is None
    assert value["rows"] == []
    assert "no GPU that PyTorch" in value["reason"]
    assert [(each["name"], each["precision"]) for each in value["not_measured"]] == [
        (each.name, each.precision) for each in candidates.named(nvidia.product())
    ]
    assert all(each["reason"] == value["reason"] for each in value["not_measured"])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("not measured: no GPU that PyTorch")
    assert line.endswith(bench.COMMAND)


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ({"tensorrt_rtx"}, "TensorRT for RTX"),
        ({"tensorrt", "tensorrt_rtx"}, "TensorRT"),
        (set(), "TensorRT"),
    ],
)
def test_candidates_have_the_name_of_the_product_that_is_there(
    there: set[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def imported(package: str) -> Any:
        if package not in there:
            raise ImportError(f"no {package}")
        return MagicMock(__version__="1")

    monkeypatch.setattr(nvidia.importlib, "import_module", imported)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    names = {each["name"] for each in bench.bench(bench.Effort())["not_measured"]}
    assert {each for each in names if each.startswith("TensorRT")} == {name, f"{name}, plugin"}


def test_what_is_missing_beside_a_gpu_is_said_once() -> None:
    missing = [{"name": "TensorRT", "precision": each, "reason": "no library"} for each in ("fp32", "fp16")]
    value = {"gpu": {}, "not_measured": missing, "command": "run it"}
    assert bench.missing_line(value) == "not measured: 2 candidates (no library): run it"
    assert bench.missing_line(value | {"not_measured": []}) == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--rounds", "0"], "expected 1 or more"), (["--plugin", "no/such/file.so"], "expected a file")],
)
def test_wrong_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(words) == 1
    assert message in capsys.readouterr().err


def test_pytorchs_network_gives_the_models_embeddings(made: Callable[[str], onnx.ModelProto], tmp_path: Path) -> None:
    network = candidates.TorchNetwork(Setup("cpu", (1, 2, 4), 64, tmp_path), half=False, compiled=False)
    images = noise(2, 64)
    found = network.device(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, inline.run(made("fp32"), images), atol=1e-3, rtol=1e-3)
    assert network.ran()["parameters"] == ["float32"]
    assert network.ran()["device"] == "cpu"


def test_candidates_without_their_library_say_so(tmp_path: Path) -> None:
    setup = Setup("cuda", (1, 2, 4), 64, tmp_path)
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(MissingError, match=r"has no CUDA provider: pip install onnxruntime-gpu"):
            candidates.OrtNetwork(setup, form="fp32")


def made_up_library(outputs: Any) -> Library:
    """A TensorRT whose engine has two tensors, and writes nothing."""
    module = MagicMock(name="tensorrt")
    engine = module.Runtime.return_value.deserialize_cuda_engine.return_value
    engine.get_tensor_name.side_effect = lambda at: ("images", "embedding")[at]
    engine.create_engine_inspector.return_value.get_engine_information.return_value = json.dumps(outputs)
    return Library(module, "tensorrt", "11.4.0")


def test_what_an_engine_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = made_up_library({"Layers": [{"Outputs": [{"DataType": "Half"}]}]})
    monkeypatch.setattr(nvidia, "find", lambda: library)
    monkeypatch.setattr(nvidia, "build", lambda *_: nvidia.Built(b"plan", 1.5))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: MagicMock(cuda_stream=7))
    network = candidates.TrtNetwork(Setup("cpu", (1, 2, 4), 64, tmp_path), form="fp32")
    images = torch.zeros(2, 3, 64, 64)
    output = network.device(images)
    context = library.module.Runtime.return_value.deserialize_cuda_engine.return_value.create_execution_context()
    context.set_input_shape.assert_called_once_with("images", (2, 3, 64, 64))
    context.set_tensor_address.assert_any_call("images", images.data_ptr())
    context.set_tensor_address.assert_any_call("embedding", output.data_ptr())
    context.execute_async_v3.assert_called_once_with(7)
    assert output.shape == (2, 512)
    expected = {"library": "TensorRT 11.4.0", "layers": {"FP16": 1}, "engine_mb": 0.0, "build_seconds": 1.5}
    assert network.ran() == expected
    context.execute_async_v3.return_value = False
    with pytest.raises(RuntimeError, match=r"TensorRT 11\.4\.0 did not run a batch of 2"):
        network.device(images)


def test_the_plugins_form_needs_the_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvidia, "find", lambda: made_up_library({}))
    with pytest.raises(MissingError, match="the plugin is not built"):
        candidates.TrtNetwork(Setup("cpu", (1, 2, 4), 64, tmp_path), form="fp16-plugin")


def test_layer_types_of_both_releases() -> None:
    ten = {
        "Layers": [
            {"Name": "a", "Outputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
            {"Name": "b", "Outputs": [{"Format/Datatype": "Row major linear FP32"}]},
            {"Name": "c", "Outputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]},
            "a layer by its name only",
        ]
    }
    assert layer_types(ten) == {"?": 1, "FP16": 1, "FP32": 1, "INT8": 1}
    eleven = {"Layers": [{"Outputs": [{"DataType": each, "Format": "..."}]} for each in ("Half", "Half", "Float")]}
    assert layer_types(eleven) == {"FP16": 2, "FP32": 1}
    assert layer_types({}) == {}
