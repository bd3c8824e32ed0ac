"""How long the program takes to start, by provider and precision, and how long Python takes to import rrn_native."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from research.common import photos, timing
from research.common.places import PROGRAM, ROOT

Json = dict[str, Any]

_CHOICES = (("cpu", "fp32"), ("openvino", "bf16"), ("openvino", "int8"), ("cpu", "int8"))
# What Python runs, in a new process each time; the first measures Python's own start.
_STATEMENTS = ("pass", "import numpy", "import rrn_native", "import onnxruntime")


def measure(quick: bool) -> Json:
    """Times whole runs of the program that compare two pictures of 64 x 64 pixels.

    What it compiles for a provider is in its cache, as on every start but the first.

    Args:
        quick: Two rounds.

    Returns:
        {"rows": [...]}: for each provider and precision milliseconds, and first of all for `--version`, which loads the
        libraries alone; "python": [...], milliseconds of a Python process that runs one statement; "missing": what
        could not run and why.
    """
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as scratch:
        files = [Path(scratch, f"{number}.png") for number in range(2)]
        for number, file in enumerate(files):
            photos.draw(number, 64).save(file)
        commands = {("-", "--version"): [str(PROGRAM), "--version"]}
        missing: dict[str, str] = {}
        for provider, precision in _CHOICES:
            command = [str(PROGRAM), *map(str, files), "--provider", provider, "--precision", precision]
            first = subprocess.run(command, capture_output=True, text=True, check=False)
            # 1: the two are not similar.
            if first.returncode in (0, 1):
                commands[provider, precision] = command
            else:
                missing[f"{provider} {precision}"] = first.stderr.strip().replace(f"{ROOT}/", "")
        cases = {
            " ".join(key): partial(subprocess.run, command, capture_output=True, check=False)
            for key, command in commands.items()
        }
        cases |= {
            statement: partial(subprocess.run, [sys.executable, "-c", statement], capture_output=True, check=True)
            for statement in _STATEMENTS
        }
        times = timing.interleaved(cases, 2 if quick else 15)
    rows = [
        {"provider": provider, "precision": precision, **times[f"{provider} {precision}"].to_json("ms", 1e3)}
        for provider, precision in commands
    ]
    python = [{"statement": statement, **times[statement].to_json("ms", 1e3)} for statement in _STATEMENTS]
    return {"rows": rows, "python": python, "missing": missing}
