"""The releases of ONNX Runtime that the operator, the models and the engine work with, from the oldest to the newest.

Each runs in a process of its own, from the folder where scripts/test.sh has put it.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import BINARY, ROOT
from onnx import TensorProto, helper
from rrn_native.model import onnx_function

LIBRARY = ROOT / "lib" / "libreduction_op.so"
MODEL = ROOT / "models" / "reduction_resnet18.onnx"
INSTALLED = ".".join(onnxruntime.__version__.split(".")[:2])
VERSIONS = ("1.20", "1.22", "1.24", INSTALLED)

TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
SHAPES = {1: [(64,), (512,)], 2: [(3, 64), (3, 512)], 4: [(3, 64, 5, 4), (3, 512, 2, 3)]}

# Loads and runs all models of a folder, with and without the library; prints what came out.
SCRIPT = """
import json, pathlib, sys
import numpy as np
import onnxruntime
onnxruntime.set_default_logger_severity(4)
answers = {"version": onnxruntime.__version__}
for model in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    arrays = dict(np.load(model.with_suffix(".npz")))
    wanted = arrays.pop("wanted")
    for kind in ["library"] + (["function"] if model.name.startswith("function") else []):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if kind == "library":
            options.register_custom_ops_library(sys.argv[2])
        try:
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            if session.get_inputs()[0].type == "tensor(bfloat16)":
                answer = session.get_outputs()[0].type
            else:
                output = session.run(None, arrays)[0]
                assert output.dtype == wanted.dtype and output.shape == wanted.shape, (output.dtype, output.shape)
                answer = float(np.abs(output.astype(np.float32) - wanted.astype(np.float32)).max(initial=0))
        except Exception as error:
            answer = str(error)
        answers[f"{model.stem} {kind}"] = answer
print(json.dumps(answers))
"""


def folder_of(version: str) -> Path | None:
    """Where this release is; None for the installed one."""
    return None if version == INSTALLED else ROOT / ".deps" / f"onnxruntime-{version}"


def dims(shape: tuple[int, ...], known: str) -> list[int | str] | None:
    """The shape as a model declares it: known, with names in place of batch, height and width, or not at all."""
    if known == "none":
        return None
    if known == "known" or len(shape) == 1:
        return list(shape)
    return ["batch", shape[1], *["height", "width"][: len(shape) - 2]]


def one_node(kind: int, rank: int, known: str, *, cast: bool) -> onnx.ModelProto:
    """A model of one Reduction and, for ranks that it takes, the function; with Casts from and to float32 around."""
    outer = TensorProto.FLOAT if cast else kind
    inputs = [helper.make_tensor_value_info(f"x{k}", outer, dims(shape, known)) for k, shape in enumerate(SHAPES[rank])]
    nodes = [helper.make_node("Cast", [f"x{k}"], [f"c{k}"], to=kind) for k in range(2)] if cast else []
    names = [f"c{k}" if cast else f"x{k}" for k in range(2)]
    nodes.append(helper.make_node("Reduction", names, ["r" if cast else "y"], domain="rrn", channels=512))
    if cast:
        nodes.append(helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT))
    output = helper.make_tensor_value_info("y", outer, None)
    return make_model(nodes, inputs, [output], function=rank != 4)


def make_model(nodes: list[Any], inputs: list[Any], outputs: list[Any], *, function: bool) -> onnx.ModelProto:
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("rrn", 1)],
        functions=[onnx_function.reduction_function(2, 18)] if function else [],
        ir_version=8,
    )


def example(rank: int) -> dict[str, np.ndarray]:
    """Inputs whose result is exact in every type, and the result."""
    inputs = [np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 8 for shape in SHAPES[rank]]
    inputs = [x if rank != 4 else np.broadcast_to(x[:, :, :1, :1], x.shape) for x in inputs]
    flat = [x[:, :, 0, 0] if rank == 4 else x for x in inputs]
    mean = sum(np.repeat(x, 512 // x.shape[-1], axis=-1) for x in flat) / 2
    return {f"x{k}": x.astype(np.float32) for k, x in enumerate(inputs)} | {"wanted": mean.astype(np.float32)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix of type x shapes x rank; nodes of all types in one graph; the shipped model as it is and in fp16."""
    folder = tmp_path_factory.mktemp("models")

    def save(name: str, model: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        np.savez(folder / f"{name}.npz", **arrays)

    for (name, kind), known, rank, cast in itertools.product(
        TYPES.items(), ("known", "symbolic", "none"), SHAPES, (True, False)
    ):
        arrays = example(rank)
        if not cast and name == "fp16":
            arrays = {key: value.astype(np.float16) for key, value in arrays.items()}
        start = "function" if rank != 4 else "maps"
        save(
            f"{start}-{name}-{known}-{rank}-{'cast' if cast else 'plain'}",
            one_node(kind, rank, known, cast=cast),
            arrays,
        )
    save("function-all-types", all_types(), all_types_example())
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"images": images})[0]
    save("function-shipped", onnx.load(MODEL), {"images": images, "wanted": wanted})
    for name, keep in (("function-shipped-fp16", False), ("function-shipped-fp16-keep", True)):
        kind = np.float32 if keep else np.float16
        save(name, fp16_copy(keep), {"images": images.astype(kind), "wanted": wanted.astype(kind)})
    return folder


