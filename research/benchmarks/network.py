"""Times the network by provider, precision, input size, batch and threads, and compares results with fp32's.

Runs are interleaved, so that a disturbance of the machine hits all settings alike. See network.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import rrn_native
import torch
from rrn_native.analysis import labels
from rrn_native.session import cpu_session, session_options

from research.common import machine, results, timing

MODULE = "python -m research.benchmarks.network"
CHOICES = ("cpu/fp32", "cpu/int8", "openvino/fp32", "openvino/fp16", "openvino/bf16", "openvino/int8")
PRECISION_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
GEMM_SIDE = 2048
THRESHOLD = 0.75

Floats = npt.NDArray[np.floating[Any]]
Json = dict[str, Any]


def model_file(model: Path, precision: str) -> Path:
    """Returns the file that the engine runs in this precision."""
    return model.with_suffix(".int8.onnx") if precision == "int8" else model


def open_session(model: Path, provider: str, precision: str, threads: int) -> onnxruntime.InferenceSession:
    """Opens a session with the engine's settings (session.cc, openvino.cc); check_session proves that they are equal.

    Raises:
        LookupError: The provider is not installed, or there is no such model file.
    """
    file = model_file(model, precision)
    if not file.is_file():
        raise LookupError(f"{file.name} is missing")
    if provider == "cpu":
        return cpu_session(str(file), rrn_native.custom_op_library())
    options = session_options(rrn_native.custom_op_library())
    config = {
        "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": str(threads),
        "ENABLE_CPU_PINNING": "NO",
    }
    options.add_provider_for_devices([_openvino()], {"load_config": json.dumps({"CPU": config})})
    return onnxruntime.InferenceSession(str(file), options)


def _openvino() -> Any:
    """The plugin's CPU device."""

    def found() -> list[Any]:
        devices = onnxruntime.get_ep_devices()
        return [d for d in devices if d.ep_name == "OpenVINOExecutionProvider" and d.ep_metadata["ov_device"] == "CPU"]

    if not hasattr(onnxruntime, "get_ep_devices"):
        raise LookupError("this ONNX Runtime knows no plugins")
    if not found():
        try:
            import onnxruntime_ep_openvino
        except ImportError as error:
            raise LookupError("onnxruntime-ep-openvino is not installed") from error
        onnxruntime.register_execution_provider_library("openvino", onnxruntime_ep_openvino.get_library_path())
    return found()[0]


def check_session(session: onnxruntime.InferenceSession, model: Path, provider: str, precision: str) -> bool:
    """Does the session give the engine's embedding of a random picture, bit for bit?"""
    pixels = np.random.default_rng(5).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    embedder = rrn_native.Embedder(model, 224, 1, provider, precision=precision)  # type: ignore[arg-type]
    (row,) = session.run(None, {session.get_inputs()[0].name: embedder.preprocess(pixels)[None]})
    return bool(np.array_equal(row, embedder.embed([pixels])))


def multiply_adds(model: Path, size: int) -> int:
    """Returns the multiplications of all convolutions for one picture of size x size."""
    proto = onnx.load(model)
    shape = proto.graph.input[0].type.tensor_type.shape
    for dimension, value in zip(shape.dim, (1, 3, size, size), strict=True):
        dimension.dim_value = value
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    # Large weights are stored as float16 behind a Cast, whose output has a shape of its own.
    weights = shapes | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(weights[node.input[1]][1:]))
    return total


def on_threads(work: Callable[[], object], threads: int, runs: int) -> float:
    """Runs `work` `runs` times on each of `threads` threads at once; returns the seconds until all are done."""
    barrier = threading.Barrier(threads + 1)

    def loop() -> None:
        barrier.wait()
        for _ in range(runs):
            work()
        barrier.wait()

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    begin = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - begin
    for worker in workers:
        worker.join()
    return seconds


@dataclass
class Case:
    """One thing to time: `work` on `threads` threads, `runs` times a round; `units` is what one call is worth."""

    about: Json
    work: Callable[[], object]
    threads: int
    units: float
    runs: int = 1

    def seconds(self) -> float:
        """Returns the seconds that one unit took."""
        return on_threads(self.work, self.threads, self.runs) / (self.units * self.runs * self.threads)


