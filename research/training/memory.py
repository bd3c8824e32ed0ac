"""What was computed of groups of crops that come again."""

from __future__ import annotations

from collections.abc import Callable

import torch

from research.training.config import GROUP


class GroupMemory:
    """Remembers a row [D] of each crop of a group, as float16."""

    def __init__(self) -> None:
        self._rows: dict[int, torch.Tensor] = {}

    def __call__(self, groups: list[int] | None, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Rows [N, D], float32, of a batch.

        Args:
            groups: Those that the batch shows; None where every batch is new, and nothing is remembered.
            compute: Gives them, for the whole batch; called if one of the groups was not seen before.
        """
        if groups is None:
            return compute()
        if not all(group in self._rows for group in groups):
            halves = compute().half().view(2, len(groups), GROUP // 2, -1)
            for index, group in enumerate(groups):
                self._rows[group] = halves[:, index].clone()
        return torch.cat([self._rows[group] for group in groups], 1).float().flatten(0, 1)
