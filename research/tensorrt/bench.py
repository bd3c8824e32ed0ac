"""Measures the network on a GPU: PyTorch, torch.compile, ONNX Runtime and TensorRT, batches of 1, 8 and 32.

    python -m research.tensorrt.bench                                        # all that is installed
    python -m research.tensorrt.bench --plugin build/tensorrt/librrn_tensorrt.so --output bench.json

All candidates take turns, round by round. "device" is the time between two CUDA events around one batch whose pictures
are on the GPU; "wall" is the CPU's clock from pictures in pageable memory to embeddings there. Float32 is float32: TF32
is off in all of them. Without a GPU it says so, with the command for a machine that has one, and ends with status 0.
The page of findings and the README are made of what research.tensorrt.run writes, which measures this, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from research.common import machine, results, timing
from research.common.places import CACHE
from research.tensorrt import candidates, nvidia
from research.tensorrt.nvidia import MissingError
from research.tensorrt.pictures import Floats, min_cosine, photos

Json = dict[str, Any]

# What makes the result that the pages are made of; this module's own command measures without them.
COMMAND = ".venv/bin/python -m research.tensorrt.run --full --plugin build/tensorrt/librrn_tensorrt.so"
BATCHES = (1, 8, 32)
# What the others' embeddings are compared with.
REFERENCE = ("PyTorch, eager", "fp32")
_LEAST_ROUNDS = 3


class Stopwatch(Protocol):
    """Takes the time of one batch on a device."""

    def device(self, run: Callable[[], object]) -> float:
        """Returns the milliseconds that the device works on what `run` enqueues."""

    def wall(self, run: Callable[[], object]) -> float:
        """Returns the milliseconds until what `run` does is done, by the CPU's clock."""


class CudaStopwatch:
    """With CUDA events."""

    def device(self, run: Callable[[], object]) -> float:
        """See Stopwatch."""
        from torch import cuda

        begin, end = (cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    def wall(self, run: Callable[[], object]) -> float:
        """See Stopwatch."""
        import torch

        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - started)


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: In which every candidate has its turn.
        calls: Of a candidate in a round.
        warmup: Calls before that.
        seconds: After which no further round is begun, but for the first three of a batch size.
        size: Height and width of the pictures.
    """

    rounds: int = 20
    calls: int = 10
    warmup: int = 10
    seconds: float = 300.0
    size: int = 224


def percentiles(milliseconds: Sequence[float]) -> Json:
    """Returns {"p50", "p95", "runs"}, in milliseconds."""
    p50, p95 = np.percentile(np.asarray(milliseconds), (50, 95))
    return {"p50": timing.significant(float(p50)), "p95": timing.significant(float(p95)), "runs": len(milliseconds)}


def measure(made: Mapping[tuple[str, str], Any], effort: Effort, stopwatch: Stopwatch, target: str) -> list[Json]:
    """Measures candidates in turn.

    Args:
        made: Candidates by name and precision; see `candidates.Candidate`.
        effort: How much.
        stopwatch: Takes the times.
        target: PyTorch's name of the device.

    Returns:
        A record for each batch size and candidate.
    """
    import torch

    images, origin = photos(max(BATCHES), effort.size)
    rows = []
    started = time.perf_counter()
    for batch in BATCHES:
        some = torch.from_numpy(images[:batch])
        there = some.to(target)
        taken: dict[tuple[str, str], tuple[list[float], list[float]]] = {key: ([], []) for key in made}
        outputs: dict[tuple[str, str], Floats] = {}
        for key, candidate in made.items():
            for _ in range(max(1, effort.warmup)):
                output = candidate.device(there)
            outputs[key] = output.cpu().numpy()
        for number, key in timing.turns(list(made), effort.rounds):
            if number >= _LEAST_ROUNDS and time.perf_counter() - started > effort.seconds * _share(batch):
                break
            candidate = made[key]
            for _ in range(effort.calls):
                taken[key][0].append(stopwatch.device(functools.partial(candidate.device, there)))
                taken[key][1].append(stopwatch.wall(functools.partial(_whole, candidate, some, target)))
        for key in made:
            rows.append(_row(key, batch, *taken[key]) | _agreement(key, outputs) | {"pictures": origin})
            print(f"batch {batch:2}  {key[0]:20} {key[1]}: {rows[-1]['device_ms']['p50']} ms", file=sys.stderr)
    return rows


def _whole(candidate: Any, images: Any, target: str) -> Any:
    return candidate.device(images.to(target)).cpu()


def _share(batch: int) -> float:
    """The part of the time that may be gone when this batch size ends."""
    return (BATCHES.index(batch) + 1) / len(BATCHES)


def _row(key: tuple[str, str], batch: int, device: Sequence[float], wall: Sequence[float]) -> Json:
    row: Json = {"name": key[0], "precision": key[1], "batch": batch}
    row |= {"device_ms": percentiles(device), "wall_ms": percentiles(wall)}
    return row | {"images_per_s": timing.significant(1000 * batch / row["device_ms"]["p50"])}


def _agreement(key: tuple[str, str], outputs: Mapping[tuple[str, str], Floats]) -> Json:
    reference = outputs.get(REFERENCE)
    return {"min_cosine": None if reference is None else min_cosine(reference, outputs[key])}


def device() -> Json:
    """Returns name, compute capability and memory of the GPU, and the versions that matter.

    Raises:
        MissingError: There is no PyTorch or no GPU.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingError("PyTorch is not installed: pip install torch") from error
    if not torch.cuda.is_available():
        raise MissingError(f"no GPU that PyTorch {torch.__version__} can use")
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "compute_capability": f"{found.major}.{found.minor}",
        "memory_gib": round(found.total_memory / 2**30, 1),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def libraries() -> Json:
    """Returns what is there of TensorRT itself, which TensorRT for RTX is not: its name, or why it is not there."""
    try:
        found = nvidia.find(("tensorrt",))
    except MissingError as error:
        return {"tensorrt": None, "tensorrt_missing": str(error)}
    return {"tensorrt": found.name, "tensorrt_missing": ""}


