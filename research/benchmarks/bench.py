"""Measures everything in one run and writes it down; see README.md beside this file.

Run by scripts/bench.sh, which sets everything up. Exit status: 0 measured, 1 a part failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from research.benchmarks import report
from research.common import machine, results
from research.common.places import CACHE, FINDINGS

Json = dict[str, Any]

# Each module has measure(quick: bool) -> dict; it is imported when it is measured, because some need further packages.
PARTS = {
    "network": "research.benchmarks.network",
    "decode": "research.benchmarks.decode",
    "start": "research.benchmarks.start",
    "end_to_end": "research.benchmarks.end_to_end",
    "rerun": "research.benchmarks.rerun",
    "pairs": "research.benchmarks.pairs",
    "growth": "research.benchmarks.growth",
    "operator": "research.benchmarks.reduction_operator",
}


def parts(text: str) -> list[str]:
    """Reads the value of --part.

    Raises:
        argparse.ArgumentTypeError: It names something else.
    """
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PARTS)}; got {text!r}")
    return [name for name in PARTS if name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh",
        description="Measure everything in one run: medians of interleaved rounds, with their spread.",
        epilog="Exit status: 0 measured, 1 a part failed (the others are written), 2 wrong arguments.",
    )
    parser.add_argument(
        "--part",
        type=parts,
        default=list(PARTS),
        metavar="NAME[,NAME...]",
        help=f"only these: {','.join(PARTS)} (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny inputs: shows that it works, the numbers mean nothing"
    )
    parser.add_argument("--full", action="store_true", help="growth up to 1,000,000 rows; takes minutes more")
    parser.add_argument(
        "--model", type=Path, metavar="FILE.onnx", help="for end_to_end (default: the model that comes with rrn)"
    )
    parser.add_argument("--no-peers", action="store_true", help="end_to_end without other tools")
    parser.add_argument("--peers-only-once", action="store_true", help="run other tools once instead of three times")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="gets benchmarks.md, benchmarks_*.png and results/bench_*.json (default: findings/; with --quick "
        ".cache/bench-quick)",
    )
    parser.add_argument(
        "--found-only",
        action="store_true",
        help="end_to_end: measure again only what rrn finds, with other weights, and keep all times",
    )
    parser.add_argument("--report-only", action="store_true", help="write table and charts again from the JSON files")
    return parser


def measure_part(name: str, arguments: argparse.Namespace) -> Json:
    """Runs one part; returns its result with machine, versions, commit and duration.

    Raises:
        Exception: Whatever the part raises.
    """
    head = {"part": name, "quick": arguments.quick, **machine.head(arguments.command)}
    measure: Callable[..., Json] = importlib.import_module(PARTS[name]).measure
    options: Json = {}
    if name == "end_to_end":
        options = {
            "peers": not arguments.no_peers,
            "peers_only_once": arguments.peers_only_once,
            "model": arguments.model,
        }
    if name == "growth":
        options = {"full": arguments.full}
    start = time.perf_counter()
    result = measure(arguments.quick, **options)
    return head | {"took_s": round(time.perf_counter() - start, 1), "result": result}


def measure_found(place: Path, model: Path | None) -> Json:
    """Returns an end_to_end result with what rrn finds with a model measured again, and all else as it was.

    Raises:
        Exception: There is no such result, or whatever the part raises.
    """
    before = results.read(place)
    end_to_end = importlib.import_module(PARTS["end_to_end"])
    return before | {"result": end_to_end.measure_found(before["result"], model)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.found_only and (arguments.quick or arguments.part != list(PARTS) or arguments.report_only):
        parser.error("--found-only goes with --model and --output alone")
    arguments.command = machine.command_line("scripts/bench.sh", sys.argv[1:] if argv is None else argv)
    output = arguments.output or (CACHE / "bench-quick" if arguments.quick else FINDINGS)
    failed = []
    names = ["end_to_end"] if arguments.found_only else arguments.part
    for name in [] if arguments.report_only else names:
        place = output / "results" / f"bench_{name}.json"
        print(f"{name} ...", flush=True)
        try:
            measured = measure_found(place, arguments.model) if arguments.found_only else measure_part(name, arguments)
        except Exception:  # One part that fails must not cost the hours that the others took.
            traceback.print_exc()
            failed.append(name)
            continue
        results.write(place, measured)
        print(f"{name}: {measured['took_s']} s", flush=True)
    written = report.write(output / "results", output, list(PARTS))
    print(f"wrote {', '.join(path.name for path in written)} in {output}")
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
