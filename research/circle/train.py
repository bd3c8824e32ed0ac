"""Trains the network, alone or as one of several processes; a killed training continues from its last checkpoint.

Alone:              .venv/bin/python -m research.circle.train FOLDER
Two processes:      .venv/bin/torchrun --standalone --nproc-per-node 2 -m research.circle.train FOLDER
Two nodes:          the same command with --nnodes 2 --node-rank K and a rendezvous, see README.md

Every process computes its part of each step's batch (gloo, on the processor) and all of them end with the same weights.
The batch of a step is the same for any number of processes, so the loss curve is, too, up to rounding.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from research.circle import losses, origin
from research.circle.data import Spec, batch_indices, share
from research.circle.network import Batch, CircleNet, drawn
from research.common import results

CHECKPOINT = "checkpoint.pt"
_WARMUP = 0.05
_LAST_RATE = 0.01
_CLIP = 1.0
_DECAY = 1e-4
History = list[list[float]]


@dataclasses.dataclass(frozen=True)
class Config:
    """What decides the result of a training.

    Attributes:
        steps: In all.
        batch: Pictures of a step, of all processes together.
        count: Pictures of an epoch.
        seed: Of the pictures, their order and the first weights.
        rate: The greatest learning rate.
        least: The least side of a picture.
        most: The greatest side.
        width: Channels of the network.
        blocks: Blocks of the network.
        mean_of_means: Each process takes the mean over its own part, a well-known mistake: where the parts are unequal,
            the pictures of the smaller part weigh more.
    """

    steps: int = 1600
    batch: int = 32
    count: int = 8192
    seed: int = 0
    rate: float = 3e-3
    least: int = 48
    most: int = 160
    width: int = 32
    blocks: int = 2
    mean_of_means: bool = False

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: One is out of its range.
        """
        for name in ("steps", "batch", "width", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}; choose another")
        if self.rate <= 0:
            raise ValueError(f"rate: expected more than 0, got {self.rate}; choose another, such as 0.003")
        self.spec()

    def spec(self) -> Spec:
        """Returns the data set."""
        return Spec(self.seed, self.count, self.least, self.most)


@dataclasses.dataclass(frozen=True)
class Place:
    """Which of how many processes this is."""

    rank: int = 0
    world: int = 1


@dataclasses.dataclass
class State:
    """A training at some step.

    Attributes:
        model: The network, not wrapped.
        optimiser: Of its parameters.
        history: Mean terms of each step so far, before they are scaled, in the order of losses.TERMS.
    """

    model: CircleNet
    optimiser: torch.optim.Optimizer
    history: History

    @classmethod
    def new(cls, config: Config) -> State:
        """Returns the first state, which depends on the configuration alone."""
        torch.manual_seed(config.seed)
        model = CircleNet(config.width, config.blocks)
        return cls(model, optimiser_of(model, config), [])

    def save(self, path: Path, config: Config) -> None:
        """Writes a checkpoint with its origin, complete or not at all."""
        buffer = io.BytesIO()
        parts = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "history": self.history}
        torch.save(parts | {"config": dataclasses.asdict(config), "origin": dict(origin.here())}, buffer)
        results.write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, config: Config) -> State:
        """Reads a checkpoint.

        Raises:
            ValueError: It is of a training with other settings.
            OSError: It cannot be read.
        """
        parts = torch.load(path, weights_only=True)
        wanted = dataclasses.asdict(config)
        other = {name: value for name, value in parts["config"].items() if wanted.get(name) != value}
        if other:
            raise ValueError(
                f"{path.name}: expected a training with { ({name: wanted.get(name) for name in other}) }, "
                f"got one with {other}; choose another folder or remove the file"
            )
        state = cls.new(config)
        state.model.load_state_dict(parts["model"])
        state.optimiser.load_state_dict(parts["optimiser"])
        state.history.extend(parts["history"])
        return state


def usable(path: Path, report: Callable[[str], None] = print) -> bool:
    """Returns whether there is a checkpoint and this code made it, see research.circle.origin.

    Args:
        path: Of the checkpoint.
        report: Gets a line where there is one that cannot be used, or that is of another commit with the same sources.

    Raises:
        OSError: It cannot be read.
    """
    if not path.is_file():
        return False
    found = torch.load(path, weights_only=True).get("origin", {})
    if other := origin.differences(found):
        report(f"{path.name} is of other code, the training starts again: {other}")
        return False
    mine = origin.here()["commit"]
    if found["commit"] != mine:
        report(f"{path.name} is of commit {found['commit'] or 'unknown'}, now {mine or 'unknown'}: same sources, kept")
    return True


def optimiser_of(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Returns the optimiser of a network's parameters."""
    return torch.optim.AdamW(model.parameters(), config.rate, weight_decay=_DECAY)


def learning_rate(step: int, config: Config) -> float:
    """Returns the rate of a step: a linear warm-up, then half a cosine down to a hundredth."""
    warmup = max(1, round(_WARMUP * config.steps))
    if step < warmup:
        return config.rate * (step + 1) / warmup
    done = (step - warmup) / max(1, config.steps - warmup)
    return config.rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)