def fp16_copy(keep_io_types: bool) -> onnx.ModelProto:
    """The shipped model, converted as its users convert it."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted: onnx.ModelProto = convert_float_to_float16(onnx.load(MODEL), keep_io_types=keep_io_types)
    return converted


def all_types() -> onnx.ModelProto:
    """One graph with a node of each type, each taking the one before: y = reduction(reduction(x0, x1), x1) ..."""
    inputs = [helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, shape) for k, shape in enumerate(SHAPES[2])]
    nodes = []
    last = "x0"
    for name, kind in TYPES.items():
        nodes += [
            helper.make_node("Cast", [last], [f"{name}_a"], to=kind),
            helper.make_node("Cast", ["x1"], [f"{name}_b"], to=kind),
            helper.make_node("Reduction", [f"{name}_a", f"{name}_b"], [f"{name}_r"], domain="rrn", channels=512),
        ]
        last = f"{name}_r"
    nodes.append(helper.make_node("Cast", [last], ["y"], to=TensorProto.FLOAT))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return make_model(nodes, inputs, [output], function=True)


def all_types_example() -> dict[str, np.ndarray]:
    arrays = example(2)
    value = np.repeat(arrays["x0"], 8, axis=1)
    for _ in TYPES:
        value = (value + arrays["x1"]) / 2
    return arrays | {"wanted": value}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    folder = folder_of(request.param)
    if folder is not None and not folder.is_dir():
        pytest.skip(f"scripts/test.sh found no onnxruntime {request.param} for this Python")
    return str(request.param)


def test_operator_and_models(version: str, models: Path) -> None:
    folder = folder_of(version)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, models, LIBRARY],
        env=os.environ | ({"PYTHONPATH": str(folder)} if folder else {}),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    answers = json.loads(run.stdout)
    assert answers.pop("version").startswith(f"{version}.")
    assert len(answers) == len(list(models.glob("*.onnx"))) + len(list(models.glob("function*.onnx")))
    wrong = {}
    for name, answer in answers.items():
        if name.startswith("function-shipped"):
            # The network's values are below 2; fp16 keeps 11 bits, and errors of 20 layers mostly average out.
            good = isinstance(answer, float) and answer <= (4e-3 if "fp16" in name else 1e-5)
        else:
            good = answer == ("tensor(bfloat16)" if "-bf16-" in name and "-plain" in name else 0.0)
        if not good:
            wrong[name] = answer
    assert wrong == {}


def test_program(version: str, photos: Path, tmp_path: Path) -> None:
    folder = folder_of(version) or Path(onnxruntime.__file__).parents[1]
    (library,) = (folder / "onnxruntime" / "capi").glob(f"libonnxruntime.so.{version}*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    shown = subprocess.run([BINARY, "--version"], env=environment, capture_output=True, text=True, check=True)
    assert f"ONNX Runtime {version}." in shown.stdout
    run = subprocess.run([BINARY, photos, "--size", "64"], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "read     5" in run.stdout


def test_oldest_has_no_plugins(photos: Path, tmp_path: Path) -> None:
    folder = folder_of(VERSIONS[0])
    if folder is None or not folder.is_dir():
        pytest.skip(f"scripts/test.sh found no onnxruntime {VERSIONS[0]} for this Python")
    (library,) = (folder / "onnxruntime" / "capi").glob("libonnxruntime.so.1*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    fast = [BINARY, photos, "--size", "64", "--precision", "bf16"]
    run = subprocess.run(fast, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "instead of bf16 (openvino: " in run.stderr
    run = subprocess.run(
        [*fast, "--provider", "openvino"], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 4, run.stdout
    assert run.stderr.count("\n") == 1


def test_fingerprints_tell_releases_apart() -> None:
    program = (
        "import rrn_native; from rrn_native import _load; "
        "info = rrn_native.Embedder()._native.info; "
        "print(_load.native.onnxruntime_version(), info.fingerprint, info.files_fingerprint)"
    )
    fingerprints = {}
    files = set()
    for version in VERSIONS:
        folder = folder_of(version)
        if folder is not None and not folder.is_dir():
            continue
        path = os.pathsep.join(str(part) for part in (folder, ROOT / "python") if part)
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        found, fingerprint, of_files = run.stdout.split()
        assert found.startswith(f"{version}.")
        fingerprints[fingerprint] = version
        files.add(of_files)
    if len(fingerprints) < 2:
        pytest.skip("scripts/test.sh found no other onnxruntime for this Python")
    assert len(files) == 1
    assert sorted(fingerprints.values()) == sorted(v for v in VERSIONS if (folder_of(v) or ROOT).is_dir())
