"""Which files the executable looks at: folders, lists, a reference, hostile names."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import BINARY, RunSimilarity, check_sums, make_picture, read_json

SMALL = ("--size", 64)


def test_list_gives_what_the_folder_gives(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    (photos / "new\nline.png").write_bytes((photos / "first.png").read_bytes())
    (photos / "naïve 図.png").write_bytes((photos / "first.png").read_bytes())
    expected = run_similarity("photos", *SMALL, "--json", "-", cwd=tmp_path).stdout
    names = [str(path.relative_to(tmp_path)) for path in photos.rglob("*") if path.is_file()]
    zeros = "\0".join([*names, names[0], ""]).encode()
    assert run_similarity("--list", "-", *SMALL, "--json", "-", cwd=tmp_path, input=zeros).stdout == expected
    (tmp_path / "list").write_bytes(zeros)
    assert run_similarity("--list", "list", *SMALL, "--json", "-", cwd=tmp_path).stdout == expected
    found = subprocess.run(["find", "photos", "-type", "f", "-print0"], cwd=tmp_path, capture_output=True, check=True)
    assert run_similarity("--list", "-", *SMALL, "--json", "-", cwd=tmp_path, input=found.stdout).stdout == expected


def test_list_by_lines(run_similarity: RunSimilarity, photos: Path) -> None:
    lines = b"second.png\r\n\r\nsub/first.jpg\nnone.png\nsub\nbroken.png\nsub/first.jpg\nfirst.png"
    data = read_json(run_similarity("--list", "-", *SMALL, "--json", "-", cwd=photos, input=lines))
    check_sums(data)
    assert [image["path"] for image in data["images"]] == ["first.png", "second.png", "sub/first.jpg"]
    reasons = {entry["path"]: entry["reason"] for entry in data["skipped"]}
    assert reasons.keys() == {"none.png", "sub", "broken.png"}
    assert reasons["none.png"] == "no such file"
    assert "a folder" in reasons["sub"]
    one = read_json(run_similarity("--list", "-", *SMALL, "--json", "-", cwd=photos, input=b"first.png\n"))
    assert (one["files"], one["unique"]) == (1, 1)
    for nothing in (b"", b"\n\r\n", b"none\n"):
        run = run_similarity("--list", "-", *SMALL, cwd=photos, input=nothing)
        assert run.returncode == 3
        assert b"--list -: no readable image" in run.stderr


def test_against(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    (reference / "sub").mkdir(parents=True)
    make_picture(1, 120, 90).save(reference / "sub" / "one.png")
    make_picture(7).save(reference / "seven.png")
    (reference / "notes.txt").write_text("not a picture")
    os.link(photos / "second.png", reference / "same.png")
    pairs = tmp_path / "pairs.csv"
    words = (photos, *SMALL, "--threshold", 0.97, "--against", reference)
    texts = {
        run_similarity(*words, "--json", "-", "--threads", threads, "--batch", threads, "--pairs", pairs).stdout
        for threads in (1, 2, 5)
    }
    (text,) = texts
    data = json.loads(text)
    other = data["reference"]
    assert (data["files"], data["read"], len(data["skipped"])) == (7, 5, 2)
    assert (other["files"], other["read"], len(other["skipped"])) == (4, 3, 1)
    assert other["folder"] == str(reference)
    assert (other["known"], other["new"]) == (4, 1), "second.png is a reference image itself"
    assert data["read"] == other["known"] + other["new"]
    assert other["same_files"] == [
        {"path": str(photos / "second.png"), "reference": str(reference / "same.png")},
    ]
    (group,) = data["groups"]
    assert group["representative"] == str(reference / "sub" / "one.png")
    names = {Path(member["path"]).name for member in group["members"]}
    assert names == {"first.png", "first_small.png", "first.jpg"}
    assert data["unique"] == 1 + 2
    for image in data["images"]:
        same = image["path"] == str(photos / "second.png")
        assert image["similar"] + image["dissimilar"] == other["read"] - same
    with pairs.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["first"] for row in rows} == {member["path"] for member in group["members"]}
    assert {row["second"] for row in rows} == {group["representative"]}
    shown = run_similarity(*words).stdout.decode()
    assert "known             4" in shown
    assert "new               1" in shown
    assert "one and the same file on both sides" in shown
    assert "notes.txt: " in shown
    # The list in the place of the folder.
    listed = "\n".join(str(path) for path in photos.rglob("*") if path.is_file()).encode()
    run = run_similarity("--list", "-", *words[1:], "--json", "-", input=listed)
    assert run.stdout == text


def test_a_list_and_skipped_folders(run_similarity: RunSimilarity, photos: Path) -> None:
    listed = b"first.png\n./first.png\nsecond.png\nsub/first.jpg\nsub/none.png\n"
    words = ("--list", "-", *SMALL, "--threshold", 0.97, "--json", "-")
    data = read_json(run_similarity(*words, "--skip", photos / "sub", cwd=photos, input=listed))
    assert {image["path"] for image in data["images"]} == {"./first.png", "second.png"}
    assert data["files"] == 2
    data = read_json(run_similarity(*words, cwd=photos, input=listed))
    assert data["files"] == 4


def test_against_an_empty_side(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    data = read_json(run_similarity(photos, *SMALL, "--against", empty, "--json", "-"))
    assert (data["reference"]["known"], data["reference"]["new"], data["unique"]) == (0, 5, 5)
    assert run_similarity(empty, *SMALL, "--against", photos).returncode == 3


def test_not_recursive(run_similarity: RunSimilarity, photos: Path) -> None:
    data = read_json(run_similarity(photos, *SMALL, "--no-recursive", "--json", "-"))
    assert data["files"] == 6


def test_hostile_names_and_links(run_similarity: RunSimilarity, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    picture = folder / "a.png"
    make_picture(1).save(picture)
    content = picture.read_bytes()
    names = ["naïve 図 🙂.png", 'quote".png', "new\nline.png", "x" * 250 + ".png", "-dash.png", "comma,.png"]
    for name in names:
        (folder / name).write_bytes(content)
    raw = os.fsencode(folder) + b"/latin1-\xe9\xff.png"
    Path(os.fsdecode(raw)).write_bytes(content)
    (folder / "loop").symlink_to(folder)
    (folder / "dangling").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    pairs = tmp_path / "pairs.csv"
    npy = tmp_path / "e.npy"
    data = read_json(run_similarity(folder, *SMALL, "--json", "-", "--pairs", pairs, "--embeddings", npy))
    check_sums(data)
    assert data["read"] == len(names) + 2
    assert len(npy.with_suffix(".txt").read_bytes().splitlines()) == data["read"], "one line a row"
    assert len(data["skipped"]) == 3
    found = {os.fsencode(image["path"]) for image in data["images"]}
    assert raw in found, "a path that is not UTF-8 survives JSON"
    assert {os.fsencode(folder / name) for name in names} <= found
    assert data["unique"] == 1
    with pairs.open(errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 8 * 7 // 2
    assert all(len(row) == 3 for row in rows)


def test_unreadable_file_and_folder() -> None:
    # As nobody where the tests run as root, who may read everything; outside tmp_path, which is root's own.
    user: dict[str, object] = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        make_picture(1).save(folder / "open.png")
        make_picture(2).save(folder / "locked.png")
        (folder / "locked").mkdir()
        (folder / "locked.png").chmod(0)
        (folder / "locked").chmod(0)
        command = [BINARY, folder, "--size", "64", "--json", "-"]
        try:
            run = subprocess.run(command, capture_output=True, check=False, timeout=60, **user)  # type: ignore[call-overload]
        except PermissionError:
            pytest.skip("nobody cannot reach the program in this checkout")
        data = read_json(run)
        check_sums(data)
        assert data["read"] == 1
        reasons = {Path(entry["path"]).name: entry["reason"] for entry in data["skipped"]}
        assert "Permission denied" in reasons["locked.png"]
        assert "Permission denied" in reasons["locked"]
