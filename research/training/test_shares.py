"""The shares of the stages, on samples of a small untrained network."""

from __future__ import annotations

import pytest
import torch

from research.training import judge, shares, stages
from research.training.student import Student, reduction

CHANNELS = (4, 8, 8, 16)


@pytest.fixture
def student() -> Student:
    torch.manual_seed(3)
    return Student(CHANNELS).eval()


def look(student: Student, count: int, seed: int) -> stages.Sample:
    generator = torch.Generator().manual_seed(seed)
    return stages.look(student, [torch.randn((count, 3, 64, 64), generator=generator)])


def test_one_stage_varies_at_a_time() -> None:
    rows = list(shares.settings((0.0, 0.5), 0.002))
    assert [(name, share) for name, share, _ in rows[:3]] == [("stage 1", 0.0), ("stage 1", 0.5), ("stage 2", 0.0)]
    assert rows[1][2] == (0.5, 0.002, 0.002)
    assert rows[-1] == ("last stage alone", 0.0, (shares.NOTHING,) * 3)


def test_rows_of_all_settings(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge.copies, "TRANSFORMS", {"one": None, "two": None})
    means = [look(student, 6, 1), look(student, 6, 2)]
    judged = look(student, 6, 4), look(student, 6, 5)
    rows = shares.measure(means, judged, list("aabbcc"), (0.0, 1.0), (0.002, 0.5, 0.5))
    assert [row["varies"] for row in rows] == [
        *(f"stage {stage}" for stage in (1, 1, 2, 2, 3, 3)),
        "last stage alone",
        "nothing balanced",
    ]
    precision = [row["labelled"]["average_precision"] for row in rows]
    assert precision[0] == precision[2] == precision[-2], "two thousandths change no order here"
    assert len({precision[1], precision[3], precision[5], precision[0]}) == 4, "a whole share does"
    with torch.inference_mode():
        whole = student(torch.randn((6, 3, 64, 64), generator=torch.Generator().manual_seed(4)))[0]
    plain = reduction(stages.averages_of(judged[0], torch.zeros(CHANNELS[-1])))
    torch.testing.assert_close(plain, whole, rtol=1e-2, atol=1e-2)
