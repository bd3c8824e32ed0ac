"""What the chart shows: a picture that was viewed instead of permuted, and a cube around a camera."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from research.tensor_mechanics.camera import project_camera
from research.tensor_mechanics.cases import plain

Json = dict[str, Any]

_SIDE = 24
_ANGLE = math.radians(20)


def data() -> Json:
    """Returns "picture" (`picture`) and "cube" (`cube`)."""
    return {"picture": picture(), "cube": cube()}


def picture() -> Json:
    """Draws a red disc on black, [height, width, 3], and takes its first channel in two ways.

    Returns:
        "permute" and "view": rows of numbers from 0 to 1.
    """
    place = torch.arange(_SIDE) - (_SIDE - 1) / 2
    pixels = torch.zeros(_SIDE, _SIDE, 3)
    pixels[..., 0] = (place[:, None] ** 2 + place**2 < (_SIDE / 3) ** 2).float()
    return {"permute": plain(pixels.permute(2, 0, 1)[0]), "view": plain(pixels.view(3, _SIDE, _SIDE)[0])}


def cube() -> Json:
    """Projects a cube that reaches from before a camera to behind it.

    Returns:
        "edges" (pairs of corners), "ours" (by `project_camera`) and "divided" (K P X divided by any depth), each with u
        and v of the corners, and "depth".
    """
    corners = list(itertools.product((-1.0, 1.0), repeat=3))
    points = torch.tensor([[*corner, 1.0] for corner in corners], dtype=torch.float64)
    cosine, sine = math.cos(_ANGLE), math.sin(_ANGLE)
    rotation = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=torch.float64)
    translation = torch.tensor([[0.2], [-0.3], [0.3]], dtype=torch.float64)
    intrinsics = torch.tensor([[100, 0, 160], [0, 100, 120], [0, 0, 1]], dtype=torch.float64)
    turned = points @ torch.cat([rotation, translation], dim=1).T
    divided = turned @ intrinsics.T / turned[:, 2:]
    pairs = itertools.combinations(range(len(corners)), 2)
    return {
        "edges": [[a, b] for a, b in pairs if sum(x != y for x, y in zip(corners[a], corners[b], strict=True)) == 1],
        "depth": plain(turned[:, 2]),
        "ours": plain(project_camera(points, rotation, translation, intrinsics)[:, :2]),
        "divided": plain(divided[:, :2]),
    }
