"""The judge of weights, on a few drawn pictures and untrained weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from research.common import photos
from research.training import judge
from research.training.student import Student, save_state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three objects with two views each, and weights.pth beside their folder."""
    pictures = tmp_path / "photos"
    pictures.mkdir()
    lines = ["file,group"]
    for number in range(3):
        photo = photos.draw(number, 64)
        photo.save(pictures / f"{number}a.png")
        photo.transpose(0).save(pictures / f"{number}b.png")
        lines += [f"{number}a.png,{number}", f"{number}b.png,{number}"]
    (pictures / "groups.csv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(1)
    save_state(tmp_path / "weights.pth", Student().state_dict())
    return tmp_path


def test_halves_share_no_object_and_are_together_all() -> None:
    groups = ["c", "a", "b", "a", "d", "c"]
    choosing, report = (judge.half_of(groups, half) for half in ("choosing", "report"))
    assert [groups[position] for position in choosing] == ["c", "a", "a", "c"]
    assert [groups[position] for position in report] == ["b", "d"]
    assert sorted(choosing + report) == judge.half_of(groups, "all") == list(range(6))


def test_a_row_for_each_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "judged.json"
    words = [f"one={folder / 'weights.pth'}", "--labelled", str(folder / "photos"), "--half", "all", "--size", "32"]
    assert judge.main([*words, "--copies-from", str(folder / "photos"), "--output", str(output)]) == 0
    assert "one: labelled: AP " in capsys.readouterr().out
    found = json.loads(output.read_text())
    (row,) = found["rows"]
    assert row["name"] == "one"
    assert 0 < row["labelled"]["average_precision"] <= 1
    assert 0 < row["copies"]["average_precision"] <= 1
    assert str(folder) not in output.read_text()


def test_what_is_missing_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--labelled", str(folder / "photos"), "--copies-from", str(folder / "photos"), "--size", "32"]
    assert judge.main([f"one={folder / 'none.pth'}", *words]) == 2
    assert capsys.readouterr().err.startswith("judge: no such file")
    weights = str(folder / "weights.pth")
    for wrong in ([weights], [f"one={weights}", f"one={weights}"]):
        assert judge.main([*wrong, *words]) == 2
        assert "expected NAME=FILE.pth, each name once" in capsys.readouterr().err
    (folder / "text.pth").write_text("no weights")
    assert judge.main([f"one={folder / 'text.pth'}", *words]) == 2
    assert "not a file of tensors" in capsys.readouterr().err
