"""What rrn doctor and rrn bench say."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rrn_native
from rrn_native import _load, bench, doctor
from rrn_native.cli import bench as cli_bench
from rrn_native.cli import doctor as cli_doctor


def test_diagnosis(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "d.json"
    assert cli_doctor.main(["--json", str(output)]) == 0
    text = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["works"] is True
    assert text.endswith("rrn works here.\n")
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["numpy"]["detail"] == np.__version__
    assert rrn_native.__version__ in checks["rrn"]["detail"]
    assert importlib.metadata.version("onnxruntime") in checks["onnxruntime"]["detail"]
    assert checks["pair search"]["detail"] == f"{rrn_native.search_targets()[0]} instructions"
    for check in checks.values():
        assert check["status"] in ("ok", "missing", "failed")
        assert check["name"] in text
    tried = {(run["provider"], run["precision"]): run for run in found["runs"]}
    assert len(tried) == len(doctor.PROVIDERS) * len(doctor.PRECISIONS)
    default = tried["cpu", "fp32"]
    assert default["works"] is True
    assert default["milliseconds"] > 0
    assert default["fingerprint"] == rrn_native.Embedder(provider="cpu", precision="fp32").fingerprint
    for run in tried.values():
        assert run["works"] == (run["milliseconds"] is not None)
        if run["works"]:
            assert len(run["fingerprint"]) == 32
        if run["works"] and run["provider"] != "cpu":
            assert run["cosine"] > 0.9
        assert run["detail"]
    assert tried["cpu", "bf16"]["works"] is False


def test_a_damaged_model_is_found(tmp_path: Path) -> None:
    model = Path(shutil.copy(rrn_native.default_model(), tmp_path / "m.onnx"))
    manifest = Path(rrn_native.default_model()).with_suffix(".json")
    assert doctor.check_model(model).status == doctor.FAILED, "no manifest"
    shutil.copy(manifest, tmp_path / "m.json")
    assert doctor.check_model(model).status == doctor.OK
    content = bytearray(model.read_bytes())
    content[20_000_000] ^= 1
    model.write_bytes(content)
    check = doctor.check_model(model, needed=True)
    assert (check.status, check.needed) == (doctor.FAILED, True)
    assert "fingerprint" in check.detail
    assert check.advice


def test_damaged_external_data_is_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = tmp_path / "m.onnx"
    proto = onnx.load(rrn_native.default_model())
    onnx.save(proto, model, save_as_external_data=True, location="weights.bin", size_threshold=0)
    manifest = {"files_fingerprint": _load.native.files_fingerprint(bytes(model))}
    model.with_suffix(".json").write_text(json.dumps(manifest))
    assert doctor.check_model(model).status == doctor.OK
    content = bytearray((tmp_path / "weights.bin").read_bytes())
    content[1_000_000] ^= 1
    (tmp_path / "weights.bin").write_bytes(content)
    assert doctor.check_model(model).status == doctor.FAILED


def test_a_core_that_does_not_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    search = rrn_native.similar_pairs

    def loses_a_pair(rows: np.ndarray, threshold: float, *, target: str) -> tuple[np.ndarray, ...]:
        return tuple(column[target != "portable" :] for column in search(rows, threshold, target=target))

    monkeypatch.setattr(rrn_native, "similar_pairs", loses_a_pair)
    assert cli_doctor.main([]) == 1
    text = capsys.readouterr().out
    assert "failed   pair search" in text
    assert "find other pairs" in text
    assert text.endswith("see the lines that say failed or no.\n")


def test_what_is_missing_comes_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRN_OPENVINO_EP", "none")
    monkeypatch.setattr(_load, "onnxruntime_library", lambda: None)
    diagnosis = doctor.diagnose()
    checks = {check.name: check for check in diagnosis.checks}
    assert checks["OpenVINO plugin"].status == doctor.MISSING
    assert "pip install onnxruntime-ep-openvino" in checks["OpenVINO plugin"].advice
    assert checks["onnxruntime"].status == doctor.FAILED
    assert "onnxruntime" in checks["onnxruntime"].advice
    assert diagnosis.works is False


def test_two_onnxruntimes_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.23.0" if name.startswith("onnxruntime") else None)
    (check,) = [check for check in doctor.diagnose().checks if check.name == "onnxruntime"]
    assert check.status == doctor.FAILED
    assert "in each other's way" in check.detail


@pytest.mark.parametrize("level", [0, 1, 9])
def test_png_without_a_library(level: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(level).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    (tmp_path / "p.png").write_bytes(doctor.png(pixels, level))
    assert (rrn_native.decode(tmp_path / "p.png") == pixels).all()


def test_bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "b.json"
    assert cli_bench.main(["--quick", "--json", str(output)]) == 0
    text = capsys.readouterr().out
    result = json.loads(output.read_text())
    assert {row["format"] for row in result["decode"]} >= {"JPEG", "PNG", "WebP"}
    assert {"provider": "cpu", "precision": "fp32"}.items() <= result["network"][0].items()
    rows = [*result["decode"], *result["network"], *result["pairs"], result["operator"]]
    for row in rows:
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"]
        assert row["runs"] == 3
    assert result["advice"]["text"] in text
    assert "PNG, VGA" in text


def timing(provider: str, precision: str, median: float) -> bench.Json:
    return {"provider": provider, "precision": precision, "median_ms": median, "lowest_cosine": 0.9987}


def test_advice() -> None:
    default = timing("cpu", "fp32", 10)
    assert bench.advise([default], [])["options"] == ""
    assert "onnxruntime-ep-openvino" in bench.advise([default], ["avx512_bf16"])["text"]
    slower = timing("openvino", "fp16", 20)
    assert bench.advise([default, slower], ["avx512_bf16"])["options"] == ""
    close = timing("openvino", "fp32", 9)
    assert bench.advise([default, slower, close], [])["options"] == "", "not worth other bits"
    best = bench.advise([default, slower, timing("openvino", "bf16", 2)], [])
    assert best["options"] == "--provider openvino --precision bf16"
    assert best["speedup"] == 5
    assert "0.9987" in best["text"]
    assert "rrn doctor" in bench.advise([], [])["text"]


def test_timed_takes_as_many_rounds_as_it_may() -> None:
    calls: list[int] = []
    times = bench.timed(lambda: calls.append(1), bench.Effort(seconds=0, most=9), 2)
    assert (times["runs"], len(calls)) == (3, 4), "three rounds, after one that does not count"
    assert bench.timed(lambda: None, bench.Effort(seconds=60, most=5))["runs"] == 5
