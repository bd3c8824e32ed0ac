"""similarity --store and --no-store: every output is the same with no store, an empty one, and a full one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import rrn_native
from conftest import RunSimilarity, make_picture, read_json

SMALL = ("--size", "64", "--threads", "1")


@pytest.fixture
def old_photos(photos: Path) -> Path:
    time.sleep(0.05)  # until they are old enough to be trusted
    return photos


def reused(error: bytes) -> int | None:
    """How many files the note says were not read; None without a note."""
    for line in error.decode().splitlines():
        if "did not change since they were read before" in line:
            return int(line.partition("note: ")[2].split()[0])
    return None


def outputs(run: RunSimilarity, words: list[object], folder: Path, *store: object) -> tuple[dict[str, bytes], bytes]:
    """All files that the program writes, with what it prints, and its notes."""
    folder.mkdir()
    files = {"json": "r.json", "embeddings": "e.npy", "pairs": "p.csv", "html": "page.html"}
    if "--against" in words:  # whose groups the page cannot show
        del files["html"]
    asked = [word for name, file in files.items() for word in (f"--{name}", folder / file)]
    done = run(*words, *SMALL, *asked, *store)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"text": done.stdout}, done.stderr


def flip_a_byte(store: Path) -> None:
    (file,) = store.glob("*.f32")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


WAYS = {
    "plain": [],
    "list": ["--list", "{list}"],
    "sharpest": ["--keep", "sharpest"],
    "largest": ["--keep", "largest"],
    "newest": ["--keep", "newest"],
    "full": ["--full-decode"],
    "half": ["--threshold", "0.5", "--no-recursive"],
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_outputs_do_not_depend_on_the_store(
    run_similarity: RunSimilarity, old_photos: Path, tmp_path: Path, way: str
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(old_photos.rglob("*.*"))))
    words: list[object] = [word.format(list=listed) for word in WAYS[way]]
    words = words if way == "list" else [old_photos, *words]
    store = tmp_path / "store"
    plain, error = outputs(run_similarity, words, tmp_path / "plain", "--no-store")
    assert reused(error) is None
    assert len(plain) >= 5
    files = 6 if way == "half" else 7
    for number, expected in enumerate([None, files]):
        found, error = outputs(run_similarity, words, tmp_path / f"run{number}", "--store", store)
        assert found == plain
        assert reused(error) == expected
    flip_a_byte(store)
    found, error = outputs(run_similarity, words, tmp_path / "damaged", "--store", store)
    assert found == plain
    assert reused(error) == files - 1
    found, error = outputs(run_similarity, words, tmp_path / "mended", "--store", store)
    assert found == plain
    assert reused(error) == files


def test_against_a_reference(run_similarity: RunSimilarity, old_photos: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    reference.mkdir()
    for number in (2, 5):
        make_picture(number).save(reference / f"{number}.png")
    time.sleep(0.05)
    words: list[object] = [old_photos, "--against", reference]
    plain, _ = outputs(run_similarity, words, tmp_path / "plain", "--no-store")
    shared, own = ["--store", tmp_path / "store"], []  # type: ignore[var-annotated]
    for name, store in (("shared", shared), ("own", own)):
        for number, expected in enumerate([None, 9]):
            found, error = outputs(run_similarity, words, tmp_path / f"{name}{number}", *store)
            assert found == plain
            assert reused(error) == expected
    done = run_similarity(reference, *SMALL, "--json", "-")
    assert reused(done.stderr) == 2, "the reference has a store of its own"


def test_the_default_is_a_store_for_each_folder(
    run_similarity: RunSimilarity, old_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run_similarity(old_photos, *SMALL, "--no-store")
    assert not list((tmp_path / "cache").rglob("rrn-store.txt"))
    first = run_similarity(old_photos, *SMALL)
    assert len(list((tmp_path / "cache" / "rrn" / "stores").glob("*/rrn-store.txt"))) == 1
    second = run_similarity(old_photos, *SMALL)
    assert second.stdout == first.stdout
    (line,) = second.stderr.decode().splitlines()
    assert line == ("similarity: note: 7 of 7 files did not change since they were read before; --no-store reads all")
    assert run_similarity(old_photos, *SMALL, "--quiet").stderr == b""
    assert reused(run_similarity(old_photos / "sub", *SMALL).stderr) is None, "another folder, another store"


def test_a_cache_that_cannot_be_written_is_a_note(
    run_similarity: RunSimilarity, old_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run_similarity(old_photos, *SMALL, "--no-store")
    monkeypatch.setenv("XDG_CACHE_HOME", str(old_photos / "notes.txt"))
    monkeypatch.delenv("HOME", raising=False)
    run = run_similarity(old_photos, *SMALL)
    assert (run.returncode, run.stdout) == (0, plain.stdout)
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("similarity: note: nothing is kept for the next run")


@pytest.mark.parametrize("words", [("--store", "{p}"), ("--store", "{p}/notes.txt"), ("--store", "s", "--no-store")])
def test_a_folder_that_is_something_else(
    run_similarity: RunSimilarity, old_photos: Path, words: tuple[str, ...]
) -> None:
    run = run_similarity(old_photos, *SMALL, *(word.format(p=old_photos) for word in words))
    assert (run.returncode, run.stdout) == (2, b"")
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("similarity: ")


def test_a_changed_copy_is_seen(run_similarity: RunSimilarity, old_photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run_similarity(old_photos, *SMALL, "--store", store)
    shutil.copy(old_photos / "first.png", old_photos / "second.png")
    stored = run_similarity(old_photos, *SMALL, "--json", "-", "--store", store)
    assert reused(stored.stderr) == 6
    assert stored.stdout == run_similarity(old_photos, *SMALL, "--json", "-", "--no-store").stdout


def test_a_store_in_the_folder_is_not_among_its_files(run_similarity: RunSimilarity, old_photos: Path) -> None:
    plain = run_similarity(old_photos, *SMALL, "--no-store", "--json", "-")
    for _ in range(2):
        run = run_similarity(old_photos, *SMALL, "--store", old_photos / "kept", "--json", "-")
        assert run.stdout == plain.stdout
    embedder = rrn_native.Embedder(size=64)
    store = rrn_native.Store(old_photos / "kept", embedder)
    assert embedder.find_similar(old_photos, store=store).files == read_json(plain)["files"]
