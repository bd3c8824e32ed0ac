"""Reads what the stages of scripts/test.sh and scripts/nightly.sh left in build/stages.

python scripts/stages.py slowest REPORT.xml [COUNT]   prints the slowest tests of a JUnit report
python scripts/stages.py result FOLDER OUTPUT.json    writes stages, counts of tests, machine and versions as JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]


def test_cases(report: Path) -> list[tuple[float, str, str]]:
    """Returns seconds, name and outcome ("passed", "failed", "skipped") of every test of a JUnit report."""
    cases = []
    for case in ElementTree.parse(report).iter("testcase"):
        name = "::".join(dict.fromkeys(filter(None, (case.get("classname"), case.get("name")))))
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        else:
            outcome = "passed"
        cases.append((float(case.get("time") or 0), name, outcome))
    return cases


def count(report: Path) -> dict[str, int]:
    """Returns how many tests of a JUnit report passed, failed and were skipped."""
    outcomes = [outcome for _, _, outcome in test_cases(report)]
    return {outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")}


def stages(folder: Path) -> list[dict[str, Any]]:
    """Returns the stages of a run in their order, with the counts of those that left a report."""
    found = []
    for line in (folder / "table.tsv").read_text().splitlines():
        name, seconds, cpu_seconds, status, report = line.split("\t")
        stage: dict[str, Any] = {"name": name, "seconds": int(seconds), "cpu_seconds": int(cpu_seconds)}
        stage["ok"] = status == "0"
        if report and (folder / report).is_file():
            stage["tests"] = count(folder / report)
        found.append(stage)
    return found


def write_result(folder: Path, output: Path) -> None:
    """Writes the result of a whole run."""
    sys.path[:0] = [str(ROOT), str(ROOT / "python")]
    from research.common import machine

    done = stages(folder)
    result = {
        **machine.head("scripts/nightly.sh"),
        "ok": all(stage["ok"] for stage in done),
        "seconds": sum(stage["seconds"] for stage in done),
        "stages": done,
    }
    output.write_text(json.dumps(result, indent=2) + "\n")


def main(words: list[str]) -> int:
    """Runs a command; see the top of this file."""
    if len(words) in (2, 3) and words[0] == "slowest":
        print("\nSlowest tests:")
        for seconds, name, _ in sorted(test_cases(Path(words[1])), reverse=True)[: int((*words, 10)[2])]:
            print(f"{seconds:8.2f} s  {name}")
    elif len(words) == 3 and words[0] == "result":
        write_result(Path(words[1]), Path(words[2]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
