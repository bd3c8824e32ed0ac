"""Weights between two networks: a share of the way from the first to the second.

    python -m research.training.interpolate FIRST.pth SECOND.pth --share 0.5 --output FILE.pth

Between weights and what a training made of them there are often better ones than either (Wortsman et al., "Robust
fine-tuning of zero-shot models", 2022).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from research.training.student import load_student, save_state

MODULE = "python -m research.training.interpolate"
State = dict[str, torch.Tensor]


def between(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], share: float) -> State:
    """Returns first + share x (second - first), of the first's types; counters are the first's.

    Args:
        first: A state dict.
        second: Another one of the same network, with tensors of the same shapes.
        share: 0 gives the first, 1 the second.

    Raises:
        ValueError: The networks differ.
    """
    for name in first.keys() ^ second.keys():
        raise ValueError(f"{name} is in one of the two networks only")
    for name, value in first.items():
        if value.shape != second[name].shape:
            raise ValueError(f"{name}: {list(value.shape)} in one network, {list(second[name].shape)} in the other")
    return {
        name: torch.lerp(value.double(), second[name].double(), share).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=MODULE, description="Make weights between two networks.")
    parser.add_argument("first", type=Path, metavar="FIRST.pth")
    parser.add_argument("second", type=Path, metavar="SECOND.pth")
    parser.add_argument("--share", type=float, default=0.5, metavar="S", help="of the way (default %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.pth")
    arguments = parser.parse_args(words)
    try:
        if not 0 <= arguments.share <= 1:
            raise ValueError(f"--share {arguments.share:g}: expected 0 to 1")
        first, second = (load_student(path).state_dict() for path in (arguments.first, arguments.second))
        save_state(arguments.output, between(first, second, arguments.share))
    except (OSError, ValueError) as error:
        print(f"interpolate: {error}", file=sys.stderr)
        return 2
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
