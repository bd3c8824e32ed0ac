"""Checks and measures the kernels on a GPU: `scripts/gpu_check.sh`. See README.md beside this file.

Parts run one after another, each in a separate process with a time limit, so that a failure of one does not affect
the others. A part that no longer fits into the budget is skipped, and the result says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from research.common import machine, results
from research.common.places import BARE_PACKAGES, RESULTS, ROOT

Json = dict[str, Any]

BUDGET_SECONDS = 540.0
FAILED = 1
NO_GPU = 3
INCOMPLETE = 4
# In a part's command: how long it may measure. It is given this much less than its limit, to start and to end.
SECONDS = "SECONDS"
MARGIN_SECONDS = 15.0
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
        command: What to run; see `parse_json` for what it prints. A word `SECONDS` in it becomes the seconds that it
            may take for measuring.
        required: Whether "all is well" needs it.
    """

    name: str
    needs: float
    limit: float
    command: Sequence[str]
    required: bool = False


@dataclass(frozen=True)
class Finished:
    """What a command left behind; `status` is None where it ran out of time."""

    status: int | None
    output: str
    errors: str


class Runner(Protocol):
    """Runs a command for at most `limit` seconds."""

    def __call__(self, command: Sequence[str], limit: float) -> Finished:
        """Returns when the command has ended or was stopped."""


