"""Installs the other tools of peers.toml, each into a separate virtual environment; says why where that fails."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

from research.common.places import CACHE

Json = dict[str, Any]

FOLDER = CACHE / "peers"
_LIMIT = 1800


def known() -> dict[str, Json]:
    """Returns peers.toml."""
    return tomllib.loads((Path(__file__).parent / "peers.toml").read_text())


def python_of(name: str) -> Path:
    """Returns the Python of a peer's environment; it may not be there."""
    return FOLDER / name / "bin" / "python"


def install(name: str) -> str:
    """Installs a peer unless that was done before with the same versions.

    Returns:
        Nothing, or in one line why it could not be installed.
    """
    packages = known()[name]["packages"]
    stamp = FOLDER / name / "rrn-installed.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == packages:
        return ""
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        if not python_of(name).is_file():
            venv.create(FOLDER / name, with_pip=True)
        command = [str(python_of(name)), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except (OSError, subprocess.SubprocessError) as error:
        return f"could not be installed: {type(error).__name__}"
    if run.returncode != 0:
        errors = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
        return "could not be installed: " + (errors[-1] if errors else "pip failed").removeprefix("ERROR: ")[:200]
    stamp.write_text(json.dumps(packages))
    return ""


def main() -> int:
    """Installs all; returns 0 also when some could not be installed."""
    for name in known():
        print(f"{name}: {install(name) or 'installed'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
