"""Says on what a measurement was made: machine, versions, commit. No name of a machine and no path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = (
    "rrn-native",
    "numpy",
    "onnxruntime",
    "onnxruntime-ep-openvino",
    "pillow",
    "opencv-python-headless",
    "faiss-cpu",
    "usearch",
    "torch",
)


# What decides how fast the network runs.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def about() -> Json:
    """Returns machine, versions and commit, for the head of every result."""
    return {"machine": machine(), "versions": versions(), "commit": commit()}


def machine() -> Json:
    """Returns processor, its instructions, usable cores, memory, and how busy the machine was just now."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in _INSTRUCTIONS if name in _cpuinfo("flags").split()],
        "cores": cores(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> dict[str, str]:
    """Returns the versions of everything that is measured."""
    import rrn_native

    found = {"python": platform.python_version(), "rrn": rrn_native.__version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Returns the commit of the source tree; "-dirty" after it means uncommitted changes, "" that there is none."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpuinfo(key: str) -> str:
    try:
        found = re.search(rf"^{key}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""
