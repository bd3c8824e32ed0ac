"""Measures all forms of a network: times in turn, accuracy and agreement on the same pictures, and what really ran."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from research.common import intervals, timing
from research.quantisation import labelled, networks
from research.quantisation.choose import SLOW, quality
from research.quantisation.labelled import Amount, Head, Pictures
from research.quantisation.networks import NETWORKS
from research.quantisation.task import BATCHES, Floats, Json, Task
from research.quantisation.variants import BASE, VARIANTS
from research.quantisation.worker import FormError, Worker

_VERY_SLOW = 10.0
# Pictures that a slow form is compared on.
_SLOW_PICTURES = 8
_LEAST_ROUNDS = 5
_RUNS = {1: 4, 8: 1}
# Untrained weights have no accuracy; this many pictures say how well forms agree.
UNTRAINED = 64


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        amount: Of pictures.
        seconds: Of timing for a network; at least five rounds.
        threads: That compute one batch together.
    """

    amount: Amount
    seconds: float
    threads: int


@dataclasses.dataclass
class Row:
    """What was found about one form.

    Attributes:
        variant: A name of `variants.VARIANTS`.
        error: Why it could not be built; "" if it was.
        seconds: By size of batch, one list for each round.
        outputs: float32 [n, D] of the test pictures.
        slow: It was timed once, and compared on a few pictures only.
    """

    variant: str
    error: str = ""
    build_seconds: float = 0.0
    bytes: int = 0
    seconds: dict[int, list[list[float]]] = dataclasses.field(default_factory=lambda: {size: [] for size in BATCHES})
    outputs: Floats = dataclasses.field(default_factory=lambda: np.empty((0, 0), np.float32))
    ran: Json = dataclasses.field(default_factory=dict)
    slow: bool = False


def measure(
    name: str, pictures: Pictures, folder: Path, effort: Effort, *, chosen: Sequence[str], weights: Path | None = None
) -> Json:
    """Builds and measures the forms of one network.

    Args:
        name: A name of `networks.NETWORKS`.
        pictures: Its sets.
        folder: Empty; gets files of the size of the network for each form.
        effort: How much.
        chosen: Forms, the base among them.
        weights: A file; None for the usual ones.

    Returns:
        "words", "trained", "pictures" and "rows", see `record`.

    Raises:
        FormError: The base cannot be built.
    """
    network = NETWORKS[name]
    trained = networks.is_trained(name, weights)
    start = time.perf_counter()
    networks.export(name, network.build(weights), folder / "float.onnx")
    exported = time.perf_counter() - start
    np.save(folder / "calibration.npy", labelled.prepared(pictures.calibration, network))
    test = pictures.test if trained else labelled.spread(pictures.test, UNTRAINED)
    images = labelled.prepared(test, network)
    rows = {variant: Row(variant) for variant in chosen}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for variant in chosen:
            task = Task(name, variant, folder, effort.threads, weights)
            worker = _start(task, rows[variant], stack)
            if worker is None:
                continue
            workers[variant] = worker
            if variant == BASE:
                _prepare(worker, pictures, network, trained=trained)
        _time(workers, rows, effort.seconds)
        _run(workers, rows, images)
    head = Head.load(folder / "head.npz") if trained else None
    judged_by = "accuracy" if pictures.outputs is not None else "cosine"
    return {
        "words": network.words,
        "trained": trained,
        "export_s": timing.significant(exported),
        "pictures": _described(pictures, test),
        "threads": effort.threads,
        "judged_by": judged_by,
        "rows": _records(rows, head, test.labels, judged_by),
    }


def _described(pictures: Pictures, test: Any) -> Json:
    return {
        "source": pictures.source,
        "sha256": pictures.digest,
        "classes": len(test.classes),
        "test": len(test),
        "calibration": len(pictures.calibration),
        "validation": len(pictures.validation),
        "probe": len(pictures.probe) if pictures.probe is not None else 0,
    }


def _start(task: Task, row: Row, stack: contextlib.ExitStack) -> Worker | None:
    variant = VARIANTS[task.variant]
    if variant.package and importlib.util.find_spec(variant.package) is None:
        row.error = f"the package {variant.package} is not installed"
        return None
    try:
        worker = stack.enter_context(Worker(task))
    except FormError as error:
        if task.variant == BASE:
            raise
        row.error = str(error)
        print(f"  {task.variant}: cannot be built: {error}", flush=True)
        return None
    row.build_seconds, row.bytes = worker.build_seconds, worker.bytes
    print(f"  {task.variant}: built in {row.build_seconds:.1f} s", flush=True)
    return worker


def _prepare(worker: Worker, pictures: Pictures, network: networks.Network, *, trained: bool) -> None:
    """Writes the classifier and what accuracy control looks at, from the float32 network's outputs."""
    task = worker.task
    inputs = labelled.prepared(pictures.validation, network)
    outputs = worker.outputs(inputs)
    labels = pictures.validation.labels if trained else np.empty(0, np.int64)
    np.savez(task.validation, inputs=inputs, outputs=outputs, labels=labels)
    if not trained:
        return
    if pictures.outputs is not None:
        head = labelled.own_head(pictures.outputs, outputs.shape[1])
    elif pictures.probe is not None:
        features = worker.outputs(labelled.prepared(pictures.probe, network))
        head = labelled.probe(features, pictures.probe.labels)
    head.save(task.head)


