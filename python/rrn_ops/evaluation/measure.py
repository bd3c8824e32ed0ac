"""Step 4: metrics with intervals, for all images and for slices, and which images are the worst."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rrn_native.cli.common import one_line, write_json

from rrn_ops.evaluation import bootstrap, classification, embeddings, files
from rrn_ops.evaluation.bootstrap import Statistic
from rrn_ops.evaluation.interface import BoolArray, Data, EvaluationError, FloatArray, Metric, Outputs, load_function
from rrn_ops.evaluation.options import Options

# A metric that returns one number is called for each resample; this many take seconds.
_CALLS = 200
# Columns with more values than this are names or numbers, not slices.
MAX_VALUES = 30


def load_data(work: Path, options: Options) -> tuple[Data, str]:
    """Reads what the steps before have written.

    Returns:
        The data, and what the outputs were taken for: "logits", "probabilities" or "embeddings".

    Raises:
        ValueError: The outputs do not fit the classes or the expected outputs.
    """
    images, labels = files.read_json(work / "images.json"), files.read_json(work / "labels.json")
    outputs: Outputs = np.load(work / "predictions.npy")
    classes = options.classes or tuple(dict.fromkeys(labels["labels"]))
    if options.task == "classification" and outputs.shape[1] != len(classes):
        raise ValueError(f"the model has {outputs.shape[1]} outputs, but there are {len(classes)} classes")
    probabilities, meaning = None, "embeddings"
    if options.task == "classification":
        probabilities, meaning = classification.probabilities_of(outputs)
    position = {name: number for number, name in enumerate(classes)}
    data = Data(
        task=options.task,
        outputs=outputs,
        labels=np.array([position[name] for name in labels["labels"]], np.int64),
        classes=classes,
        images=tuple(Path(name) for name in images["images"]),
        slices={name: tuple(values) for name, values in images["slices"].items()},
        expected=_expected(labels["outputs"], outputs.shape[1]),
        probabilities=probabilities,
    )
    return data, meaning


def _expected(rows: Sequence[list[float] | None], length: int) -> Outputs | None:
    known = [row for row in rows if row is not None]
    if not known:
        return None
    if len(known[0]) != length:
        raise ValueError(f"the column output has {len(known[0])} numbers, but the model has {length} outputs")
    return np.array([[np.nan] * length if row is None else row for row in rows], np.float32)


def own_statistic(data: Data, function: Metric, spec: str) -> Statistic:
    """Returns what a custom metric measures.

    Args:
        data: What it is called with.
        function: Returns a number, or float64 [n] with NaN for images that it is not about.
        spec: What errors call it.

    Raises:
        EvaluationError: It raises, or returns something else.
    """
    name = getattr(function, "metric_name", getattr(function, "__name__", spec))
    higher = getattr(function, "higher_is_better", True)
    found = _call(function, data, spec)
    if found.ndim == 1:
        if len(found) != len(data):
            raise EvaluationError(f"metric {spec} returned {len(found)} numbers for {len(data)} images")
        return Statistic(name, bootstrap.mean(found), higher, used=np.isfinite(found))
    if found.ndim != 0:
        raise EvaluationError(f"metric {spec} returned {list(found.shape)}, expected a number or one for each image")
    return Statistic(name, partial(_of_calls, data, function, spec), higher, resamples=_CALLS)


def _of_calls(data: Data, function: Metric, spec: str, weights: FloatArray) -> FloatArray:
    rows = np.arange(len(data))
    return np.array([float(_call(function, data.take(np.repeat(rows, row.astype(int))), spec)) for row in weights])


def _call(function: Metric, data: Data, spec: str) -> FloatArray:
    try:
        return np.asarray(function(data), dtype=np.float64)
    except Exception as error:  # own code may raise anything
        raise EvaluationError(f"metric {spec} failed: {type(error).__name__}: {one_line(error)}") from error


def slices_of(data: Data) -> Iterator[tuple[str, str, BoolArray]]:
    """Yields column, value and bool [n] of each slice, in the order of columns and values."""
    for column, values in data.slices.items():
        different = sorted(set(values))
        if 1 < len(different) <= MAX_VALUES:
            for value in different:
                yield column, value, np.array([each == value for each in values])


def _worst_classified(data: Data, count: int) -> list[dict[str, Any]]:
    """Wrong ones first, and among them those to which the right class seemed least probable."""
    if data.probabilities is None:
        return []
    right = data.probabilities[np.arange(len(data)), data.labels]
    predicted = data.predicted
    order = np.lexsort((right, predicted == data.labels))[:count]
    return [
        {
            "image": str(data.images[row]),
            "expected": data.classes[data.labels[row]],
            "predicted": data.classes[predicted[row]],
            "wrong": bool(predicted[row] != data.labels[row]),
            "confidence": float(data.probabilities[row].max()),
            "of_expected": float(right[row]),
        }
        for row in order
    ]


def _worst_found(data: Data, ranking: embeddings.Ranking, count: int) -> list[dict[str, Any]]:
    order = np.argsort(ranking.precision, kind="stable")[: min(count, int(ranking.queries.sum()))]
    return [
        {
            "image": str(data.images[row]),
            "expected": data.classes[data.labels[row]],
            "wrong": bool(ranking.precision[row] < 1),
            "precision": float(ranking.precision[row]),
            "first_hit": int(ranking.first_hit[row]),
            "neighbours": [
                {
                    "image": str(data.images[other]),
                    "group": data.classes[data.labels[other]],
                    "cosine": float(cosine),
                    "same": bool(data.labels[other] == data.labels[row]),
                }
                for other, cosine in zip(ranking.neighbours[row], ranking.cosines[row], strict=True)
            ],
        }
        for row in order
    ]


def run(work: Path, options: Options, key: str) -> None:
    """Writes ``measures.json``.

    Args:
        work: The folder of the run.
        options: Of the run.
        key: The fingerprint of the step.

    Raises:
        ValueError: The predictions do not fit what is expected.
        EvaluationError: A metric fails.
    """
    data, meaning = load_data(work, options)
    found: dict[str, Any] = {"key": key, "task": data.task, "images": len(data), "outputs_are": meaning}
    if data.task == "classification":
        statistics = classification.statistics(data)
        found["classes"] = list(data.classes)
        found["confusion"] = classification.confusion(data.labels, data.predicted, len(data.classes)).tolist()
        found["reliability"] = classification.reliability(data)
        found["worst"] = _worst_classified(data, options.worst)
    else:
        ranking = embeddings.rank(data)
        statistics = embeddings.statistics(data, ranking)
        found["groups"] = len(data.classes)
        found["worst"] = _worst_found(data, ranking, options.worst)
    statistics += classification.agreement(data)
    statistics += [own_statistic(data, load_function(spec, options.folder), spec) for spec in options.metrics]
    _check_names(statistics)
    everything = np.ones(len(data), dtype=bool)
    found["metrics"] = _measured(statistics, everything, options)
    found["slices"] = [
        {
            "column": column,
            "value": value,
            "images": int(mask.sum()),
            "metrics": _measured([each for each in statistics if each.sliced], mask, options),
        }
        for column, value, mask in slices_of(data)
    ]
    found["without_slices"] = sorted(
        column for column, values in data.slices.items() if not 1 < len(set(values)) <= MAX_VALUES
    )
    write_json(work / "measures.json", found)


def _check_names(statistics: Sequence[Statistic]) -> None:
    names = [each.name for each in statistics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two metrics are called {twice[0]!r}; @metric(name=...) gives one another name")


def _measured(statistics: Sequence[Statistic], mask: BoolArray, options: Options) -> dict[str, Any]:
    found = {}
    for statistic in statistics:
        measured = bootstrap.measure(statistic, mask, options.resamples, options.seed)
        if measured is None:
            continue
        if not np.isfinite(measured.value):
            raise EvaluationError(f"metric {statistic.name} is {measured.value}, which is no number to compare")
        # JSON has no NaN: an interval that no resample gave is left out.
        found[statistic.name] = {
            name: None if value != value else value for name, value in dataclasses.asdict(measured).items()
        }
    return found
