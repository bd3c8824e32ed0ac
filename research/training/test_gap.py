"""How much better training photos are known than others."""

from __future__ import annotations

import pytest
import torch

from research.training import gap, student
from research.training.tiny import small_bank, small_config, small_teacher


def test_the_gap_shows_what_holds_for_the_training_photos_only() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    # The pair of one photo is the nearest, then the second of three.
    assert gap.pairs_precision(vectors, torch.tensor([0, 0, 1])) == pytest.approx(1)
    assert gap.pairs_precision(vectors, torch.tensor([0, 1, 1])) == pytest.approx(1 / 2)
    generator = torch.Generator().manual_seed(3)
    linear = torch.randn(8, 8, generator=generator)

    def crops(known: bool) -> gap.Seen:
        last = torch.rand(400, 8, generator=generator)
        features = last @ linear if known else torch.rand(400, 8, generator=generator) @ linear
        return gap.Seen(last, last, features, torch.arange(400) // 2)

    config = small_config()
    result = gap.measure(crops(True), {"same": crops(True), "other": crops(False)}, config)
    assert result["same"]["teacher_cosine"] > 0.9
    assert abs(result["other"]["teacher_cosine"]) < 0.3


def test_the_gap_shows_all_students_the_same_crops() -> None:
    config = small_config()
    config["data"].update(student_sizes=[32], mix_share=0.0)
    students = [student.Student().eval() for _ in range(2)]
    first, second = gap.look(small_bank(6), 24, 7, config, students, small_teacher)
    (alone,) = gap.look(small_bank(6), 24, 7, config, students[1:], small_teacher)
    assert len(first.photo) == 24
    assert not torch.equal(first.embedding, second.embedding)
    assert torch.equal(second.embedding, alone.embedding) and torch.equal(second.last, alone.last)
    (other,) = gap.look(small_bank(6, 1), 24, 7, config, students[:1], small_teacher)
    assert not torch.equal(other.features, first.features)
