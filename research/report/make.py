"""Makes findings/report.docx, findings/report.pdf and findings/figures from findings/results/*.json.

Run by scripts/report.sh, which has the help text.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from research.common.places import ROOT
from research.common.results import write
from research.report import charts, document, example
from research.report.results import load

_HERE = Path(__file__).parent
_TEMPLATE, _STUDIES = ((_HERE / name).read_text(encoding="utf-8") for name in ("report.md.jinja", "studies.md.jinja"))
TEMPLATE = _TEMPLATE.replace("<!-- studies.md.jinja -->\n", _STUDIES)


def make(folder: Path, output: Path) -> tuple[str, list[str]]:
    """Makes the documents and figures.

    Args:
        folder: The JSON files.
        output: Where report.docx, report.pdf and figures/ go; made if it is not there.

    Returns:
        The text as Markdown, and what was not measured.
    """
    results = load(folder)

    def chart(name: str) -> str:
        charts.draw(name, results, output / "figures")
        return f"figures/{name}"

    text, missing = document.markdown(TEMPLATE, results, chart, gpu_files=measured_on_gpu(folder))
    document.write(text, output)
    return text, missing


def measured_on_gpu(folder: Path) -> list[str]:
    """The files that scripts/gpu_check.sh has written, one for each device."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("gpu/*.json"))


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
        parser.error(f"{folder}: no such folder; it should hold the JSON files")
    if arguments.measure_examples:
        try:
            write(folder / "example.json", example.measure(arguments.program.resolve(), "examples/photos"))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            parser.error(f"cannot measure the example photos: {reason}; run scripts/run.sh first, which makes them")
    _, missing = make(folder, arguments.output)
    for line in dict.fromkeys(missing):
        print(f"not measured: {line}")
    print(f"wrote report.docx, report.pdf and figures/ to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
