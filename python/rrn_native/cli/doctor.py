"""``rrn doctor``: what is installed, what works, and what to do about the rest."""

from __future__ import annotations

import os
import sys

from rrn_native._text import printable
from rrn_native.cli.common import write_json
from rrn_native.cli.parser import Parser


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn doctor",
        description="Say what is installed, what works on this machine, and what to do about the rest.",
        epilog="""'missing' is optional; 'failed' is not. Every provider and precision is tried with the default model.

Exit codes: 0 rrn works here (similar images with the default model, fp32 on the CPU), 1 it does not, 2 wrong usage,
4 the answer could not be written.""",
    )
    made.add_argument("--json", metavar="FILE", help="write the answer as JSON; '-' for standard output, not text")
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    from rrn_native import doctor

    diagnosis = doctor.diagnose()
    if arguments.json != "-":
        lines = map(printable, doctor.table(diagnosis).split("\n"))
        sys.stdout.buffer.write(os.fsencode("\n".join(lines) + "\n"))
        sys.stdout.buffer.flush()
    if arguments.json is not None:
        write_json(arguments.json, diagnosis.to_dict())
    return 0 if diagnosis.works else 1
