"""``rrn calibrate``: the right threshold, from your own labelled images."""

from __future__ import annotations

import json
from pathlib import Path

import rrn_native
from rrn_native.cli.common import RUNTIME_ERROR, ProgressLine, fail, failure_code
from rrn_native.cli.parser import Parser, add_engine_options, make_embedder
from rrn_native.files import write_file


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn calibrate",
        description="Measure precision, recall and F1 over thresholds on labelled images, and suggest a threshold.",
        epilog="""examples:
  rrn calibrate --groups groups.csv             (columns file, group)
  rrn calibrate --pairs pairs.csv --plot c.png  (columns first, second, similar)
  rrn calibrate --groups g.csv --model mine.onnx --min-precision 0.99

Exit codes: 0 measured, 1 the wanted precision is out of reach, 2 wrong usage or table, 4 model, runtime or output
failed.""",
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--groups", type=Path, metavar="CSV", help="columns file, group: one group is one thing")
    source.add_argument("--pairs", type=Path, metavar="CSV", help="columns first, second, similar (1 or 0)")
    made.add_argument(
        "--images", type=Path, metavar="DIR", help="where relative names start (default: the CSV's folder)"
    )
    made.add_argument(
        "--min-precision",
        type=float,
        metavar="P",
        help="also the lowest threshold at which a share of at least P of the pairs found is right",
    )
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves and histograms (needs matplotlib)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    add_engine_options(made)
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    from rrn_native.analysis import calibrate, labels, metrics

    line = ProgressLine("images")
    try:
        if arguments.plot is not None:
            # Before the measurement: a missing package or a wrong suffix should not cost it.
            from rrn_native.analysis import plots

            plots.check_format(arguments.plot)
        read = labels.read_groups if arguments.groups else labels.read_pairs
        pairs = read(arguments.groups or arguments.pairs, arguments.images)
        try:
            embedder = make_embedder("rrn calibrate", arguments)
        except FileNotFoundError as error:
            return fail("rrn calibrate", error, RUNTIME_ERROR)
        result = calibrate.calibrate(pairs, embedder, progress=line)
        line.clear()
        summary = result.to_dict() | {"model": (arguments.model or Path(rrn_native.default_model())).name}
        if arguments.min_precision is not None:
            summary["threshold_for_precision"] = metrics.threshold_for_precision(
                result.scores, result.labels, arguments.min_precision
            )
        if arguments.plot is not None:
            plots.save(plots.calibration_figure(result, f"{summary['model']}, {result.pairs} pairs"), arguments.plot)
        if arguments.json is not None:
            write_file(arguments.json, (json.dumps(summary, indent=2) + "\n").encode())
    except (OSError, ValueError, rrn_native.RrnError) as error:
        line.clear()
        return fail("rrn calibrate", error, failure_code(error))
    print(calibrate.table(result))
    if arguments.min_precision is None:
        return 0
    threshold = summary["threshold_for_precision"]
    if threshold is None:
        print(f"no threshold has a precision of {arguments.min_precision:g}")
        return 1
    typed = calibrate.for_typing(result, threshold, arguments.min_precision)
    print(f"for a precision of {arguments.min_precision:g}: --threshold {typed}")
    return 0
