"""One process for each form of a network, so that no two runtimes share threads or memory; driven over a pipe."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np

from research.quantisation.task import Floats, Json, Task, some
from research.quantisation.variants import VARIANTS


class FormError(Exception):
    """A form cannot be built or run; the message says which and why."""


class Worker:
    """A process that builds a form and runs it when told to; a context manager that ends it.

    Args:
        task: What it builds.

    Attributes:
        task: The same.
        build_seconds: What building took, its libraries' import excluded.
        bytes: What has to be kept to run it.

    Raises:
        FormError: It cannot be built.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        # Not a fork: libraries with threads do not survive one.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, task))
        self._process.start()
        other.close()
        try:
            self.build_seconds, self.bytes = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def time(self, batch: int, runs: int, *, warm_up: bool = True) -> list[float]:
        """Returns the seconds of each of some runs of a batch; one more before them warms up."""
        return list(self._ask("time", batch, runs, warm_up))

    def outputs(self, images: Floats) -> Floats:
        """Returns the outputs of float32 [n, 3, side, side], computed in batches of 8 and the rest singly."""
        found: Floats = self._ask("outputs", images)
        return found

    def ran(self) -> Json:
        """Returns what really runs."""
        found: Json = self._ask("ran")
        return found

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, *words: Any) -> Any:
        self._pipe.send(words)
        return self._answer()

    def _answer(self) -> Any:
        try:
            good, value = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            good, value = False, f"its process ended with {self._process.exitcode}"
        if not good:
            raise FormError(f"{self.task.network}, {self.task.variant}: {value}")
        return value


def in_batches(run: Any, images: Floats, batch: int = 8) -> Floats:
    """Runs pictures in batches of 8 and the rest singly, because some forms are built for these two sizes only."""
    whole = len(images) - len(images) % batch
    parts = [run(images[place : place + batch]) for place in range(0, whole, batch)]
    parts += [run(images[place : place + 1]) for place in range(whole, len(images))]
    return np.concatenate(parts)


def _serve(pipe: Connection, task: Task) -> None:
    """Builds, then answers until the pipe closes; errors are answers, too."""
    # ONNX Runtime, and NNCF outside of continuous integration, report their use over the network.
    os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "CI": "true"}
    # What libraries print belongs to nobody; a build that fails is answered with its error.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        built, spent = _built(task)
    except Exception as error:
        pipe.send((False, _reason(error)))
        return
    pipe.send((True, (spent, built.size())))
    while True:
        try:
            command, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            if command == "time":
                batch, runs, warm_up = arguments
                pipe.send((True, _time(built.run, some(task, batch), runs, warm_up=warm_up)))
            elif command == "outputs":
                pipe.send((True, in_batches(built.run, arguments[0])))
            else:
                pipe.send((True, built.ran()))
        except Exception as error:
            pipe.send((False, _reason(error)))


def _built(task: Task) -> tuple[Any, float]:
    variant = VARIANTS[task.variant]
    if variant.package:
        __import__(variant.package)
    __import__(f"research.quantisation.{variant.module}")
    start = time.perf_counter()
    built = variant.build(task)
    return built, time.perf_counter() - start


def _time(run: Any, images: Floats, runs: int, *, warm_up: bool) -> list[float]:
    # After a pause the first run finds caches that others have filled.
    if warm_up:
        run(images)
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        run(images)
        taken.append(time.perf_counter() - start)
    return taken


def _reason(error: Exception) -> str:
    words = str(error).strip().partition("\n")[0] or type(error).__name__
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{words[:300]} ({type(error).__name__} in {place.name})"