def _time(workers: dict[str, Worker], rows: Mapping[str, Row], seconds: float) -> None:
    """Takes times of all forms in turn, until the time is over and there are enough rounds.

    A form that fails is taken out of `workers`, with its reason in its row.
    """

    def take(name: str, size: int, runs: int, *, warm_up: bool = True) -> list[float]:
        try:
            return workers[name].time(size, runs, warm_up=warm_up)
        except FormError as error:
            if name == BASE:
                raise
            rows[name].error = str(error)
            del workers[name]
            return []

    first = {name: take(name, 1, 1, warm_up=False) for name in list(workers)}
    for name in list(workers):
        # One disturbance does not decide, unless it would have to be a very long one.
        if SLOW < first[name][0] / first[BASE][0] < _VERY_SLOW * SLOW:
            first[name] += take(name, 1, 1, warm_up=False)
        rows[name].slow = min(first[name]) > SLOW * first[BASE][0]
        if rows[name].slow:
            rows[name].seconds[1].append([min(first[name])])
            rows[name].seconds[8].append(take(name, 8, 1, warm_up=False))
    end = time.monotonic() + seconds
    number = 0
    while number < _LEAST_ROUNDS or time.monotonic() < end:
        names = [name for name in workers if not rows[name].slow]
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            for size, runs in _RUNS.items():
                if name in workers:
                    rows[name].seconds[size].append(take(name, size, runs))
        number += 1
    slow = sorted(name for name in workers if rows[name].slow)
    print(f"  timed in {number} rounds{', once: ' if slow else ''}{', '.join(slow)}", flush=True)


def _run(workers: Mapping[str, Worker], rows: Mapping[str, Row], images: Floats) -> None:
    """Computes the outputs of all forms; one that fails is left out, with its reason."""
    for name, worker in workers.items():
        try:
            rows[name].outputs = worker.outputs(images[:_SLOW_PICTURES] if rows[name].slow else images)
            rows[name].ran = worker.ran()
        except FormError as error:
            if name == BASE:
                raise
            rows[name].error = str(error)
    print("  accuracy and agreement measured", flush=True)


def _records(rows: Mapping[str, Row], head: Head | None, labels: npt.NDArray[np.int64], judged_by: str) -> list[Json]:
    base = rows[BASE]
    records = [record(row, base, head, labels, judged_by) for row in rows.values()]
    compared = [each for each in records if not each["error"] and not each["slow"]]
    marks = iter(frontier([(each["p50_ms"], quality(each)) for each in compared]))
    return [each | {"frontier": each in compared and next(marks)} for each in records]


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Says of each point (time, quality) whether no other is at least as good in both and better in one (Pareto)."""

    def beaten(time_: float, value: float) -> bool:
        return any(other <= time_ and worth >= value and (other, worth) != (time_, value) for other, worth in points)

    return [not beaten(*point) for point in points]


def record(row: Row, base: Row, head: Head | None, labels: npt.NDArray[np.int64], judged_by: str) -> Json:
    """Returns a row for the result.

    Args:
        row: What was found.
        base: The same of PyTorch in float32.
        head: The classifier; None for untrained weights.
        labels: int64 [n] of the test pictures.
        judged_by: What counts: "accuracy", or for an embedding "cosine".

    Returns:
        "variant", "words", "runtime", "precision" and "error"; if it was built "build_s", "megabytes", "p50_ms",
        "p95_ms", "images_per_s" (batch of 8), "speedup" (base / this, batch of 1, paired by rounds) and "speedup_8",
        "rounds", "slow", "accuracy" and "difference" (to float32, on the same pictures), "agreement" and "ran". A slow
        one was timed once and has no accuracy.
    """
    variant = VARIANTS[row.variant]
    known = {name: getattr(variant, name) for name in ("words", "runtime", "precision")}
    value: Json = {"variant": row.variant, **known, "error": row.error, "slow": row.slow, "judged_by": judged_by}
    if row.error:
        return value
    value |= times(row, base)
    count = len(row.outputs)
    outputs, expected = row.outputs, base.outputs[:count]
    agreement: Json = {"least_cosine": round(float(_cosines(outputs, expected).min()), 5), "pictures": count}
    accuracy, difference = None, None
    if head is not None and not row.slow:
        found, before = head.classes(outputs), head.classes(expected)
        agreement["same_class"] = round(float((found == before).mean()), 4)
        right = found == labels[:count]
        accuracy = intervals.mean(right).to_json()
        difference = intervals.mean_difference(right, before == labels[:count]).to_json()
    return value | {"accuracy": accuracy, "difference": difference, "agreement": agreement, "ran": row.ran}


def times(row: Row, base: Row) -> Json:
    """Returns what of a record are times and sizes."""
    single = np.array([run for each in row.seconds[1] for run in each]) * 1e3
    speedups = {}
    for size, name in ((1, "speedup"), (8, "speedup_8")):
        rounds = [float(np.median(each)) for each in row.seconds[size]]
        before = [float(np.median(each)) for each in base.seconds[size]]
        if row.slow:
            # One run has no spread.
            ratio = intervals.Interval(float(np.median(before)) / rounds[0], math.nan, math.nan)
        else:
            ratio = intervals.median_ratio(before, rounds)
        speedups[name] = ratio.to_json(3)
    eight = float(np.median([run for each in row.seconds[8] for run in each]))
    return {
        "build_s": timing.significant(row.build_seconds, 3),
        "megabytes": timing.significant(row.bytes / 1e6, 3),
        "p50_ms": timing.significant(float(np.percentile(single, 50))),
        "p95_ms": None if row.slow else timing.significant(float(np.percentile(single, 95))),
        "images_per_s": timing.significant(8 / eight, 3),
        **speedups,
        "rounds": len(row.seconds[1]),
    }


def _cosines(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    one, two = first.astype(np.float64), second.astype(np.float64)
    return np.asarray((one * two).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)))
