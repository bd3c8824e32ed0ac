"""Which tensor of a timm ViT becomes which tensor of Hugging Face's, found in the names and shapes of both.

Both libraries name the parts of the same network, and Hugging Face renamed its own from release 4 to 5. So the map is
not written down: each side's names are read as roles ("layer 3, query, weight"), the roles are joined, and the shapes
must agree. What remains on either side is an error, never a tensor that keeps its random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]

# Patterns of names, first match wins; "{n}" is a layer's number. timm's fused matrix holds query, key and value, in
# this order, one below the other.
_TIMM = (
    ("class token", r"cls_token()"),
    ("position embeddings", r"pos_embed()"),
    ("patch projection", r"patch_embed\.proj\.(weight|bias)"),
    ("first norm", r"blocks\.{n}\.norm1\.(weight|bias)"),
    ("fused attention", r"blocks\.{n}\.attn\.qkv\.(weight|bias)"),
    ("attention output", r"blocks\.{n}\.attn\.proj\.(weight|bias)"),
    ("second norm", r"blocks\.{n}\.norm2\.(weight|bias)"),
    ("expansion", r"blocks\.{n}\.mlp\.fc1\.(weight|bias)"),
    ("contraction", r"blocks\.{n}\.mlp\.fc2\.(weight|bias)"),
    ("last norm", r"norm\.(weight|bias)"),
    ("classifier", r"head\.(weight|bias)"),
)
_LAYER = r"vit\.(?:encoder\.layer|layers)\.{n}\."
_HUGGING_FACE = (
    ("class token", r"vit\.embeddings\.cls_token()"),
    ("position embeddings", r"vit\.embeddings\.position_embeddings()"),
    ("patch projection", r"vit\.embeddings\.patch_embeddings\.projection\.(weight|bias)"),
    ("first norm", _LAYER + r"layernorm_before\.(weight|bias)"),
    ("query", _LAYER + r"attention\.(?:attention\.query|q_proj)\.(weight|bias)"),
    ("key", _LAYER + r"attention\.(?:attention\.key|k_proj)\.(weight|bias)"),
    ("value", _LAYER + r"attention\.(?:attention\.value|v_proj)\.(weight|bias)"),
    ("attention output", _LAYER + r"attention\.(?:output\.dense|o_proj)\.(weight|bias)"),
    ("second norm", _LAYER + r"layernorm_after\.(weight|bias)"),
    ("expansion", _LAYER + r"(?:intermediate\.dense|mlp\.fc1)\.(weight|bias)"),
    ("contraction", _LAYER + r"(?:output\.dense|mlp\.fc2)\.(weight|bias)"),
    ("last norm", r"vit\.layernorm\.(weight|bias)"),
    ("classifier", r"classifier\.(weight|bias)"),
)
_PARTS = ("query", "key", "value")


@dataclass(frozen=True, order=True)
class Role:
    """What a tensor is for.

    Attributes:
        layer: The number of the transformer layer, -1 outside of them.
        part: One of the names in the tables above.
        kind: "weight", "bias", or "" for a bare parameter.
    """

    layer: int
    part: str
    kind: str

    def __str__(self) -> str:
        return " ".join(filter(None, [f"layer {self.layer}" if self.layer >= 0 else "", self.part, self.kind]))


@dataclass(frozen=True)
class Entry:
    """Where one tensor comes from.

    Attributes:
        target: Its name in Hugging Face's network.
        source: The tensor of timm that it is, or is a part of.
        part: 0, 1 or 2 for query, key or value, the thirds of the source's rows; None for the whole tensor.
        role: What it is for.
    """

    target: str
    source: str
    part: int | None
    role: Role


def key_map(source: Mapping[str, Shape], target: Mapping[str, Shape]) -> list[Entry]:
    """Pairs the tensors of two networks.

    Args:
        source: Names and shapes of timm's state dict.
        target: Those of a `ViTForImageClassification` of any release from 4 on.

    Returns:
        An entry for each tensor of the target, in its order. Each tensor of the source is used once, the fused ones
        once for each third.

    Raises:
        ValueError: A tensor of either side has no counterpart, or another shape; all of them are listed.
    """
    have = _roles(source, _TIMM, "timm")
    wanted = _roles(target, _HUGGING_FACE, "Hugging Face")
    found, complaints, used = [], [], set()
    for role, name in wanted.items():
        part = _PARTS.index(role.part) if role.part in _PARTS else None
        origin = have.get(role if part is None else Role(role.layer, "fused attention", role.kind))
        if origin is None:
            complaints.append(f"{name} ({role}): nothing in the weights")
            continue
        rows, *rest = source[origin] or (0,)
        expected = source[origin] if part is None else (rows // 3, *rest)
        used.add(origin)
        if target[name] != expected or (part is not None and rows % 3):
            complaints.append(f"{name} ({role}): shape {list(expected)} from {origin}, expected {list(target[name])}")
        found.append(Entry(name, origin, part, role))
    complaints += [f"{name} ({role}): has no place" for role, name in have.items() if name not in used]
    if complaints:
        raise ValueError("the weights do not fit the network: " + "; ".join(complaints))
    order = {name: place for place, name in enumerate(target)}
    return sorted(found, key=lambda entry: order[entry.target])


def _roles(names: Mapping[str, Shape], table: tuple[tuple[str, str], ...], library: str) -> dict[Role, str]:
    found: dict[Role, str] = {}
    for name in names:
        role = _role(name, table)
        if role is None:
            raise ValueError(f"{name}, shape {list(names[name])}: not a part of {library}'s ViT")
        if role in found:
            raise ValueError(f"{name} and {found[role]} are both {role}")
        found[role] = name
    return found


def _role(name: str, table: tuple[tuple[str, str], ...]) -> Role | None:
    for part, pattern in table:
        if match := re.fullmatch(pattern.replace("{n}", r"(?P<layer>\d+)"), name):
            layer = match.groupdict().get("layer")
            return Role(-1 if layer is None else int(layer), part, match[match.lastindex or 0])
    return None
