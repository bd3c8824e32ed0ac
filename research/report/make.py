"""Makes findings/report.docx, findings/report.pdf and findings/figures from findings/results/*.json.

Run by scripts/report.sh, which has the help text.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from research.report import example, paper, pdf, word
from research.report.charts import Charts
from research.report.document import Document
from research.report.results import Results

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = "examples/photos"


def make(folder: Path, output: Path) -> tuple[Document, list[str]]:
    """Makes the documents and figures.

    Args:
        folder: The JSON files; derived.json is written beside them when it is findings/results, else into `output`.
        output: Where report.docx, report.pdf, figures/ and derived.json go; made if it is not there.

    Returns:
        The document, and what was not measured.
    """
    output.mkdir(parents=True, exist_ok=True)
    results = Results(folder)
    document, missing = paper.build(results, Charts(results, output / "figures"))
    word.write(document, output / "report.docx")
    pdf.write(document, output / "report.pdf")
    write_derived(results, (output / "results" if folder == output / "results" else output) / "derived.json")
    return document, missing


def write_derived(results: Results, path: Path) -> None:
    """Writes what was computed from the results, each number under the formula that it follows from."""
    content = {
        "origin": "scripts/report.sh: numbers of the report that follow from two others, or are the length of a list",
        "values": dict(sorted(results.derived.items())),
    }
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/report.sh", description="Makes the report.")
    parser.add_argument("--output", type=Path, default=ROOT / "findings", metavar="DIR")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: findings/results")
    parser.add_argument("--measure-examples", action="store_true")
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "similarity", metavar="FILE")
    arguments = parser.parse_args(argv)
    folder = arguments.results or ROOT / "findings" / "results"
    if not folder.is_dir():
        print(f"scripts/report.sh: {folder}: no such folder; it should hold the JSON files", file=sys.stderr)
        return 2
    if arguments.measure_examples:
        try:
            example.write(arguments.program.resolve(), EXAMPLES, folder / "example.json")
        except (OSError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", None) or error
            print(
                f"scripts/report.sh: cannot measure the example photos: {detail}; "
                "run scripts/run.sh first, which builds the program and makes them",
                file=sys.stderr,
            )
            return 2
    _, missing = make(folder, arguments.output)
    for line in dict.fromkeys(missing):
        print(f"not measured: {line}")
    print(f"wrote report.docx, report.pdf and figures/ to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
