"""What validation says of copies and of other photos."""

from __future__ import annotations

import pytest
import torch

from research.training import validation


def test_copies_and_other_photos_by_hand() -> None:
    turn = torch.deg2rad(torch.tensor([0.0, 90.0, 180.0]))
    clean = torch.stack([turn.cos(), turn.sin()], 1)
    turn = torch.deg2rad(torch.tensor([10.0, 135.1, 170.0]))
    distorted = torch.stack([turn.cos(), turn.sin()], 1)
    found = validation.copies(distorted, clean, torch.tensor([0, 1, 2]))
    # The second copy is a little nearer to the third photo.
    assert found["copy_recall_at_1"] == pytest.approx(2 / 3)
    assert found["copy_above"] == pytest.approx(2 / 3)
    assert found["unrelated_above"] == 0
    assert found["best_f1"] == pytest.approx(6 / 7)
    assert found["best_threshold"] < distorted[1] @ clean[1]
