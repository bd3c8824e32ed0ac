"""Runs ./build/similarity on the example photos and keeps what it says as findings/results/example.json."""

from __future__ import annotations

import csv
import json
import subprocess
import tempfile
from pathlib import Path

from research.common.machine import commit, machine
from research.report.results import Json

ROOT = Path(__file__).resolve().parents[2]


def measure(program: Path, folder: str) -> Json:
    """Runs the program twice: once as users do, once for the similarities of all pairs.

    Args:
        program: The executable.
        folder: The example photos, relative to the repository.

    Returns:
        {"machine", "version", "commit", "command", "result": what --json writes, "pairs": [{"first", "second",
        "similarity"}]}. The pairs are all of them, similar or not, rounded to four decimals.

    Raises:
        OSError: There is no such program.
        subprocess.CalledProcessError: It failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        pairs = Path(scratch, "pairs.csv")
        common = [str(program), folder, "--quiet", "--json"]
        result = json.loads(_run([*common, "-"]))
        _run([*common, str(Path(scratch, "all.json")), "--threshold", "-1", "--pairs", str(pairs)])
        with pairs.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    numbers = [row for row in rows if row[2] != "similarity"]
    version = _run([str(program), "--version"]).strip()
    return {
        "machine": machine(),
        "version": version,
        "commit": commit(),
        "command": f"./build/similarity {folder} --json -",
        "result": result,
        "pairs": [
            {"first": first, "second": second, "similarity": round(float(value), 4)} for first, second, value in numbers
        ],
    }


def write(program: Path, folder: str, output: Path) -> None:
    """Measures and writes `output`, under a temporary name first."""
    text = json.dumps(measure(program, folder), indent=1, ensure_ascii=False) + "\n"
    temporary = output.with_name(output.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(output)


def _run(command: list[str]) -> str:
    # The folder is given relative to the repository, so that no path of this machine gets into the result.
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
