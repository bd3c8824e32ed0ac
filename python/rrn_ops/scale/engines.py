"""Runs tasks on Ray Data, Daft or processes of this machine. Each worker makes one object and calls it for each task.

A task is a line of text and so is its answer; the work itself reads and writes the job's storage, so hardly anything
travels through an engine. A task whose worker dies runs again on another one, and gives the same files.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal

from rrn_native.cli.common import one_line

from rrn_ops.scale.storage import ScaleError

Engine = Literal["ray", "daft", "processes"]
ENGINES: tuple[Engine, ...] = ("ray", "daft", "processes")
Task = Callable[[str], str]
# A task is given up when that many processes died over it. Ray and Daft try again without end.
ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Options:
    """Where tasks run.

    Attributes:
        engine: "ray", "daft" or "processes".
        workers: How many at once; 0 (of processes only) for this process itself.
        address: Of a Ray cluster; "" starts one on this machine. Daft then runs on it, too.
        object_store_memory: Of the cluster that is started, in bytes.
    """

    engine: Engine = "ray"
    workers: int = 1
    address: str = ""
    object_store_memory: int = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Work:
    """What a worker makes, once: ``make(*arguments)``, a function of a task's text."""

    make: Callable[..., Task]
    arguments: tuple[Any, ...]

    def start(self) -> Task:
        """Makes it."""
        return self.make(*self.arguments)


def run(options: Options, work: Work, tasks: Sequence[str]) -> Iterator[str]:
    """Runs all tasks and yields their answers as they come, in any order.

    Raises:
        ScaleError: A worker died again and again over one task, or the cluster cannot be reached.
        ImportError: The engine is not installed.
        Exception: What a task raises, which is a ScaleError with its text on Ray and Daft; what was finished stays.
    """
    if not tasks:
        return
    yield from {"ray": _run_ray, "daft": _run_daft, "processes": _run_processes}[options.engine](options, work, tasks)


class _Guarded:
    """Keeps what a worker has made, and gives errors as answers, of which engines leave no more than a text anyway."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._task: Task | None = None

    def __call__(self, text: str) -> str:
        try:
            if self._task is None:
                self._task = self._work.start()
            return f"+{self._task(text)}"
        except Exception as error:  # whatever it is, the driver is to say it in one line
            return (
                f"-{one_line(error) if isinstance(error, ScaleError) else f'{type(error).__name__}: {one_line(error)}'}"
            )


def _opened(answer: str) -> str:
    """Returns the answer of :class:`_Guarded`.

    Raises:
        ScaleError: It is an error.
    """
    if answer.startswith("-"):
        raise ScaleError(f"a task failed: {answer[1:]}")
    return answer[1:]


# ---- Processes -----------------------------------------------------------------------------------------------------

_task: Task | None = None


def _begin(work: Work) -> None:
    # A worker of a pool has no other place for what it keeps.
    global _task
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _task = work.start()


def _end_with_parent() -> None:
    """Ends this worker when its driver is killed: it would wait for tasks that never come."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(text: str) -> str:
    assert _task is not None
    return _task(text)


def _run_processes(options: Options, work: Work, tasks: Sequence[str]) -> Iterator[str]:
    if options.workers == 0:
        call = work.start()
        yield from map(call, tasks)
        return
    waiting = collections.deque(tasks)
    deaths: collections.Counter[str] = collections.Counter()
    while waiting:
        under_way: dict[concurrent.futures.Future[str], str] = {}
        pool = concurrent.futures.ProcessPoolExecutor(
            options.workers, multiprocessing.get_context("spawn"), _begin, (work,)
        )
        try:
            while waiting or under_way:
                while waiting and len(under_way) < options.workers + 1:
                    # Taken from those that wait only when it is with the pool, which may be broken already.
                    under_way[pool.submit(_call, waiting[0])] = waiting[0]
                    waiting.popleft()
                done, _ = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    # Stays among those under way until there is an answer.
                    answer = future.result()
                    del under_way[future]
                    yield answer
        except BrokenProcessPool as error:
            # Nobody says which worker died, so each task that it might have been counts.
            for text in under_way.values():
                deaths[text] += 1
                if deaths[text] >= ATTEMPTS:
                    raise ScaleError(f"a worker died {ATTEMPTS} times over the task {text[:200]}") from error
            waiting.extendleft(under_way.values())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# ---- Ray Data ------------------------------------------------------------------------------------------------------


class _RayTask:
    """What an actor of Ray Data keeps and calls."""

    def __init__(self, work: Work) -> None:
        self._task = _Guarded(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"answer": [self._task(str(text)) for text in batch["task"]]}


def start_ray(options: Options) -> bool:
    """Connects to a cluster, or starts one here without a dashboard; returns whether it was started.

    Raises:
        ScaleError: No cluster answers at the address.
    """
    # Read when Ray is imported and by all that it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A future release sets it; until then Ray warns at every start.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if options.address:
            ray.init(address=options.address, **quiet)
            return False
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=options.workers + 1,
            object_store_memory=options.object_store_memory,
            **quiet,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ScaleError(f"Ray: {error}") from error
    return True


def _run_ray(options: Options, work: Work, tasks: Sequence[str]) -> Iterator[str]:
    started = start_ray(options)
    import ray
    import ray.data
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        # A block for each task: what a killed actor was at is all that has to run again.
        dataset = ray.data.from_items([{"task": text} for text in tasks], override_num_blocks=len(tasks))
        answers = dataset.map_batches(
            _RayTask,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=options.workers),
            fn_constructor_args=(work,),
            num_cpus=1,
        )
        for row in answers.iter_rows():
            yield _opened(str(row["answer"]))
    except RayError as error:
        raise ScaleError(f"Ray: {error}") from error
    finally:
        if started:
            ray.shutdown()


# ---- Daft ----------------------------------------------------------------------------------------------------------


def _run_daft(options: Options, work: Work, tasks: Sequence[str]) -> Iterator[str]:
    # Daft reports its use unless it is told before it is imported.
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["DAFT_PROGRESS_BAR"] = "0"
    import daft

    if options.address:
        daft.set_runner_ray(address=options.address)

    class DaftTask:
        def __init__(self) -> None:
            self._task = _Guarded(work)

        @daft.method(return_dtype=daft.DataType.string())  # type: ignore[untyped-decorator]
        def call(self, text: str) -> str:
            return self._task(text)

    worker = daft.cls(DaftTask, max_concurrency=options.workers, use_process=True)()
    frame = daft.from_pydict({"task": list(tasks)}).into_batches(1)
    for row in frame.select(worker.call(frame["task"]).alias("answer")).iter_rows():
        yield _opened(str(row["answer"]))