def bench(effort: Effort, plugin: Path | None = None, engines: Path = CACHE / "tensorrt") -> Json:
    """Measures what this machine has.

    Returns:
        "gpu": null with "reason" and "command", or the device with "rows"; "not_measured" names each candidate that is
        missing with its reason, in both cases.
    """
    found: Json = {"command": COMMAND, **libraries()}
    try:
        gpu = device()
    except MissingError as error:
        return found | {"gpu": None, "reason": str(error), "rows": [], "not_measured": _all_missing(str(error))}
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    setup = candidates.Setup("cuda", BATCHES, effort.size, engines, plugin)
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        made, seconds, missing = prepare(candidates.named(nvidia.product()), setup)
        rows = measure(made, effort, CudaStopwatch(), "cuda") if made else []
    ran = [
        {"name": key[0], "precision": key[1], "prepare_seconds": seconds[key], **each.ran()}
        for key, each in made.items()
    ]
    _, origin = candidates.network_weights()
    reason = "" if rows else "no candidate ran"
    return found | {"gpu": gpu, "reason": reason, "weights": origin, "rows": rows, "ran": ran, "not_measured": missing}


def prepare(
    wanted: Sequence[candidates.Named], setup: candidates.Setup
) -> tuple[dict[tuple[str, str], Any], dict[tuple[str, str], float], list[Json]]:
    """Makes candidates and runs each once for every batch size, which compiles what is compiled.

    Returns:
        Those that run, the seconds that this took, and those that do not: "name", "precision" and "reason".
    """
    import torch

    made: dict[tuple[str, str], Any] = {}
    seconds: dict[tuple[str, str], float] = {}
    missing: list[Json] = []
    for each in wanted:
        key = (each.name, each.precision)
        started = time.perf_counter()
        try:
            candidate = each.make(setup)
            for batch in BATCHES:
                candidate.device(torch.zeros(batch, 3, setup.size, setup.size, device=setup.target)).cpu()
        except MissingError as error:
            missing.append({"name": each.name, "precision": each.precision, "reason": str(error)})
        except Exception as error:  # what runtimes raise has no common base; the reason is part of the result
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            missing.append({"name": each.name, "precision": each.precision, "reason": reason})
        else:
            made[key], seconds[key] = candidate, round(time.perf_counter() - started, 1)
    return made, seconds, missing


def _all_missing(reason: str) -> list[Json]:
    wanted = candidates.named(nvidia.product())
    return [{"name": each.name, "precision": each.precision, "reason": reason} for each in wanted]


def missing_line(value: Json) -> str:
    """Returns one line on what was not measured and how it would be; "" where all was."""
    if value["gpu"] is None:
        library = value["tensorrt_missing"] or f"{value['tensorrt']} is there"
        return f"not measured: {value['reason']}; {library}. On a machine with both: {value['command']}"
    if value["not_measured"]:
        reasons = dict.fromkeys(each["reason"] for each in value["not_measured"])
        return f"not measured: {len(value['not_measured'])} candidates ({'; '.join(reasons)}): {value['command']}"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="research.tensorrt.bench",
        description="Measure the network in PyTorch, ONNX Runtime and TensorRT on this machine's GPU.",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON; without it the result is printed")
    parser.add_argument(
        "--plugin", type=Path, metavar="FILE", help="librrn_tensorrt.so, built by research/tensorrt/plugin"
    )
    parser.add_argument("--engines", type=Path, default=CACHE / "tensorrt", metavar="DIR", help="for files and engines")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=Effort.seconds, metavar="S", help="(default: %(default)s)")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    if arguments.rounds < 1:
        print(f"error: --rounds {arguments.rounds}: expected 1 or more", file=sys.stderr)
        return 1
    if arguments.plugin is not None and not arguments.plugin.is_file():
        print(f"error: --plugin {arguments.plugin}: expected a file; build it as the README says", file=sys.stderr)
        return 1
    effort = Effort(rounds=arguments.rounds, seconds=arguments.seconds)
    try:
        if arguments.output is not None:
            results.check_writable(arguments.output)
        value = machine.head(machine.command_line("research.tensorrt.bench", words))
        value["bench"] = bench(effort, arguments.plugin, arguments.engines)
        if line := missing_line(value["bench"]):
            print(line, file=sys.stderr)
        if arguments.output is None:
            print(results.text(value), end="")
        else:
            results.write(arguments.output, value)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
