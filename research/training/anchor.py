"""Keeps a training near the network that it starts from.

The student's embedding of a distorted picture is compared with what the first weights give for the clean one: copies
come nearer to their originals, and nothing else is asked to move. Wortsman et al., "Robust fine-tuning of zero-shot
models", 2022, say what is lost where a training leaves its first weights far behind.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from research.training.augment import Augmenter, Crops
from research.training.memory import GroupMemory
from research.training.student import Student
from research.training.teacher import autocast


class Anchor:
    """The first weights' embeddings of the clean crops, remembered for groups of crops that come again.

    Args:
        network: The first weights; kept as they are.
        size: Side of the clean pictures.
        normalised: Brings pictures in 0 ... 1 to the network's scale.
    """

    def __init__(self, network: Student, size: int, normalised: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.network = network.eval().requires_grad_(False)
        self._size = size
        self._normalised = normalised
        self._memory = GroupMemory()

    def wanted(self, augmenter: Augmenter, crops: Crops, groups: list[int] | None) -> torch.Tensor:
        """Unit rows [N, D] for the clean crops of a batch, which shows these groups."""
        return self._memory(groups, lambda: self._embed(augmenter, crops))

    @torch.no_grad()
    def _embed(self, augmenter: Augmenter, crops: Crops) -> torch.Tensor:
        pictures = self._normalised(augmenter.render(crops, self._size))
        with autocast(pictures.device):
            embedding = self.network(pictures)[0]
        return F.normalize(embedding.float(), dim=1)
