"""``rrn bench``: how fast this machine is, and which options to take."""

from __future__ import annotations

from rrn_native.cli.common import RUNTIME_ERROR, USAGE, ProgressLine, check_output, fail, write_json
from rrn_native.cli.parser import Parser


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn bench",
        description="Time this machine in under a minute on drawn pictures, and say which options to take.",
        epilog="""Medians, and the lowest and highest of the rounds; other programs that run meanwhile disturb.
Providers that are not installed are left out; rrn doctor says why. TensorRT builds an engine when it is first used,
which takes minutes once.

Exit codes: 0 measured, 2 wrong usage, 4 the model does not run or the result could not be written.""",
    )
    made.add_argument("--json", metavar="FILE", help="write the result as JSON; '-' for standard output, not text")
    made.add_argument("--quick", action="store_true", help="small pictures and few rounds: some seconds, rough")
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    try:
        check_output(arguments.json)
    except ValueError as error:
        return fail("rrn bench", error, USAGE)
    from rrn_native import bench

    line = ProgressLine("")
    result = bench.measure(bench.QUICK if arguments.quick else None, line.show)
    line.clear()
    if arguments.json != "-":
        print(bench.table(result))
    if arguments.json is not None:
        write_json(arguments.json, result)
    if not result["network"]:
        return fail("rrn bench", result["advice"]["text"], RUNTIME_ERROR)
    return 0
