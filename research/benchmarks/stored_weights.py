"""Compares two files of one network that store its weights differently: results, start, speed. See README.md.

python -m research.benchmarks.stored_weights BEFORE.onnx AFTER.onnx --labelled UKBENCH --others COCO/images
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import rrn_native
from rrn_native.analysis import labels, metrics
from rrn_native.model import storage
from rrn_native.session import cpu_session

from research.common import machine, results, timing
from research.common.places import PROGRAM, RESULTS

MODULE = "python -m research.benchmarks.stored_weights"
OUTPUT = RESULTS / "stored_weights.json"
CHOICES = ("cpu/fp32", "openvino/fp32", "openvino/bf16", "cpu/int8", "openvino/int8")
STARTED = CHOICES[:3]
THRESHOLD = 0.75
SIZE = 224
BATCH = 8

Floats = npt.NDArray[np.floating[Any]]
Json = dict[str, Any]
Models = Mapping[str, Path]


def describe(model: Path) -> Json:
    """Returns a file's name, bytes and SHA-256, and how many tensors it stores as float16."""
    stored = storage.stored_as_float16(onnx.load(model))
    return {
        "file": model.name,
        "bytes": model.stat().st_size,
        "sha256": results.sha256(model),
        "float16_tensors": len(stored),
    }


def cosines(model: Path, choice: str, files: Sequence[Path]) -> Floats:
    """Returns the cosines of all pairs i < j of pictures, float64 [n (n - 1) / 2], by (i, j).

    Raises:
        rrn_native.RrnError: The provider or the precision is not there, or a picture cannot be read.
    """
    provider, precision = choice.split("/")
    embedder = rrn_native.Embedder(model, SIZE, provider=provider, precision=precision)  # type: ignore[arg-type]
    rows = embedder.embed(files).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray((rows @ rows.T)[np.triu_indices(len(rows), k=1)])


def difference(before: Floats, after: Floats) -> Json:
    """Returns how far two sets of cosines are apart."""
    apart = np.abs(after - before)
    return {
        "pairs": len(apart),
        "mean": timing.significant(float(apart.mean())),
        "maximum": timing.significant(float(apart.max())),
        "change_sides": int(((before > THRESHOLD) != (after > THRESHOLD)).sum()),
    }


def quality(scores: Floats, same: npt.NDArray[np.bool_]) -> Json:
    """Returns how well cosines tell the pairs that belong together from the others."""
    best, place = metrics.best_f1(scores, same)
    return {
        "f1_at_threshold": metrics.precision_recall_f1(scores, same, THRESHOLD)[2],
        "best_f1": best,
        "best_threshold": place,
        "average_precision": metrics.average_precision(scores, same),
    }


def compare(models: Models, labelled: Path, others: Path | None) -> tuple[list[Json], Json]:
    """Compares the results of two models.

    Args:
        models: "before" and "after".
        labelled: A folder of pictures with groups.csv (file, group).
        others: A folder of pictures without labels.

    Returns:
        One row for each provider and precision, and what could not run, with the reason.
    """
    groups = labels.read_groups(labelled / "groups.csv", labelled)
    unlabelled = [Path(file) for file in rrn_native.find_images(others)] if others is not None else []
    rows: list[Json] = []
    missing: Json = {}
    for choice in CHOICES:
        try:
            found = {name: cosines(model, choice, groups.files) for name, model in models.items()}
        except rrn_native.RrnError as error:
            missing[choice] = str(error).replace(str(models["before"].parent), "").replace("\n", " ")
            continue
        row: Json = {"choice": choice, "labelled": difference(found["before"], found["after"])}
        row |= {name: quality(scores, groups.same) for name, scores in found.items()}
        if unlabelled:
            row["others"] = difference(*(cosines(models[name], choice, unlabelled) for name in ("before", "after")))
        rows.append(row)
    return rows, missing


