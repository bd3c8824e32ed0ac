"""Runs the training by torchrun, as several processes and as several nodes, and compares loss curves."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rrn_ops.streaming import child

from research.circle import losses, train
from research.circle.data import batch_indices, share
from research.circle.train import Config, History
from research.common.places import ROOT

Json = dict[str, Any]

_TIMEOUT = 3600


def words(config: Config, folder: Path, every: int) -> list[str]:
    """Returns the arguments of research.circle.train."""
    found = [str(folder), "--every", str(every)]
    for name, value in dataclasses.asdict(config).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            found += [option] * value
        else:
            found += [option, str(value)]
    return found


def launch(
    config: Config, folder: Path, *, processes: int = 2, nodes: int = 1, every: int = 100, module: str = "train"
) -> None:
    """Trains by torchrun; prints what the training prints.

    Args:
        config: Of the training.
        folder: Gets the checkpoint.
        processes: Of each node.
        nodes: torchrun agents, all on this machine; they meet at a port of it, as on several machines.
        every: Steps between checkpoints.
        module: Of research.circle, with the command line of "train".

    Raises:
        OSError: A process failed, or the time is over.
    """
    meet = ["--standalone"]
    if nodes > 1:
        place = f"localhost:{_free_port()}"
        meet = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", "circle"]
    command = [sys.executable, "-m", "torch.distributed.run", *meet, "--nproc-per-node", str(processes)]
    command += ["-m", f"research.circle.{module}", *words(config, folder, every)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # Where this process is killed, the agents end their processes and themselves.
    agents = [subprocess.Popen(child.bound(command), cwd=ROOT, env=environment) for _ in range(nodes)]
    try:
        statuses = [agent.wait(_TIMEOUT) for agent in agents]
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(
            f"torchrun: expected the training to end within {_TIMEOUT} s, got no end; what the processes print says "
            "how far they came; the same command continues from the last checkpoint"
        ) from error
    finally:
        for agent in agents:
            child.end(agent)
    if any(statuses):
        raise OSError(f"torchrun: expected status 0 of every agent, got {statuses}; what the processes print says more")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def curve(history: History, config: Config) -> list[float]:
    """Returns the loss of each step, the sum of the scaled terms."""
    scales = dataclasses.astuple(losses.measured_scales(config.spec()))
    return [sum(term / scale for term, scale in zip(each, scales, strict=True)) for each in history]


def difference(one: Sequence[float], two: Sequence[float]) -> float:
    """Returns the greatest relative difference of two curves."""
    return max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))


def compare(config: Config, folder: Path) -> Json:
    """Trains with the same batches in several ways and compares the loss curves.

    Args:
        config: Short, and with a batch that has unequal parts.
        folder: Gets a folder for each way.

    Returns:
        "steps", "batch", "parts" of two processes, "curves" by way, and "difference", the greatest relative difference
        of each curve to that of one process.

    Raises:
        OSError: A process failed.
    """
    wrong = dataclasses.replace(config, mean_of_means=True)
    ways: dict[str, Callable[[Path], object]] = {
        "one": lambda place: train.train(config, place, every=config.steps),
        "two processes": lambda place: launch(config, place, every=config.steps),
        "two nodes": lambda place: launch(config, place, processes=1, nodes=2, every=config.steps),
        "sharded": lambda place: launch(config, place, every=config.steps, module="sharded"),
        "mean of means": lambda place: launch(wrong, place, every=config.steps),
    }
    for way, run in ways.items():
        print(f"    {way}", flush=True)
        run(folder / way)
    curves = {way: curve(train.history(folder / way), config) for way in ways}
    batch = batch_indices(0, config.batch, config.count, config.seed)
    return {
        "steps": config.steps,
        "batch": config.batch,
        "parts": [len(share(batch, rank, 2)) for rank in range(2)],
        "curves": {way: [round(value, 6) for value in found] for way, found in curves.items()},
        "difference": {way: difference(curves["one"], found) for way, found in curves.items() if way != "one"},
    }
