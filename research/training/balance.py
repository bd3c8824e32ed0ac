"""Balances the shares of a ResNet-18's stages in the operator's mean, without changing what its layers compute.

    python -m research.training.balance WEIGHTS.pth --data .cache/training --output balanced.pth

The operator averages what leaves the four stages of the network. Trained for something else, as ImageNet's classes, the
lower stages of a network are nearly the same for all pictures, and so is the mean: every cosine is close to 1.

The network leaves a freedom to mend that. Behind a ReLU a channel may be multiplied by any positive number, if every
convolution that reads it divides by the same number (Nagel et al., "Data-free quantization through weight equalization
and bias correction", 2019, who use it inside of a network). What the operator sees of a stage can so be scaled channel
by channel while every later layer computes the same (`scale_stages`). The last stage has no reader, so a constant may
also be taken off before its last ReLU (`shift_last`), which makes its channels sparse, and unrelated pictures
unrelated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

State = dict[str, torch.Tensor]
STAGES = 4
BLOCKS = 2


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
            raise ValueError(f"stage {stage}: expected {channels} positive factors, got {list(scale.shape)}")
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
