"""What the comparison of two files of one network says, by hand."""

from __future__ import annotations

import resource
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rrn_native

from research.benchmarks import stored_weights
from research.common.results import sha256


def test_differences_and_sides_by_hand() -> None:
    found = stored_weights.difference(np.array([0.5, 0.76, 0.9]), np.array([0.6, 0.74, 0.9]))
    assert found == {"pairs": 3, "mean": 0.04, "maximum": 0.1, "change_sides": 1}


def test_quality_by_hand() -> None:
    found = stored_weights.quality(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]))
    assert found["f1_at_threshold"] == pytest.approx(0.5)
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["best_f1"], found["best_threshold"]) == (pytest.approx(0.8), pytest.approx(0.4))


def test_a_model_is_described_by_its_bytes() -> None:
    model = Path(rrn_native.default_model())
    found = stored_weights.describe(model)
    assert (found["file"], found["bytes"], found["sha256"]) == (model.name, model.stat().st_size, sha256(model))
    assert found["float16_tensors"] > 10, "the default model stores its weights as float16"


def test_times_of_processes_are_those_of_all_their_cores() -> None:
    spin = partial(subprocess.run, ["bash", "-c", "for ((i = 0; i < 20000; i++)); do :; done"], check=True)
    found = stored_weights.clocks({"spin": spin}, 2, resource.RUSAGE_CHILDREN)
    assert found["spin"]["cpu"]["low_ms"] > 1
    assert found["spin"]["wall"]["runs"] == 2


def test_missing_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), "--labelled", str(tmp_path)]
    assert stored_weights.main([*words, "--output", str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("stored_weights: ")
    assert not (tmp_path / "out.json").exists()