def backward(model: nn.Module, batch: Batch, scales: losses.Scales, config: Config, place: Place) -> torch.Tensor:
    """Adds a batch's gradients, of which DistributedDataParallel takes the mean over the processes.

    That mean divides by the number of processes. So each process sums over its own pictures, divides by the pictures of
    all of them, and multiplies by the number of processes; the mean over its own pictures is right for equal parts
    only.

    Args:
        model: The network, wrapped if there are several processes.
        batch: This process's part.
        scales: Of the terms.
        config: Of the training.
        place: Of this process.

    Returns:
        The terms' sums over this process's pictures, float32 [3].
    """
    circles, logits = model(batch.pictures, batch.sizes)
    terms = losses.errors(circles, logits, batch)
    each = losses.scaled(terms, scales).sum(1)
    loss = each.mean() if config.mean_of_means else each.sum() * (place.world / config.batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return terms.detach().sum(0)


def advance(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    config: Config,
    scales: losses.Scales,
    place: Place,
) -> list[float]:
    """Takes one step.

    Args:
        model: The network, wrapped or sharded if there are several processes.
        optimiser: Of its parameters.
        step: From 0.
        config: Of the training.
        scales: Of the loss's terms.
        place: Of this process.

    Returns:
        The mean terms over the pictures of all processes, in the order of losses.TERMS.
    """
    indices = batch_indices(step, config.batch, config.count, config.seed)
    batch = drawn(config.spec(), share(indices, place.rank, place.world).tolist())
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, config)
    optimiser.zero_grad()
    sums = backward(model, batch, scales, config, place)
    if place.world > 1:
        distributed.all_reduce(sums)
    nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimiser.step()
    means: list[float] = (sums / config.batch).tolist()
    return means


def train(
    config: Config,
    folder: Path,
    place: Place = Place(),
    *,
    every: int = 100,
    until: int | None = None,
    report: Callable[[str], None] = print,
) -> State:
    """Trains to the end, from a checkpoint if the folder has one that this code made.

    Args:
        config: Of the training.
        folder: Gets the checkpoint.
        place: Of this process; if there are several, their group is set up.
        every: Steps between two checkpoints.
        until: Stops after this step without a checkpoint, as if killed.
        report: Gets a line with each checkpoint.

    Raises:
        ValueError: The folder's checkpoint is of other settings, a batch is smaller than the number of processes, or
            `every` is below 1.
        OSError: The folder cannot be read or written.
    """
    if every < 1:
        raise ValueError(f"every: expected at least 1 step between checkpoints, got {every}; choose another")
    if config.batch < place.world:
        raise ValueError(
            f"batch: expected at least one picture for each of {place.world} processes, got {config.batch}"
        )
    path = folder / CHECKPOINT
    state = State.load(path, config) if _agreed(path, place, report) else State.new(config)
    model: nn.Module = nn.parallel.DistributedDataParallel(state.model) if place.world > 1 else state.model
    scales = losses.measured_scales(config.spec())
    for step in range(len(state.history), config.steps if until is None else until):
        state.history.append(advance(model, state.optimiser, step, config, scales, place))
        if ((step + 1) % every == 0 or step + 1 == config.steps) and place.rank == 0:
            state.save(path, config)
            recent = torch.tensor(state.history[-every:]).mean(0).tolist()
            words = ", ".join(f"{name} {value:.4f}" for name, value in zip(losses.TERMS, recent, strict=True))
            report(f"step {step + 1} of {config.steps}: {words}")
    return state


def _agreed(path: Path, place: Place, report: Callable[[str], None]) -> bool:
    """What `usable` says to the first process, for all of them: they must begin at the same step."""
    # Before the first step, as a checkpoint has to name the code that ran, not what the files have become since.
    origin.here()
    said = [usable(path, report) if place.rank == 0 else False]
    if place.world > 1:
        distributed.broadcast_object_list(said)
    return said[0]


def trained(folder: Path) -> CircleNet:
    """Returns the network of a checkpoint, as it was when that was written.

    Raises:
        OSError: There is no checkpoint.
    """
    parts = torch.load(folder / CHECKPOINT, weights_only=True)
    model = CircleNet(parts["config"]["width"], parts["config"]["blocks"])
    model.load_state_dict(parts["model"])
    return model.eval()


def history(folder: Path) -> History:
    """Returns the terms of each step of a checkpoint, see State.

    Raises:
        OSError: There is no checkpoint.
    """
    found: History = torch.load(folder / CHECKPOINT, weights_only=True)["history"]
    return found


@contextlib.contextmanager
def joined() -> Iterator[Place]:
    """Joins the processes that torchrun started, for the time of the context; alone without torchrun."""
    if "WORLD_SIZE" not in os.environ:
        yield Place()
        return
    distributed.init_process_group("gloo")
    try:
        yield Place(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line; its options are the fields of Config."""
    made = argparse.ArgumentParser(
        prog="research.circle.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "folder", type=Path, help="gets checkpoint.pt; a training of the same code that is in it continues"
    )
    made.add_argument("--every", type=int, default=100, metavar="N", help="steps between checkpoints (default 100)")
    for field in dataclasses.fields(Config):
        words: dict[str, Any] = {"help": f"(default {field.default})", "type": type(field.default), "metavar": "N"}
        if isinstance(field.default, bool):
            words = {"action": "store_true", "help": "mean of each process's own mean: wrong for unequal parts"}
        made.add_argument(f"--{field.name.replace('_', '-')}", default=field.default, **words)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = vars(parser().parse_args(argv))
    folder, every = arguments.pop("folder"), arguments.pop("every")
    torch.use_deterministic_algorithms(True)
    # Sums of several threads have another order; more cores are used by more processes.
    torch.set_num_threads(1)
    try:
        config = Config(**arguments)
        with joined() as place:
            train(config, folder, place, every=every, report=lambda line: print(line, flush=True))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