def network_cases(model: Path, arguments: argparse.Namespace) -> tuple[list[Case], list[str]]:
    """Returns the cases and why others are missing."""
    cases, missing = [], []
    random_values = np.random.default_rng(1)
    inputs = {
        (size, batch): random_values.normal(size=(batch, 3, size, size)).astype(np.float32)
        for size in arguments.sizes
        for batch in arguments.batches
    }
    for choice in arguments.choices:
        provider, precision = choice.split("/")
        for threads in arguments.threads:
            try:
                session = open_session(model, provider, precision, threads)
            except LookupError as error:
                missing.append(f"{choice}: {error}")
                break
            same = check_session(session, model, provider, precision)
            name = session.get_inputs()[0].name
            for (size, batch), values in inputs.items():
                about = {"provider": provider, "precision": precision, "threads": threads, "size": size}
                about |= {"batch": batch, "same_bits_as_engine": same}

                def work(session: Any = session, feed: Json = {name: values}) -> None:  # noqa: B006
                    session.run(None, feed)

                cases.append(Case(about, work, threads, batch))
    return cases, missing


def peak_cases(threads: Sequence[int]) -> list[Case]:
    """Square matrix products, which come close to what the cores can do; a unit is a multiply-add."""

    def product(a: torch.Tensor, b: torch.Tensor) -> None:
        # The number is each thread's own.
        torch.set_num_threads(1)
        torch.matmul(a, b)

    cases = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(GEMM_SIDE, GEMM_SIDE, generator=torch.manual_seed(i)).to(dtype) for i in (1, 2))
        for count in threads:
            about = {"matmul": precision, "threads": count}
            cases.append(Case(about, partial(product, a, b), count, float(GEMM_SIDE**3)))
    return cases


def time_cases(cases: Sequence[Case], rounds: int, least: float) -> list[list[float]]:
    """Returns the seconds a unit of every case, one for each round; all cases take turns.

    Args:
        cases: What to time.
        rounds: How often.
        least: A run repeats its work until it takes about as many seconds.
    """
    for case in cases:
        case.seconds()
        once = on_threads(case.work, case.threads, 1)
        case.runs = max(1, round(least / once))
    return list(timing.collect({index: case.seconds for index, case in enumerate(cases)}, rounds).values())


def summary(seconds: Sequence[float], scale: float) -> Json:
    """Median, quartiles and least of the values, each times `scale`."""
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
    named = {"median": statistics.median(seconds), "low": low, "high": high, "least": min(seconds)}
    return {name: round(value * scale, 4) for name, value in named.items()}


def compare_results(model: Path, folder: Path, choices: Sequence[str]) -> list[Json]:
    """Compares the cosines of all pairs of labelled photos (folder/groups.csv: file, group) with cpu/fp32's."""
    pairs = labels.read_groups(folder / "groups.csv")
    exact: Floats | None = None
    rows = []
    for choice in dict.fromkeys(("cpu/fp32", *choices)):
        provider, precision = choice.split("/")
        try:
            embedder = rrn_native.Embedder(model, 224, None, provider, precision=precision)  # type: ignore[arg-type]
        except (rrn_native.RrnError, FileNotFoundError):
            continue
        unit = embedder.embed(pairs.files).astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[pairs.first, pairs.second]
        exact = cosines if exact is None else exact
        similar = cosines > THRESHOLD
        difference = np.abs(cosines - exact)
        rows.append(
            {
                "provider": provider,
                "precision": precision,
                "pairs": len(cosines),
                "mean_difference": float(difference.mean()),
                "max_difference": float(difference.max()),
                "f1": float(2 * (similar & pairs.same).sum() / (similar.sum() + pairs.same.sum())),
                "changed_sides": int((similar != (exact > THRESHOLD)).sum()),
            }
        )
    return rows


def measure(quick: bool) -> Json:
    """Measures with the default settings, for `scripts/bench.sh`.

    Args:
        quick: One small setting, once.

    Returns:
        {"rows": [...], "peak": [...], "missing": [...]}: milliseconds for an image, quartiles, and the share of the
        peak that a matrix product of the same precision reaches in the same rounds.
    """
    options = ["--sizes", "64", "--batches", "1", "--threads", "1", "--rounds", "1", "--least", "0.01"] if quick else []
    arguments = _parser().parse_args(["-", *options])
    arguments.command = ""
    result = measure_all(arguments)
    rows = []
    for row in result["network"]:
        times = row["ms_per_image"]
        kept = {key: row[key] for key in ("provider", "precision", "size", "batch", "threads")}
        spread = {"median_ms": times["median"], "low_ms": times["low"], "high_ms": times["high"]}
        checks = {key: row[key] for key in ("share_of_peak", "same_bits_as_engine")}
        rows.append(kept | spread | checks)
    return {"model": result["model"], "rows": rows, "peak": result["peak"], "missing": result["missing"]}


