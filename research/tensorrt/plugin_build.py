"""Compiles the plugin where TensorRT's headers are, tests it in host memory, and builds the library with nvcc.

python -m research.tensorrt.plugin_build --headers /usr/include/x86_64-linux-gnu --output build/tensorrt
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.common.places import ROOT
from research.tensorrt import nvidia
from research.tensorrt.nvidia import BuildError, MissingError

Json = dict[str, Any]

SOURCES = ROOT / "research" / "tensorrt" / "plugin"
KERNELS = ROOT / "inference" / "src" / "reduction"
VARIABLE = "TENSORRT_INCLUDE"
LIBRARY = "librrn_tensorrt.so"
# A header of TensorRT 10 and newer, and where packages put it.
_HEADER = "NvInferRuntime.h"
_USUAL = (
    "/usr/include",
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/local/tensorrt/include",
)
_WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wold-style-cast", "-Werror")


def headers() -> Path:
    """Returns the folder of TensorRT's headers: that of TENSORRT_INCLUDE, or a usual one.

    Raises:
        MissingError: They are not there.
    """
    named = os.environ.get(VARIABLE)
    for folder in map(Path, [named] if named else _USUAL):
        if (folder / _HEADER).is_file():
            return folder
    raise MissingError(
        f"no {_HEADER} in {named or ', '.join(_USUAL)}: set {VARIABLE} to the folder of TensorRT's headers "
        "(its archive or its Debian packages have them, the Python packages do not)"
    )


def release(folder: Path) -> str:
    """Returns the release of the headers, as "10.7.0"; "unknown" where their form is new.

    Args:
        folder: Has NvInferVersion.h, which names numbers, or other macros that do.
    """
    try:
        text = (folder / "NvInferVersion.h").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    macros = dict(re.findall(r"^\s*#define\s+(\w+)\s+(\w+)", text, re.MULTILINE))
    parts = [macros.get(f"NV_TENSORRT_{part}", "") for part in ("MAJOR", "MINOR", "PATCH")]
    numbers = [macros.get(part, part) for part in parts]
    return ".".join(numbers) if all(each.isdigit() for each in numbers) else "unknown"


def described(number: str, note: str) -> str:
    """Returns in words what the plugin was compiled against.

    Args:
        number: What `release` says.
        note: What the headers are, where they are not NVIDIA's files; then the release is no statement of NVIDIA's.
    """
    if not note:
        return f"headers of TensorRT {number}"
    return f"declarations of TensorRT, release inferred as {number} ({note})"


def cuda_headers() -> Path:
    """Returns the folder of cuda_runtime_api.h, which TensorRT's headers include.

    Raises:
        MissingError: It is not there.
    """
    found = shutil.which("nvcc")
    beside = [Path(found).resolve().parents[1] / "include"] if found else []
    for folder in (*beside, Path("/usr/local/cuda/include"), Path("/usr/include")):
        if (folder / "cuda_runtime_api.h").is_file():
            return folder
    raise MissingError("no cuda_runtime_api.h: install the CUDA toolkit")


def test(folder: Path, *, sources: Path = SOURCES, compiler: str = "g++", optimise: str = "-O1") -> Json:
    """Compiles the plugin with all warnings as errors, and runs its test with the CPU in the place of the GPU.

    Args:
        folder: Of TensorRT's headers.
        sources: Of the plugin and its test.
        compiler: For C++17.
        optimise: The level.

    Returns:
        {"headers", "compiler", "failed"}: the headers' release, the compiler's first line, and how many expectations
        failed.

    Raises:
        MissingError: Headers of CUDA, or the compiler, are missing.
        BuildError: It does not compile, and the message has the first error; or its test did not come to the end.
    """
    if shutil.which(compiler) is None:
        raise MissingError(f"no {compiler}: install a C++ compiler")
    version = _run([compiler, "--version"]).stdout.splitlines()[0]
    with tempfile.TemporaryDirectory() as build:
        program = Path(build) / "plugin_test"
        includes = [f"-isystem{folder}", f"-isystem{cuda_headers()}", f"-I{ROOT / 'include'}"]
        includes.append(f"-I{ROOT / 'inference' / 'src'}")
        files = [sources / "reduction_plugin.cc", sources / "plugin_test.cc"]
        files += [KERNELS / name for name in ("reduction.cc", "sums.cc", "sums_avx2.cc")]
        command = [compiler, "-std=c++17", optimise, "-ffp-contract=off", *_WARNINGS, *includes]
        done = _run([*command, *map(str, files), "-o", str(program)])
        if done.returncode != 0:
            raise BuildError(f"the plugin does not compile: {_first_error(done.stderr)}")
        ran = _run([str(program)])
    counted = re.search(r"^(\d+) failed$", ran.stdout, re.MULTILINE)
    if counted is None or ran.returncode != (int(counted[1]) > 0):
        raise BuildError(f"the plugin's test ended early, status {ran.returncode}: {ran.stdout[-200:].strip()}")
    return {"headers": release(folder), "compiler": version, "failed": int(counted[1])}


def build(folder: Path, output: Path, architectures: str = "") -> Json:
    """Builds librrn_tensorrt.so with the CUDA kernel.

    Args:
        folder: Of TensorRT's headers.
        output: Gets CMake's files and the library.
        architectures: As CMake names them ("90"); "" for all that the project is built for.

    Returns:
        {"headers", "architectures", "bytes", "seconds", "symbols"}; the last are the functions that it exports.

    Raises:
        MissingError: CMake or nvcc is missing.
        BuildError: It cannot be built.
    """
    for program in ("cmake", "nvcc"):
        if shutil.which(program) is None:
            raise MissingError(f"no {program}: install it to build the plugin")
    configure = ["cmake", "-S", str(SOURCES), "-B", str(output), f"-D{VARIABLE}={folder}"]
    configure += [f"-DCMAKE_CUDA_ARCHITECTURES={architectures}"] if architectures else []
    configure += [f"-DCMAKE_CUDA_COMPILER={shutil.which('nvcc')}", "-DCMAKE_BUILD_TYPE=Release"]
    started = time.perf_counter()
    for command in (configure, ["cmake", "--build", str(output), "--parallel", "2", "--target", "rrn_tensorrt"]):
        done = _run(command)
        if done.returncode != 0:
            raise BuildError(f"the plugin is not built: {_first_error(done.stderr or done.stdout)}")
    library = output / LIBRARY
    names = _run(["nm", "-D", "--defined-only", str(library)]).stdout.split("\n")
    return {
        "headers": release(folder),
        "architectures": architectures or "all",
        "bytes": library.stat().st_size,
        "seconds": round(time.perf_counter() - started, 1),
        "symbols": sorted(line.split()[-1] for line in names if " T " in line),
    }


def registered(library: nvidia.Library, plugin: Path) -> Json:
    """Has NVIDIA's library load the plugin, and asks it for what it found.

    Returns:
        {"by", "name", "version", "namespace", "created"}: "created" says whether its registry made a plugin of it.

    Raises:
        BuildError: It does not load, or the registry does not know it then.
    """
    trt = library.module
    registry = trt.get_plugin_registry()
    handle = registry.load_library(str(plugin))
    if handle is None:
        raise BuildError(f"{library.name} does not load {plugin.name}, or has done so before")
    creator = registry.get_creator("Reduction", "1", "rrn")
    if creator is None:
        raise BuildError(f"{library.name} loaded {plugin.name} and has no creator of it")
    made = creator.create_plugin("reduction", trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD)
    found = {"name": creator.name, "version": creator.plugin_version, "namespace": creator.plugin_namespace}
    found |= {"by": library.name, "created": made is not None}
    # In this order: the library's code must outlive what it has made.
    del made, creator
    registry.deregister_library(handle)
    return found


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _first_error(output: str) -> str:
    """The first line that says error, without the folder of this checkout."""
    lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines()[-1:] or ["no output"]
    return lines[0].replace(f"{ROOT}{os.sep}", "").strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="research.tensorrt.plugin_build", description="Test the plugin in host memory, then build it with nvcc."
    )
    parser.add_argument("--headers", type=Path, metavar="DIR", help=f"(default: {VARIABLE}, or a usual folder)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "tensorrt", metavar="DIR", help="for CMake")
    parser.add_argument("--architectures", default="", metavar="LIST", help='as "90" or "86;89" (default: all)')
    parser.add_argument("--test-only", action="store_true", help="needs no nvcc, only CUDA's headers")
    arguments = parser.parse_args(argv)
    try:
        folder = arguments.headers or headers()
        tested = test(folder)
        print(f"headers {tested['headers']}, {tested['compiler']}: {tested['failed']} expectations failed")
        if not arguments.test_only:
            built = build(folder, arguments.output, arguments.architectures)
            print(f"wrote {arguments.output / LIBRARY}, {built['bytes']} bytes, {built['seconds']} s")
    except (MissingError, BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if tested["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
