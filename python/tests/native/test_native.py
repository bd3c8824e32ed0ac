"""The Python package: the same answers as the executable, exact operators, clear errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import rrn_native
from conftest import RunSimilarity, make_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


@pytest.fixture(scope="module")
def embedder() -> rrn_native.Embedder:
    return rrn_native.Embedder(size=64, threads=2)


def test_find_similar_equals_the_executable(run_similarity: RunSimilarity, photos: Path) -> None:
    run = run_similarity(photos, "--size", 64, "--threshold", 0.9, "--json", "-")
    result = rrn_native.find_similar(photos, 0.9, size=64)
    assert result.to_dict() == json.loads(run.stdout)
    assert result.embeddings.shape == (result.read, 512)
    assert result.read + len(result.skipped) == result.files


def test_find_similar_of_a_list_against_and_keep_equal_the_executable(
    run_similarity: RunSimilarity, photos: Path, tmp_path: Path
) -> None:
    reference = tmp_path / "reference"
    reference.mkdir()
    make_picture(1, 120, 90).save(reference / "one.png")
    os.link(photos / "second.png", reference / "same.png")
    words = ("--size", 64, "--threshold", 0.97, "--json", "-")
    run = run_similarity(photos, *words, "--against", reference)
    result = rrn_native.find_similar(photos, 0.97, size=64, against=reference)
    assert result.to_dict() == json.loads(run.stdout)
    assert result.reference is not None
    assert result.read == result.reference.known + result.reference.new
    assert result.embeddings.shape == (result.read, 512)

    files = [path for path in photos.rglob("*") if path.is_file()]
    seen = set()
    listed = rrn_native.find_similar(
        [*files, files[0]], 0.97, size=64, keep="largest", progress=lambda phase, *_: seen.add(phase)
    )
    run = run_similarity(photos, *words, "--keep", "largest")
    assert listed.to_dict() == json.loads(run.stdout)
    assert listed.keep == "largest"
    assert len(listed.redundant) == 2
    assert seen == {"images", "pairs"}
    assert rrn_native.find_similar([], size=64).files == 0


def test_redundant_never_names_the_only_real_file(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    make_picture(1, 120, 90).save(folder / "z_real.png")
    # The link comes first by path, so it represents the group.
    (folder / "a_link.png").symlink_to("z_real.png")
    result = rrn_native.find_similar(folder, 0.9, size=64)
    assert [group.representative for group in result.groups] == [str(folder / "a_link.png")]
    assert result.redundant == ()
    make_picture(1, 120, 90).save(folder / "z_second.png")
    result = rrn_native.find_similar(folder, 0.9, size=64)
    assert [image.path for image in result.redundant] == [str(folder / "z_second.png")]


def test_find_similar_refuses_what_excludes_each_other(photos: Path) -> None:
    with pytest.raises(ValueError, match="always kept"):
        rrn_native.find_similar(photos, size=64, against=photos, keep="first")
    with pytest.raises(ValueError, match="exactly"):
        rrn_native.find_similar(photos, size=64, against=photos, search="approximate")
    with pytest.raises(ValueError, match="expected most-similar"):
        rrn_native.find_similar(photos, size=64, keep="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="against is empty"):
        rrn_native.find_similar(photos, size=64, against="")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        rrn_native.find_similar(photos, size=64, against=photos / "none")


def test_find_similar_progress_and_cancel(photos: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    rrn_native.find_similar(photos, size=64, batch=1, progress=lambda *step: seen.append(step))
    assert [step for step in seen if step[0] == "images"][-1] == ("images", 7, 7)
    assert seen[-1][0] == "pairs"
    with pytest.raises(rrn_native.CancelledError):
        rrn_native.find_similar(photos, size=64, progress=lambda *_: False)

    def fail(*_: object) -> bool:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        rrn_native.find_similar(photos, size=64, progress=fail)


def test_find_similar_errors(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        rrn_native.find_similar(tmp_path / "missing")
    with pytest.raises(ValueError, match="not a folder"):
        rrn_native.find_similar(photos / "first.png")
    with pytest.raises(ValueError, match="threshold"):
        rrn_native.find_similar(photos, 1.0)
    with pytest.raises(ValueError, match="provider"):
        rrn_native.find_similar(photos, provider="tpu")
    with pytest.raises(ValueError, match="threads"):
        rrn_native.Embedder(threads=0)
    rows = np.zeros((2, 4), np.float32)
    for search in (rrn_native.similar_pairs, rrn_native.similar_pairs_approximate, rrn_native.nearest):
        with pytest.raises(ValueError, match="threads is -1, expected at least 1"):
            search(rows, threads=-1)
    with pytest.raises(FileNotFoundError):
        rrn_native.Embedder(tmp_path / "missing.onnx")
    (tmp_path / "bad.onnx").write_text("no model")
    with pytest.raises(rrn_native.RrnError, match=r"bad\.onnx"):
        rrn_native.Embedder(tmp_path / "bad.onnx")


def test_empty_folder(tmp_path: Path) -> None:
    result = rrn_native.find_similar(tmp_path, size=64)
    assert (result.files, result.unique, result.embeddings.shape) == (0, 0, (0, 512))


def test_paths_and_arrays_give_the_same_embedding(embedder: rrn_native.Embedder, photos: Path) -> None:
    from_paths = embedder.embed([photos / "first.png", str(photos / "second.png")])
    arrays = [np.asarray(Image.open(photos / name)) for name in ("first.png", "second.png")]
    from_arrays = embedder.embed(arrays)
    assert from_paths.dtype == np.float32
    assert from_paths.shape == (2, 512)
    np.testing.assert_array_equal(from_paths, from_arrays)
    np.testing.assert_array_equal(from_paths[:1], embedder.embed([arrays[0][:, ::-1][:, ::-1]]))  # strided view
    assert embedder.embed([]).shape == (0, 512)


def test_unreadable_files_raise_or_become_nan(embedder: rrn_native.Embedder, photos: Path) -> None:
    names = [photos / "first.png", photos / "broken.png", photos / "second.png", photos / "none.png"]
    with pytest.raises(rrn_native.RrnError, match=r"broken\.png: .*and 1 more"):
        embedder.embed(names)
    rows = embedder.embed(names, on_error="nan")
    assert np.isnan(rows[[1, 3]]).all()
    np.testing.assert_array_equal(rows[[0, 2]], embedder.embed([names[0], names[2]]))
    with pytest.raises(ValueError, match="on_error"):
        embedder.embed(names, on_error="skip")  # type: ignore[arg-type]


def test_wrong_arrays_are_refused(embedder: rrn_native.Embedder, photos: Path) -> None:
    good = np.zeros((4, 4, 3), np.uint8)
    for bad in (good.astype(np.float32), good[..., :2], good[0], np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"expected|empty"):
            embedder.embed([bad])
    with pytest.raises(ValueError, match="both"):
        embedder.embed([good, photos / "first.png"])


def test_the_gil_is_released(photos: Path) -> None:
    for i in range(30):
        make_picture(i, 400, 300).save(photos / f"{i}.png")
    ticks = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not stop.is_set():
            ticks += 1

    counter = threading.Thread(target=count)
    embedder = rrn_native.Embedder(threads=1)
    paths = [path for path in rrn_native.find_images(photos) if path.endswith(".png") and "broken" not in path]
    counter.start()
    before = ticks
    embedder.embed(paths)
    during = ticks - before
    stop.set()
    counter.join()
    assert during > 1000, "another Python thread stood still"


@given(
    count=st.integers(0, 40),
    dim=st.integers(1, 70),
    threshold=st.floats(-1, 1, width=32),
    seed=st.integers(0, 2**32 - 1),
    threads=st.integers(1, 4),
)
@settings(deadline=None, max_examples=60)
def test_similar_pairs_equal_numpy(count: int, dim: int, threshold: float, seed: int, threads: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    i, j, similarity = rrn_native.similar_pairs(rows, threshold, threads=threads)
    assert (i.dtype, j.dtype, similarity.dtype) == (np.int64, np.int64, np.float32)
    unit = rows.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    found = set(zip(i.tolist(), j.tolist(), strict=True))
    margin = 1e-5  # pairs this near to the threshold may fall on either side in float32
    for a in range(count):
        for b in range(a + 1, count):
            if cosine[a, b] > threshold + margin:
                assert (a, b) in found
            elif cosine[a, b] < threshold - margin:
                assert (a, b) not in found
    np.testing.assert_allclose(similarity, cosine[i, j], atol=margin)
    assert sorted(found) == list(zip(i.tolist(), j.tolist(), strict=True))


def test_similar_pairs_bad_input() -> None:
    with pytest.raises(ValueError, match=r"\[n, dim\]"):
        rrn_native.similar_pairs(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="not a number"):
        rrn_native.similar_pairs(np.zeros((3, 3), np.float32), float("nan"))


def test_similar_pairs_are_the_same_on_every_target(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    rows = random.normal(size=(900, 65)).astype(np.float32)
    rows[1::3] = rows[::3] + 0.4 * rows[1::3]
    with pytest.raises(ValueError, match=r"'none'; this machine has .*portable"):
        rrn_native.similar_pairs(rows, target="none")
    targets = rrn_native.search_targets()
    assert targets[-2:] == ("float32", "portable")
    monkeypatch.setenv("RRN_SEARCH_PATH", "none")  # no environment variable changes how the library searches
    found = [[column.tobytes() for column in rrn_native.similar_pairs(rows, 0.75, target=t)] for t in (None, *targets)]
    assert len(found[0][0]) > 100 * 8
    assert all(pairs == found[0] for pairs in found)


def reference_reduction(layers: list[npt.NDArray[Any]], channels: int) -> npt.NDArray[np.float64]:
    """The definition, in float64."""
    pooled = [
        layer.astype(np.float64).mean((2, 3)) if layer.ndim == 4 else layer.astype(np.float64) for layer in layers
    ]
    expanded = [np.repeat(layer, channels // layer.shape[-1], axis=-1) for layer in pooled]
    return np.mean(expanded, axis=0)


@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]))
@settings(deadline=None, max_examples=80)
def test_reduction_equals_its_definition(data: st.DataObject, dtype: type) -> None:
    channels = data.draw(st.sampled_from([1, 12, 64, 512, 700]))
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    rank = data.draw(st.sampled_from([1, 2, 4]))
    batch = data.draw(st.integers(0, 3))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    layers = []
    for _ in range(data.draw(st.integers(1, 5))):
        shape = [data.draw(st.sampled_from(divisors))]
        shape = shape if rank == 1 else [batch, *shape]
        shape += [data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))] if rank == 4 else []
        layers.append(random.normal(size=shape).astype(dtype))
    output = rrn_native.reduction(*layers, channels=channels)
    expected = reference_reduction(layers, channels)
    assert output.dtype == dtype
    assert output.shape == expected.shape
    storage = {np.float32: 2**-24, np.float16: 2**-11, ml_dtypes.bfloat16: 2**-8}[dtype]
    magnitude = reference_reduction([np.abs(layer) for layer in layers], channels)
    # Up to 16 pixels and 5 inputs are added in float32, then the result is rounded to its storage type.
    tolerance = 24 * 2**-24 * magnitude + storage * np.abs(expected) + (2**-25 if dtype == np.float16 else 0)
    assert (np.abs(output.astype(np.float64) - expected) <= tolerance).all()


def test_reduction_errors_name_everything() -> None:
    with pytest.raises(ValueError, match=r"\[2, 64\], \[2, 96\] for 512 channels"):
        rrn_native.reduction(np.zeros((2, 64), np.float32), np.zeros((2, 96), np.float32))
    with pytest.raises(ValueError, match="at least one input"):
        rrn_native.reduction()
    with pytest.raises(TypeError, match="float32, float16"):
        rrn_native.reduction(np.zeros(64, np.float32), np.zeros(64, np.float16))
    with pytest.raises(TypeError, match="float64"):
        rrn_native.reduction(np.zeros(64))
    with pytest.raises(ValueError, match=r"\[\]"):
        rrn_native.reduction(np.float32(1))


@pytest.mark.parametrize("dtype", [">f4", ">f2", "<f4", "<f2"])
def test_reduction_takes_any_byte_order_and_layout(dtype: str) -> None:
    values = np.random.default_rng(1).normal(size=(512, 6)).astype(dtype)
    output = rrn_native.reduction(values.T[::2])
    assert output.shape == (3, 512)
    np.testing.assert_array_equal(output, values.T[::2].astype(output.dtype))


SCRIPT_WITH_LOCALE = """
import locale, sys
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.localeconv()["decimal_point"] == ","
import rrn_native
print(rrn_native.find_similar(sys.argv[1], 0.5, size=64).threshold)
"""


def test_a_locale_with_decimal_commas_changes_nothing(photos: Path, tmp_path: Path) -> None:
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("this machine has no locale definitions (Debian: apt-get install locales)")
    command = [sys.executable, "-c", SCRIPT_WITH_LOCALE, photos]
    environment = os.environ | {"LOCPATH": str(tmp_path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "0.5", run.stderr


def test_paths_that_are_not_utf8_in_errors(embedder: rrn_native.Embedder) -> None:
    name = os.fsdecode(b"/nowhere/\xff\xe9")
    with pytest.raises(rrn_native.RrnError, match="nowhere"):
        embedder.embed([name])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rrn_native.find_similar(name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rrn_native.Embedder(name)


def test_one_path_is_not_a_list_of_letters(embedder: rrn_native.Embedder, photos: Path) -> None:
    for one in (photos / "first.png", str(photos / "first.png")):
        with pytest.raises(TypeError, match="sequence"):
            embedder.embed(one)  # type: ignore[arg-type]


def test_cosine_similarity() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 512)).astype(np.float32)
    expected = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert rrn_native.cosine_similarity(a, b) == pytest.approx(expected, abs=1e-6)
    assert rrn_native.cosine_similarity(a, -a) == pytest.approx(-1)
    assert rrn_native.cosine_similarity(a, np.zeros(512)) == 0
    assert np.isnan(rrn_native.cosine_similarity(a, np.full(512, np.nan)))


def test_preprocess_takes_the_default_models_size(photos: Path) -> None:
    assert rrn_native.preprocess(photos / "first.png").shape == (3, 224, 224)
    with pytest.raises(ValueError, match="size is 31, expected 32 to 4096, or None"):
        rrn_native.preprocess(photos / "first.png", 31)


def test_preprocess_equals_pillow_and_numpy(photos: Path) -> None:
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    for name in ("first.png", "third.webp"):
        picture = Image.open(photos / name).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
        expected = (np.asarray(picture).astype(np.float32) / np.float32(255) - mean) / std
        prepared = rrn_native.preprocess(photos / name, size=64)
        np.testing.assert_array_equal(prepared, expected.transpose(2, 0, 1))


def test_find_images(photos: Path) -> None:
    names = [Path(path).name for path in rrn_native.find_images(photos)]
    assert names == ["broken.png", "first.png", "first_small.png", "notes.txt", "second.png", "first.jpg", "third.webp"]
    assert len(rrn_native.find_images(photos, recursive=False)) == 6


def test_locations() -> None:
    assert Path(rrn_native.custom_op_library()).name == "libreduction_op.so"
    assert Path(rrn_native.default_model()).is_file()


def test_every_float16_passes_through() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)[None]
    once = rrn_native.reduction(every, channels=65536)
    number = ~np.isnan(every[0])
    # Adding 0 turns -0 into 0.
    assert np.array_equal(once.reshape(-1)[number], every[0][number])
    assert np.isnan(once.reshape(-1)[~number]).all()
