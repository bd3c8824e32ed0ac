"""Store: what is kept, found and repaired, against find_similar and rows computed without one."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rrn_native
from conftest import make_picture
from rrn_native import KnownFile, Store
from rrn_native.files import file_state


@pytest.fixture(scope="module")
def embedder() -> rrn_native.Embedder:
    return rrn_native.Embedder(size=64, threads=1)


@pytest.fixture
def old_photos(photos: Path) -> Path:
    """The photos, old enough that a later change cannot leave the same times."""
    time.sleep(0.05)
    return photos


@pytest.fixture
def store(embedder: rrn_native.Embedder, old_photos: Path, tmp_path: Path) -> Store:
    made = Store(tmp_path / "store", embedder)
    made.add(old_photos)
    return made


def numbers(use: rrn_native.StoreUse) -> tuple[int, int, int, int]:
    return (use.reused, use.computed, use.embedded, use.removed)


def flip_a_byte(folder: Path, at: int = 100) -> None:
    (file,) = folder.glob("*.f32")
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def test_add_reads_only_what_is_new(embedder: rrn_native.Embedder, old_photos: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", embedder)
    first = store.add(old_photos)
    assert numbers(first) == (0, 7, 5, 0)
    assert [Path(file.path).name for file in first.skipped] == ["broken.png", "notes.txt"]
    assert (first.note, first.damaged) == ("", 0)
    again = store.add([old_photos, old_photos / "first.png"])
    assert numbers(again) == (8, 0, 0, 0)
    assert again.skipped == first.skipped
    assert len(store) == 5
    make_picture(9).save(old_photos / "new.png")
    assert numbers(store.add(old_photos / "new.png")) == (0, 1, 1, 0)
    assert len(store) == 6


def test_rows_are_those_of_the_engine(embedder: rrn_native.Embedder, store: Store, old_photos: Path) -> None:
    images, rows = store.rows(store.images(old_photos))
    assert [image.path for image in images] == sorted(image.path for image in images)
    assert rows.tobytes() == embedder.embed([image.path for image in images]).tobytes()
    found = store.embed(reversed([image.path for image in images]))
    assert found.paths == [image.path for image in reversed(images)]
    assert found.rows.tobytes() == np.ascontiguousarray(rows[::-1]).tobytes()
    assert found.use.computed == 0
    sizes = {Path(image.path).name: (image.width, image.height) for image in images}
    assert sizes["first_small.png"] == (48, 36)
    assert all(len(image.content) == 32 for image in images)
    reasons = {Path(image.path).name: image.reason for image in store.images() if image.slot is None}
    assert sorted(reasons) == ["broken.png", "notes.txt"]
    assert all(reasons.values())


def test_half_floats(embedder: rrn_native.Embedder, old_photos: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "half", embedder, floats="float16")
    store.add(old_photos)
    images, rows = store.rows(store.images())
    whole = embedder.embed([image.path for image in images])
    np.testing.assert_array_equal(rows, whole.astype(np.float16).astype(np.float32))
    assert store.info()["columns"][0]["floats"] == "float16"
    with pytest.raises(ValueError, match="float32 or float16"):
        Store(tmp_path / "other", embedder, floats="float8")  # type: ignore[arg-type]


def test_update_forgets_what_is_gone(store: Store, old_photos: Path, tmp_path: Path) -> None:
    (old_photos / "third.webp").unlink()
    shutil.copy(old_photos / "first.png", old_photos / "broken.png")
    assert numbers(store.update(old_photos)) == (5, 1, 1, 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert numbers(store.update(elsewhere)) == (0, 0, 0, 0)
    assert len(store) == 5
    with pytest.raises(FileNotFoundError, match="no such"):
        store.update(tmp_path / "nowhere")
    assert len(store) == 5


def test_an_empty_folder_forgets_nothing(store: Store, old_photos: Path) -> None:
    count = len(store)
    shutil.rmtree(old_photos)
    old_photos.mkdir()  # as a disk that is not mounted looks
    with pytest.raises(ValueError, match="the folder is empty"):
        store.update(old_photos)
    assert len(store) == count


def test_findings_name_files_of_any_bytes(embedder: rrn_native.Embedder, photos: Path, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(photos) + b"/\xff.png")
    (photos / "second.png").rename(name)
    time.sleep(0.05)
    store = Store(tmp_path / "s", embedder)
    store.add(photos)
    (rows,) = (tmp_path / "s").glob("*.f32")
    with rows.open("r+b") as file:
        file.write(bytes(rows.stat().st_size))
    report = store.verify()
    assert report.damaged == 5
    assert any(os.fsdecode(b"\xff.png") in line for line in report.findings)


def test_a_moved_folder_stays_known(store: Store, old_photos: Path) -> None:
    (old_photos / "sub").rename(old_photos / "elsewhere")
    assert numbers(store.update(old_photos)) == (7, 0, 0, 1)
    assert numbers(store.update(old_photos)) == (7, 0, 0, 0), "under the new name alone"
    assert str(old_photos / "elsewhere" / "first.jpg") in {image.path for image in store.images()}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_what_cannot_be_looked_at_is_not_gone(store: Store, old_photos: Path) -> None:
    (old_photos / "sub").chmod(0)
    try:
        assert store.remove_gone(old_photos) == 0
    finally:
        (old_photos / "sub").chmod(0o755)


def test_remove(store: Store, old_photos: Path, tmp_path: Path) -> None:
    other = rrn_native.Embedder(size=96, threads=1)
    Store(tmp_path / "store", other).add(old_photos / "sub")
    assert store.remove(old_photos / "nothing") == 0
    assert store.remove([old_photos / "first.png", old_photos / "notes.txt"]) == 2
    assert store.remove(str(old_photos / "sub") + "/") == 1
    assert len(Store(tmp_path / "store", other)) == 0, "of all models"
    assert (old_photos / "first.png").exists()
    assert store.remove(old_photos) == 4
    assert store.images() == []


def test_search_is_exact_and_leaves_the_image_out(
    embedder: rrn_native.Embedder, store: Store, old_photos: Path, tmp_path: Path
) -> None:
    found = store.search(old_photos / "first.png")
    assert {Path(match.path).name for match in found} == {"first_small.png", "first.jpg", "second.png", "third.webp"}
    rows = embedder.embed([old_photos / "first.png", *(match.path for match in found)])
    assert [match.similarity for match in found] == [
        round(rrn_native.cosine_similarity(rows[0], row), 6) for row in rows[1:]
    ]
    assert store.search(old_photos / "first.png", 2) == found[:2]
    assert store.search(old_photos / "first.png", 1, threshold=found[1].similarity - 1e-4) == found[:1]
    assert store.range_search(old_photos / "first.png", found[1].similarity - 1e-4) == found[:2]
    shutil.copy(old_photos / "first.png", tmp_path / "asked.png")
    assert Path(store.search(tmp_path / "asked.png", 1)[0].path).name == "first.png"
    assert len(store.search(tmp_path / "asked.png")) == 5, "what is not stored does not become so"
    (first,) = [image for image in store.images() if image.path.endswith("/first.png")]
    assert store.neighbours([first], 4) == [(first, found)]


def test_equal_similarities_are_sorted_by_path(embedder: rrn_native.Embedder, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for name in ("c", "a", "b"):
        make_picture(1).save(tmp_path / "f" / f"{name}.png")
    store = Store(tmp_path / "store", embedder)
    assert store.search(tmp_path / "f" / "a.png") == [], "an empty store"
    store.add([tmp_path / "f" / "c.png", tmp_path / "f" / "a.png", tmp_path / "f" / "b.png"])
    make_picture(1).save(tmp_path / "asked.png")
    assert [Path(match.path).name for match in store.search(tmp_path / "asked.png")] == ["a.png", "b.png", "c.png"]
    assert [Path(match.path).name for match in store.search(tmp_path / "asked.png", 2)] == ["a.png", "b.png"]
    assert [Path(match.path).name for match in store.search(tmp_path / "f" / "a.png", 1)] == ["b.png"]


def test_search_sees_what_another_one_adds(store: Store, old_photos: Path, embedder: rrn_native.Embedder) -> None:
    before = store.search(old_photos / "second.png")
    make_picture(2).save(old_photos / "copy.png")
    Store(store.folder, embedder).add(old_photos / "copy.png")
    after = store.search(old_photos / "second.png")
    assert Path(after[0].path).name == "copy.png"
    assert after[1:] == before


def test_group_is_find_similar(embedder: rrn_native.Embedder, store: Store, old_photos: Path) -> None:
    grouped, found = store.group(0.9), embedder.find_similar(old_photos.resolve(), 0.9)
    assert grouped.to_dict() == found.to_dict()
    assert grouped.embeddings.tobytes() == found.embeddings.tobytes()


@pytest.mark.parametrize("keep", ["most-similar", "largest", "sharpest", "newest"])
def test_find_similar_is_the_same_with_a_store(
    embedder: rrn_native.Embedder, store: Store, old_photos: Path, keep: rrn_native.Keep
) -> None:
    plain = embedder.find_similar(old_photos, 0.9, keep=keep)
    for _ in range(2):
        stored = embedder.find_similar(old_photos, 0.9, keep=keep, store=store)
        assert stored.to_dict() == plain.to_dict()
        assert stored.embeddings.tobytes() == plain.embeddings.tobytes()


def test_damage_is_found_repaired_and_computed_again(store: Store, old_photos: Path) -> None:
    assert store.verify().findings == ()
    flip_a_byte(store.folder)
    report = store.verify()
    assert (report.damaged, len(report.findings) > 0) == (1, True)
    assert len(store.rows(store.images())[0]) == 4, "a damaged row is left out"
    assert store.repair().removed == 1
    assert store.verify().findings == ()
    assert numbers(store.add(old_photos)) == (6, 1, 1, 0)
    assert store.verify().findings == ()


def test_damage_is_computed_again_without_repair(embedder: rrn_native.Embedder, store: Store, old_photos: Path) -> None:
    flip_a_byte(store.folder)
    use = store.add(old_photos)
    assert (use.damaged, use.embedded) == (1, 1)
    images, rows = store.rows(store.images())
    assert rows.tobytes() == embedder.embed([image.path for image in images]).tobytes()


def test_compact_gives_space_back(embedder: rrn_native.Embedder, store: Store, old_photos: Path) -> None:
    store.remove([old_photos / "first.png", old_photos / "second.png"])
    before = store.rows(store.images())[1]
    report = store.compact()
    assert (report.removed, report.freed) == (2, 2 * 4 * embedder.dim)
    assert store.rows(store.images())[1].tobytes() == before.tobytes()
    assert numbers(store.add(old_photos)) == (5, 2, 2, 0)


def test_parquet(store: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    images, rows = store.rows(store.images())
    assert store.to_parquet(tmp_path / "s.parquet") == 7
    table = parquet.read_table(tmp_path / "s.parquet").to_pylist()
    assert [os.fsdecode(row["path_bytes"]) for row in table] == [image.path for image in store.images()]
    with_row = [row for row in table if row["embedding"] is not None]
    assert [row["path"] for row in with_row] == [image.path for image in images]
    assert np.array([row["embedding"] for row in with_row], np.float32).tobytes() == rows.tobytes()
    assert all(row["reason"] for row in table if row["embedding"] is None)
    assert {row["width"] for row in with_row} == {48, 96}


def test_rows_that_were_computed_elsewhere(embedder: rrn_native.Embedder, old_photos: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", embedder)
    names = [str(old_photos / name) for name in ("first.png", "second.png", "broken.png")]
    files = [KnownFile(name, file_state(name), time.time_ns()) for name in names[:2]]
    files.append(KnownFile(names[2], file_state(names[2]), time.time_ns(), "broken"))
    rows = embedder.embed(names[:2])
    with pytest.raises(ValueError, match="expected a row of"):
        store.add_rows(files, rows[:1])
    assert store.images() == []
    store.add_rows(files, rows)
    assert numbers(store.add(names)) == (3, 0, 0, 0)
    assert store.rows(store.images())[1].tobytes() == rows.tobytes()
    plain = embedder.find_similar(names[:2], 0.5, keep="largest")
    assert embedder.find_similar(names[:2], 0.5, keep="largest", store=store).to_dict() == plain.to_dict()


def _add(folder: Path, photos: Path) -> None:
    Store(folder, rrn_native.Embedder(size=64, threads=1)).add(photos)


def test_two_processes_add_at_once(embedder: rrn_native.Embedder, tmp_path: Path) -> None:
    halves = [tmp_path / "0", tmp_path / "1"]
    for number, half in enumerate(halves):
        half.mkdir()
        for seed in range(20):
            make_picture(100 * number + seed).save(half / f"{seed}.png")
    time.sleep(0.05)
    context = multiprocessing.get_context("spawn")
    adding = [context.Process(target=_add, args=(tmp_path / "store", half)) for half in halves]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
        assert process.exitcode == 0
    store = Store(tmp_path / "store", embedder, create=False)
    assert store.verify().findings == ()
    assert numbers(store.add(halves)) == (40, 0, 0, 0)


def test_read_only(embedder: rrn_native.Embedder, store: Store, old_photos: Path) -> None:
    reading = Store(store.folder, embedder, read_only=True)
    assert reading.search(old_photos / "first.png") == store.search(old_photos / "first.png")
    assert reading.verify().findings == ()
    for write in (reading.compact, reading.repair, lambda: reading.remove(old_photos)):
        with pytest.raises(ValueError, match="read"):
            write()
    make_picture(9).save(old_photos / "new.png")
    use = reading.add(old_photos)
    assert use.embedded == 1
    assert "read" in use.note
    assert len(reading) == 5


def _foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "create", "error", "text"),
    [
        (_foreign, True, ValueError, "s"),
        (lambda folder: folder.write_text("a file"), True, (ValueError, OSError, rrn_native.RrnError), "s"),
        (lambda _: None, False, FileNotFoundError, "s"),
    ],
)
def test_errors(
    tmp_path: Path, prepare: Callable[[Path], None], create: bool, error: type[Exception], text: str
) -> None:
    prepare(tmp_path / "s")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=text):
        Store(tmp_path / "s", create=create)
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_arguments(store: Store, old_photos: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        store.search(old_photos / "nothing.png")
    with pytest.raises(rrn_native.RrnError, match=r"broken\.png"):
        store.search(old_photos / "broken.png")
    with pytest.raises(ValueError, match="k is 0"):
        store.search(old_photos / "first.png", 0)
    for threshold in (1.0, -1.5, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            store.search(old_photos / "first.png", threshold=threshold)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        store.add(old_photos / "nothing.png")
    with pytest.raises(rrn_native.CancelledError):
        store.add(old_photos, progress=lambda done, total: False)


def test_names_of_any_bytes(embedder: rrn_native.Embedder, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    names = [os.fsencode(folder) + b"/latin1-\xe9\xff.png", os.fsencode(folder) + b"/new\nline.png"]
    make_picture(1).save(tmp_path / "first.png")
    for name in names:
        Path(os.fsdecode(name)).write_bytes((tmp_path / "first.png").read_bytes())
    time.sleep(0.05)
    store = Store(tmp_path / "store", embedder)
    assert numbers(store.add(folder)) == (0, 2, 2, 0)
    assert numbers(store.add(os.fsencode(folder))) == (2, 0, 0, 0)
    assert [os.fsencode(match.path) for match in store.search(tmp_path / "first.png")] == sorted(names)
    assert store.remove(names[0]) == 1
    assert [os.fsencode(image.path) for image in store.images()] == names[1:]
    if pytest.importorskip("pyarrow"):
        store.add(folder)
        assert store.to_parquet(tmp_path / "s.parquet") == 2


def test_a_store_in_its_folder_is_not_one_of_its_images(embedder: rrn_native.Embedder, old_photos: Path) -> None:
    store = Store(old_photos / "kept", embedder)
    assert numbers(store.add(old_photos)) == (0, 7, 5, 0)
    assert numbers(store.update(old_photos)) == (7, 0, 0, 0)


def test_the_store_of_a_folder(
    embedder: rrn_native.Embedder, old_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = Store.of_folder(old_photos, embedder)
    assert store.folder.is_relative_to(tmp_path / "cache" / "rrn" / "stores")
    monkeypatch.chdir(old_photos)
    assert Store.of_folder(".", embedder).folder == store.folder
