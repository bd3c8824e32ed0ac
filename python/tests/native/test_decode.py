"""Decoding against Pillow: formats, modes, orientation, damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rrn_native
from conftest import make_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from rrn_native import _load


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def white_backed(picture: Image.Image) -> npt.NDArray[np.uint8]:
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def check(path: Path, tolerance: int = 0) -> None:
    expected = white_backed(ImageOps.exif_transpose(Image.open(path)))
    decoded = rrn_native.decode(path)
    assert decoded.shape == expected.shape
    difference = np.abs(decoded.astype(int) - expected.astype(int))
    assert difference.max() <= tolerance


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (37, 23), (20000, 3)])
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "webp", "jpg"])
def test_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    if suffix == "webp" and max(size) > 16383:
        pytest.skip("WebP ends at 16383 pixels")
    # Two releases of libjpeg and libwebp may differ by a level or two.
    check(save(make_picture(1, *size), tmp_path / f"p.{suffix}"), tolerance=3 if suffix in ("jpg", "webp") else 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_modes(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = make_picture(2).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    check(save(picture.convert(mode), tmp_path / f"p.{suffix}"), tolerance=1)


def test_palette_transparency_and_interlace(tmp_path: Path) -> None:
    picture = make_picture(3).convert("P")
    check(save(picture, tmp_path / "t.png", transparency=5), tolerance=1)
    check(save(make_picture(3), tmp_path / "p.jpg", progressive=True), tolerance=3)
    check(save(make_picture(3).convert("L"), tmp_path / "g.jpg"), tolerance=3)
    check(save(make_picture(3), tmp_path / "l.webp", lossless=True))


def test_cmyk(tmp_path: Path) -> None:
    check(save(make_picture(4).convert("CMYK"), tmp_path / "c.jpg", quality=95), tolerance=4)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    path = save(Image.fromarray(ramp), tmp_path / f"p.{suffix}")
    decoded = rrn_native.decode(path)
    expected = np.repeat((ramp / 257)[..., None], 3, axis=2)
    assert np.abs(decoded - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(make_picture(5, 60, 40), tmp_path / f"p.{suffix}", exif=exif)
    assert rrn_native.decode(path).shape[:2] == ((40, 60) if orientation < 5 else (60, 40))
    check(path, tolerance=4)


def test_first_frame_only(tmp_path: Path) -> None:
    frames = [make_picture(seed, 30, 20) for seed in (1, 2, 3)]
    for suffix in ("gif", "webp", "tiff"):
        path = tmp_path / f"a.{suffix}"
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        check(path, tolerance=1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "webp", "jpg"])
def test_every_truncation_is_an_error(tmp_path: Path, suffix: str) -> None:
    whole = save(make_picture(6, 40, 30), tmp_path / f"p.{suffix}").read_bytes()
    cut = tmp_path / "cut"
    step = max(1, len(whole) // 60)
    for length in range(0, int(len(whole) * 0.95), step):
        cut.write_bytes(whole[:length])
        with pytest.raises(rrn_native.RrnError):
            rrn_native.decode(cut)


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_damage_never_crashes(data: st.DataObject) -> None:
    """Flips bytes of small files; the decoder gives a picture or an error and nothing else."""
    suffix = data.draw(st.sampled_from(["png", "bmp", "gif", "tiff", "webp", "jpeg"]))
    buffer = io.BytesIO()
    make_picture(7, 20, 15).save(buffer, suffix)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = _load.native.decode(bytes(content), 1_000_000, data.draw(st.sampled_from([0, 2, 8])))
    except rrn_native.RrnError as error:
        assert "\n" not in str(error)
    else:
        assert decoded.dtype == np.uint8


def test_not_an_image(tmp_path: Path) -> None:
    for content in (b"", b"\xff", b"<svg/>", b"\x00" * 100, b"GIF89a", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF"):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(rrn_native.RrnError):
            rrn_native.decode(path)
    with pytest.raises(FileNotFoundError):
        rrn_native.decode(tmp_path / "missing")


def test_pixel_limit_comes_before_memory(tmp_path: Path) -> None:
    path = save(make_picture(1, 300, 200), tmp_path / "p.png")
    with pytest.raises(rrn_native.RrnError, match="megapixels"):
        rrn_native.decode(path, max_pixels=59_999)
    assert rrn_native.decode(path, max_pixels=60_000).shape == (200, 300, 3)


def test_large_jpegs_are_decoded_at_a_fraction(tmp_path: Path) -> None:
    path = save(make_picture(5, 1600, 1200), tmp_path / "large.jpg", quality=90)
    whole, fraction = rrn_native.decode(path), rrn_native.decode(path, target=224)
    assert whole.shape == (1200, 1600, 3) and fraction.shape == (600, 800, 3)
    difference = np.abs(rrn_native.preprocess(whole, 224) - rrn_native.preprocess(fraction, 224))
    assert difference.mean() < 0.02


def test_embeddings_of_fractions_are_those_of_whole_pictures(tmp_path: Path) -> None:
    for index in range(3):
        save(make_picture(index, 2000, 1500), tmp_path / f"{index}.jpg", quality=90)
    paths = rrn_native.find_images(tmp_path)
    fast, whole = (rrn_native.Embedder(full_decode=full) for full in (False, True))
    assert np.array_equal(fast.preprocess(paths[0]), rrn_native.preprocess(paths[0], 224))
    for one, two in zip(fast.embed(paths), whole.embed(paths), strict=True):
        assert not np.array_equal(one, two)
        assert one @ two / np.linalg.norm(one) / np.linalg.norm(two) >= 0.999
