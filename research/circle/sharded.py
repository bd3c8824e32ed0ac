"""The training of research.circle.train with parameters that are sharded over the processes (FSDP).

.venv/bin/torchrun --standalone --nproc-per-node 2 -m research.circle.sharded FOLDER

Takes the options of research.circle.train. A demonstration: there is a checkpoint at the end only, of the whole
network.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from research.circle import losses, origin
from research.circle.network import CircleNet
from research.circle.train import CHECKPOINT, Config, Place, State, advance, joined, optimiser_of, parser


def train(config: Config, folder: Path, place: Place) -> None:
    """Trains to the end.

    Args:
        config: Of the training.
        folder: Gets the checkpoint.
        place: Of this process; the group is set up.

    Raises:
        OSError: The folder cannot be written.
    """
    origin.here()  # Of the code that runs, not of what the files have become at the end.
    model = sharded(State.new(config).model, place)
    # After sharding: the optimiser keeps its moments for this process's part of each parameter only.
    optimiser = optimiser_of(model, config)
    scales = losses.measured_scales(config.spec())
    history = [advance(model, optimiser, step, config, scales, place) for step in range(config.steps)]
    # Every process takes part in putting the parameters together.
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if place.rank == 0:
        state = State.new(config)
        state.model.load_state_dict(whole)
        state.history.extend(history)
        state.save(folder / CHECKPOINT, config)


def sharded(model: CircleNet, place: Place) -> CircleNet:
    """Spreads the parameters over the processes, in place: each block on its own, then what is left."""
    mesh = init_device_mesh("cpu", (place.world,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = vars(parser().parse_args(argv))
    folder = arguments.pop("folder")
    del arguments["every"]
    torch.set_num_threads(1)
    try:
        config = Config(**arguments)
        with joined() as place:
            if place.world == 1:
                raise ValueError("processes: expected several, got one; start this by torchrun --nproc-per-node 2")
            train(config, folder, place)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
