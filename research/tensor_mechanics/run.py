"""Runs every failing form, its mended form and the comparisons with PyTorch and OpenCV, and writes what happened."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from research.common import machine, results
from research.common.places import RESULTS
from research.tensor_mechanics import cases, drawing, evidence

Json = dict[str, Any]

_ABOUT = """\
Run the failing forms of research/tensor_mechanics/cases.toml and their mended ones, and compare three functions with
the libraries that they speak of: view_stride with Tensor.view on every small tensor, check_stack with what PyTorch
refuses in random stacks of layers, project_camera with cv2.projectPoints at random cameras.
"""
_EXAMPLES = """\
examples:
  .venv/bin/python -m research.tensor_mechanics.run                    half a minute; writes the result
  .venv/bin/python -m research.tensor_mechanics.run --full             more of everything, some minutes
  .venv/bin/python -m research.tensor_mechanics.run --list             the names of the cases
  .venv/bin/python -m research.tensor_mechanics.run --case "view after transpose"
"""


def measure(effort: evidence.Effort) -> Json:
    """Runs all of it.

    Returns:
        "cases", "setup", "steps", "counts" (by question, and "all"), "evidence" by subject, and
        "drawing" for the chart.
    """
    rows = [cases.run(case) for case in cases.load()]
    _progress(f"cases: {len(rows)}")
    found = {
        "views": evidence.views(effort, _progress),
        "stacks": evidence.stacks(effort, _progress),
        "cameras": evidence.cameras(effort, _progress),
    }
    return {
        "counts": {
            "all": counts(rows),
            **{name: counts([row for row in rows if row["question"] == name]) for name in cases.QUESTIONS},
        },
        "evidence": found,
        "setup": cases.setups(),
        "steps": cases.steps(),
        "cases": rows,
        "drawing": drawing.data(),
    }


def counts(rows: Sequence[Json]) -> Json:
    """Returns how many cases there are, how many raise, are silent, are as stated; and their evidence."""
    every = [each["holds"] for row in rows for each in row["evidence"]]
    raised = sum(row["happened"]["raises"] is not None for row in rows)
    return {
        "cases": len(rows),
        "raise": raised,
        "silent": len(rows) - raised,
        "as_expected": sum(row["as_expected"] for row in rows),
        "evidence": len(every),
        "evidence_holds": sum(every),
    }


def show(name: str) -> list[str]:
    """Runs one case and returns what happened, in lines.

    Raises:
        ValueError: No case has this name.
    """
    every = {case.name: case for case in cases.load()}
    if name not in every:
        raise ValueError(f"--case: expected a name that --list prints, got {name!r}")
    row = cases.run(every[name])
    raised = row["happened"]["raises"]
    said = f"{raised['type']}: {raised['message']}" if raised else f"no error; {_result(row['happened'])}"
    lines = ["setup:", *_indented(every[name].setup), "fails:", *_indented(row["wrong"]), "happens:", *_indented(said)]
    lines += ["why:", *_indented(row["reason"]), "mended:", *_indented(row["mended"])]
    lines += ["gives:", *_indented(_result(row["right"])), "evidence:"]
    return lines + [f"  {'true ' if each['holds'] else 'FALSE'} {each['code']}" for each in row["evidence"]]


def _result(recorded: Json) -> str:
    return ", ".join(f"{key} {value}" for key, value in recorded.items() if key != "raises")


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.strip().splitlines()]


def _progress(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="research.tensor_mechanics.run",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="larger tensors, more stacks and cameras")
    parser.add_argument("--case", metavar="NAME", help="run one case, print what happens, and write nothing")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and run nothing")
    parser.add_argument("--output", type=Path, default=RESULTS / "tensor_mechanics.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    try:
        if arguments.list:
            print("\n".join(case.name for case in cases.load()))
            return 0
        if arguments.case is not None:
            print("\n".join(show(arguments.case)))
            return 0
        results.check_writable(arguments.output)
        value = machine.head(machine.command_line("research.tensor_mechanics.run", words))
        value |= {"full": arguments.full, **measure(evidence.FULL if arguments.full else evidence.SHORT)}
        results.write(arguments.output, value)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
