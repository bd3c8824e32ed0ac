"""Reads timm's weights of a vision transformer and fills Hugging Face's `ViTForImageClassification` with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rrn_native.model.weights import WeightsError, read_state_dict

from rrn_ops.conversion.key_map import Entry, key_map
from rrn_ops.conversion.libraries import ViTConfig, ViTForImageClassification

State = Mapping[str, torch.Tensor]

# timm's layer norms; Hugging Face's default is 1e-12, which moves logits in the third decimal.
LAYER_NORM_EPS = 1e-6
# Heads of the published sizes, by the width of the embedding. The number is in no tensor's shape.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16}
# What timm has and ViTForImageClassification has not: a part of a name, and what it means.
_OTHERS = {
    "dist_token": "a distilled model, which has a second token and a second classifier",
    "head_dist": "a distilled model, which has a second token and a second classifier",
    "reg_token": "register tokens",
    ".ls1.": "layer scale",
    ".ls2.": "layer scale",
    "fc_norm": "average pooling in the place of the class token",
    "attn_pool": "attention pooling in the place of the class token",
    "q_norm": "normalised queries and keys",
    "norm_pre": "a norm in front of the layers",
    "pre_logits": "a representation layer in front of the classifier",
    "fc1_g": "a gated MLP",
    "rel_pos": "relative positions",
    "downsample": "stages of several resolutions",
}


@dataclass(frozen=True)
class Shape:
    """A vision transformer's sizes.

    Attributes:
        image: Side of the input in pixels.
        patch: Side of a patch in pixels.
        channels: Of the input.
        width: Of the embedding.
        depth: Number of layers.
        heads: Of the attention.
        hidden: Width inside of the MLPs.
        classes: Outputs.
        qkv_bias: Whether query, key and value have a bias.
    """

    image: int
    patch: int
    channels: int
    width: int
    depth: int
    heads: int
    hidden: int
    classes: int
    qkv_bias: bool

    def __str__(self) -> str:
        return (
            f"ViT, {self.image} px, patches of {self.patch}, width {self.width}, depth {self.depth}, "
            f"{self.heads} heads, {self.classes} classes"
        )


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict: a .safetensors file, or what `torch.save` wrote, also within {"state_dict": ...}.

    Nothing in the file is executed (`weights_only`).

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            loaded: dict[str, torch.Tensor] = load_file(path)
            return loaded
        except SafetensorError as error:
            raise ValueError(f"{path}: not a safetensors file ({error})") from error
    with path.open("rb"):
        pass  # a file that is not there is no file of the wrong kind
    try:
        content = read_state_dict(path)
    except WeightsError as error:
        raise ValueError(f"{path}: not a file of tensors ({error})") from error
    for name in ("state_dict", "model"):
        if isinstance(content.get(name), Mapping):
            content = content[name]
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{path}: expected a state dict, names to tensors, got other values, too")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def shape_of(state: State, heads: int | None = None) -> Shape:
    """Reads the sizes off the tensors.

    Args:
        state: timm's state dict.
        heads: Of the attention; None for the published number of this width.

    Raises:
        ValueError: It is another network than a plain ViT with a class token and a classifier; the message says what
            is different, or which tensor is missing.
    """
    for part, meaning in _OTHERS.items():
        if name := next((name for name in state if part in name), None):
            raise ValueError(f"{name}: the weights have {meaning}, which ViTForImageClassification has not")
    projection = _tensor(state, "patch_embed.proj.weight", 4)
    positions = _tensor(state, "pos_embed", 3)
    _tensor(state, "cls_token", 3)
    head = _tensor(state, "head.weight", 2)
    width, channels, patch, other = projection.shape
    if patch != other:
        raise ValueError(f"patch_embed.proj.weight: patches of {patch} x {other} pixels, expected square ones")
    side = math.isqrt(positions.shape[1] - 1)
    if side * side != positions.shape[1] - 1:
        raise ValueError(
            f"pos_embed: {positions.shape[1]} positions, expected one for the class token and a square number of "
            "patches; the input is not square, or there is no class token among them"
        )
    layers = {int(name.split(".")[1]) for name in state if name.startswith("blocks.")}
    if layers != set(range(len(layers))):
        raise ValueError(f"blocks: numbers {sorted(layers)}, expected 0 ... {len(layers) - 1}")
    if not layers:
        raise ValueError("no blocks.N.* in the weights: expected a ViT's layers")
    if heads is None and width not in HEADS:
        raise ValueError(
            f"the number of attention heads is in no tensor, and width {width} is no published size: give it"
        )
    count = HEADS[width] if heads is None else heads
    if count < 1 or width % count:
        raise ValueError(f"{count} heads do not divide a width of {width}")
    return Shape(
        image=side * patch,
        patch=patch,
        channels=channels,
        width=width,
        depth=len(layers),
        heads=count,
        hidden=_tensor(state, "blocks.0.mlp.fc1.weight", 2).shape[0],
        classes=head.shape[0],
        qkv_bias="blocks.0.attn.qkv.bias" in state,
    )


def _tensor(state: State, name: str, dimensions: int) -> torch.Tensor:
    if name not in state:
        raise ValueError(f"{name} is not in the weights: expected timm's names of a ViT with a class token and a head")
    if state[name].dim() != dimensions:
        raise ValueError(f"{name}: shape {list(state[name].shape)}, expected {dimensions} dimensions")
    return state[name]


def hugging_face(shape: Shape, labels: Sequence[str] | None = None) -> ViTForImageClassification:
    """Makes the network, without a pooler and without dropout, in evaluation mode; its weights are random.

    Args:
        shape: Its sizes.
        labels: Names of the classes; None for "LABEL_0" and so on.

    Raises:
        ValueError: There are not as many different labels as classes.
    """
    if labels is not None and (len(labels) != shape.classes or len(set(labels)) != len(labels)):
        raise ValueError(f"{len(set(labels))} different labels for {shape.classes} classes")
    config = ViTConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=shape.hidden,
        hidden_act="gelu",  # the exact one, as timm's
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=LAYER_NORM_EPS,
        image_size=shape.image,
        patch_size=shape.patch,
        num_channels=shape.channels,
        qkv_bias=shape.qkv_bias,
        num_labels=shape.classes,
    )
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    return ViTForImageClassification(config).eval()


def convert(
    state: State, heads: int | None = None, labels: Sequence[str] | None = None
) -> tuple[ViTForImageClassification, list[Entry]]:
    """Fills Hugging Face's network with timm's weights, in float32.

    Args:
        state: timm's state dict.
        heads: As for `shape_of`.
        labels: As for `hugging_face`.

    Returns:
        The network in evaluation mode, and where each of its tensors came from.

    Raises:
        ValueError: The weights are of another network; nothing is loaded in part.
    """
    network = hugging_face(shape_of(state, heads), labels)
    entries = key_map(_shapes(state), _shapes(network.state_dict()))
    filled = {}
    for entry in entries:
        tensor = state[entry.source].float()
        filled[entry.target] = (tensor if entry.part is None else tensor.chunk(3)[entry.part]).clone()
    network.load_state_dict(filled)  # strict: each name, and no other
    return network, entries


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
