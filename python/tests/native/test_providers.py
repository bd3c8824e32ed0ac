"""Execution providers and precisions, through the executable and from Python."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rrn_native
from conftest import BINARY, ROOT, RunSimilarity

SMALL = ("--size", 64, "--threshold", 0.97)
NO_PLUGIN = {"RRN_OPENVINO_EP": "/nowhere/plugin.so"}
MODEL = ROOT / "models" / "reduction_resnet18.onnx"

PLUGIN_IS_MISSING = importlib.util.find_spec("onnxruntime_ep_openvino") is None
MISSING = "onnxruntime-ep-openvino is not installed"
has_plugin = pytest.mark.skipif(PLUGIN_IS_MISSING, reason=MISSING)
NO_CPU = "the OpenVINO plugin offers no CPU on this machine"


def refusal() -> str:
    """Why OpenVINO cannot be used here, or nothing."""
    try:
        rrn_native.Embedder(size=64, provider="openvino", precision="fp32")
    except rrn_native.RrnError as error:
        return str(error)
    return ""


@pytest.fixture
def openvino() -> None:
    """Skips where the plugin is missing or, as on some processors that are not Intel's, offers no CPU."""
    if PLUGIN_IS_MISSING:
        pytest.skip(MISSING)
    if NO_CPU in refusal():
        pytest.skip(NO_CPU)


needs_openvino = pytest.mark.usefixtures("openvino")


def environment(**variables: object) -> dict[str, str]:
    return os.environ | {name: str(value) for name, value in variables.items()}


@pytest.fixture
def int8_model(tmp_path: Path) -> Path:
    """A model under an int8 model's name, and a file that is no model at its full-precision name.

    Which file runs and how it is cached does not depend on what is quantised in it.
    """
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(MODEL, folder / "m.int8.onnx")
    (folder / "m.onnx").write_text("must not be read")
    return folder / "m.onnx"


def model_of(run: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert run.returncode == 0, run.stderr
    model: dict[str, Any] = json.loads(run.stdout)["model"]
    return model


def test_default_is_exact_and_says_so(run_similarity: RunSimilarity, photos: Path) -> None:
    run = run_similarity(photos, *SMALL, "--json", "-")
    model = model_of(run)
    assert model["precision"] == "fp32"
    assert model["provider"] == "cpu"
    assert list(model)[-2:] == ["provider", "precision"]
    first_line = run_similarity(photos, *SMALL).stdout.decode().splitlines()[0]
    assert first_line == f"model reduction_resnet18.onnx, 64 pixels, {model['provider']} fp32"


def test_plugin_or_not_the_default_gives_the_same_bytes(run_similarity: RunSimilarity, photos: Path) -> None:
    default = run_similarity(photos, *SMALL, "--json", "-")
    assert default.stderr == b""
    assert run_similarity(photos, *SMALL, "--json", "-", env=environment(**NO_PLUGIN)).stdout == default.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--provider", "tpu"), "expected one of auto, cpu, openvino"),
        (("--precision", "int4"), "expected one of auto, fp32"),
        (("--precision", ""), "empty"),
        (("--provider", "cpu", "--precision", "bf16"), "does not compute in bf16"),
        (("--provider", "cuda", "--precision", "fp16"), "does not compute in fp16"),
        (("--model", "{model}", "--precision", "fp32"), "is an int8 model"),
    ],
)
def test_what_can_never_work_is_wrong_usage(
    run_similarity: RunSimilarity, photos: Path, int8_model: Path, arguments: tuple[str, ...], words: str
) -> None:
    model = int8_model.with_name("m.int8.onnx")
    run = run_similarity(photos, *(argument.format(model=model) for argument in arguments))
    assert run.returncode == 2
    assert words in run.stderr.decode()
    assert run.stderr.count(b"\n") == 1


