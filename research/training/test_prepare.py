"""Collecting and packing photos."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from research.training import bank, prepare, qt_resource
from research.training.tiny import CPU


def test_licences_are_read_by_file() -> None:
    text = "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nFiles: 16.04/a.jpg\n 16.04/b*.jpg\nLicense: CC0-1.0\n"
    stanzas = prepare.copyright_stanzas(text)
    assert prepare.licence_of("usr/share/16.04/b7.jpg", stanzas, "default") == "CC0-1.0"
    assert prepare.licence_of("usr/share/16.04/c.jpg", stanzas, "default") == "default"
    source = prepare.Source("x", "deb", "", [])
    assert prepare.examine(source, "a.jpg", b"", "CC-BY-NC-2.0", 64, 80).skipped == "licence"
    assert prepare.examine(source, "a.jpg", b"", "GPL-2+", 64, 80).skipped == "not readable"


def test_every_source_is_free() -> None:
    for source in prepare.read_sources(prepare.HERE / "sources.toml"):
        assert prepare.FREE.search(source.licence) and not prepare.NOT_FREE.search(source.licence), source.name


def test_packed_pictures_come_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sources = [prepare.Source("x", "deb", "CC0-1.0", [], photographs=photographs) for photographs in (False, True)]
    kept = []
    for index in range(30):
        file = tmp_path / "photo.png"
        noise = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(file)
        kept.append(prepare.examine(sources[index % 2], f"{index}.png", file.read_bytes(), "CC0-1.0", 96, 80))
    assert not any(candidate.skipped for candidate in kept)
    pictures = prepare.pack(kept, tmp_path / "out", 20_000, 0.3)
    index_text = json.dumps({"pictures": [vars(picture) for picture in pictures]})
    (tmp_path / "out" / "index.json").write_text(index_text)
    train_bank = bank.load_bank(tmp_path / "out", "train", CPU)
    held_out = bank.load_bank(tmp_path / "out", "held_out", CPU)
    assert len(train_bank) + len(held_out) == 30 and 0 < len(held_out) < 20
    assert train_bank.width[:, 0].max() == 96
    weighted = bank.load_bank(tmp_path / "out", "train", CPU, photograph_weight=6.0)
    photographs = torch.tensor([picture.photographs for picture in pictures if picture.split == "train"])
    assert 0 < photographs.sum() < len(photographs)
    assert torch.equal(weighted.weight, torch.where(photographs, 6 * train_bank.weight, train_bank.weight))
    with pytest.raises(ValueError, match="positive"):
        bank.load_bank(tmp_path / "out", "train", CPU, photograph_weight=0.0)
    # Packed before photographs were told from others.
    earlier = [{key: value for key, value in vars(picture).items() if key != "photographs"} for picture in pictures]
    (tmp_path / "out" / "index.json").write_text(json.dumps({"pictures": earlier}))
    assert torch.equal(bank.load_bank(tmp_path / "out", "train", CPU).weight, train_bank.weight)
    with pytest.raises(ValueError, match="pack it again"):
        bank.load_bank(tmp_path / "out", "train", CPU, photograph_weight=6.0)
    assert "| x | Debian | CC0-1.0 |" in prepare.licence_table(sources[:1], pictures)


def test_attributed_photos_are_listed_by_folder() -> None:
    pictures = [
        prepare.Picture(f"x:{path}", "x", licence, 1.0, 8, 8, False, "train")
        for path, licence in (
            ("a/2.png", "CC-BY-4.0"),
            ("a/1.png", "CC-BY-4.0"),
            ("a/3.png", "MIT"),
            ("b.png", "CC-BY-3.0"),
        )
    ]
    lines = prepare.licence_table([], [*pictures, pictures[0]]).splitlines()
    assert lines[lines.index("### Photos under Creative Commons licences with attribution") + 2 :] == [
        "- CC-BY-3.0: `x:b.png`",
        "- `x:a`, CC-BY-4.0: `1.png`, `2.png`",
    ]


def test_drawings_are_told_from_photos() -> None:
    drawn = Image.new("RGB", (200, 200), (250, 200, 10))
    drawn.paste((0, 0, 0), (20, 20, 90, 90))
    assert prepare.is_drawing(drawn)
    noise = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert not prepare.is_drawing(Image.fromarray(noise).resize((300, 300), Image.Resampling.BICUBIC))


def test_pictures_with_nothing_to_see_are_left_out_of_drawings_too() -> None:
    assert prepare.is_empty(Image.new("RGB", (200, 200), (250, 200, 10)))
    cutout = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    cutout.paste((255, 0, 0, 255), (0, 0, 30, 30))
    assert prepare.is_empty(cutout)
    cutout.paste((0, 0, 255, 255), (30, 30, 150, 150))
    assert not prepare.is_empty(cutout)


def test_sources_look_into_archives_for_what_they_include(tmp_path: Path) -> None:
    source = prepare.Source("x", "deb", "CC0-1.0", ["*/a.zip/art/*", "*.png"], ["*norm*"])
    (tmp_path / "x").mkdir()
    with zipfile.ZipFile(tmp_path / "x" / "a.zip", "w") as archive:
        for name in ("art/one.dds", "art/one_norm.dds", "art/text.txt", "other/two.dds"):
            archive.writestr(name, name)
    (tmp_path / "x" / "three.png").write_bytes(b"3")
    (tmp_path / "x" / "broken.zip").write_bytes(b"no archive")
    found = dict(prepare.files_of(tmp_path, source))
    assert found == {"x/a.zip/art/one.dds": b"art/one.dds", "x/three.png": b"3"}


def test_sources_say_what_else_is_wanted() -> None:
    def skipped(image: Any, **settings: Any) -> str:
        file = io.BytesIO()
        image.save(file, "PNG")
        source = prepare.Source("x", "deb", "CC0-1.0", ["*"], min_side=64, **settings)
        candidate = prepare.examine(source, "a.png", file.getvalue(), "CC0-1.0", 96, 80)
        return candidate.skipped or ("cut-out" if candidate.encoded[0][3] else "opaque")

    drawn = Image.new("RGB", (200, 200), (250, 200, 10))
    drawn.paste((0, 0, 0), (20, 20, 90, 90))
    assert skipped(drawn) == "drawing"
    assert skipped(drawn, drawings=True) == "opaque"
    assert skipped(drawn, drawings=True, max_megapixels=0.03) == "too large"
    half = drawn.copy()
    half.putalpha(0)
    half.paste(drawn.crop((0, 0, 150, 200)), (0, 0))
    assert skipped(half, drawings=True) == "cut-out"
    assert skipped(half, drawings=True, opaque=True) == "opaque"


def test_qt_resources_are_read() -> None:
    name = "a.jpg"
    names = struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    root = struct.pack(">IHII", 0, 2, 1, 1) + bytes(8)
    leaf = struct.pack(">IHHHI", 0, 0, 0, 0, 0) + bytes(8)
    tree_at = 20
    data_at = tree_at + len(root) + len(leaf)
    content = struct.pack(">I", 3) + b"abc"
    header = b"qres" + struct.pack(">IIII", 2, tree_at, data_at, data_at + len(content))
    assert list(qt_resource.entries(header + root + leaf + content + names)) == [("a.jpg", b"abc")]
    with pytest.raises(ValueError, match="not a Qt resource"):
        list(qt_resource.entries(b"nothing"))