def run(command: Sequence[str], limit: float) -> Finished:
    """Runs a command in the repository's root; a missing program is status 127.

    Past the limit the command ends with all that it has started.
    """
    paths = [str(ROOT), str(ROOT / "python"), str(BARE_PACKAGES), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Finished(127, "", str(error))
    status: int | None = None
    try:
        output, errors = process.communicate(timeout=limit)
        status = process.returncode
    except subprocess.TimeoutExpired:
        _end_session(process)
        try:
            output, errors = process.communicate(timeout=10)
        except subprocess.TimeoutExpired as held:  # something that left the session keeps the pipe open
            output, errors = _text(held.stdout), _text(held.stderr)
    except BaseException:  # Ctrl-C reaches this process only, because the command runs in another session
        _end_session(process)
        raise
    return Finished(status, output, errors)


def _text(raw: bytes | str | None) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""


def _end_session(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def parse_json(output: str) -> Json | None:
    """Returns the JSON object that all of `output` is, or else its last line that is one; None without any.

    Lines {"KEY+": value} before it are entries of its list KEY: a part prints each row as soon as it has it, so that
    one that is stopped keeps what it has measured.
    """
    with contextlib.suppress(ValueError):
        value = json.loads(output)
        if isinstance(value, dict) and not any(key.endswith("+") for key in value):
            return value
    result: Json | None = None
    lists: Json = {}
    for line in output.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if not isinstance(value, dict):
            continue
        if len(value) == 1 and next(iter(value)).endswith("+"):
            ((key, entry),) = value.items()
            lists.setdefault(key[:-1], []).append(entry)
        else:
            result = value
    return {**(result or {}), **lists} if result is not None or lists else None


def run_parts(
    parts: Sequence[Part],
    budget: float,
    runner: Runner = run,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Json]:
    """Runs the parts in turn within `budget` seconds.

    Returns:
        For each part its "status": "ok", "failed", "timeout", "skipped" (no time) or "absent" (no such program);
        "required"; "seconds"; "result" (the JSON that it printed) and, unless it is ok, a "note" that says why.
    """
    start = clock()
    measured: dict[str, Json] = {}
    for part in parts:
        left = budget - (clock() - start)
        if left < part.needs:
            note = f"{left:.0f} s left, {part.needs:.0f} s needed"
            measured[part.name] = {"status": "skipped", "required": part.required, "note": note}
            say(f"{part.name}: skipped ({note})")
            continue
        say(f"{part.name} ...")
        begin = clock()
        limit = min(part.limit, left)
        seconds = f"{limit - min(MARGIN_SECONDS, limit / 3):.0f}"
        done = runner([seconds if word == SECONDS else word for word in part.command], limit)
        entry: Json = {"seconds": round(clock() - begin, 1), "result": parse_json(done.output)}
        entry["required"] = part.required
        if done.status == 0 and entry["result"] is not None:
            entry["status"] = "ok"
        elif done.status == 127:
            entry.update(status="absent", note=_tail(done))
        elif done.status is None:
            entry.update(status="timeout", note=f"stopped after {entry['seconds']} s; {_tail(done)}")
        else:
            entry.update(status="failed", note=f"exit status {done.status}; {_tail(done)}")
        measured[part.name] = entry
        say(
            f"{part.name}: {entry['status']} in {entry['seconds']} s"
            + (f" ({entry['note']})" if "note" in entry else "")
        )
    return measured


def _tail(done: Finished) -> str:
    """The last lines of what was printed, without paths of this machine."""
    lines = (done.output + "\n" + done.errors).strip().splitlines()[-12:]
    return " | ".join(line.strip() for line in lines).replace(str(ROOT), ".")[-1500:] or "nothing printed"


def exit_status(measured: dict[str, Json]) -> int:
    """Returns 0 if all is well, 1 if a part failed, otherwise 4 if a required one was skipped or is not there."""
    if any(entry["status"] in ("failed", "timeout") for entry in measured.values()):
        return FAILED
    if any(entry["required"] and entry["status"] != "ok" for entry in measured.values()):
        return INCOMPLETE
    return 0


def device(runner: Runner = run) -> Json | None:
    """Returns what nvidia-smi says of the first GPU, or None on a machine without one."""
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


def sanitizer(compiler: str) -> str:
    """Returns compute-sanitizer of the PATH, or else of the toolkit that the compiler belongs to or the usual place."""
    found = shutil.which("compute-sanitizer")
    beside = (Path(path).parent / "compute-sanitizer" for path in (compiler, str(Path(compiler).resolve())))
    for path in (*beside, Path("/usr/local/cuda/bin/compute-sanitizer")):
        if found is None and path.is_file():
            found = str(path)
    return found or "compute-sanitizer"


def build_parts(compiler: str, architecture: str, folder: Path, torch: bool) -> list[Part]:
    """Returns the parts that configure and build; `architecture` is like "90-real".

    The PyTorch operator is built apart from the kernels, and in another folder, so that a PyTorch that it does not
    fit costs nothing else.
    """

    def part(name: str, build: Path, targets: Sequence[str], with_torch: str, required: bool) -> Part:
        configure = [
            *("cmake", "-S", str(ROOT), "-B", str(build), *(["-G", "Ninja"] if shutil.which("ninja") else [])),
            *("-D", "CMAKE_BUILD_TYPE=Release", "-D", "RRN_WITH_ENGINE=OFF", "-D", "RRN_BUILD_TESTS=OFF"),
            # Another compiler's new warnings are no reason to measure nothing.
            *("-D", "RRN_WITH_WERROR=OFF", "-D", "RRN_WITH_CUDA=ON", "-D", f"CMAKE_CUDA_COMPILER={compiler}"),
            *("-D", f"CMAKE_CUDA_ARCHITECTURES={architecture}", "-D", f"RRN_LIB_DIR={build / 'lib'}"),
            *("-D", f"RRN_WITH_TORCH={with_torch}", "-D", f"Python_EXECUTABLE={sys.executable}"),
        ]
        script = (
            "folder=$1; targets=$2; shift 2; "
            'log=$({ "$@" && cmake --build "$folder" --parallel --target $targets; } 2>&1) && echo "{}" && exit; '
            'printf "%s\\n" "$log" >&2; exit 1'
        )
        command = ["bash", "-c", script, "bash", str(build), " ".join(targets), *configure]
        return Part(name, 0 if required else 60, 400, command, required)

    parts = [part("build", folder, ["reduction_check"], "OFF", True)]
    if torch:
        parts.append(part("torch_build", folder / "torch", ["rrn_torch_op"], "ON", False))
    return parts


def gpu_parts(compiler: str, folder: Path, torch: bool, onnxruntime: bool) -> list[Part]:
    """Returns what needs the GPU, the most important first: whether results are right, then how fast they come.

    Args:
        compiler: nvcc, beside which compute-sanitizer may be.
        folder: Where `build_parts` built.
        torch: Whether the PyTorch operator was built.
        onnxruntime: Whether ONNX Runtime is there, too.
    """
    program = str(folder / "research" / "gpu" / "reduction_check")
    checker = sanitizer(compiler)
    library = f"RRN_TORCH_OP_LIBRARY={folder / 'torch' / 'lib' / 'libreduction_torch.so'}"
    in_torch = ["env", library, sys.executable, "-m", "research.gpu.torch_parts"]
    parts = [Part("table", 5, 90, [program, "table"], True)]
    if torch:
        parts.append(Part("torch_table", 15, 90, [*in_torch, "table"], True))
    parts += [
        Part(tool, 10, 75, [checker, "--tool", tool, "--error-exitcode", "9", program, "table", "--small"], True)
        for tool in SANITIZERS
    ]
    parts.append(Part("bench", 25, 90, [program, "bench", SECONDS]))
    if torch:
        parts.append(Part("torch_bench", 30, 90, [*in_torch, "bench", SECONDS]))
        parts.append(Part("network", 30, 100, [*in_torch, "network", SECONDS]))
    if onnxruntime:
        parts.append(Part("onnxruntime", 20, 60, [*in_torch, "onnxruntime", SECONDS]))
    if torch:
        study = ["env", library, sys.executable, "-m", "research.tensorrt.bench", "--seconds", SECONDS]
        parts.append(Part("tensorrt", 40, 110, study))
    return parts


def head(gpu: Json, compiler: str, command: str, runner: Runner = run) -> Json:
    """Returns what the result begins with: command, the device before and now, nvcc's version, host and commit.

    Without a repository the commit is null, and "commit_note" says why.
    """
    version = re.search(r"release ([\d.]+)", runner([compiler, "--version"], 30).output)
    result: Json = {"command": command, "device": gpu, "device_after": device(runner)}
    result |= {"nvcc": version[1] if version else None, "machine": machine.machine()}
    result["commit"] = machine.commit() or None
    if result["commit"] is None:
        result["commit_note"] = "unknown: this is no git checkout, or there is no git"
    return result


def _importable(module: str, runner: Runner = run) -> bool:
    return runner([sys.executable, "-c", f"import {module}"], 60).status == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status that README.md lists."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description="Checks and measures the kernels on a GPU.")
    parser.add_argument("--build-only", action="store_true", help="build what can be built here, then stop")
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="seconds for everything (default: 540)")
    parser.add_argument("--output", type=Path, help="folder of the result (default: $OUT, or findings/results/gpu)")
    options = parser.parse_args(arguments)
    command = machine.command_line("scripts/gpu_check.sh", sys.argv[1:] if arguments is None else arguments)
    start = time.monotonic()
    compiler = nvcc()
    if compiler is None:
        print("gpu_check: no nvcc; install the CUDA toolkit, or set CUDACXX to it", file=sys.stderr)
        return 1
    gpu = device()
    torch = _importable("torch")
    architecture = f"{gpu['compute_cap'].replace('.', '')}-real" if gpu else "90-real"
    folder = ROOT / "build-gpu"
    measured = run_parts(build_parts(compiler, architecture, folder, torch), options.budget)
    status = exit_status(measured)
    if options.build_only:
        return status
    if gpu is None:
        print("gpu_check: no GPU on this machine; nothing was measured", file=sys.stderr)
        return status or NO_GPU
    if measured["build"]["status"] == "ok":
        with_torch = measured.get("torch_build", {}).get("status") == "ok"
        left = options.budget - (time.monotonic() - start)
        parts = gpu_parts(compiler, folder, with_torch, with_torch and _importable("onnxruntime"))
        measured.update(run_parts(parts, left))
    default = Path(os.environ["OUT"]) if os.environ.get("OUT") else RESULTS / "gpu"
    path = (options.output or default) / file_name(gpu["name"])
    results.write(path, {**head(gpu, compiler, command), "parts": measured})
    print(f"gpu_check: wrote {path}", file=sys.stderr)
    status = exit_status(measured)
    if status == INCOMPLETE:
        missing = [name for name, entry in measured.items() if entry["required"] and entry["status"] != "ok"]
        print(f"gpu_check: nothing failed, but not all was checked: no {', '.join(missing)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
