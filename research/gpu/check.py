"""Checks and measures the kernels on a GPU: `scripts/gpu_check.sh`. See README.md beside this file.

Parts run one after another, each in a process of its own with a time limit, so that what one of them breaks costs no
other. A part that no longer fits into the budget is skipped, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
BUDGET_SECONDS = 540.0
NO_GPU = 3
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
# What nvidia-smi is asked for.
_QUERY = (
    "name",
    "driver_version",
    "compute_cap",
    "memory.total",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "power.limit",
)


@dataclass(frozen=True)
class Part:
    """One step of the check.

    Attributes:
        name: Its key in the result.
        needs: Seconds that must be left for it to be begun.
        limit: Seconds after which it is stopped.
        command: What to run. Its last line of standard output that is a JSON object, or all of it, is the result.
    """

    name: str
    needs: float
    limit: float
    command: Sequence[str]


@dataclass(frozen=True)
class Finished:
    """What a command left behind; `status` is None where it ran out of time."""

    status: int | None
    output: str
    errors: str


class Runner(Protocol):
    """Runs a command for at most so many seconds."""

    def __call__(self, command: Sequence[str], limit: float) -> Finished:
        """Returns when the command has ended or was stopped."""


def run(command: Sequence[str], limit: float) -> Finished:
    """Runs a command in the repository's root; a missing program is status 127."""
    paths = [str(ROOT), str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as stopped:
        return Finished(None, _text(stopped.stdout), _text(stopped.stderr))
    except OSError as error:
        return Finished(127, "", str(error))
    return Finished(done.returncode, done.stdout, done.stderr)


def _text(raw: bytes | str | None) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""


def parse_json(output: str) -> Json | None:
    """Returns the JSON object that all of `output` is, or else its last line that is one; None without any."""
    for candidate in (output, *reversed(output.splitlines())):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return None


def run_parts(
    parts: Sequence[Part],
    budget: float,
    runner: Runner = run,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Json]:
    """Runs the parts in turn within `budget` seconds.

    Returns:
        For each part its "status": "ok", "failed", "timeout" or "skipped"; "seconds"; "result" (the JSON that it
        printed) and, unless it is ok, a "note" that says why.
    """
    start = clock()
    results: dict[str, Json] = {}
    for part in parts:
        left = budget - (clock() - start)
        if left < part.needs:
            note = f"{left:.0f} s left, {part.needs:.0f} s needed"
            results[part.name] = {"status": "skipped", "note": note}
            say(f"{part.name}: skipped ({note})")
            continue
        say(f"{part.name} ...")
        begin = clock()
        done = runner(part.command, min(part.limit, left))
        entry: Json = {"seconds": round(clock() - begin, 1), "result": parse_json(done.output)}
        if done.status == 0 and entry["result"] is not None:
            entry["status"] = "ok"
        elif done.status is None:
            entry.update(status="timeout", note=f"stopped after {entry['seconds']} s; {_tail(done)}")
        else:
            entry.update(status="failed", note=f"exit status {done.status}; {_tail(done)}")
        results[part.name] = entry
        say(
            f"{part.name}: {entry['status']} in {entry['seconds']} s"
            + (f" ({entry['note']})" if "note" in entry else "")
        )
    return results


def _tail(done: Finished) -> str:
    """The last lines of what was printed, without paths of this machine."""
    lines = (done.output + "\n" + done.errors).strip().splitlines()[-12:]
    return " | ".join(line.strip() for line in lines).replace(str(ROOT), ".")[-1500:] or "nothing printed"


def write_json(path: Path, value: Json) -> None:
    """Writes the file under a temporary name and renames it, so that no half of one is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def exit_status(results: dict[str, Json]) -> int:
    """Returns 0 if no part failed (skipped ones are noted, not failures), otherwise 1."""
    return int(any(entry["status"] in ("failed", "timeout") for entry in results.values()))


def device(runner: Runner = run) -> Json | None:
    """Returns what nvidia-smi says of the first GPU, or None where there is none."""
    done = runner(["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"], 30)
    if done.status != 0 or not done.output.strip():
        return None
    values = [value.strip() for value in done.output.strip().splitlines()[0].split(",")]
    return dict(zip(_QUERY, values, strict=False)) if len(values) >= 3 else None


def file_name(name: str) -> str:
    """Returns a file's name for a device: "NVIDIA H100 80GB HBM3" -> "nvidia-h100-80gb-hbm3.json"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json"


def nvcc() -> str | None:
    """Returns the compiler of CUDACXX, the PATH or the usual place."""
    named = os.environ.get("CUDACXX")
    usual = Path("/usr/local/cuda/bin/nvcc")
    return named or shutil.which("nvcc") or (str(usual) if usual.is_file() else None)


def build_part(compiler: str, architecture: str, folder: Path, torch: bool) -> Part:
    """Returns the part that configures and builds; `architecture` is like "90-real"."""
    configure = [
        *("cmake", "-S", str(ROOT), "-B", str(folder), *(["-G", "Ninja"] if shutil.which("ninja") else [])),
        *("-D", "CMAKE_BUILD_TYPE=Release", "-D", "RRN_WITH_ENGINE=OFF", "-D", "RRN_BUILD_TESTS=OFF"),
        *("-D", "RRN_WITH_CUDA=ON", "-D", f"CMAKE_CUDA_COMPILER={compiler}"),
        *("-D", f"CMAKE_CUDA_ARCHITECTURES={architecture}", "-D", f"RRN_LIB_DIR={folder / 'lib'}"),
        *("-D", f"RRN_WITH_TORCH={'ON' if torch else 'OFF'}", "-D", f"Python_EXECUTABLE={sys.executable}"),
    ]
    script = (
        'folder=$1; shift; log=$({ "$@" && cmake --build "$folder" --parallel; } 2>&1) && echo "{}" && exit; '
        'printf "%s\\n" "$log" >&2; exit 1'
    )
    return Part("build", 0, 400, ["bash", "-c", script, "bash", str(folder), *configure])


def gpu_parts(folder: Path, torch: bool, onnxruntime: bool) -> list[Part]:
    """Returns what needs the GPU, the most important first."""
    program = str(folder / "research" / "gpu" / "reduction_check")
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    library = f"RRN_TORCH_OP_LIBRARY={folder / 'lib' / 'libreduction_torch.so'}"
    parts = [Part("table", 5, 90, [program, "table"])]
    in_torch = ["env", library, sys.executable, "-m", "research.gpu.torch_parts"]
    if torch:
        parts.append(Part("torch_table", 15, 90, [*in_torch, "table"]))
    parts.append(
        Part(
            "memcheck", 10, 90, [sanitizer, "--tool", "memcheck", "--error-exitcode", "9", program, "table", "--small"]
        )
    )
    parts.append(Part("bench", 25, 110, [program, "bench", "75"]))
    if torch:
        parts.append(Part("torch_bench", 30, 90, [*in_torch, "bench", "70"]))
        parts.append(Part("network", 30, 120, [*in_torch, "network", "90"]))
    parts += [
        Part(tool, 10, 60, [sanitizer, "--tool", tool, "--error-exitcode", "9", program, "table", "--small"])
        for tool in SANITIZERS[1:]
    ]
    if onnxruntime:
        parts.append(Part("onnxruntime", 20, 60, [*in_torch, "onnxruntime", "40"]))
    return parts


def _importable(module: str, runner: Runner = run) -> bool:
    return runner([sys.executable, "-c", f"import {module}"], 60).status == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status that README.md lists."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description="Checks and measures the kernels on a GPU.")
    parser.add_argument("--build-only", action="store_true", help="build what can be built here, then stop")
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="seconds for everything (default: 540)")
    parser.add_argument("--output", type=Path, help="folder of the result (default: $OUT, or findings/results/gpu)")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    compiler = nvcc()
    if compiler is None:
        print("gpu_check: no nvcc; install the CUDA toolkit, or set CUDACXX to it", file=sys.stderr)
        return 1
    gpu = device()
    torch = _importable("torch")
    architecture = f"{gpu['compute_cap'].replace('.', '')}-real" if gpu else "90-real"
    folder = ROOT / "build-gpu"
    results = run_parts([build_part(compiler, architecture, folder, torch)], options.budget)
    status = exit_status(results)
    if options.build_only:
        return status
    if gpu is None:
        print("gpu_check: no GPU on this machine; nothing was measured", file=sys.stderr)
        return NO_GPU if status == 0 else 1
    onnxruntime = torch and _importable("onnxruntime")
    if status == 0:
        left = options.budget - (time.monotonic() - start)
        results.update(run_parts(gpu_parts(folder, torch, onnxruntime), left))
    default = Path(os.environ["OUT"]) if os.environ.get("OUT") else ROOT / "findings" / "results" / "gpu"
    path = (options.output or default) / file_name(gpu["name"])
    version = re.search(r"release ([\d.]+)", run([compiler, "--version"], 30).output)
    commit = run(["git", "describe", "--always", "--dirty"], 30).output.strip()
    head = {"device": gpu, "device_after": device(), "nvcc": version[1] if version else "", "commit": commit}
    write_json(path, {**head, "parts": results})
    print(f"gpu_check: wrote {path}", file=sys.stderr)
    return exit_status(results)


if __name__ == "__main__":
    sys.exit(main())
