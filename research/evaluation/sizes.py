"""Measures what the input size costs and gains: how well a model tells pictures apart, and the time of one, by size.

    python -m research.evaluation.sizes --labelled UKBENCH --copies-from PHOTOS

writes findings/results/sizes.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rrn_native

from research.common import copies, machine, photos, results, timing
from research.common.places import RESULTS
from research.evaluation import evaluate, measure, rows

Json = dict[str, Any]

MODULE = "python -m research.evaluation.sizes"
OUTPUT = RESULTS / "sizes.json"
SIZES = (128, 160, 192, 224, 256)
TIMED_PICTURES = 16


def quality(
    table: Sequence[rows.Row], files: Sequence[Path], groups: Sequence[str], source: Sequence[Path], seed: int
) -> list[Json]:
    """Measures all rows on labelled photos and on copies; returns {"labelled", "copies"} for each."""
    measured = zip(
        evaluate.measure_groups(table, files, groups), evaluate.measure_copies(table, list(source), seed), strict=True
    )
    brief = measure.brief
    return [
        {"labelled": brief(labelled), "copies": {**brief(copied), "every_pair": brief(copied["every_pair"])}}
        for labelled, copied in measured
    ]


def times(model: Path, sizes: Sequence[int], pictures: list[rows.Pixels], rounds: int) -> list[Json]:
    """Times the engine on decoded pictures, one thread, all sizes in turn; returns milliseconds of one picture."""
    embedders = {str(size): rrn_native.Embedder(model, size, threads=1, batch=8) for size in sizes}
    cases = {name: partial(embedder.embed, pictures) for name, embedder in embedders.items()}
    measured = timing.interleaved(cases, rounds)
    return [measured[str(size)].to_json("ms", 1e3 / len(pictures)) for size in sizes]


def parser() -> argparse.ArgumentParser:
    """Returns the program's parser."""
    made = argparse.ArgumentParser(prog=MODULE, description="Measure accuracy and time by input size.")
    made.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    made.add_argument("--labelled", type=Path, required=True, metavar="DIR", help="photos with groups.csv")
    made.add_argument("--copies-from", type=Path, required=True, metavar="DIR", help="photos to make copies of")
    made.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N", help="default: %(default)s")
    made.add_argument("--rounds", type=int, default=9, metavar="N", help="of the timing (default %(default)s)")
    made.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    arguments = parser().parse_args(given)
    model = arguments.model or Path(rrn_native.default_model())
    result = machine.head(machine.command_line(MODULE, given))
    try:
        files, groups = photos.labelled(arguments.labelled)
        source = photos.readable(arguments.copies_from)
        table = [rows.onnx_row(str(size), model, size, None) for size in arguments.sizes]
        found = quality(table, files, groups, source, evaluate.SEED)
        pictures = [np.asarray(rrn_native.decode(path)) for path in files[:TIMED_PICTURES]]
        timed = times(model, arguments.sizes, pictures, arguments.rounds)
    except (ValueError, OSError, rrn_native.RrnError) as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 2
    result |= {
        "model": {"name": rows.model_name(model), "sha256": results.sha256(model)},
        "labelled_photos": len(files),
        "copied_photos": len(source),
        "transforms": list(copies.TRANSFORMS),
        "threads": 1,
        "sizes": [
            {"size": size, **numbers, "image": clock}
            for size, numbers, clock in zip(arguments.sizes, found, timed, strict=True)
        ],
    }
    results.write(arguments.output, result)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
