"""The most similar images of a folder, with and without an index."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rrn_native
from conftest import make_picture
from rrn_native import _index
from rrn_native import query as query_module
from rrn_native.cli.query import main
from rrn_native.query import query

Found = list[tuple[str, float]]


@pytest.fixture(scope="module")
def embedder() -> rrn_native.Embedder:
    return rrn_native.Embedder(size=64)


@pytest.fixture
def ask(embedder: rrn_native.Embedder, photos: Path, tmp_path: Path) -> Callable[..., query_module.QueryResult]:
    """A query for the first photo, with an index."""

    def run(folder: Path = photos, **options: object) -> query_module.QueryResult:
        settings = {"embedder": embedder, "index": tmp_path / "index.npz"} | options
        return query(photos / "first.png", folder, **settings)  # type: ignore[arg-type]

    return run


def names(result: query_module.QueryResult) -> list[str]:
    return [Path(match.path).name for match in result.matches]


def used(result: query_module.QueryResult) -> tuple[int, int, int]:
    assert result.index is not None
    return (result.index.computed, result.index.reused, result.index.removed)


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


def test_an_index_computes_only_what_is_new(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    plain = ask(index=None)
    assert plain.index is None
    first = ask()
    assert used(first) == (6, 0, 0)
    again = ask()
    assert used(again) == (0, 6, 0), "nor are unreadable files tried again"
    assert again.skipped == first.skipped == plain.skipped
    assert len(again.skipped) == 2
    assert plain.matches == first.matches == again.matches
    make_picture(9).save(photos / "new.png")
    assert used(ask()) == (1, 6, 0)
    (photos / "third.webp").unlink()
    (photos / "new.png").unlink()
    assert used(ask()) == (0, 5, 2)
    assert used(ask()) == (0, 5, 0)


def test_an_index_sees_changes(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    ask()
    target = photos / "second.png"
    shutil.copy(photos / "first.png", target)  # another size
    changed = ask()
    assert used(changed) == (1, 5, 0)
    assert changed.matches == ask(index=None).matches
    assert changed.matches[0].similarity == 1
    state = target.stat()
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns + 1))  # the same size, another time
    assert used(ask()) == (1, 5, 0)
    shutil.copy(photos / "first.png", photos / "broken.png")
    mended = ask()
    assert used(mended) == (1, 5, 0)
    assert [Path(file.path).name for file in mended.skipped] == ["notes.txt"]


def test_an_index_sees_files_that_change_places(ask: Callable[..., query_module.QueryResult], photos: Path) -> None:
    for name, number in (("x.bmp", 5), ("y.bmp", 6)):  # of one size, as pixels are all that is in them
        make_picture(number).save(photos / name)
        os.utime(photos / name, ns=(0, 10**18))
    ask()
    (photos / "x.bmp").rename(photos / "z.bmp")
    (photos / "y.bmp").rename(photos / "x.bmp")
    (photos / "z.bmp").rename(photos / "y.bmp")
    swapped = ask()
    assert used(swapped) == (2, 6, 0)
    assert swapped.matches == ask(index=None).matches
    content = (photos / "first.png").read_bytes()
    state = (photos / "first_small.png").stat()
    (photos / "first_small.png").write_bytes(content[: state.st_size].ljust(state.st_size, b"\0"))
    os.utime(photos / "first_small.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert used(ask()) == (1, 7, 0), "written in place, with the old time"


def test_an_index_keeps_what_a_query_does_not_look_at(
    embedder: rrn_native.Embedder, photos: Path, tmp_path: Path
) -> None:
    def ask(name: str, *, recursive: bool = True) -> tuple[int, int, int]:
        return used(query(photos / name, photos, embedder=embedder, index=tmp_path / "i.npz", recursive=recursive))

    assert ask("first.png") == (6, 0, 0)
    assert ask("second.png") == (1, 5, 0), "the first image asked about was not in it"
    before = (tmp_path / "i.npz").stat()
    assert ask("first.png") == (0, 6, 0)
    assert ask("second.png") == (0, 6, 0)
    assert ask("second.png", recursive=False) == (0, 5, 0)
    assert ask("second.png") == (0, 6, 0)
    assert (tmp_path / "i.npz").stat().st_mtime_ns == before.st_mtime_ns, "nothing changed, nothing is written"
    (photos / "sub" / "first.jpg").unlink()
    assert ask("second.png", recursive=False) == (0, 5, 1)


def test_what_may_pass_is_tried_again(
    ask: Callable[..., query_module.QueryResult], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = next(file.reason for file in ask(index=None).skipped if file.path.endswith("broken.png"))
    monkeypatch.setattr(_index, "_PASSING", frozenset({reason}))
    ask()
    assert used(ask()) == (1, 5, 0)


def test_an_index_knows_weights_in_other_files(
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
    assert result.index is not None
    assert result.index.note == "it was made with another model"
    assert result.matches == ask(embedder=other, index=None).matches


def test_an_index_knows_its_settings(
    ask: Callable[..., query_module.QueryResult], photos: Path, tmp_path: Path
) -> None:
    ask()
    other = rrn_native.Embedder(size=96)
    result = ask(embedder=other)
    assert used(result) == (6, 0, 0)
    assert result.index is not None
    assert "another size" in result.index.note
    assert result.matches == query(photos / "first.png", photos, embedder=other).matches
    assert used(ask(embedder=other)) == (0, 6, 0)
    model = shutil.copy(rrn_native.default_model(), tmp_path / "copy.onnx")
    same = rrn_native.Embedder(model, size=96)
    assert used(ask(embedder=same)) == (0, 6, 0), "a model is known by its content"


def test_an_index_moves_with_its_folder(
    ask: Callable[..., query_module.QueryResult], photos: Path, tmp_path: Path
) -> None:
    plain = ask()
    copied = tmp_path / "copy"
    shutil.copytree(photos, copied)
    moved = photos.rename(tmp_path / "elsewhere")
    shutil.copytree(moved, photos)  # for the image that is asked about, which is new in the folder
    result = ask(moved)
    assert used(result) == (1, 6, 0)
    assert [match.similarity for match in result.matches[1:]] == [match.similarity for match in plain.matches]
    assert used(ask(copied)) == (7, 0, 0), "a copy is another file"


def test_an_index_in_the_folder_is_not_one_of_its_files(
    ask: Callable[..., query_module.QueryResult], photos: Path
) -> None:
    assert ask(index=photos / "i.npz").files == 6
    assert ask(index=photos / "i.npz").files == 6
    assert [path.name for path in photos.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["text", "other", "truncated", "strange"])
def test_what_is_no_index_is_left_alone(
    ask: Callable[..., query_module.QueryResult], tmp_path: Path, content: str
) -> None:
    index = tmp_path / "index.npz"
    if content == "text":
        index.write_text("my notes")
    elif content == "other":
        np.savez(index, rows=np.zeros((2, 512), np.float32))
    elif content == "truncated":
        ask()
        index.write_bytes(index.read_bytes()[:-500])
    else:
        np.savez(index, about=np.frombuffer(b"[1, 2]", np.uint8), rows=np.zeros(3))
    before = index.read_bytes()
    with pytest.raises(ValueError, match="not an index that rrn query wrote"):
        ask()
    assert index.read_bytes() == before
    with pytest.raises(ValueError, match=r"\*\.npz"):
        ask(index=tmp_path / "index.bin")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ask(index=tmp_path / "nowhere" / "index.npz")


def test_an_interruption_keeps_what_was_computed(
    ask: Callable[..., query_module.QueryResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_index, "_PORTION", 2)
    with pytest.raises(rrn_native.CancelledError):
        ask(progress=lambda done, total: done < 5)
    computed, reused, removed = used(ask())
    assert 0 < reused < 6
    assert (computed, removed) == (6 - reused, 0)


def test_a_long_run_is_written_on_the_way(
    ask: Callable[..., query_module.QueryResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, sizes = _index.Index.write, []

    def counting(index: _index.Index, entries: dict[str, Any], rows: rrn_native.FloatArray) -> None:
        write(index, entries, rows)
        sizes.append(len(entries))

    monkeypatch.setattr(_index, "_PORTION", 2)
    monkeypatch.setattr(_index.Index, "write", counting)
    ask()
    assert sizes == [2, 4, 6]


def test_progress_counts_all_files(
    ask: Callable[..., query_module.QueryResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_index, "_PORTION", 2)
    seen: list[tuple[int, int]] = []
    ask(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_hostile_names(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    make_picture(1).save(tmp_path / "asked.png")
    content = (tmp_path / "asked.png").read_bytes()
    raw = os.fsencode(folder) + b"/latin1-\xe9\xff.png"
    Path(os.fsdecode(raw)).write_bytes(content)
    (folder / "new\nline.png").write_bytes(content)
    words = [str(tmp_path / "asked.png"), str(folder), "--size", "64"]
    for _ in range(2):
        assert main([*words, "--index", str(tmp_path / "i.npz"), "--json", "-"]) == 0
        result = json.loads(capsysbinary.readouterr().out)
        found = {os.fsencode(match["path"]) for match in result["matches"]}
        assert found == {raw, os.fsencode(folder / "new\nline.png")}
    assert result["index"]["reused"] == 2
    assert main([*words, "--quiet"]) == 0
    assert capsysbinary.readouterr().out == b""
    assert main(words) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert len(lines) == 2
    assert any(line.endswith(raw) for line in lines)


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
        ([first, str(photos), "--max-megapixels", "0"], 2, "max-megapixels"),
    ):
        assert main([*words, *small]) == code, words
        error = capsys.readouterr().err
        assert error.startswith("rrn query: ")
        assert text in error
        assert error.count("\n") == 1
