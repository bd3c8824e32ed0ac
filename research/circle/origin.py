"""Says which code made a checkpoint, so that no other code takes it for its own."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from research.common import machine

Json = dict[str, Any]

# What decides the result of a training, beside its configuration.
MODULES = ("data", "losses", "network", "train")


@functools.cache
def here() -> Mapping[str, Any]:
    """Returns the origin of what this process trains.

    Returns:
        "commit", for people; "sources", the SHA-256 of MODULES as they are, committed or not; and "versions".
    """
    digest = hashlib.sha256()
    for name in MODULES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    return {"commit": machine.commit(), "sources": digest.hexdigest(), "versions": versions}


def differences(found: Mapping[str, Any]) -> str:
    """Returns in what the code of a checkpoint differs from this one; "" means that it computes the same.

    The commit decides nothing: another one may have the same sources, and one that is "-dirty" may have others.

    Args:
        found: The checkpoint's origin; empty for one without.
    """
    if not found:
        return "it does not say which code made it"
    mine = here()
    told = [
        f"{name} {found['versions'].get(name)}, now {version}"
        for name, version in mine["versions"].items()
        if found["versions"].get(name) != version
    ]
    if found["sources"] != mine["sources"]:
        told.insert(0, f"other sources (commit {found['commit'] or 'unknown'}, now {mine['commit'] or 'unknown'})")
    return "; ".join(told)
