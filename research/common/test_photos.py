"""Sources of pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from research.common import examples, photos


def test_drawn_pictures_have_their_size_and_depend_on_the_seed_alone() -> None:
    picture = photos.draw(3, 60, 40)
    assert (picture.mode, picture.size) == ("RGB", (60, 40))
    assert photos.draw(3, 60, 40).tobytes() == picture.tobytes()
    assert photos.draw(4, 60, 40).tobytes() != picture.tobytes()
    assert photos.draw(3).size == (256, 256)


def test_originals_are_the_best_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "PACKED", tmp_path)

    def offline() -> dict[str, Image.Image]:
        raise OSError("no network")

    monkeypatch.setattr(examples, "fetch_photos", offline)
    assert photos.originals(2).origin.startswith("drawn")
    monkeypatch.setattr(examples, "fetch_photos", lambda: {"b": photos.draw(1), "a": photos.draw(2).convert("L")})
    found = photos.originals(1)
    assert "scikit-image" in found.origin
    assert np.array_equal(np.asarray(found.pictures[0]), np.asarray(photos.draw(2).convert("L").convert("RGB")))
    files = []
    for seed in range(4):
        buffer = io.BytesIO()
        photos.draw(seed, 32).save(buffer, "PNG")
        files.append(buffer.getvalue())
    (tmp_path / "shard").write_bytes(b"".join(files))
    kinds = (("train", "w", False), ("held_out", "x", True), ("held_out", "y", False), ("held_out", "y", False))
    records = [
        {"split": split, "photo": photo, "alpha": alpha, "shard": "shard", "length": len(files[index])}
        | {"offset": sum(map(len, files[:index]))}
        for index, (split, photo, alpha) in enumerate(kinds)
    ]
    (tmp_path / "index.json").write_text(json.dumps({"pictures": records}))
    found = photos.originals(9)
    assert "held-out" in found.origin
    assert [picture.tobytes() for picture in found.pictures] == [photos.draw(2, 32).tobytes()]
    assert photos.originals(1, drawn=True).origin.startswith("drawn")


def test_labels_are_read_and_checked(tmp_path: Path) -> None:
    photos.draw(1).save(tmp_path / "a.png")
    photos.draw(2).save(tmp_path / "b.png")
    table = tmp_path / "groups.csv"
    table.write_text("group,file\nx,a.png\ny,b.png\n")
    assert photos.labelled(tmp_path) == ([tmp_path / "a.png", tmp_path / "b.png"], ["x", "y"])
    for text, message in (
        ("name,group\na.png,x\n", "columns file and group"),
        ("file,group\nc.png,x\n", "not there"),
        ("file,group\na.png,x\na.png,x\n", "twice"),
        ("file,group\n", "no photo"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=message):
            photos.labelled(tmp_path)


def test_readable_files_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos.draw(1, 40).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert photos.readable(tmp_path) == [tmp_path / "good.png"]
    assert capsys.readouterr().out.startswith("left out: bad.png: ")


def test_example_photos_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = {name: photos.draw(seed, 90, 60) for seed, name in enumerate(examples.PHOTOS)}
    monkeypatch.setattr(examples, "fetch_photos", lambda: pictures)
    assert examples.main([str(tmp_path / "made")]) == 0
    names = {path.name for path in (tmp_path / "made").rglob("*.*")}
    assert names >= {*examples.PHOTOS, "chelsea_exif_rotated.jpg", "rocket_grey.jpg", "broken.jpg"}

    def offline() -> dict[str, Image.Image]:
        raise OSError("no network")

    monkeypatch.setattr(examples, "fetch_photos", offline)
    assert examples.main([str(tmp_path / "made")]) == 0
    assert examples.main([str(tmp_path / "other")]) == 1
    assert "no network" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
