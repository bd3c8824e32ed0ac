"""Finds the right threshold for a model on your own labelled images.

    rrn calibrate --groups groups.csv
    rrn calibrate --pairs pairs.csv --plot curve.png

Measures precision, recall and F1 over all thresholds, draws the curve and the histograms of similar and other pairs,
and suggests a threshold.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import decimal
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native._files import write_file
from rrn_native.analysis import metrics
from rrn_native.cli.common import RUNTIME_ERROR, fail, failure_code

# All pairs of this many images are 50 million, half a gigabyte of work space.
MAX_GROUPED_IMAGES = 10_000
TABLE_THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TRUE_WORDS = frozenset({"1", "true", "yes", "y", "similar", "same"})
FALSE_WORDS = frozenset({"0", "false", "no", "n", "dissimilar", "different"})


@dataclasses.dataclass(frozen=True)
class LabelledPairs:
    """Pairs of files and whether they belong together.

    Attributes:
        files: n paths.
        first: int64 [m], positions in ``files``.
        second: int64 [m].
        same: bool [m].
    """

    files: list[Path]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    same: npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        images: Images that were read.
        skipped: Files that could not be read; pairs with them are left out.
        pairs: Pairs that were compared.
        similar_pairs: How many of them are labelled as belonging together.
        average_precision: See :func:`rrn_native.analysis.metrics.average_precision`.
        best_f1: The best F1 of all thresholds.
        suggested_threshold: The threshold that gives it.
        rows: Precision, recall and F1 at round thresholds, the suggested one included.
        scores: float32 [pairs], the similarities.
        labels: bool [pairs].
    """

    images: int
    skipped: int
    pairs: int
    similar_pairs: int
    average_precision: float
    best_f1: float
    suggested_threshold: float
    rows: list[dict[str, float]]
    scores: npt.NDArray[np.float32] = dataclasses.field(repr=False)
    labels: npt.NDArray[np.bool_] = dataclasses.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the single pairs, for JSON."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("scores", "labels")]
        return {name: getattr(self, name) for name in names}


def read_groups(path: Path, images: Path | None = None) -> LabelledPairs:
    """Reads a CSV with the columns ``file`` and ``group``: files of one group belong together, all others do not.

    Args:
        path: The CSV file.
        images: The folder that relative file names start from; None for the CSV's own.

    Raises:
        ValueError: A column is missing, or there are too few or too many files.
    """
    rows = _read_rows(path, ("file", "group"))
    if len(rows) > MAX_GROUPED_IMAGES:
        raise ValueError(f"{path}: {len(rows)} files, at most {MAX_GROUPED_IMAGES}; label some pairs instead (--pairs)")
    first, second, same = metrics.pairs_of_groups([row["group"] for row in rows])
    folder = images or path.parent
    return LabelledPairs([folder / row["file"] for row in rows], first, second, same)


def read_pairs(path: Path, images: Path | None = None) -> LabelledPairs:
    """Reads a CSV with the columns ``first``, ``second`` and ``similar`` (1 or 0, yes or no, true or false).

    Args:
        path: The CSV file.
        images: The folder that relative file names start from; None for the CSV's own.

    Raises:
        ValueError: A column is missing, a label is no label, or there is no row.
    """
    rows = _read_rows(path, ("first", "second", "similar"))
    folder = images or path.parent
    numbers: dict[str, int] = {}
    labels = []
    for line, row in enumerate(rows, start=2):
        word = row["similar"].strip().lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise ValueError(f"{path}, line {line}: similar is {row['similar']!r}, expected 1 or 0")
        labels.append(word in TRUE_WORDS)
        for name in (row["first"], row["second"]):
            numbers.setdefault(name, len(numbers))
    first = np.array([numbers[row["first"]] for row in rows], dtype=np.int64)
    second = np.array([numbers[row["second"]] for row in rows], dtype=np.int64)
    return LabelledPairs([folder / name for name in numbers], first, second, np.array(labels, dtype=bool))