def clocks(cases: Mapping[str, Callable[[], object]], rounds: int, who: int) -> Json:
    """Times cases in turn.

    Args:
        cases: What to time, by name; each is run once before.
        rounds: Measured runs of each.
        who: `resource.RUSAGE_SELF`, or RUSAGE_CHILDREN for cases that start processes.

    Returns:
        For each name {"wall", "cpu"}: milliseconds of wall time and of all cores' time, the system's included.
    """
    for run in cases.values():
        run()
    wall: dict[str, list[float]] = {name: [] for name in cases}
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    for _, name in timing.turns(list(cases), rounds):
        used, start = resource.getrusage(who), time.perf_counter()
        cases[name]()
        wall[name].append(time.perf_counter() - start)
        now = resource.getrusage(who)
        cpu[name].append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    return {
        name: {
            "wall": timing.spread(wall[name]).to_json("ms", 1e3),
            "cpu": timing.spread(cpu[name]).to_json("ms", 1e3),
        }
        for name in cases
    }


def sessions(models: Models, rounds: int) -> Json:
    """Times how long ONNX Runtime takes to open each file and then to run a batch of it, on one core."""
    library = rrn_native.custom_op_library()
    pictures = np.random.default_rng(0).standard_normal((BATCH, 3, SIZE, SIZE)).astype(np.float32)
    opening = {name: partial(cpu_session, str(model), library) for name, model in models.items()}
    opened = {name: cpu_session(str(model), library) for name, model in models.items()}
    running = {name: partial(session.run, None, {"images": pictures}) for name, session in opened.items()}
    return {
        "open": clocks(opening, rounds, resource.RUSAGE_SELF),
        "run": clocks(running, rounds, resource.RUSAGE_SELF),
        "batch": BATCH,
        "size": SIZE,
    }


def starts(models: Models, picture: Path, rounds: int, missing: Mapping[str, str]) -> list[Json]:
    """Times whole runs of the program that compare one picture with itself."""
    rows = []
    for choice in STARTED:
        if choice in missing:
            continue
        provider, precision = choice.split("/")
        options = ["--provider", provider, "--precision", precision, "--threads", "1"]
        cases = {
            name: partial(
                subprocess.run,
                [str(PROGRAM), str(picture), str(picture), "--model", str(model), *options],
                capture_output=True,
                check=True,
            )
            for name, model in models.items()
        }
        rows.append({"choice": choice, **clocks(cases, rounds, resource.RUSAGE_CHILDREN)})
    return rows


def parser() -> argparse.ArgumentParser:
    """Returns the program's parser."""
    made = argparse.ArgumentParser(prog=MODULE, description="Compare two ways to store the weights of one network.")
    made.add_argument("before", type=Path, metavar="BEFORE.onnx")
    made.add_argument("after", type=Path, metavar="AFTER.onnx", help="int8 copies lie beside both")
    made.add_argument("--labelled", type=Path, required=True, metavar="DIR", help="pictures with groups.csv")
    made.add_argument("--others", type=Path, metavar="DIR", help="pictures without labels")
    made.add_argument("--rounds", type=int, default=25, metavar="N", help="of every timing (default %(default)s)")
    made.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE.json")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    arguments = parser().parse_args(given)
    models = {"before": arguments.before, "after": arguments.after}
    result: Json = machine.head(machine.command_line(MODULE, given))
    try:
        rows, missing = compare(models, arguments.labelled, arguments.others)
        picture = labels.read_groups(arguments.labelled / "groups.csv", arguments.labelled).files[0]
        result |= {
            "threshold": THRESHOLD,
            "models": {name: describe(model) for name, model in models.items()},
            "results": rows,
            "missing": missing,
            "session": sessions(models, arguments.rounds),
            "start": starts(models, picture, arguments.rounds, missing),
        }
    except (ValueError, OSError, rrn_native.RrnError, subprocess.CalledProcessError) as error:
        print(f"stored_weights: {error}", file=sys.stderr)
        return 2
    results.write(arguments.output, result)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
