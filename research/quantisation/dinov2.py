"""DINOv2 ViT-S/14 as transformers has it, with the weights of Torch Hub, of a transformers folder, or from a seed.

No package on PyPI holds the weights. They are downloaded only when asked for; without them the architecture is built
from a seed, which is good for times and for the agreement of two forms of it, and says nothing about accuracy.
(Oquab et al., DINOv2, arXiv 2304.07193; https://github.com/facebookresearch/dinov2)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from research.common import downloads
from research.common.places import CACHE

FILE = "dinov2_vits14_pretrain.pth"
URL = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/{FILE}"
SHA256 = "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"
SIZE = 88_283_115
PATCH = 14
WIDTH, HEADS, BLOCKS = 384, 6, 12
# The side, in patches, of the grid that the published weights have positions for.
GRID = 37
_NAMES = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"^blocks\.(\d+)\.ls([12])\.gamma$", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
)
_PARTS = ("query", "key", "value")


class ClassToken(nn.Module):
    """The network, giving the class token only.

    Args:
        network: transformers' Dinov2Model.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, side, side] to [N, 384]."""
        tokens: torch.Tensor = self.network(pixel_values=images).last_hidden_state
        return tokens[:, 0]


def _config(side: int) -> Any:
    from transformers import Dinov2Config

    if side % PATCH:
        raise ValueError(f"DINOv2 wants a side that is a multiple of {PATCH}, got {side}")
    return Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        image_size=side,
        patch_size=PATCH,
        mlp_ratio=4,
        layerscale_value=1.0,
    )


def renamed(hub: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns tensors of Torch Hub's DINOv2 under transformers' names.

    Query, key and value are three layers in transformers, and one in the original.
    """
    made: dict[str, torch.Tensor] = {}
    for name, tensor in hub.items():
        found = re.match(r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", name)
        if found:
            for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
                made[f"encoder.layer.{found[1]}.attention.attention.{part}.{found[2]}"] = piece
            continue
        for pattern, other in _NAMES:
            if re.search(pattern, name):
                made[re.sub(pattern, other, name)] = tensor
                break
        else:
            made[name] = tensor
    return made


def positions(embedding: torch.Tensor, grid: int) -> torch.Tensor:
    """Returns position embeddings [1, 1 + old * old, D] for a grid of this many patches a side."""
    token, patches = embedding[:, :1], embedding[:, 1:]
    old = round(patches.shape[1] ** 0.5)
    if old == grid:
        return embedding
    square = patches.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(square, (grid, grid), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([token, resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)], dim=1)


def load(weights: Path | None, side: int, seed: int = 0) -> ClassToken:
    """Builds the network.

    Args:
        weights: Torch Hub's file, or a file of transformers' names (.safetensors, .bin, .pth); None for weights from
            the seed.
        side: Of the pictures, in pixels.
        seed: Used without weights.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its tensors are not those of DINOv2 ViT-S/14.
    """
    # Before transformers, which may not be able to import torchvision.
    from rrn_ops.conversion import libraries
    from transformers import Dinov2Model

    libraries.be_quiet()
    torch.manual_seed(seed)
    config = _config(side)
    if weights is None:
        return ClassToken(Dinov2Model(config)).eval()
    found = renamed(_tensors(weights))
    key = "embeddings.position_embeddings"
    if key in found:
        found[key] = positions(found[key], side // PATCH)
    # Names have changed between releases of transformers, which knows about that when it loads.
    try:
        network, report = Dinov2Model.from_pretrained(None, config=config, state_dict=found, output_loading_info=True)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{weights.name}: expected the tensors of DINOv2 ViT-S/14 ({reason})") from error
    # The mask token is for training only; some files lack it.
    missing = set(report["missing_keys"]) - {"embeddings.mask_token"}
    wrong = sorted(map(str, (*missing, *report["unexpected_keys"], *report["mismatched_keys"])))
    if wrong:
        named = ", ".join(wrong[:3])
        raise ValueError(
            f"{weights.name}: expected the tensors of DINOv2 ViT-S/14; {len(wrong)} are missing or others: {named}"
        )
    return ClassToken(network).eval()


def _tensors(weights: Path) -> Mapping[str, torch.Tensor]:
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        read: Any = load_file
    else:
        read = functools.partial(torch.load, map_location="cpu", weights_only=True)
    try:
        loaded = read(weights)
        return {name.removeprefix("dinov2."): tensor.float() for name, tensor in loaded.items()}
    except OSError:
        raise
    # Both libraries raise whatever their parsers do, without a common base.
    except Exception as error:
        raise ValueError(f"{weights.name}: expected a file with the tensors of a network ({error})") from error


def download(folder: Path = CACHE, url: str = URL, *, digest: str = SHA256, size: int = SIZE) -> Path:
    """Returns Torch Hub's file, see :func:`research.common.downloads.fetch`; the only place that uses the network."""
    return downloads.fetch(folder / FILE, url, digest=digest, size=size)