def calibrate(
    pairs: LabelledPairs, embedder: rrn_native.Embedder, *, progress: rrn_native.Progress | None = None
) -> Calibration:
    """Embeds the files and measures their similarities against the labels.

    Args:
        pairs: What belongs together.
        embedder: The model.
        progress: As for :meth:`rrn_native.Embedder.embed`.

    Raises:
        ValueError: No readable pair belongs together.
        rrn_native.RrnError: Inference failed, or the progress callback cancelled.
    """
    embeddings = embedder.embed(pairs.files, on_error="nan", progress=progress)
    readable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(embeddings).all(axis=1))
    usable = readable[pairs.first] & readable[pairs.second]
    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    unit = (embeddings / np.where(norms > 0, norms, 1)).astype(np.float32)
    scores = _dot_rows(unit, pairs.first[usable], pairs.second[usable])
    labels = pairs.same[usable]
    best, threshold = metrics.best_f1(scores, labels)
    rows = []
    for value in sorted({*TABLE_THRESHOLDS, round(threshold, 4)}):
        precision, recall, f1 = metrics.precision_recall_f1(scores, labels, value)
        rows.append({"threshold": value, "precision": precision, "recall": recall, "f1": f1})
    return Calibration(
        images=int(readable.sum()),
        skipped=int((~readable).sum()),
        pairs=len(scores),
        similar_pairs=int(labels.sum()),
        average_precision=metrics.average_precision(scores, labels),
        best_f1=best,
        suggested_threshold=round(threshold, 4),
        rows=rows,
        scores=scores,
        labels=labels,
    )


def plot(calibration: Calibration, path: Path, title: str) -> None:
    """Draws precision, recall and F1 over the threshold, and the histograms of both kinds of pairs.

    Args:
        calibration: What to draw.
        path: The picture to write; its suffix names the format (.png, .svg, .pdf).
        title: Of the whole figure.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    curve = metrics.precision_recall_curve(calibration.scores, calibration.labels)
    for values, name, style in (
        (curve.precision, "precision", "--"),
        (curve.recall, "recall", ":"),
        (curve.f1, "F1", "-"),
    ):
        above.plot(curve.thresholds, values, style, color="black", label=name)
    bins = np.linspace(min(float(calibration.scores.min()), 0.0), 1.0, 60).tolist()
    for chosen, name, fill in ((calibration.labels, "similar pairs", "0.35"), (~calibration.labels, "others", "0.8")):
        below.hist(calibration.scores[chosen], bins=bins, density=True, label=name, color=fill, alpha=0.8)
    for axes in (above, below):
        axes.axvline(calibration.suggested_threshold, color="black", linewidth=0.8)
        axes.legend()
    above.set_ylabel("share")
    above.set_ylim(0, 1.02)
    below.set_ylabel("density of pairs")
    below.set_xlabel(f"cosine similarity (line: suggested threshold {calibration.suggested_threshold:g})")
    below.set_xlim(bins[0], 1.0)
    figure.savefig(path, dpi=120)


def _read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise ValueError(f"{path}: expected the columns {', '.join(columns)}; got {found}")
        rows = list(reader)
    for line, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise ValueError(f"{path}, line {line}: expected {len(columns)} fields")
    if not rows:
        raise ValueError(f"{path}: no rows")
    return rows


def _dot_rows(
    unit: npt.NDArray[np.float32], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """The cosines of pairs of rows, float32 [m], a block at a time to bound the memory."""
    scores = np.empty(len(first), np.float32)
    block = 1 << 16
    for begin in range(0, len(first), block):
        part = slice(begin, begin + block)
        scores[part] = np.einsum("nd,nd->n", unit[first[part]], unit[second[part]])
    return scores


def _table(calibration: Calibration) -> str:
    lines = [
        f"images {calibration.images}, skipped {calibration.skipped}, pairs {calibration.pairs}, "
        f"of them similar {calibration.similar_pairs}",
        f"average precision {calibration.average_precision:.4f}",
        "",
        "threshold  precision  recall      F1",
    ]
    for row in calibration.rows:
        mark = "  <- suggested" if row["threshold"] == calibration.suggested_threshold else ""
        lines.append(
            f"{row['threshold']:>9.4f}  {row['precision']:>9.4f}  {row['recall']:>6.4f}  {row['f1']:>6.4f}{mark}"
        )
    lines += ["", f"suggested: --threshold {calibration.suggested_threshold:g} (the best F1)"]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rrn calibrate",
        description="Measure precision, recall and F1 over thresholds on labelled images, and suggest a threshold.",
        epilog="""examples:
  rrn calibrate --groups groups.csv             (columns file, group)
  rrn calibrate --pairs pairs.csv --plot c.png  (columns first, second, similar)
  rrn calibrate --groups g.csv --model mine.onnx --min-precision 0.99

