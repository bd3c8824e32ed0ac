"""The loss: three terms on a common scale, normalised over the batch of all processes."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from research.circle.data import COLOURS, Spec, label
from research.circle.network import Batch

TERMS = ("position", "radius", "colour")
# Errors below this are squared: in shares of the shorter side, and of the logarithm of the radius.
BETA = 0.01
_SCALE_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Scales:
    """What the best answer that ignores the picture costs in each of the TERMS; each term is divided by it."""

    position: float
    radius: float
    colour: float


def errors(circles: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Returns the three terms of each picture before they are scaled, float32 [N, 3] in the order of TERMS.

    Args:
        circles: [N, 3], predicted.
        logits: [N, 3], predicted.
        batch: The truth.
    """
    shorter = batch.sizes.amin(1, keepdim=True).to(torch.float32)
    true = batch.circles
    position = F.smooth_l1_loss(circles[:, :2] / shorter, true[:, :2] / shorter, reduction="none", beta=BETA).sum(1)
    # The logarithm weighs 10 % of a small radius as much as 10 % of a large one.
    radius = F.smooth_l1_loss(torch.log(circles[:, 2]), torch.log(true[:, 2]), reduction="none", beta=BETA)
    colour = F.cross_entropy(logits, batch.colours, reduction="none")
    return torch.stack((position, radius, colour), 1)


def measured_scales(spec: Spec) -> Scales:
    """Measures the scales on labels: the terms of the canvas's middle, the median radius and even odds."""
    labels = [label(spec, index) for index in range(min(spec.count, _SCALE_SAMPLES))]
    shorter = np.array([min(each.height, each.width) for each in labels])
    off = np.array([(each.x - each.width / 2, each.y - each.height / 2) for each in labels]) / shorter[:, None]
    radii = np.log([each.radius for each in labels])
    position, radius = (
        float(np.where(np.abs(each) < BETA, each**2 / (2 * BETA), np.abs(each) - BETA / 2).sum() / len(labels))
        for each in (off, radii - np.median(radii))
    )
    return Scales(position, radius, float(np.log(len(COLOURS))))


def scaled(terms: torch.Tensor, scales: Scales) -> torch.Tensor:
    """Returns terms [..., 3] divided by their scales."""
    return terms / terms.new_tensor(dataclasses.astuple(scales))