def test_what_is_missing_here_is_named(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    run = run_similarity(photos, "--provider", "openvino", env=environment(**NO_PLUGIN))
    assert run.returncode == 4
    assert b"pip install onnxruntime-ep-openvino" in run.stderr
    model = tmp_path / "only.onnx"
    shutil.copy(MODEL, model)
    run = run_similarity(photos, "--model", model, "--precision", "int8")
    assert run.returncode == 4
    assert b"only.int8.onnx: no such file; rrn quantize makes" in run.stderr
    assert run.stderr.count(b"\n") == 1


def test_auto_falls_back_with_one_line(run_similarity: RunSimilarity, photos: Path) -> None:
    exact = run_similarity(photos, *SMALL, "--provider", "cpu", "--json", "-")
    for precision in ("bf16", "fp16"):
        words = (photos, *SMALL, "--precision", precision, "--no-store", "--json", "-")
        run = run_similarity(*words, env=environment(**NO_PLUGIN))
        if model_of(run)["provider"] == "tensorrt":
            continue
        assert run.stdout == exact.stdout
        assert f"similarity: note: computing in fp32 on cpu instead of {precision} (" in run.stderr.decode()
        assert run.stderr.count(b"\n") == 1
    quiet = run_similarity(photos, *SMALL, "--precision", "bf16", "--quiet", env=environment(**NO_PLUGIN))
    assert (quiet.returncode, quiet.stderr) == (0, b"")


def test_int8_runs_the_file_beside_the_model(run_similarity: RunSimilarity, photos: Path, int8_model: Path) -> None:
    run = run_similarity(
        photos, *SMALL, "--model", int8_model, "--provider", "cpu", "--precision", "int8", "--json", "-"
    )
    model = model_of(run)
    assert (model["file"], model["provider"], model["precision"]) == ("m.int8.onnx", "cpu", "int8")
    named = ("--model", int8_model.with_name("m.int8.onnx"), "--provider", "cpu")
    assert run_similarity(photos, *SMALL, *named, "--json", "-").stdout == run.stdout


def test_nothing_is_left_in_the_home_folder(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    variables = environment(HOME=home, XDG_CACHE_HOME=home / "cache")
    assert run_similarity(photos, *SMALL, "--quiet", "--no-store", env=variables).returncode == 0
    assert list(home.iterdir()) == []
    script = "import sys, rrn_native; rrn_native.find_similar(sys.argv[1], size=64)"
    variables["PYTHONPATH"] = str(ROOT / "python")
    subprocess.run([sys.executable, "-c", script, photos], env=variables, check=True, timeout=300)
    assert list(home.iterdir()) == []
    assert run_similarity(photos, *SMALL, "--quiet", env=variables).returncode == 0
    assert [path.relative_to(home).as_posix() for path in home.rglob("stores")] == ["cache/rrn/stores"]


@has_plugin
def test_a_plugin_without_a_cpu_says_so_every_time(photos: Path) -> None:
    if NO_CPU not in refusal():
        pytest.skip("the plugin offers a CPU")
    assert NO_CPU in refusal()
    files = [photos / "first.png", photos / "second.png"]
    exact = rrn_native.Embedder(size=64, provider="cpu").embed(files)
    assert np.array_equal(rrn_native.Embedder(size=64).embed(files), exact)


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_gives_the_same_bytes_whatever_threads_and_batch(
    run_similarity: RunSimilarity, photos: Path, tmp_path: Path, precision: str
) -> None:
    npy = tmp_path / "e.npy"
    seen = set()
    for threads, batch in ((1, 1), (2, 3), (3, 8)):
        run = run_similarity(
            *(photos, *SMALL, "--provider", "openvino", "--precision", precision, "--threads", threads),
            *("--batch", batch, "--json", "-", "--embeddings", npy),
        )
        if b"does not compute" in run.stderr:
            pytest.skip("this CPU has no " + precision)
        model = model_of(run)
        assert (model["provider"], model["precision"]) == ("openvino", precision)
        seen.add(npy.read_bytes())
    assert len(seen) == 1


@needs_openvino
def test_python_runs_the_plugin_and_warns_without_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = rrn_native.Embedder(size=64, provider="cpu")
    assert (exact.provider, exact.precision) == ("cpu", "fp32")
    fast = rrn_native.Embedder(size=64, provider="openvino")
    assert fast.provider == "openvino"
    assert fast.precision in ("bf16", "fp32")
    files = [photos / "first.png", photos / "second.png"]
    assert np.allclose(exact.embed(files), fast.embed(files), atol=0.02 * float(exact.embed(files).max()))
    result = fast.find_similar(photos)
    assert (result.model.provider, result.model.precision) == (fast.provider, fast.precision)
    monkeypatch.setenv("RRN_OPENVINO_EP", "/nowhere/plugin.so")
    with pytest.raises(rrn_native.RrnError, match="onnxruntime-ep-openvino"):
        rrn_native.Embedder(size=64, provider="openvino", precision="fp32")
    with pytest.warns(RuntimeWarning, match="instead of fp16"):
        fallback = rrn_native.Embedder(size=64, precision="fp16")
    assert fallback.precision == "fp32"


@needs_openvino
def test_compiled_models_are_kept_and_never_trusted_blindly(
    run_similarity: RunSimilarity, photos: Path, int8_model: Path, tmp_path: Path
) -> None:
    arguments = (*SMALL, "--model", int8_model, "--provider", "openvino", "--precision", "int8", "--json", "-")
    npy = tmp_path / "e.npy"
    variables = environment(XDG_CACHE_HOME=tmp_path / "cache")

    def embed(*more: object) -> bytes:
        model_of(run_similarity(photos, *arguments, "--embeddings", npy, *more, env=variables))
        return npy.read_bytes()

    fresh = embed("--no-cache")
    assert not (tmp_path / "cache").exists()
    assert embed() == fresh
    (entry,) = (tmp_path / "cache" / "rrn" / "compiled").iterdir()
    (blob,) = entry.glob("*.blob")
    written = blob.stat().st_mtime_ns
    assert embed() == fresh
    assert blob.stat().st_mtime_ns == written, "the second start reads it"

    content = blob.read_bytes()
    middle = len(content) // 2
    for damaged in (b"", content[:middle], content[:middle] + bytes(4096) + content[middle + 4096 :]):
        (blob,) = entry.glob("*.blob")
        blob.chmod(0o600)
        blob.write_bytes(damaged)
        assert embed() == fresh
    shutil.rmtree(tmp_path / "cache")
    command = [str(BINARY), str(photos), *map(str, arguments)]
    started = [subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = {process.communicate(timeout=300)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(outputs) == 1
    assert len(list((tmp_path / "cache" / "rrn" / "compiled").iterdir())) == 1, "no unfinished folder is left"

    (tmp_path / "file").write_text("")
    variables["XDG_CACHE_HOME"] = str(tmp_path / "file")
    assert embed() == fresh
