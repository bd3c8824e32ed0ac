"""Balances the shares of a ResNet-18's stages in the operator's mean, without changing what its layers compute.

    python -m research.training.balance WEIGHTS.pth --data .cache/training --scenes PHOTOS --output balanced.pth

The operator averages what leaves the four stages of the network. Trained for something else, as ImageNet's classes, the
lower stages of a network are nearly the same for all pictures, and so is the mean: every cosine is close to 1.

The network leaves a freedom to mend that. Behind a ReLU a channel may be multiplied by any positive number, if every
convolution that reads it divides by the same number (Nagel et al., "Data-free quantization through weight equalization
and bias correction", 2019, who use it inside of a network). What the operator sees of a stage can so be scaled channel
by channel while every later layer computes the same (`scale_stages`). The last stage has no reader, so a constant may
also be taken off before its last ReLU (`shift_last`), which makes its channels sparse, and unrelated pictures
unrelated.

`fit` chooses factors and constants from what the stages give for two or more collections of pictures. Nothing is
trained: each number follows from a channel's mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from research.common import machine, results
from research.training.bank import decoder, index_of
from research.training.config import load_config
from research.training.stages import Sample, averages_of, batches, look, opened
from research.training.student import Student, load_student, save_state
from research.training.trainer import Normaliser

MODULE = "python -m research.training.balance"
CPU = torch.device("cpu")
State = dict[str, torch.Tensor]
STAGES = 4
BLOCKS = 2
PICTURES = 768  # of the training's, about
# A channel that is never active would ask for an infinite factor.
FLOOR = 1e-3


def scale_stages(state: Mapping[str, torch.Tensor], scales: Sequence[torch.Tensor]) -> State:
    """Multiplies what leaves the stages, channel by channel; everything behind computes the same as before.

    Args:
        state: A network with batch normalisations under torchvision's names (`Student.state_dict`), not changed.
        scales: For each of the four stages a positive factor for each of its channels.

    Returns:
        The new weights, of the same types.

    Raises:
        ValueError: A factor is not positive and finite, or there are not as many as channels.
    """
    new = dict(state)
    for stage, scale in enumerate(scales, start=1):
        channels = len(state[f"layer{stage}.0.bn2.weight"])
        if scale.shape != (channels,) or not bool((scale > 0).all() & scale.isfinite().all()):
            least = float(scale.min())
            raise ValueError(
                f"stage {stage}: expected {channels} positive factors, got {len(scale)}, the least {least:g}"
            )
        # The sum of a block and its shortcut is scaled where both are: the stage's two blocks, and what enters the
        # first one unless a convolution of its own lies on that shortcut.
        writers = [f"layer{stage}.{block}.bn2" for block in range(BLOCKS)]
        readers = [f"layer{stage}.{block}.conv1" for block in range(1, BLOCKS)]
        if f"layer{stage}.0.downsample.1.weight" in state:
            writers.append(f"layer{stage}.0.downsample.1")
        else:  # the first stage, whose shortcut is what the network's first convolution gives
            writers.append("bn1")
            readers.append(f"layer{stage}.0.conv1")
        if stage < STAGES:
            readers += [f"layer{stage + 1}.0.conv1", f"layer{stage + 1}.0.downsample.0"]
        for name in writers:
            for kind in ("weight", "bias"):
                new[f"{name}.{kind}"] = _product(new[f"{name}.{kind}"], scale)
        for name in readers:
            weight = new[f"{name}.weight"]
            new[f"{name}.weight"] = _product(weight, (1 / scale.double())[:, None, None])
    return new


def even_inner(state: Mapping[str, torch.Tensor]) -> State:
    """Gives the channels between the two convolutions of each block the range 1, by the same identity.

    The range of a channel is taken from its batch normalisation: what a ReLU passes on of a normal distribution with
    that mean and deviation reaches about bias + 3 x weight. Factors of the stages' scales, which `scale_stages` moves
    into the convolutions, are so spread over two convolutions instead of one. That keeps the weights inside of
    float16's normal range, and evens out ranges for 8 bits.
    """
    new = dict(state)
    for name in [f"layer{stage}.{block}" for stage in range(1, STAGES + 1) for block in range(BLOCKS)]:
        weight, bias = (state[f"{name}.bn1.{kind}"].double() for kind in ("weight", "bias"))
        reach = (bias + 3 * weight.abs()).clamp(min=1e-3)
        for kind in ("weight", "bias"):
            new[f"{name}.bn1.{kind}"] = _product(state[f"{name}.bn1.{kind}"], 1 / reach)
        new[f"{name}.conv2.weight"] = _product(state[f"{name}.conv2.weight"], reach[:, None, None])
    return new


def shift_last(state: Mapping[str, torch.Tensor], shifts: torch.Tensor) -> State:
    """Takes a constant off each channel before the network's last ReLU; this changes what the operator sees.

    Args:
        state: As for `scale_stages`.
        shifts: [512].
    """
    name = f"layer{STAGES}.{BLOCKS - 1}.bn2.bias"
    return {**state, name: (state[name].double() - shifts.double()).to(state[name].dtype)}


def _product(tensor: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (tensor.double() * factor.double()).to(tensor.dtype)


def fit(
    collections: Sequence[Sample], shares: Sequence[float], cut: float, exponent: float
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Chooses factors and constants from the channels' means.

    Args:
        collections: Of one network.
        shares: As for `factors`.
        cut: As for `constants`.
        exponent: As for `factors`.

    Returns:
        Factors for `scale_stages`, and constants for `shift_last` behind them.
    """
    taken = constants(collections, cut)
    scales = factors([averages_of(sample, taken) for sample in collections], shares, exponent)
    return scales, taken * scales[-1]