Exit codes: 0 measured, 1 the wanted precision is out of reach, 2 wrong usage or table, 4 model, runtime or output
failed.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--groups", type=Path, metavar="CSV", help="columns file, group: one group is one thing")
    source.add_argument("--pairs", type=Path, metavar="CSV", help="columns first, second, similar (1 or 0)")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where relative names start (default: the CSV's folder)"
    )
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS", help="input size (default %(default)s)")
    parser.add_argument(
        "--min-precision", type=float, metavar="P", help="also the lowest threshold with a precision of at least P"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw the curves and histograms (needs matplotlib)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    return parser


def for_typing(calibration: Calibration, threshold: float, precision: float) -> str:
    """Returns a threshold of :func:`metrics.threshold_for_precision` in decimals that keep its promise.

    Below the threshold the precision is lower, so four decimals are rounded up; all of its digits are given where the
    precision is not reached there either (it need not grow with the threshold).
    """
    rounded = decimal.Decimal(threshold).quantize(decimal.Decimal("0.0001"), rounding=decimal.ROUND_CEILING)
    reached, _, _ = metrics.precision_recall_f1(calibration.scores, calibration.labels, float(rounded))
    return str(rounded) if reached >= precision else repr(float(threshold))


def _show_progress(done: int, total: int) -> None:
    print(f"\r{done} / {total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.plot is not None:
            import matplotlib.figure  # noqa: F401 - missing, it should not cost the measurement
        read = read_groups if arguments.groups else read_pairs
        pairs = read(arguments.groups or arguments.pairs, arguments.images)
        try:
            embedder = rrn_native.Embedder(arguments.model, arguments.size)
        except FileNotFoundError as error:
            return fail("rrn calibrate", error, RUNTIME_ERROR)
        result = calibrate(pairs, embedder, progress=_show_progress if sys.stderr.isatty() else None)
        summary = result.to_dict() | {"model": (arguments.model or Path(rrn_native.default_model())).name}
        if arguments.min_precision is not None:
            summary["threshold_for_precision"] = metrics.threshold_for_precision(
                result.scores, result.labels, arguments.min_precision
            )
        if arguments.plot is not None:
            plot(result, arguments.plot, f"{summary['model']}, {result.pairs} pairs")
        if arguments.json is not None:
            write_file(arguments.json, (json.dumps(summary, indent=2) + "\n").encode())
    except (OSError, ValueError, rrn_native.RrnError) as error:
        return fail("rrn calibrate", error, failure_code(error))
    print(_table(result))
    if arguments.min_precision is None:
        return 0
    threshold = summary["threshold_for_precision"]
    if threshold is None:
        print(f"no threshold has a precision of {arguments.min_precision:g}")
        return 1
    typed = for_typing(result, threshold, arguments.min_precision)
    print(f"for a precision of {arguments.min_precision:g}: --threshold {typed}")
    return 0
