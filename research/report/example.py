"""Runs the program on the example photos."""

from __future__ import annotations

import csv
import json
import subprocess
import tempfile
from pathlib import Path

from research.common.machine import head
from research.common.places import ROOT
from research.common.results import Json


def measure(program: Path, folder: str) -> Json:
    """Runs the program twice: once as users do, once for the similarities of all pairs.

    Args:
        program: The executable.
        folder: The example photos, relative to the repository.

    Returns:
        What every result begins with, and {"version", "result": what --json writes, "pairs": [{"first", "second",
        "similarity"}]}. The pairs are all of them, similar or not, rounded to four decimals.

    Raises:
        OSError: There is no such program.
        subprocess.CalledProcessError: It failed.
    """

    def run(*arguments: str) -> str:
        # The folder is relative to the repository, so that no path of this machine gets into the result.
        return subprocess.run([program, *arguments], cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout

    with tempfile.TemporaryDirectory() as scratch:
        pairs = Path(scratch, "pairs.csv")
        result = json.loads(run(folder, "--quiet", "--json", "-"))
        run(folder, "--quiet", "--json", f"{scratch}/all.json", "--threshold", "-1", "--pairs", str(pairs))
        rows = [row for row in csv.reader(pairs.open(newline="", encoding="utf-8")) if row[2] != "similarity"]
    return {
        **head(f"./build/similarity {folder} --json -"),
        "version": run("--version").strip(),
        "result": result,
        "pairs": [{"first": a, "second": b, "similarity": round(float(value), 4)} for a, b, value in rows],
    }
