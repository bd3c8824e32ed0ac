"""The most similar images of a folder, with and without a store, and indexes of earlier versions."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rrn_native
from conftest import make_picture
from rrn_native import Store, _load
from rrn_native import query as query_module
from rrn_native.cli.query import main
from rrn_native.files import file_state
from rrn_native.query import query

Found = list[tuple[str, float]]


@pytest.fixture(scope="module")
def embedder() -> rrn_native.Embedder:
    return rrn_native.Embedder(size=64)


@pytest.fixture
def ask(embedder: rrn_native.Embedder, photos: Path, tmp_path: Path) -> Callable[..., query_module.QueryResult]:
    """A query for the first photo, with a store."""
    wait_until_old()

    def run(folder: Path = photos, **options: object) -> query_module.QueryResult:
        settings = {"embedder": embedder, "store": Store(tmp_path / "store")} | options
        return query(photos / "first.png", folder, **settings)  # type: ignore[arg-type]

    return run


def wait_until_old() -> None:
    """A file that was changed just before it is read is not trusted afterwards."""
    time.sleep(0.05)


def names(result: query_module.QueryResult) -> list[str]:
    return [Path(match.path).name for match in result.matches]


def used(result: query_module.QueryResult) -> tuple[int, int, int]:
    assert result.store is not None
    return (result.store.computed, result.store.reused, result.store.removed)


def test_agrees_with_the_engine(embedder: rrn_native.Embedder, photos: Path) -> None:
    result = query(photos / "first.png", photos, embedder=embedder)
    assert names(result)[:2] in (["first_small.png", "first.jpg"], ["first.jpg", "first_small.png"])
    assert (result.files, result.read, len(result.skipped)) == (6, 4, 2), "without the image itself"
    values = [match.similarity for match in result.matches]
    assert values == sorted(values, reverse=True)
    files = [Path(match.path) for match in result.matches]
    rows = embedder.embed([photos / "first.png", *files])
    assert values == [round(rrn_native.cosine_similarity(rows[0], row), 6) for row in rows[1:]]
    found = embedder.find_similar(photos, -1)
    assert set(map(str, files)) < {image.path for image in found.images}


def test_k_and_threshold(embedder: rrn_native.Embedder, photos: Path) -> None:
    everything = query(photos / "first.png", photos, embedder=embedder)
    assert query(photos / "first.png", photos, 2, embedder=embedder).matches == everything.matches[:2]
    limit = everything.matches[1].similarity
    above = query(photos / "first.png", photos, embedder=embedder, threshold=limit - 1e-4)
    assert above.matches == everything.matches[: len(above.matches)]
    assert all(match.similarity > limit - 1e-4 for match in above.matches)
    assert query(photos / "second.png", photos, embedder=embedder, threshold=0.999999).matches == ()
    for wrong in ({"k": 0}, {"threshold": 1.0}, {"threshold": float("nan")}):
        with pytest.raises(ValueError, match="expected"):
            query(photos / "first.png", photos, embedder=embedder, **wrong)  # type: ignore[arg-type]


def test_equal_similarities_are_sorted_by_path(embedder: rrn_native.Embedder, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("c", "a", "b"):
        make_picture(1).save(folder / f"{name}.png")
    make_picture(1).save(tmp_path / "asked.png")
    assert names(query(tmp_path / "asked.png", folder, embedder=embedder)) == ["a.png", "b.png", "c.png"]


def test_a_store_computes_only_what_is_new(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    plain = ask(store=None)
    assert plain.store is None
    assert plain.to_dict()["store"] is None
    first = ask()
    assert used(first) == (6, 0, 0)
    again = ask()
    assert used(again) == (0, 6, 0), "nor are unreadable files tried again"
    assert again.skipped == first.skipped == plain.skipped
    assert len(again.skipped) == 2
    assert plain.matches == first.matches == again.matches
    make_picture(9).save(photos / "new.png")
    wait_until_old()
    assert used(ask()) == (1, 6, 0)
    (photos / "third.webp").unlink()
    (photos / "new.png").unlink()
    assert used(ask()) == (0, 5, 2)
    assert used(ask()) == (0, 5, 0)


def test_a_store_sees_changes(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    ask()
    target = photos / "second.png"
    shutil.copy(photos / "first.png", target)  # another size
    wait_until_old()
    changed = ask()
    assert used(changed) == (1, 5, 0)
    assert changed.matches == ask(store=None).matches
    assert changed.matches[0].similarity == 1
    state = target.stat()
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns + 1))  # the same size, another time
    wait_until_old()
    assert used(ask()) == (1, 5, 0)
    shutil.copy(photos / "first.png", photos / "broken.png")
    mended = ask()
    assert used(mended) == (1, 5, 0)
    assert [Path(file.path).name for file in mended.skipped] == ["notes.txt"]


def test_a_store_sees_files_that_change_places(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    for name, number in (("x.bmp", 5), ("y.bmp", 6)):  # of one size, as pixels are all that is in them
        make_picture(number).save(photos / name)
        os.utime(photos / name, ns=(0, 10**18))
    wait_until_old()
    ask()
    (photos / "x.bmp").rename(photos / "z.bmp")
    (photos / "y.bmp").rename(photos / "x.bmp")
    (photos / "z.bmp").rename(photos / "y.bmp")
    wait_until_old()
    swapped = ask()
    assert used(swapped) == (2, 6, 0)
    assert swapped.matches == ask(store=None).matches
    content = (photos / "first.png").read_bytes()
    state = (photos / "first_small.png").stat()
    (photos / "first_small.png").write_bytes(content[: state.st_size].ljust(state.st_size, b"\0"))
    os.utime(photos / "first_small.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert used(ask()) == (1, 7, 0), "written in place, with the old time"


def test_a_store_keeps_what_a_query_does_not_look_at(
    embedder: rrn_native.Embedder, photos: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store", embedder)
    wait_until_old()

    def ask(name: str, *, recursive: bool = True) -> tuple[int, int, int]:
        return used(query(photos / name, photos, store=store, recursive=recursive))

    assert ask("first.png") == (6, 0, 0)
    assert ask("second.png") == (1, 5, 0), "the first image asked about was not in it"
    before = store.info()["commits"]
    assert ask("first.png") == (0, 6, 0)
    assert ask("second.png") == (0, 6, 0)
    assert ask("second.png", recursive=False) == (0, 5, 0)
    assert ask("second.png") == (0, 6, 0)
    assert store.info()["commits"] == before, "nothing changed, nothing is written"
    (photos / "sub" / "first.jpg").unlink()
    assert ask("second.png", recursive=False) == (0, 5, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_pass_is_tried_again(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    (photos / "second.png").chmod(0)
    wait_until_old()
    assert len(ask().skipped) == 3
    assert used(ask()) == (1, 5, 0)


def test_a_store_knows_weights_in_other_files(
    ask: Callable[..., query_module.QueryResult], photos: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "model"
    folder.mkdir()
    model, data = folder / "m.onnx", folder / "weights.bin"
    proto = onnx.load(rrn_native.default_model())
    onnx.save(proto, model, save_as_external_data=True, location=data.name, size_threshold=0)
    assert used(ask(embedder=rrn_native.Embedder(model, 64))) == (6, 0, 0)
    assert used(ask(embedder=rrn_native.Embedder(model, 64))) == (0, 6, 0)
    content = bytearray(data.read_bytes())
    content[1_000_000] ^= 1  # the lowest bit of a weight
    data.write_bytes(content)
    other = rrn_native.Embedder(model, 64)
    result = ask(embedder=other)
    assert used(result) == (6, 0, 0)
    assert result.matches == ask(embedder=other, store=None).matches


def test_a_store_knows_its_settings(ask: Callable[..., query_module.QueryResult], photos: Path, tmp_path: Path) -> None:
    ask()
    other = rrn_native.Embedder(size=96)
    result = ask(embedder=other)
    assert used(result) == (6, 0, 0)
    assert result.matches == query(photos / "first.png", photos, embedder=other).matches
    assert used(ask(embedder=other)) == (0, 6, 0)
    assert used(ask()) == (0, 6, 0), "both are in it"
    for settings in ({"full_decode": True}, {"max_pixels": 10_000}):
        assert used(ask(embedder=rrn_native.Embedder(size=64, **settings))) == (6, 0, 0), settings  # type: ignore[arg-type]
    model = shutil.copy(rrn_native.default_model(), tmp_path / "copy.onnx")
    same = rrn_native.Embedder(model, size=96)
    assert used(ask(embedder=same)) == (0, 6, 0), "a model is known by its content"


def test_a_renamed_folder_is_not_read_again(
    ask: Callable[..., query_module.QueryResult], photos: Path, tmp_path: Path
) -> None:
    plain = ask()
    copied = tmp_path / "copy"
    shutil.copytree(photos, copied)
    moved = photos.rename(tmp_path / "elsewhere")
    shutil.copytree(moved, photos)  # for the image that is asked about, which is new in the folder
    wait_until_old()
    result = ask(moved)
    assert used(result) == (1, 6, 0)
    assert [match.similarity for match in result.matches[1:]] == [match.similarity for match in plain.matches]
    assert used(ask(copied)) == (7, 0, 0), "a copy is another file"


def test_a_store_in_the_folder_is_not_one_of_its_files(
    embedder: rrn_native.Embedder, ask: Callable[..., query_module.QueryResult], photos: Path
) -> None:
    for _ in range(2):
        assert ask(store=Store(photos / "kept", embedder)).files == 6


def test_a_store_that_cannot_be_written_is_no_error(
    embedder: rrn_native.Embedder, ask: Callable[..., query_module.QueryResult], photos: Path, tmp_path: Path
) -> None:
    plain = ask()
    make_picture(9).save(photos / "new.png")
    (photos / "third.webp").unlink()
    result = ask(store=Store(tmp_path / "store", embedder, read_only=True))
    assert used(result) == (1, 5, 0)
    assert result.store is not None
    assert "read" in result.store.note
    assert result.matches == ask(store=None).matches
    assert result.matches != plain.matches


def test_an_interruption_keeps_what_was_computed(
    embedder: rrn_native.Embedder, ask: Callable[..., query_module.QueryResult], photos: Path
) -> None:
    for number in range(100):
        make_picture(number, 32, 32).save(photos / f"{number}.png")
    wait_until_old()
    with pytest.raises(rrn_native.CancelledError):
        ask(progress=lambda done, total: done < 90)
    computed, reused, removed = used(ask())
    assert 0 < reused < 106
    assert (computed, removed) == (106 - reused, 0)


def test_progress_counts_all_files(ask: Callable[..., query_module.QueryResult]) -> None:
    for _ in range(2):
        seen: list[tuple[int, int]] = []
        ask(progress=lambda done, total, seen=seen: seen.append((done, total)))  # type: ignore[misc]
        assert seen[-1] == (6, 6)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def old_index(path: Path, folder: Path, embedder: rrn_native.Embedder, **changes: object) -> None:
    """Writes what rrn query --index kept."""
    info = embedder._native.info
    settings = {"fingerprint": info.fingerprint, "max_pixels": rrn_native.DEFAULT_MAX_PIXELS, "full_decode": False}
    settings |= {"model": info.files_fingerprint, "size": info.size, "dim": info.dim, "provider": info.provider}
    settings |= {"precision": info.precision, "rrn": _load.native.__version__, "onnxruntime": "1"}
    paths = [path for path in rrn_native.find_images(folder) if not path.endswith("first.png")]
    rows, read, skipped = embedder._native.embed_files(list(map(os.fsencode, paths)), None)
    reasons = {os.fsdecode(name): reason for name, reason in skipped}
    entries = [(os.path.relpath(name, folder), *file_state(name), reasons.get(name, "")) for name in paths]
    assert len(read) + len(reasons) == len(entries)
    about = {"format": "rrn index", "version": 3, "settings": settings, "entries": entries} | changes
    about["settings"] = settings | changes.get("settings", {})  # type: ignore[operator]
    np.savez(path, about=np.frombuffer(json.dumps(about).encode(), np.uint8), rows=rows)


def test_an_old_index_goes_into_the_store(
    embedder: rrn_native.Embedder, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_until_old()
    index, output = tmp_path / "i.npz", tmp_path / "r.json"
    old_index(index, photos, embedder)
    wait_until_old()
    make_picture(7).save(photos / "second.png")  # has changed since
    wait_until_old()
    words = [str(photos / "first.png"), str(photos), "--size", "64", "--json", str(output)]
    words += ["--store", str(tmp_path / "store"), "--index", str(index)]
    assert main(words) == 0
    assert not index.exists()
    result = json.loads(output.read_text())
    assert (result["store"]["reused"], result["store"]["computed"]) == (5, 1)
    assert "5 of 6 entries went into the store" in capsys.readouterr().err
    plain = query(photos / "first.png", photos, embedder=embedder)
    assert result["matches"] == list(plain.to_dict()["matches"])
    assert main(words) == 0, "the next call of a script names it, too"
    assert json.loads(output.read_text())["store"]["reused"] == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such file, and none is made any more" in line


@pytest.mark.parametrize("content", ["text", "other", "truncated", "strange", "version", "model"])
def test_what_is_no_index_is_left_alone(
    embedder: rrn_native.Embedder, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    index, expected = tmp_path / "index.npz", "not an index that rrn query wrote"
    if content == "text":
        index.write_text("my notes")
    elif content == "other":
        np.savez(index, rows=np.zeros((2, 512), np.float32))
    elif content == "truncated":
        old_index(index, photos, embedder)
        index.write_bytes(index.read_bytes()[:-500])
    elif content == "version":
        old_index(index, photos, embedder, version=2)
        expected = "another version"
    elif content == "model":
        old_index(index, photos, embedder, settings={"fingerprint": "0", "size": 32})
        expected = "made with another size"
    else:
        np.savez(index, about=np.frombuffer(b"[1, 2]", np.uint8), rows=np.zeros(3))
    before = index.read_bytes()
    words = [str(photos / "first.png"), str(photos), "--size", "64", "--index", str(index)]
    assert main([*words, "--store", str(tmp_path / "store")]) == 2
    assert expected in capsys.readouterr().err
    assert index.read_bytes() == before
    assert Store(tmp_path / "store", embedder).images() == []


def test_hostile_names(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    make_picture(1).save(tmp_path / "asked.png")
    content = (tmp_path / "asked.png").read_bytes()
    raw = os.fsencode(folder) + b"/latin1-\xe9\xff.png"
    Path(os.fsdecode(raw)).write_bytes(content)
    (folder / "new\nline.png").write_bytes(content)
    words = [str(tmp_path / "asked.png"), str(folder), "--size", "64"]
    wait_until_old()
    for _ in range(2):
        assert main([*words, "--store", str(tmp_path / "s"), "--json", "-"]) == 0
        result = json.loads(capsysbinary.readouterr().out)
        found = {os.fsencode(match["path"]) for match in result["matches"]}
        assert found == {raw, os.fsencode(folder / "new\nline.png")}
    assert result["store"]["reused"] == 2
    assert main([*words, "--quiet"]) == 0
    assert capsysbinary.readouterr().out == b""
    assert main(words) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert len(lines) == 4, "two matches, and what the store did"
    assert any(line.endswith(raw) for line in lines)


def test_the_store_of_the_folder_is_the_default(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wait_until_old()
    words = [str(photos / "first.png"), str(photos), "--size", "64"]
    shown = []
    for more in ([], [], ["--no-store"]):
        assert main([*words, *more]) == 0
        shown.append(capsys.readouterr().out)
    assert "store: 0 reused, 6 computed, 0 removed" in shown[0]
    assert "store: 6 reused, 0 computed, 0 removed" in shown[1]
    assert shown[0].splitlines()[:6] == shown[2].splitlines()
    assert len(Store.of_folder(photos, rrn_native.Embedder(size=64))) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos / "notes.txt"))
    monkeypatch.delenv("HOME")
    assert main(words) == 0
    run = capsys.readouterr()
    assert run.out == shown[2]
    (line,) = run.err.splitlines()
    assert line.startswith("rrn query: note: ")


def test_command_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, output = str(photos / "first.png"), tmp_path / "r.json"
    small = ["--size", "64"]
    assert main([first, str(photos), *small, "-k", "1", "--json", str(output)]) == 0
    shown = capsys.readouterr()
    (match,) = json.loads(output.read_text())["matches"]
    assert shown.out.startswith(f"{match['similarity']:.4f}  {match['path']}\n")
    assert "skipped: 2 of 6 files" in shown.out
    assert main([str(photos / "second.png"), str(photos), *small, "--threshold", "0.99999"]) == 1
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    for words, code, text in (
        ([str(photos / "broken.png"), str(photos)], 3, "broken.png"),
        ([first, str(tmp_path / "empty")], 3, "no other readable image among 0 files"),
        ([first, "/nowhere/at/all"], 2, "no such folder"),
        (["/nowhere.png", str(photos)], 2, "no such file"),
        ([first, str(photos), "--threshold", "1"], 2, "threshold"),
        ([first, str(photos), "--provider", "tpu"], 2, "provider"),
        ([first, str(photos), "--model", "/nowhere.onnx"], 4, "nowhere.onnx"),
        ([first, str(photos), "--json", "/nowhere/at/all.json"], 2, "no such folder"),
        ([first, str(photos), "--threads", "-1"], 2, "threads"),
        ([first, str(photos), "--store", str(photos)], 2, "photos"),
        ([first, str(photos), "--no-store", "--index", "i.npz"], 2, "--no-store"),
        ([first, str(photos), "--max-megapixels", "0"], 2, "max-megapixels"),
    ):
        assert main([*words, *small]) == code, words
        error = capsys.readouterr().err
        assert error.startswith("rrn query: ")
        assert text in error
        assert error.count("\n") == 1
