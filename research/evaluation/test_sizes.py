"""Accuracy and time by input size, on a few drawn pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from research.common import copies, photos
from research.evaluation import sizes


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three drawn pictures and their mirror images, with their groups."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["file,group"]
    for number in range(3):
        picture = photos.draw(number, 96)
        for kind, image in (("a", picture), ("b", copies.make_copy(picture, "mirror", 1))):
            image.save(folder / f"{number}{kind}.png")
            lines.append(f"{number}{kind}.png,{number}")
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_every_size_has_its_numbers(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "sizes.json"
    words = ["--labelled", str(labelled), "--copies-from", str(labelled), "--output", str(output)]
    assert sizes.main([*words, "--sizes", "32", "64", "--rounds", "1"]) == 0
    assert "left out: groups.csv" in capsys.readouterr().out
    found = json.loads(output.read_text())
    assert [row["size"] for row in found["sizes"]] == [32, 64]
    assert found["labelled_photos"] == found["copied_photos"] == 6
    assert str(tmp_path) not in output.read_text()
    for row in found["sizes"]:
        assert 0 < row["labelled"]["average_precision"] <= 1
        assert 1 <= row["labelled"]["ns"] <= 2
        assert row["copies"]["every_pair"].keys() == {
            "average_precision",
            "at_threshold",
            "best_f1",
            "different_above_threshold",
        }
        assert row["image"]["median_ms"] > 0
        assert row["image"]["runs"] == 1


def test_what_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sizes.main(["--labelled", str(tmp_path), "--copies-from", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
