"""How well embeddings tell copies of a photo from other photos."""

from __future__ import annotations

import torch
from rrn_native.analysis import metrics

THRESHOLD = 0.75


def copies(distorted: torch.Tensor, clean: torch.Tensor, photo: torch.Tensor) -> dict[str, float]:
    """Compares every distorted crop with every clean one.

    Args:
        distorted: Unit rows [N, D].
        clean: Unit rows [N, D] of the same crops.
        photo: int64 [N], equal for crops of the same photo.

    Returns:
        copy_recall_at_1: share of distorted crops whose nearest clean crop is their own; copy_above and
        unrelated_above: shares of cosines above 0.75 of copies and of crops of different photos; best_f1 and
        best_threshold over copies and unrelated pairs; the means of both.
    """
    cosines = distorted @ clean.T
    own = cosines.diagonal()
    others = cosines[photo[:, None] != photo[None]]
    # A crop that is in the batch twice counts as found either way.
    best = cosines.amax(1)
    scores = torch.cat([own, others])
    f1, threshold = metrics.best_f1(scores.cpu().numpy(), (torch.arange(len(scores)) < len(own)).numpy())
    return {
        "copy_recall_at_1": (own >= best - 1e-6).float().mean().item(),
        "copy_above": (own > THRESHOLD).float().mean().item(),
        "copy_mean": own.mean().item(),
        "unrelated_above": (others > THRESHOLD).float().mean().item(),
        "unrelated_mean": others.mean().item(),
        "best_f1": f1,
        "best_threshold": threshold,
    }