def measure_all(arguments: argparse.Namespace) -> Json:
    """Measures everything; returns what is written."""
    model: Path = arguments.model or Path(rrn_native.default_model())
    made_on = machine.head(arguments.command)
    peaks = peak_cases(arguments.threads)
    cases, missing = network_cases(model, arguments)
    times = time_cases([*peaks, *cases], arguments.rounds, arguments.least)
    speed: dict[tuple[str, int], float] = {}
    peak_rows = []
    for case, seconds in zip(peaks, times, strict=False):
        gflops = 2e-9 / min(seconds)
        speed[case.about["matmul"], case.threads] = gflops
        peak_rows.append(case.about | {"gflops": round(gflops, 1)})
    work = {size: multiply_adds(model, size) for size in arguments.sizes}
    rows = []
    for case, seconds in zip(cases, times[len(peaks) :], strict=True):
        about = case.about
        row = about | {"ms_per_image": summary(seconds, 1e3)}
        row["gflops"] = round(2e-9 * work[about["size"]] / statistics.median(seconds), 1)
        peak = speed.get(("bf16" if about["precision"] == "fp16" else about["precision"], case.threads))
        # There is no int8 product to compare with in torch on every CPU.
        row["share_of_peak"] = round(row["gflops"] / peak, 3) if peak else None
        rows.append(row)
    return {
        "model": model.name,
        **made_on,
        "load_average_after": [round(value, 2) for value in os.getloadavg()],
        "rounds": arguments.rounds,
        "multiply_adds": {str(size): count for size, count in work.items()},
        "peak": peak_rows,
        "network": rows,
        "missing": missing,
        "results": compare_results(model, arguments.photos, arguments.choices) if arguments.photos else [],
    }


def to_text(result: Json) -> str:
    """The table for people."""
    lines = [
        f"{'provider/precision':20} {'size':>5} {'batch':>5} {'threads':>7} {'ms/image':>9}  quartiles      of peak"
    ]
    for row in result["network"]:
        times, share = row["ms_per_image"], row["share_of_peak"]
        name = f"{row['provider']}/{row['precision']}"
        lines.append(
            f"{name:20} {row['size']:5} {row['batch']:5} {row['threads']:7} {times['median']:9.2f}  "
            f"{times['low']:.2f} ... {times['high']:.2f}  {'-' if share is None else f'{share:.0%}'}"
            + ("" if row["same_bits_as_engine"] else "  NOT THE ENGINE'S BITS")
        )
    for row in result["peak"]:
        lines.append(f"peak {row['matmul']}, {row['threads']} threads: {row['gflops']} GFLOP/s")
    for row in result["results"]:
        lines.append(
            f"{row['provider']}/{row['precision']}: cosines differ from cpu/fp32 by {row['mean_difference']:.1e} on "
            f"average, {row['max_difference']:.1e} at most; F1 {row['f1']:.4f}; "
            f"{row['changed_sides']} of {row['pairs']} pairs change sides"
        )
    return "\n".join([*lines, *(f"missing: {line}" for line in result["missing"])])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__)
    parser.add_argument("output", type=Path, metavar="RESULT.json", help="where the numbers go")
    parser.add_argument("--model", type=Path, help="ONNX file; its int8 form is MODEL.int8.onnx (default: rrn's)")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES), help="provider/precision")
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 416])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each setting")
    parser.add_argument("--least", type=float, default=0.3, help="seconds that a run takes at least")
    parser.add_argument(
        "--photos", type=Path, help="also compare results on these photos (DIR/groups.csv: file, group)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    arguments.command = machine.command_line(MODULE, sys.argv[1:] if argv is None else argv)
    warnings.simplefilter("error", RuntimeWarning)  # a fallback would time the wrong thing
    result = measure_all(arguments)
    results.write(arguments.output, result)
    print(to_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
