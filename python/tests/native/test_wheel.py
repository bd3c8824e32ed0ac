"""The wheel, as users get it: built by scripts/wheel.sh and installed into an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, RunSimilarity

# What the wheel takes from the system it is installed on.
SYSTEM = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "libpthread.so.0", "libdl.so.2"}
LOADER = re.compile(r"^ld-linux")

SESSION = """
import numpy as np
import onnxruntime
import rrn_native
assert "site-packages" in rrn_native.__file__, rrn_native.__file__
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(rrn_native.custom_op_library())
session = onnxruntime.InferenceSession(rrn_native.default_model(), options, providers=["CPUExecutionProvider"])
picture = (np.random.default_rng(1).random((90, 120, 3)) * 255).astype(np.uint8)
(expected,) = rrn_native.Embedder().embed([picture])
(found,) = session.run(None, {"images": rrn_native.preprocess(picture)[None]})[0]
assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
print("same")
"""


def outside(**more: str) -> dict[str, str]:
    """This environment without what would lead back to the source tree."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    return {name: value for name, value in kept.items() if not name.startswith("RRN_")} | more


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("wheel")
    command = [str(ROOT / "scripts" / "wheel.sh"), "--output", str(output)]
    build = subprocess.run(
        command, env=os.environ | {"RRN_PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    (path,) = output.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    command = [folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", wheel]
    run = subprocess.run(command, env=outside(), cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder / "bin"


def run(installed: Path, program: str, *words: object, code: int = 0, **more: str) -> str:
    command = [str(installed / program), *map(str, words)]
    done = subprocess.run(
        command, env=outside(**more), cwd=installed, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout


def test_contents(wheel: Path) -> None:
    assert re.fullmatch(r"rrn_native-[\d.]+-cp3\d+-cp3\d+-manylinux_2_\d+_\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        bundled = {name: archive.read(name) for name in names if ".so" in name}
        record = next(archive.read(name).decode() for name in names if name.endswith("/RECORD"))
    assert {
        "rrn_native/models/reduction_resnet18.onnx",
        "rrn_native/models/reduction_resnet18.json",
        "rrn_native/models/reduction_resnet18.int8.onnx",
        "rrn_native/models/reduction_resnet18.int8.json",
        "rrn_native/models/LICENSES.md",
        "rrn_native/lib/libreduction_op.so",
        "rrn_native/lib/libtriton_rrn.so",
        "rrn_ops/evaluation/Snakefile",
        "rrn_native/py.typed",
        "rrn_native/_native.pyi",
        "rrn_native/cli/__init__.py",
    } <= names
    assert len([name for name in names if "/_native." in name and name.endswith(".so")]) == 1
    assert all(name in record for name in names)
    libraries = {Path(name).name.split("-")[0] for name in bundled if ".libs/" in name}
    assert {"libjpeg", "libpng16", "libwebp", "libtiff", "libgif"} <= libraries
    assert not [name for name in names if "onnxruntime" in name and ".so" in name]
    for name, content in bundled.items():
        assert b"JBIG-KIT" not in content, f"{name} is under the GPL"
        assert os.fsencode(ROOT) not in content, f"{name} names the folder it was built in"
    (stand_in,) = (content for name, content in bundled.items() if "libjbig" in name)
    assert b"this program has no JBIG" in stand_in
    licences = {Path(name).stem for name in names if "/licenses/third_party/" in name}
    for part in ("jpeg", "png", "webp", "tiff", "gif", "zstd", "pybind11", "nlohmann", "xxhash", "sqlite"):
        assert any(part in licence for licence in licences), part
    assert sum(len(content) for content in bundled.values()) < 10_000_000


def test_every_library_is_bundled_or_the_systems(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    libraries = [path for path in tmp_path.rglob("*.so*") if path.is_file()]
    own = {path.name for path in libraries}
    for path in libraries:
        listing = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", listing))
        foreign = {name for name in needed - own - SYSTEM if not LOADER.match(name)}
        engines = ("_native", "libtriton_rrn")
        assert foreign <= ({"libonnxruntime.so.1"} if path.name.startswith(engines) else set()), path.name


def test_the_command_line(installed: Path, run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    assert "Verbs:" in run(installed, "rrn", "--help")
    assert "ONNX Runtime" in run(installed, "rrn", "--version")
    files = ["--json", tmp_path / "wheel.json", "--html", tmp_path / "wheel.html"]
    run(installed, "rrn", "find", photos, *files)
    files = ["--json", tmp_path / "program.json", "--html", tmp_path / "program.html"]
    program = run_similarity(photos, *files, "--quiet")
    assert program.returncode == 0
    assert (tmp_path / "wheel.json").read_bytes() == (tmp_path / "program.json").read_bytes()
    assert (tmp_path / "wheel.html").read_bytes() == (tmp_path / "program.html").read_bytes()
    found = json.loads(run(installed, "rrn", "query", photos / "first.png", photos, "--json", "-"))
    assert len(found["matches"]) == 4
    export = [installed / "rrn", "export", "--weights", "random", "--output", tmp_path / "model.onnx"]
    missing = subprocess.run(export, env=outside(), capture_output=True, text=True, check=False)
    assert missing.returncode == 4
    assert "which is not installed: pip install torch onnx" in missing.stderr


def test_doctor(installed: Path) -> None:
    found = json.loads(run(installed, "rrn", "doctor", "--json", "-"))
    assert found["works"] is True
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert status["model"] == status["libreduction_op.so"] == status["decoding"] == "ok"
    assert status["torch"] == "missing"


def test_the_operator_in_a_session(installed: Path) -> None:
    assert run(installed, "python", "-c", SESSION).strip() == "same"


def test_without_onnxruntime(wheel: Path, tmp_path: Path) -> None:
    """The package alone, in the place of an environment that lost ONNX Runtime."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    hide = "import sys; sys.modules['onnxruntime'] = None; sys.path.insert(0, sys.argv.pop(1))"
    script = f"{hide}; from rrn_native.cli import main; sys.exit(main())"
    command = [sys.executable, "-I", "-c", script, tmp_path, "find", tmp_path]
    done = subprocess.run(command, env=outside(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "pip install onnxruntime" in done.stderr
    assert "install rrn's wheel again" in done.stderr
