"""Simulates a stage of a large job: tasks on machines that fail, are slow, or get tasks of very unequal sizes.

A discrete simulation: the next free machine takes the next task. A machine that fails loses its task, which runs again,
and is back after a while. Everything is in units of the mean task, so that the results are ratios.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Fleet:
    """Machines.

    Attributes:
        machines: How many.
        between_failures: Mean time of one machine between two failures, in the unit of the tasks; inf for none.
        repair: How long a machine is away after a failure, in the same unit.
        slow_share: The share of machines that are slow.
        slow_factor: How many times longer a slow machine takes.
    """

    machines: int
    between_failures: float = np.inf
    repair: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run took.

    Attributes:
        time: Until the last task was done.
        busy: Time of machines at work, lost work included.
        lost: Of that, work that a failure lost.
        failures: How many tasks were lost.
    """

    time: float
    busy: float
    lost: float
    failures: int


def run(tasks: Sequence[float] | Floats, fleet: Fleet, seed: int) -> Outcome:
    """Runs tasks in their order, each on the machine that is free first.

    Args:
        tasks: How long each takes on a machine that is not slow, all above 0.
        fleet: The machines.
        seed: Of failures, and of which machines are slow.

    Raises:
        ValueError: There is no machine, or no task.
    """
    if fleet.machines < 1 or len(tasks) < 1:
        raise ValueError(f"{fleet.machines} machines and {len(tasks)} tasks, expected at least one of each")
    random = np.random.default_rng(seed)
    slow = random.permutation(fleet.machines) < round(fleet.slow_share * fleet.machines)
    factors = np.where(slow, fleet.slow_factor, 1.0)
    free = [(0.0, machine) for machine in range(fleet.machines)]
    # A task that was lost comes back when its machine has failed: it cannot be taken earlier.
    waiting = [(0.0, number, float(length)) for number, length in enumerate(tasks)]
    heapq.heapify(waiting)
    end = busy = lost = 0.0
    failures = 0
    while waiting:
        ready, number, length = heapq.heappop(waiting)
        now, machine = heapq.heappop(free)
        start = max(now, ready)
        takes = length * factors[machine]
        alive = random.exponential(fleet.between_failures) if np.isfinite(fleet.between_failures) else np.inf
        if alive < takes:
            failures += 1
            lost += alive
            busy += alive
            heapq.heappush(waiting, (start + alive, number, length))
            heapq.heappush(free, (start + alive + fleet.repair, machine))
            continue
        busy += takes
        end = max(end, start + takes)
        heapq.heappush(free, (start + takes, machine))
    return Outcome(end, busy, lost, failures)


def cell_sizes(count: int, spread: float, seed: int) -> Floats:
    """Returns sizes of cells with a mean of 1, float64 [count]: log-normal, as groups of pictures are.

    Args:
        count: Of cells.
        spread: Standard deviation of the logarithm; 0 for equal cells.
        seed: Of the draw.
    """
    sizes = np.random.default_rng(seed).lognormal(0.0, spread, count)
    shares: Floats = sizes / sizes.mean()
    return shares


def skew(sizes: Floats) -> float:
    """Returns how many times the work of equal cells cells of these sizes are: work grows with the square of a size."""
    return float(np.mean(sizes**2) / np.mean(sizes) ** 2)


def cell_tasks(sizes: Floats, most: float) -> Floats:
    """Returns the tasks of cells, in units of a cell of mean size: pairs of chunks of at most `most` each.

    Args:
        sizes: Of cells, with a mean of 1.
        most: Size of a chunk; inf for whole cells.

    Returns:
        float64 [n], the longest first: the square of a chunk, or twice the product of two.
    """
    tasks: list[float] = []
    for size in sizes.tolist():
        count = max(1, int(np.ceil(size / most))) if np.isfinite(most) else 1
        chunk = size / count
        tasks += [chunk * chunk] * count + [2 * chunk * chunk] * (count * (count - 1) // 2)
    return np.sort(np.array(tasks))[::-1]
