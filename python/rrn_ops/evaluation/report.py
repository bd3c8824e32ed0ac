"""Step 6: the report. Conclusions first, then metrics, slices, figures and the worst pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import rrn_native
from PIL import Image
from rrn_native.files import write_file

from rrn_ops.evaluation import documents, figures, files
from rrn_ops.evaluation.bootstrap import LEVEL
from rrn_ops.evaluation.documents import Block, Gallery, Heading, Picture, Points, Table, Text
from rrn_ops.evaluation.options import Options

_SIDE = 160
# What the conclusions name, of either task.
_FIRST = ("accuracy", "macro_f1", "calibration_error", "recall@1", "mean_average_precision", "n_s")
_MEANINGS = {
    "accuracy": "share of images whose class is right",
    "macro_f1": "mean over classes of the harmonic mean of precision and recall",
    "calibration_error": "mean distance of confidence and accuracy, 15 bins; 0 is calibrated",
    "agreement_cosine": "mean cosine of outputs and expected outputs",
    "agreement_max_difference": "largest difference of an output and the expected one",
    "agreement_class": "share of images whose largest output is the expected one",
    "mean_average_precision": "mean over queries of the average precision of their search",
    "average_precision": "average precision of all pairs, sorted by similarity",
    "n_s": "how many of the first four, the query included, are of its group",
}


def run(work: Path, options: Options, key: str) -> None:
    """Writes ``report/report.md`` with its pictures, and ``report/report.html``.

    Args:
        work: The folder of the run.
        options: Of the run.
        key: The fingerprint of the step.

    Raises:
        OSError: A file cannot be read or written.
    """
    measures, gate = files.read_json(work / "measures.json"), files.read_json(work / "gate.json")
    blocks = blocks_of(measures, gate, options)
    title = f"Evaluation of {options.model}"
    folder = work / "report"
    folder.mkdir(exist_ok=True)
    pictures = documents.pictures_of(blocks)
    for picture in pictures:
        write_file(folder / picture.name, picture.png)
    for left in set(folder.glob("worst-*.png")) - {folder / picture.name for picture in pictures}:
        left.unlink()
    write_file(folder / "report.md", documents.to_markdown(title, blocks).encode())
    # Last, because Snakemake takes it for the result of the step.
    write_file(folder / "report.html", documents.to_html(title, blocks).encode())


def blocks_of(measures: dict[str, Any], gate: dict[str, Any], options: Options) -> list[Block]:
    """Returns the report of measures.

    Args:
        measures: The content of ``measures.json``.
        gate: The content of ``gate.json``.
        options: Of the run.
    """
    # Extension point: a further section is one more list of blocks here.
    return [
        *_conclusions(measures, gate),
        *_metrics(measures),
        *_slices(measures),
        *_classes(measures),
        *_worst(measures),
        *_method(measures, options),
    ]


def _value(found: dict[str, Any]) -> str:
    interval = "" if found["lower"] is None else f" ({LEVEL} % interval {found['lower']:.3f} ... {found['upper']:.3f})"
    return f"{found['value']:.3f}{interval}"


def main_metric(measures: dict[str, Any]) -> str:
    """The name of the metric that a reader looks at first."""
    names = ("accuracy", "recall@1", "mean_average_precision")
    return next(name for name in names if name in measures["metrics"])


def _conclusions(measures: dict[str, Any], gate: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = [Heading("Conclusions")]
    failed = [each["text"] for each in gate["metrics"] if not each["passed"]]
    if failed:
        blocks.append(
            Text(f"Regression: {len(failed)} of {len(gate['metrics'])} metrics are below the baseline.", "bad")
        )
        blocks.append(Points(failed))
    elif gate["metrics"]:
        blocks.append(Text(f"No regression: {len(gate['metrics'])} metrics are within their tolerance.", "good"))
    else:
        blocks.append(Text("There is no baseline to compare with."))
    points = [f"{name} is {_value(measures['metrics'][name])}." for name in _FIRST if name in measures["metrics"]]
    points += [text for text in (_confused(measures), _confidence(measures), _weakest(measures)) if text]
    blocks.append(Points(points))
    return blocks


def _confused(measures: dict[str, Any]) -> str:
    if "confusion" not in measures:
        return ""
    table = np.array(measures["confusion"])
    totals = table.sum(axis=1)
    np.fill_diagonal(table, 0)
    if table.max() == 0:
        return "No image was put into a wrong class."
    row, column = np.unravel_index(int(table.argmax()), table.shape)
    names = measures["classes"]
    return f"Most often confused: {names[row]} called {names[column]}, {table[row, column]} of {totals[row]} images."


def _confidence(measures: dict[str, Any]) -> str:
    bins = measures.get("reliability")
    if not bins:
        return ""
    count = sum(each["images"] for each in bins)
    gap = sum(each["images"] * (each["confidence"] - each["accuracy"]) for each in bins) / count
    word = "too confident" if gap > 0 else "too cautious"
    return f"On average the model is {word} by {abs(gap):.3f} (confidence minus accuracy)."


def _weakest(measures: dict[str, Any]) -> str:
    name = main_metric(measures)
    entries = [each for each in measures["slices"] if name in each["metrics"]]
    if not entries:
        return ""
    worst = min(entries, key=lambda each: float(each["metrics"][name]["value"]))
    found, overall = worst["metrics"][name], measures["metrics"][name]["value"]
    if found["value"] >= overall:
        return f"No slice has a lower {name} than all images together."
    clear = found["upper"] is not None and found["upper"] < overall
    verdict = "clearly below" if clear else "not clearly below"
    return (
        f"Weakest slice: {worst['column']} {worst['value']} with {name} {_value(found)}, "
        f"{verdict} the {overall:.3f} of all images."
    )


def _metrics(measures: dict[str, Any]) -> list[Block]:
    rows = [
        [
            name,
            f"{each['value']:.3f}",
            "unknown" if each["lower"] is None else f"{each['lower']:.3f} ... {each['upper']:.3f}",
            "higher" if each["higher_is_better"] else "lower",
            str(each["images"]),
            _MEANINGS.get(
                name, "share of queries with an image of their group so early" if "@" in name else "own metric"
            ),
        ]
        for name, each in measures["metrics"].items()
    ]
    header = ["metric", "value", f"{LEVEL} % interval", "better", "images", "what it is"]
    figure = Picture("metrics.png", figures.intervals(measures["metrics"]), "Metrics and their intervals")
    return [Heading("Metrics"), Table(header, rows), figure]


def _slices(measures: dict[str, Any]) -> list[Block]:
    name = main_metric(measures)
    entries = [each for each in measures["slices"] if name in each["metrics"]]
    if not entries:
        return []
    names = list(dict.fromkeys(metric for each in entries for metric in each["metrics"]))
    rows = [
        [each["column"], each["value"], str(each["images"])]
        + [f"{each['metrics'][metric]['value']:.3f}" if metric in each["metrics"] else "" for metric in names]
        for each in entries
    ]
    png = figures.slices(entries, name, measures["metrics"][name]["value"])
    caption = f"{name} of each slice; the line is that of all images"
    return [Heading("Slices"), Table(["column", "value", "images", *names], rows), Picture("slices.png", png, caption)]


def _classes(measures: dict[str, Any]) -> list[Block]:
    if "confusion" not in measures:
        return []
    matrix = figures.confusion(measures["confusion"], measures["classes"])
    return [
        Heading("Confusion matrix"),
        Picture("confusion.png", matrix, "Rows: expected class; columns: predicted class"),
        Heading("Calibration"),
        Picture(
            "reliability.png",
            figures.reliability(measures["reliability"]),
            "Bars: accuracy of the images of each confidence; the dashed line is a calibrated model",
        ),
    ]


def _worst(measures: dict[str, Any]) -> list[Block]:
    wrong = [each for each in measures["worst"] if each["wrong"]]
    title = Heading(f"The worst {len(measures['worst'])}")
    if not wrong:
        return [title, Text("No image is wrong; these are the least certain ones."), _gallery(measures["worst"])]
    return [title, _gallery(measures["worst"])]


def _gallery(entries: list[dict[str, Any]]) -> Gallery:
    return Gallery(
        [
            Picture(f"worst-{number:02d}.png", _thumbnails(entry), _caption(entry))
            for number, entry in enumerate(entries, 1)
        ]
    )


def _caption(entry: dict[str, Any]) -> str:
    name = Path(entry["image"]).name
    if "predicted" in entry:
        return (
            f"{name}: expected {entry['expected']} ({entry['of_expected']:.2f}), "
            f"predicted {entry['predicted']} ({entry['confidence']:.2f})"
        )
    near = ", ".join(f"{each['group']} {each['cosine']:.2f}" for each in entry["neighbours"][:2])
    return f"{name} of {entry['expected']}: average precision {entry['precision']:.2f}; nearest: {near}"


def _thumbnails(entry: dict[str, Any]) -> bytes:
    """The picture, and beside it the nearest ones for a search."""
    paths = [entry["image"], *(each["image"] for each in entry.get("neighbours", [])[:2])]
    sheet = Image.new("RGB", (_SIDE * len(paths), _SIDE), "white")
    for place, path in enumerate(paths):
        small = Image.fromarray(rrn_native.decode(path, target=_SIDE))
        small.thumbnail((_SIDE - 4, _SIDE - 4))
        # Small pictures are enlarged, by whole numbers, so that they can be seen.
        times = max(1, (_SIDE - 4) // max(small.size))
        small = small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)
        sheet.paste(small, (place * _SIDE, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _method(measures: dict[str, Any], options: Options) -> list[Block]:
    texts = [
        f"{measures['images']} images of {options.inputs.name}, expected results of {options.outputs.name}.",
        f"Task: {measures['task']}; the outputs are {measures['outputs_are']}.",
        f"Model: {options.model}, fingerprint {options.fingerprint}.",
        f"Intervals: percentiles of {options.resamples} bootstrap resamples of "
        f"{'images' if measures['task'] == 'classification' else 'queries'}, seed {options.seed}.",
    ]
    fewer = [name for name, each in measures["metrics"].items() if each["resamples"] < options.resamples]
    if fewer:
        texts.append(f"Fewer resamples, because each takes long: {', '.join(fewer)}.")
    if measures["without_slices"]:
        texts.append(f"Columns that are no slices (one value, or too many): {', '.join(measures['without_slices'])}.")
    return [Heading("How it was measured"), Points(texts)]
