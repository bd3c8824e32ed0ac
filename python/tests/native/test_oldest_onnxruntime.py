"""ONNX Runtime 1.20, the oldest release that the operator and the engine promise to work with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BINARY, ROOT

OLDEST = ROOT / ".deps" / "onnxruntime-1.20"

pytestmark = pytest.mark.skipif(not OLDEST.is_dir(), reason="scripts/test.sh found no onnxruntime 1.20 for this Python")

SCRIPT = """
import sys
import numpy as np
import onnxruntime
assert onnxruntime.__version__.startswith("1.20"), onnxruntime.__version__
outputs = []
for library in (None, sys.argv[1]):
    options = onnxruntime.SessionOptions()
    if library:
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(np.float32)
    outputs.append(session.run(None, {"images": images})[0])
assert np.abs(outputs[0] - outputs[1]).max() <= 1e-6
print("same")
"""


def test_operator_and_model() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, ROOT / "lib/libreduction_op.so", ROOT / "models/reduction_resnet18.onnx"],
        env=os.environ | {"PYTHONPATH": str(OLDEST)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.stdout.strip() == "same", run.stderr[-2000:]


def test_executable(photos: Path, tmp_path: Path) -> None:
    (library,) = (OLDEST / "onnxruntime" / "capi").glob("libonnxruntime.so.1.20*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    version = subprocess.run([BINARY, "--version"], env=environment, capture_output=True, text=True, check=True)
    assert "ONNX Runtime 1.20" in version.stdout
    run = subprocess.run([BINARY, photos, "--size", "64"], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "read     5" in run.stdout
    # Plugins came later than 1.20.
    fast = [BINARY, photos, "--size", "64", "--precision", "bf16"]
    run = subprocess.run(fast, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "instead of bf16 (openvino: " in run.stderr
    run = subprocess.run(
        [*fast, "--provider", "openvino"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 4, run.stdout
    assert run.stderr.count("\n") == 1
