"""The comparison on real pictures, with drawn ones in their place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from research.benchmarks import pairs, real_pairs, real_pictures
from research.common import photos


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six drawn photos in the place of UKBench's; the archives are absent."""
    folder = tmp_path / "data" / "ukbench"
    folder.mkdir(parents=True)
    for seed in range(6):
        photos.draw(seed, 48).save(folder / f"ukbench{seed:05}.jpg")
    return folder.parent


def test_pictures_are_the_same_every_time_and_copies_are_others(data: Path) -> None:
    originals = real_pictures.read_originals(data)
    order = real_pictures.order(len(originals))
    assert sorted(order.tolist()) == list(range(18))
    first = [np.asarray(real_pictures.picture(originals, number)) for number in range(18)]
    again = [np.asarray(real_pictures.picture(originals, number)) for number in range(18)]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({picture.tobytes() for picture in first}) == 18
    with Image.open(originals.files[2]) as opened:
        assert np.array_equal(first[2], np.asarray(opened.convert("RGB")))
    with pytest.raises(IndexError):
        originals.load(6)


def test_small_pictures_follow_the_files(data: Path) -> None:
    from research.common.image_sets import Split

    split = Split(
        np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3), np.zeros(2, np.int64), ("a",), "", ""
    )
    originals = real_pictures.Originals(real_pictures.read_originals(data).files, [split, split])
    assert len(originals) == 10
    assert np.array_equal(np.asarray(originals.load(7)), split.pixels[1])
    assert np.array_equal(np.asarray(originals.load(8)), split.pixels[0])


def test_embeddings_are_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    rows, about = real_pairs.embed(data, cache, 7)
    assert (rows.shape, about["originals"], about["input_size"]) == ((7, 512), 6, 64)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(real_pictures, "picture", None)
    assert np.array_equal(real_pairs.embed(data, cache, 7)[0], rows)
    with pytest.raises(ValueError, match="at least 19 pictures, got 18"):
        real_pairs.embed(data, cache, 19)


def test_all_ways_find_the_same_pairs() -> None:
    rows = pairs.make_rows(300)
    measured = real_pairs.compare("random", rows, 0.75, 2, False)
    assert [(entry["way"], entry["pairs"], entry["runs"]) for entry in measured] == [
        ("rrn", 6, 2),
        ("rrn, no short rows", 6, 2),
    ]
    assert measured[0]["times_rrn"] == 1


def test_another_result_stops_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_pairs, "pairs_of", lambda rows, threshold, short_rows: [str(short_rows).encode()])
    with pytest.raises(RuntimeError, match="short rows changed the result"):
        real_pairs.compare("random", pairs.make_rows(10), 0.75, 1, False)


def test_more_numbers_leave_over_fewer_pairs() -> None:
    random = np.random.default_rng(3)
    rows = (random.standard_normal((900, 300)) / (1 + np.arange(300))).astype(np.float32)
    table = [entry for entry in real_pairs.left_over(rows, 300, 600) if entry["threshold"] == 0.9]
    shares = [entry["left_over"] for entry in table]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    assert all(entry["left_over"] >= entry["similar"] for entry in table)


def test_the_command_writes_a_result(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.json"
    words = ["--data", str(data), "--cache", str(tmp_path / "c"), "--output", str(output), "--no-faiss", "--runs", "1"]
    assert real_pairs.main([*words, "--count", "12"]) == 0
    result = json.loads(output.read_text())
    assert [(entry["kind"], entry["rows"]) for entry in result["rows"]] == [("real", 12)] * 2 + [("random", 12)] * 2
    assert result["real_rows"]["rows"] == 12
    assert real_pairs.main([*words, "--count", "99"]) == 2
    assert "at least 99 pictures" in capsys.readouterr().err