def constants(collections: Sequence[Sample], cut: float) -> torch.Tensor:
    """What each channel [C] of the last stage loses before its ReLU: `cut` times its mean.

    So a channel that is active everywhere becomes sparse, and one that is sparse already changes little. Means are
    geometric over the collections, here and in `factors`, so that none of them decides alone.
    """
    return cut * _mean([F.relu(sample.last.float()).mean((0, 2, 3)) for sample in collections])


def factors(
    collections: Sequence[Sequence[torch.Tensor]], shares: Sequence[float], exponent: float
) -> list[torch.Tensor]:
    """A factor for each channel of each stage: its mean is divided away, of the last stage's to a power.

    The power raises channels that few pictures use.

    Args:
        collections: Averages of the four stages (`averages_of`).
        shares: Length of the first three stages' part of the embedding, as a share of the last one's, on average over
            the last collection's pictures.
        exponent: The power.
    """
    *means, mean_of_last = (_mean([average.mean(0) for average in stage]) for stage in zip(*collections, strict=True))
    last = (mean_of_last + FLOOR).pow(-exponent)
    length = (collections[-1][-1] * last).norm(dim=1).mean()
    scales = []
    for mean, share, averages in zip(means, shares, collections[-1][:-1], strict=True):
        factor = 1 / (mean + 1e-6)
        own = (averages * factor).norm(dim=1).mean() * (len(last) / len(mean)) ** 0.5  # repeated by the operator
        scales.append(factor * share * length / own)
    return [*scales, last]


def _mean(means: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([(mean + 1e-6).log() for mean in means]).mean(0).exp()


def balanced(state: Mapping[str, torch.Tensor], scales: Sequence[torch.Tensor], shifts: torch.Tensor) -> State:
    """The network with these factors and constants, and even channels inside its blocks."""
    return even_inner(shift_last(scale_stages(state, scales), shifts))


def _training_pictures(data: Path) -> Iterator[Image.Image]:
    """A few of the training pictures, evenly spaced; cut-outs lie on white."""
    pictures = index_of(data, "train")
    chosen = pictures[:: max(1, len(pictures) // PICTURES)]
    decode = decoder(data, chosen)
    for picture in chosen:
        image = Image.fromarray(decode(picture))
        white = Image.new("RGBA", image.size, "white")
        yield Image.alpha_composite(white, image).convert("RGB")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how to balance."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="training pictures (prepare.py)")
    parser.add_argument(
        "--scenes", type=Path, required=True, metavar="DIR", help="JPEG photos of everyday scenes, for means alone"
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=[0.002] * 3,
        metavar="S",
        help="of stages 1 to 3 in the embedding's length, to the last stage's (default %(default)s)",
    )
    parser.add_argument(
        "--cut",
        type=float,
        default=4.5,
        metavar="C",
        help="means that each channel of the last stage loses before its ReLU (default %(default)s)",
    )
    parser.add_argument(
        "--exponent",
        type=float,
        default=0.5,
        metavar="E",
        help="channels of the last stage are divided by this power of their mean (default %(default)s)",
    )


def samples(student: Student, arguments: argparse.Namespace) -> list[Sample]:
    """Returns what the stages give for the collections of `add_settings`.

    Raises:
        OSError: A picture cannot be read.
        ValueError: The folder of scenes holds no JPEG file.
    """
    normalised = Normaliser(load_config(cuda=False), CPU)
    files = sorted(path for path in arguments.scenes.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise ValueError(f"{arguments.scenes} holds no JPEG file")
    collections = (_training_pictures(arguments.data), opened(files))
    return [look(student, batches(pictures, normalised)) for pictures in collections]


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=MODULE, description="Balance the stages of a trained ResNet-18.")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.pth", help="a state dict with torchvision's names")
    add_settings(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.pth")
    given = list(sys.argv[1:] if words is None else words)
    arguments = parser.parse_args(given)
    try:
        student = load_student(arguments.weights)
        collections = samples(student, arguments)
        scales, shifts = fit(collections, arguments.shares, arguments.cut, arguments.exponent)
        save_state(arguments.output, balanced(student.state_dict(), scales, shifts))
    except (OSError, ValueError) as error:
        print(f"balance: {error}", file=sys.stderr)
        return 2
    note = {
        **machine.head(machine.command_line(MODULE, given)),
        "weights_sha256": results.sha256(arguments.weights),
        "output_sha256": results.sha256(arguments.output),
        "pictures": [len(sample.last) for sample in collections],
    }
    results.write(arguments.output.with_suffix(".json"), note)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
