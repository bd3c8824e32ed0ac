"""How fast a server answers: a closed loop, with the definitions of Triton's perf_analyzer.

The number of requests in flight is fixed; as soon as one is answered, the next is sent. Requests are counted in
windows; a measurement is stable when throughput and mean latency of three windows in a row are within a tenth of their
mean, and those three windows are the result. Where that does not happen, the last three are, and `stable` says so.
(https://github.com/triton-inference-server/perf_analyzer)
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np

from rrn_ops.serving.client import Client, Counts
from rrn_ops.serving.runtime import ServeError

WINDOWS = 3
STABLE = 0.1


@dataclasses.dataclass(frozen=True)
class Target:
    """What is asked.

    Attributes:
        host: Of the server.
        port: Of gRPC.
        model: Takes `image`, gives `embedding`.
        pictures: Contents of files; each request takes the next.
        steps: The models whose counts are the server's times: the model itself, or the steps of an ensemble, which has
            no counts of its own.
    """

    host: str
    port: int
    model: str
    pictures: Sequence[bytes]
    steps: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Measured:
    """The result for one number of requests in flight.

    Attributes:
        concurrency: Requests in flight.
        requests: How many were answered in the windows that count.
        per_second: Answers in a second.
        p50_ms: Half of the answers took at most this long, in milliseconds, seen by the client.
        p90_ms: The same for 90 of 100.
        p95_ms: The same for 95 of 100.
        p99_ms: The same for 99 of 100.
        queue_ms: The server's mean time in queues, of all steps together.
        compute_ms: The server's mean time in computation, input and output included, of all steps together.
        batch: Pictures in an execution of the last step, on average: 1 where the server did not batch.
        stable: Whether three windows in a row agreed.
    """

    concurrency: int
    requests: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    queue_ms: float
    compute_ms: float
    batch: float
    stable: bool


def measure(target: Target, concurrency: int, window: float = 2.0, most: int = 8) -> Measured:
    """Measures one number of requests in flight.

    Args:
        target: What is asked.
        concurrency: Requests in flight, at least 1; each has a connection and a thread of its own.
        window: Seconds of a window.
        most: Windows at most, at least 3; one more before them warms up.

    Raises:
        ServeError: A request failed.
    """
    loop = _Loop(target, concurrency)
    with Client(target.host, target.port, protocol="grpc") as observer:
        loop.start()
        try:
            time.sleep(window)
            before = [_counts(observer, target)]
            ends = [time.monotonic()]
            stable = False
            while len(ends) <= most and not stable:
                time.sleep(window)
                ends.append(time.monotonic())
                before.append(_counts(observer, target))
                stable = len(ends) > WINDOWS and _agree(loop, ends[-WINDOWS - 1 :])
        finally:
            loop.stop()
    begin, end = ends[-WINDOWS - 1], ends[-1]
    latencies = np.array([taken for at, taken in loop.answers if begin <= at < end]) * 1e3
    if not latencies.size:
        raise ServeError(f"{target.model}: no answer in {end - begin:.1f} s; take longer windows")
    queue, compute, inferences, executions = np.subtract(before[-1], before[-WINDOWS - 1])
    count = max(inferences, 1)
    p50, p90, p95, p99 = (float(np.percentile(latencies, q)) for q in (50, 90, 95, 99))
    return Measured(
        concurrency,
        int(latencies.size),
        latencies.size / (end - begin),
        *(p50, p90, p95, p99),
        float(queue / count),
        float(compute / count),
        float(inferences / max(executions, 1)),
        stable,
    )


def _counts(client: Client, target: Target) -> tuple[float, float, int, int]:
    """Milliseconds in queues and in computation, and the pictures and executions of the last step."""
    steps = [Counts.of(client.statistics(name)[0]) for name in target.steps or (target.model,)]
    queue, compute = sum(each.queue_ms for each in steps), sum(each.compute_ms for each in steps)
    return queue, compute, steps[-1].pictures, steps[-1].executions


def _agree(loop: _Loop, ends: Sequence[float]) -> bool:
    """Whether throughput and mean latency of the windows are within a tenth of their means."""
    answers = list(loop.answers)
    windows = [[taken for at, taken in answers if begin <= at < end] for begin, end in itertools.pairwise(ends)]
    if not all(windows):
        return False
    rates = np.array([len(each) for each in windows]) / np.diff(ends)
    means = np.array([np.mean(each) for each in windows])
    return all(float(np.abs(each / each.mean() - 1).max()) <= STABLE for each in (rates, means))


class _Loop:
    """Threads that ask again as soon as they are answered."""

    def __init__(self, target: Target, concurrency: int) -> None:
        self.answers: list[tuple[float, float]] = []
        self._target = target
        self._ended = threading.Event()
        self._failures: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(k,)) for k in range(concurrency)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self, first: int) -> None:
        pictures = self._target.pictures
        try:
            with Client(self._target.host, self._target.port, protocol="grpc") as client:
                for k in range(first, 1 << 62, len(self._threads)):
                    if self._ended.is_set():
                        return
                    begin = time.monotonic()
                    client.embed([pictures[k % len(pictures)]], self._target.model)
                    end = time.monotonic()
                    self.answers.append((end, end - begin))
        except Exception as error:  # handed to the thread that waits
            self._failures.append(error)
            self._ended.set()
