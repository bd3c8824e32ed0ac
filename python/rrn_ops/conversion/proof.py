"""Shows that the converted network is the one that timm runs: the largest difference of logits on the same input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rrn_ops.conversion.libraries import VisionTransformer, ViTForImageClassification
from rrn_ops.conversion.vit import LAYER_NORM_EPS, Shape, State

BATCH = 4


@dataclass(frozen=True)
class Difference:
    """How far two networks are apart.

    Attributes:
        what: The input, in words.
        inputs: How many.
        largest: The largest absolute difference of a logit.
        same_class: How many inputs have the same first class in both.
    """

    what: str
    inputs: int
    largest: float
    same_class: int

    def __str__(self) -> str:
        return f"{self.what}: {self.inputs} inputs, largest difference {self.largest:g}, same class {self.same_class}"


def untrained(shape: Shape) -> VisionTransformer:
    """Makes timm's own network of these sizes, with the random weights that it starts with."""
    return VisionTransformer(
        img_size=shape.image,
        patch_size=shape.patch,
        in_chans=shape.channels,
        num_classes=shape.classes,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        mlp_ratio=shape.hidden / shape.width,
        qkv_bias=shape.qkv_bias,
    )


def timm_network(state: State, shape: Shape) -> torch.nn.Module:
    """Makes timm's own network with these weights, in float32 and evaluation mode.

    Raises:
        ValueError: The weights do not fit.
    """
    network = untrained(shape)
    if network.norm.eps != LAYER_NORM_EPS:
        raise ValueError(f"this timm's layer norms have an epsilon of {network.norm.eps}, expected {LAYER_NORM_EPS}")
    try:
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except RuntimeError as error:
        raise ValueError(f"timm: {error}") from error
    made: torch.nn.Module = network.eval()
    return made


def random_inputs(shape: Shape, count: int, seed: int = 0) -> torch.Tensor:
    """Returns normally distributed inputs, float32 [count, channels, image, image]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, shape.channels, shape.image, shape.image), generator=generator)


def pictures(files: Sequence[Path], shape: Shape) -> torch.Tensor:
    """Reads pictures as timm's ViTs take them: bicubic to the whole square, mean and deviation 0.5.

    Returns:
        float32 [n, 3, image, image].

    Raises:
        OSError: One cannot be read.
    """
    side = (shape.image, shape.image)
    arrays = []
    for file in files:
        with Image.open(file) as image:
            arrays.append(np.asarray(image.convert("RGB").resize(side, Image.Resampling.BICUBIC), np.float32))
    return torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2) / 127.5 - 1)


@torch.inference_mode()
def difference(
    timm: torch.nn.Module, converted: ViTForImageClassification, inputs: torch.Tensor, what: str
) -> Difference:
    """Runs both networks on the same inputs [n, channels, image, image], in batches."""
    pairs = [(timm(part), converted(part).logits) for part in torch.split(inputs, BATCH)]
    first, second = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Difference(
        what,
        len(inputs),
        float((first - second).abs().max()),
        int((first.argmax(1) == second.argmax(1)).sum()),
    )
