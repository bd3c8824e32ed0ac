"""One picture through every runtime: how far its embedding is from the engine's, and how long it takes.

A runtime takes the path of a picture's file and returns its embedding, so that all of them do the same work: reading,
decoding, resizing and the network. PyTorch, TorchScript and ONNX Runtime get their input from the engine's own
preprocessing, because they have none.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import rrn_native
from rrn_native import _onnx
from rrn_native.model import validate, weights
from rrn_native.model.network import PlainOperations, ReductionResNet18

Floats = npt.NDArray[np.float32]
# The embedding of a picture: a path to [dim].
Runtime = Callable[[Path], Floats]
REFERENCE = "engine, Python"
# In seconds.
_PAUSE = 0.25


@dataclasses.dataclass(frozen=True)
class Result:
    """What one runtime gave.

    Attributes:
        runtime: Its name.
        max_abs: The largest difference of a number of the embedding from the engine's; None where it could not run.
        cosine: The cosine of the two embeddings; likewise.
        median_ms: From the file to the embedding, in milliseconds; likewise.
        low_ms: The shortest.
        high_ms: The longest.
        note: Why it could not run, or what else counts in its time.
    """

    runtime: str
    max_abs: float | None = None
    cosine: float | None = None
    median_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    note: str = ""


def traced(model: Path, size: int) -> torch.jit.ScriptModule:
    """Returns the network of an ONNX file that `rrn export` wrote as TorchScript, which needs no library of rrn's.

    Args:
        model: The file.
        size: The side of the input, in pixels.

    Returns:
        float32 [N, 3, size, size] to [N, dim].

    Raises:
        FileNotFoundError: No such file.
        rrn_native.model.weights.WeightsError: Its weights are not those of a ReductionResNet-18.
        ValueError: The result computes something else for another batch.
    """
    plain = PlainOperations(ReductionResNet18.from_state_dict(weights.state_dict_from_onnx(model)).eval()).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        # The checks of shapes become constants, as they should; and torch.jit is deprecated, but what servers read.
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        module: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            plain, torch.zeros((2, 3, size, size))
        )
        images = torch.randn((3, 3, size, size), generator=torch.Generator().manual_seed(0))
        if not torch.equal(module(images), plain(images)):
            raise ValueError(f"{model}: the traced network computes something else for another batch")
    return module


def local(model: Path, size: int | None = None) -> dict[str, Runtime | str]:
    """Returns the runtimes of this process and the program, or why one of them is missing.

    Args:
        model: A file that `rrn export` wrote.
        size: The input size; None for the model's own.

    Raises:
        ValueError, OSError, rrn_native.RrnError: The model cannot be used.
    """
    embedder = rrn_native.Embedder(model, size, provider="cpu", precision="fp32")
    proto = _onnx.load(model)
    network = ReductionResNet18.from_state_dict(weights.load_weights(str(model)).state_dict).eval()
    network = validate.rounded_as_stored(network, proto)
    module = traced(model, embedder.size)

    def of(run: validate.Run) -> Runtime:
        return lambda path: run([], embedder.preprocess(path)[None])[0]

    found: dict[str, Runtime | str] = {
        REFERENCE: lambda path: embedder.embed([path])[0],
        "PyTorch": of(validate.in_torch(network)),
        "TorchScript": of(validate.in_torch(module)),
    }
    for name, library in (("with libreduction_op.so", rrn_native.custom_op_library()), ("without it", None)):
        found[f"ONNX Runtime, {name}"] = of(validate.in_onnx_runtime(model, library))
    found["OpenVINO"] = _openvino(model, size)
    found["engine, C++ program"] = _program(model, size)
    return found


def _openvino(model: Path, size: int | None) -> Runtime | str:
    try:
        embedder = rrn_native.Embedder(model, size, provider="openvino", precision="fp32")
    except rrn_native.RrnError as error:
        return str(error)
    return lambda path: embedder.embed([path])[0]


def _program(model: Path, size: int | None) -> Runtime | str:
    program = Path(rrn_native.custom_op_library()).resolve().parents[1] / "build" / "similarity"
    if not program.is_file():
        return "the program is not built here"

    def run(path: Path) -> Floats:
        with tempfile.TemporaryDirectory() as folder:
            output, listed = Path(folder, "rows.npy"), Path(folder, "list")
            listed.write_bytes(os.fsencode(path.absolute()) + b"\n")
            words = ["--model", model, "--size", size or 0, "--provider", "cpu", "--precision", "fp32"]
            command = [program, *words, "--quiet", "--embeddings", output, "--list", listed]
            subprocess.run([str(word) for word in command], check=True, capture_output=True)
            row: Floats = np.load(output)[0]
        return row

    return run


def compare(runtimes: Mapping[str, Runtime | str], photo: Path, rounds: int = 15) -> list[Result]:
    """Runs all of them on one picture, in turn.

    Args:
        runtimes: As :func:`local` returns them, with others added; :data:`REFERENCE` among them.
        photo: The picture's file.
        rounds: How often each is timed, after one that is not.

    Returns:
        A result for each runtime, in their order.

    Raises:
        KeyError: The reference is missing.
    """
    reference = runtimes[REFERENCE]
    if isinstance(reference, str):
        raise KeyError(reference)
    expected = reference(photo).astype(np.float64)
    able = {name: run for name, run in runtimes.items() if not isinstance(run, str)}
    rows = {name: run(photo).astype(np.float64) for name, run in able.items()}
    times: dict[str, list[float]] = {name: [] for name in able}
    names = list(able)
    for number in range(rounds):
        # Every round starts with another one, so that a change of the machine's load affects all of them alike.
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            # The threads of the one before go on waiting in a loop for a while, and would take this one's cores.
            time.sleep(_PAUSE)
            begin = time.perf_counter()
            able[name](photo)
            times[name].append((time.perf_counter() - begin) * 1e3)
    results = []
    for name, run in runtimes.items():
        if isinstance(run, str):
            results.append(Result(name, note=run))
            continue
        row = rows[name]
        cosine = float(row @ expected / np.linalg.norm(row) / np.linalg.norm(expected))
        taken = times[name]
        spread = (statistics.median(taken), min(taken), max(taken))
        note = "with the start of the process and of the model" if "program" in name else ""
        results.append(Result(name, float(np.abs(row - expected).max()), cosine, *spread, note))
    return results


def table(results: list[Result]) -> str:
    """Lays the results out as text."""
    width = max(len(each.runtime) for each in results)
    lines = [f"{'runtime':<{width}}  max abs difference    cosine  median ms  (lowest, highest)"]
    for each in results:
        if each.max_abs is None:
            lines.append(f"{each.runtime:<{width}}  not run: {each.note}")
            continue
        spread = f"({each.low_ms:.1f}, {each.high_ms:.1f})"
        numbers = f"{each.max_abs:>18.1e}  {each.cosine:.6f}  {each.median_ms:>9.1f}  {spread}"
        lines.append(f"{each.runtime:<{width}}  {numbers}{'  ' if each.note else ''}{each.note}")
    return "\n".join(lines)
