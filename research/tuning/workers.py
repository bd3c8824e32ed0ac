"""Processes that work on one plan: started, waited for, and gone when the one that started them is gone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

from research.tuning.plan import Plan


def wanted() -> bool:
    """Returns whether the process that started this one is there; true for a process that nobody started."""
    starter = multiprocessing.parent_process()
    return starter is None or starter.is_alive()


def run(target: Callable[[Plan, int, int], None], plan: Plan, count: int) -> list[int]:
    """Runs `target(plan, number, count)` in `count` processes, numbered from 0, and waits for all of them.

    A single one is this process itself.

    Returns:
        Their exit codes; negative for one that a signal ended.
    """
    if count == 1:
        target(plan, 0, 1)
        return [0]
    # A forked copy of a process with threads of its own may wait for a lock that nobody frees.
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=target, args=(plan, number, count)) for number in range(count)]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join()
    finally:
        for process in started:
            process.kill()
            process.join()
    codes = [process.exitcode or 0 for process in started]
    for number, code in enumerate(codes):
        if code:
            print(f"[{number}] ended with status {code}", flush=True)
    return codes
