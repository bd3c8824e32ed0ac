"""What is done with redundant images: kept, moved, linked, put back; nothing is ever lost."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import BINARY, RunSimilarity, make_picture
from PIL import Image

SMALL = ("--size", 64, "--threshold", 0.97)


def snapshot(folder: Path) -> dict[bytes, tuple[bytes, int, int]]:
    """Bytes, mode and modification time of every file."""
    files = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            info = path.stat()
            files[os.fsencode(path)] = (path.read_bytes(), info.st_mode, info.st_mtime_ns)
    return files


def undo_command(text: bytes) -> list[str]:
    """The arguments of the command that the program printed."""
    (line,) = [line for line in text.decode(errors="surrogateescape").splitlines() if line.startswith("to undo: ")]
    words = shlex.split(line.removeprefix("to undo: "))
    assert words[0] == "similarity"
    return words[1:]


@pytest.fixture
def album(photos: Path) -> Path:
    """The photos, with exact copies under difficult names, and old times."""
    content = (photos / "first.png").read_bytes()
    for name in (b"copy.png", b"new\nline.png", "naïve 図 'x'.png".encode(), b"latin1-\xe9\xff.png"):
        path = Path(os.fsdecode(os.fsencode(photos / "sub") + b"/" + name))
        path.write_bytes(content)
        path.chmod(0o640)
    for number, path in enumerate(sorted(photos.rglob("*.*"))):
        os.utime(path, ns=(10**18 + number, 10**18 + 7 * number))
    return photos


def test_nothing_is_done_by_default(run_similarity: RunSimilarity, album: Path) -> None:
    before = snapshot(album)
    assert b"group 1: 7 images" in run_similarity(album, *SMALL).stdout
    assert snapshot(album) == before


def test_old_forms_work_and_say_what_they_are_called_now(
    run_similarity: RunSimilarity, album: Path, tmp_path: Path
) -> None:
    before = snapshot(album)
    for old, new, note in (
        (("--action", "list"), (), "--action list is what happens without it"),
        (("--action", "json"), ("--json", "-"), "--action json is now --json -"),
    ):
        for words in ((album, *old), (*old, album)):
            run = run_similarity(*words, *SMALL, "--no-store")
            assert run.stdout == run_similarity(album, *new, *SMALL, "--no-store").stdout
            assert run.stderr.decode() == f"similarity: note: {note}\n"
            assert run_similarity(*words, *SMALL, "--quiet").stderr == b""
    assert snapshot(album) == before
    moved = run_similarity(album, *SMALL, "--no-store", "--keep", "first", "--action", "move", tmp_path / "t")
    assert moved.stderr == b"similarity: note: --action move DIR is now --move-to DIR\n"
    assert b"moved: 6 files" in moved.stdout
    assert run_similarity(*undo_command(moved.stdout)).returncode == 0
    linked = run_similarity(album, *SMALL, "--no-store", "--keep", "first", "--action", "hardlink", cwd=tmp_path)
    assert linked.stderr == b"similarity: note: --action hardlink is now --hardlink\n"
    assert b"linked: 4 files" in linked.stdout
    (journal,) = tmp_path.glob("rrn-journal-*.jsonl")
    assert run_similarity("--undo", journal).returncode == 0
    assert snapshot(album) == before


def test_json_lists_what_is_redundant(run_similarity: RunSimilarity, album: Path) -> None:
    plain = json.loads(run_similarity(album, *SMALL, "--json", "-").stdout)
    for words in ((album, "--json=-"), ("--keep", "most-similar", album, "--json", "-")):
        data = json.loads(run_similarity(*words, *SMALL).stdout)
        redundant = data["redundant"]
        assert data == plain
        (group,) = plain["groups"]
        assert {entry["path"] for entry in redundant} == {member["path"] for member in group["members"]}
        assert {entry["kept"] for entry in redundant} == {group["representative"]}
        paths = [os.fsencode(entry["path"]) for entry in redundant]
        assert paths == sorted(paths)
        assert len(paths) == 6


def test_move_and_undo(run_similarity: RunSimilarity, album: Path, tmp_path: Path) -> None:
    before = snapshot(album)
    names = before.keys()
    target = tmp_path / "redundant ones"
    run = run_similarity(album, *SMALL, "--keep", "largest", "--move-to", target)
    assert run.returncode == 0, run.stderr
    assert b"moved: 6 files" in run.stdout
    left = snapshot(album)
    assert len(left) == len(before) - 6
    moved = {name.replace(os.fsencode(album), os.fsencode(target)): name for name in names - left.keys()}
    there = snapshot(target)
    assert {name: there[name] for name in moved} == {name: before[old] for name, old in moved.items()}
    assert len(there) == 7
    # A later run finds nothing more to do, and leaves nothing behind.
    again = run_similarity(album, *SMALL, "--keep", "largest", "--move-to", target)
    assert b"moved: 0 files" in again.stdout
    assert snapshot(target) == there

    undo = run_similarity(*undo_command(run.stdout))
    assert undo.returncode == 0, undo.stderr
    assert b"put back: 6 files" in undo.stdout
    assert snapshot(album) == before
    twice = run_similarity(*undo_command(run.stdout))
    assert (twice.returncode, twice.stdout) == (0, b"nothing left to undo\n")
    assert snapshot(album) == before


def test_a_target_inside_the_folder_is_not_searched(run_similarity: RunSimilarity, album: Path) -> None:
    before = snapshot(album)
    target = album / "redundant"
    run = run_similarity(album, *SMALL, "--move-to", target)
    assert f"--skip {target}".encode() in run.stdout
    second = run_similarity(album, *SMALL, "--move-to", target)
    assert b"moved: 0 files" in second.stdout
    files = json.loads(run_similarity(album, *SMALL, "--json", "-", "--skip", target).stdout)["files"]
    assert files == len(before) - 6
    assert json.loads(run_similarity(album, *SMALL, "--json", "-").stdout)["files"] == len(before) + 1
    assert run_similarity(album, *SMALL, "--skip", album / "none").returncode == 2
    assert run_similarity(*undo_command(run.stdout)).returncode == 0
    left = {name: file for name, file in snapshot(album).items() if b"rrn-journal" not in name}
    assert left == before


def test_hardlink_and_undo(run_similarity: RunSimilarity, album: Path, tmp_path: Path) -> None:
    before = snapshot(album)
    run = run_similarity(album, *SMALL, "--keep", "first", "--hardlink", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert b"linked: 4 files" in run.stdout
    assert b"left alone: 2 files" in run.stdout
    assert (album / "first.png").stat().st_nlink == 5
    assert snapshot(album).keys() == before.keys(), "no temporary names are left"
    (journal,) = tmp_path.glob("rrn-journal-*.jsonl")
    assert undo_command(run.stdout) == ["--undo", journal.name]
    assert run_similarity("--undo", journal).returncode == 0
    assert (album / "first.png").stat().st_nlink == 1
    assert snapshot(album) == before
    assert run_similarity("--undo", journal).stdout == b"nothing left to undo\n"


def test_known_images_move_and_the_reference_stays(run_similarity: RunSimilarity, album: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    reference.mkdir()
    make_picture(1, 200, 150).save(reference / "one.png")
    os.link(album / "second.png", reference / "same.png")
    before, kept = snapshot(album), snapshot(reference)
    words = (album, *SMALL, "--against", reference, "--move-to")
    assert run_similarity(*words, reference).returncode == 2
    run = run_similarity(*words, tmp_path / "known")
    assert run.returncode == 0, run.stderr
    assert b"moved: 7 files" in run.stdout
    assert snapshot(reference) == kept
    assert (album / "second.png").exists(), "one and the same file as a reference image"
    assert run_similarity(*undo_command(run.stdout)).returncode == 0
    assert snapshot(album) == before


def test_symbolic_links_are_never_acted_on(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    (photos / "a_link.png").symlink_to("first.png")
    for action in (("--move-to", tmp_path / "t"), ("--hardlink",)):
        run = run_similarity(photos, *SMALL, "--keep", "newest", *action, cwd=tmp_path)
        assert run.returncode == 0
        assert b"a_link.png: a symbolic link, which is never acted on" in run.stdout
        assert (photos / "a_link.png").is_symlink()
        for journal in [*tmp_path.glob("rrn-*"), *tmp_path.glob("t/rrn-*")]:
            assert run_similarity("--undo", journal).returncode == 0


def test_the_only_real_file_is_not_redundant(run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    (photos / "a_link.png").symlink_to("second.png")
    run = run_similarity(photos, *SMALL, "--keep", "first", "--json", "-")
    redundant = {Path(entry["path"]).name for entry in json.loads(run.stdout)["redundant"]}
    assert redundant == {"first_small.png", "first.jpg"}
    moved = run_similarity(photos, *SMALL, "--keep", "first", "--move-to", tmp_path / "t")
    assert b"moved: 2 files" in moved.stdout
    assert (photos / "second.png").exists()


def test_a_folder_that_is_mounted_twice(photos: Path, tmp_path: Path) -> None:
    (photos / "again").mkdir()
    before = {path.name for path in (photos / "sub").iterdir()}
    command = [str(BINARY), str(photos), *map(str, SMALL), "--keep", "first", "--move-to", str(tmp_path / "t")]
    unshare = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c"]
    mount = f"mount --bind {photos}/sub {photos}/again"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting is not allowed here")
    script = f"{mount} && exec {shlex.join(command)}"
    run = subprocess.run([*unshare, script], capture_output=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    assert b"moved: 2 files" in run.stdout
    assert {path.name for path in (photos / "sub").iterdir()} == before, "again/first.jpg is kept, and this is it"


def test_a_target_above_the_folder(run_similarity: RunSimilarity, photos: Path) -> None:
    run = run_similarity(photos / "sub", *SMALL, "--move-to", photos)
    assert run.returncode == 2
    assert b"above it" in run.stderr


def test_an_empty_journal(run_similarity: RunSimilarity, tmp_path: Path) -> None:
    journal = tmp_path / "rrn-journal-20260101T000000Z.jsonl"
    for content in (b"", b'{"rrn_jou', b'{"rrn_journal":1,"action":"mo'):
        journal.write_bytes(content)
        run = run_similarity("--undo", journal)
        assert (run.returncode, run.stdout) == (0, b"nothing left to undo\n")


def test_what_cannot_be_put_back_is_listed(run_similarity: RunSimilarity, album: Path, tmp_path: Path) -> None:
    run = run_similarity(album, *SMALL, "--keep", "first", "--move-to", tmp_path / "t", "--json", "-")
    data = json.loads(run.stdout)
    assert len(data["redundant"]) == 6
    command = undo_command(run.stderr)  # standard output is the JSON's
    (tmp_path / "t" / "first_small.png").write_bytes(b"changed")
    (album / "sub" / "copy.png").write_bytes(b"taken")
    undo = run_similarity(*command)
    assert undo.returncode == 4
    assert b"put back: 4 files" in undo.stdout
    assert b"not put back: 2 files" in undo.stdout
    lines = undo.stderr.decode(errors="replace").splitlines()
    assert len(lines) == 2
    assert "copy.png: the place is taken" in lines[0]
    assert "first_small.png" in lines[1]
    assert "another size or time" in lines[1]
    assert (album / "sub" / "copy.png").read_bytes() == b"taken"
    assert run_similarity(*command).returncode == 4


def test_a_killed_run_can_be_undone(run_similarity: RunSimilarity, album: Path, tmp_path: Path) -> None:
    before = snapshot(album)
    run = run_similarity(album, *SMALL, "--keep", "first", "--move-to", tmp_path / "t")
    journal = Path(undo_command(run.stdout)[1])
    lines = journal.read_bytes().splitlines(keepends=True)
    # As if it had ended while writing down the last step, which then did not happen.
    last = json.loads(lines[-1])
    Path(last["to"]).rename(last["path"])
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:-20])
    undo = run_similarity("--undo", journal)
    assert undo.returncode == 0, undo.stderr
    assert b"put back: 5 files" in undo.stdout
    assert snapshot(album) == before
    assert run_similarity("--undo", journal).stdout == b"nothing left to undo\n"


def run_limited(arguments: list[object], size: int) -> subprocess.CompletedProcess[bytes]:
    """Runs with files of at most `size` bytes, which fails as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [str(BINARY), *map(str, arguments), "--no-cache"]
    return subprocess.run(command, capture_output=True, check=False, timeout=120, preexec_fn=limit)


def test_without_a_journal_nothing_is_done(album: Path, tmp_path: Path) -> None:
    before = snapshot(album)
    run = run_limited([album, *SMALL, "--move-to", tmp_path / "t"], 50)
    assert run.returncode == 4
    assert b"cannot write the journal" in run.stderr
    assert snapshot(album) == before
    # Some steps fit, the rest is not begun.
    run = run_limited([album, *SMALL, "--keep", "first", "--move-to", tmp_path / "t2"], 1000)
    assert run.returncode == 4
    moved = len(before) - len(snapshot(album))
    assert 0 < moved < 6
    assert f"moved: {moved} file".encode() in run.stdout
    undo = subprocess.run([str(BINARY), *undo_command(run.stdout)], check=False, timeout=60)
    assert undo.returncode == 0
    assert snapshot(album) == before


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_a_full_disk_on_the_other_file_system(run_similarity: RunSimilarity, photos: Path) -> None:
    if Path("/dev/shm").stat().st_dev == photos.stat().st_dev:
        pytest.skip("no second file system")
    before = snapshot(photos)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        target = Path(name) / "t"
        # The small copies fit, first.png does not.
        big = photos / "first_big.png"
        make_picture(1, 400, 300).save(big)
        size = big.stat().st_size - 1
        assert size > 5000
        before = snapshot(photos)
        run = run_limited([photos, *SMALL, "--keep", "first", "--move-to", target], size)
        assert run.returncode == 4
        assert b"moved: 2 files" in run.stdout
        assert b"first_big.png: cannot move it" in run.stderr
        assert run.stderr.count(b"\n") == 1
        assert big.read_bytes() == before[os.fsencode(big)][0]
        assert sorted(path.name for path in target.rglob("*") if path.is_file())[:2] == ["first.jpg", "first_small.png"]
        assert not list(target.rglob(".rrn-part*"))
        assert run_similarity(*undo_command(run.stdout)).returncode == 0
        assert snapshot(photos) == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("{photos}", "--action", "delete"), 2, "expected list, json, hardlink or move DIR, got delete"),
        (("{photos}", "--action", "move"), 2, "--move-to DIR"),
        (("{photos}", "--action", "json", "--json", "x.json"), 2, "leave one of them out"),
        (("{photos}", "--action", "hardlink", "--hardlink"), 2, "leave it out"),
        (("{photos}", "--move-to"), 2, "--move-to: expected DIR"),
        (("--move-to", "{photos}"), 2, "a folder of images is required besides {photos}"),
        (("{photos}", "--move-to", "{photos}/../photos/"), 2, "a folder that is searched"),
        (("{photos}", "--move-to", "{photos}/first.png"), 2, "not a folder"),
        (("{photos}", "--move-to", "{photos}/first.png/x"), 4, "cannot make this folder"),
        (("{photos}", "--move-to", "x", "--hardlink"), 2, "expected one of them, got both"),
        (("{photos}/first.png", "{photos}/second.png", "--hardlink"), 2, "belongs to a folder"),
        (("--undo", "{photos}/first.png"), 2, "does not begin a journal"),
        (("--undo", "{photos}/none"), 2, "No such file"),
        (("--undo", "{photos}/none", "{photos}"), 2, "takes nothing but its journal"),
        (("--undo", "{photos}/none", "--json", "-"), 2, "takes nothing but its journal"),
        (("--undo", "{photos}/none", "--threshold", "0.9"), 2, "takes nothing but its journal"),
        (("--undo", ""), 2, "empty"),
        (("{photos}", "--keep", "best"), 2, "keep"),
    ],
)
def test_wrong_usage(
    run_similarity: RunSimilarity, photos: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    before = snapshot(photos)
    run = run_similarity(*(word.format(photos=photos) for word in words))
    assert run.returncode == code, run.stderr
    assert message.format(photos=photos) in run.stderr.decode()
    assert run.stderr.count(b"\n") == 1, "one clear line"
    assert run.stdout == b""
    assert snapshot(photos) == before


def test_read_only_folder(photos: Path) -> None:
    # As nobody where the tests run as root, who may write everywhere; outside tmp_path, which is root's own.
    user: dict[str, object] = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(photos, folder / "photos")
        (folder / "own").mkdir()
        (folder / "own").chmod(0o777)
        for path in (folder / "photos", folder / "photos" / "sub"):
            path.chmod(0o555)
        before = snapshot(folder)

        def run(*words: object) -> subprocess.CompletedProcess[bytes]:
            command = [str(BINARY), str(folder / "photos"), *map(str, SMALL), *map(str, words)]
            options = {"capture_output": True, "check": False, "timeout": 60, "cwd": folder / "own", **user}
            return subprocess.run(command, **options)  # type: ignore[call-overload, no-any-return]

        try:
            refused = run("--move-to", folder / "photos" / "sub")
        except PermissionError:
            pytest.skip("nobody cannot reach the program in this checkout")
        assert refused.returncode == 4
        assert b"cannot write here" in refused.stderr
        # The target is fine, but nothing can leave its folder.
        stuck = run("--keep", "first", "--move-to", folder / "own" / "t")
        assert stuck.returncode == 4
        assert stuck.stderr.count(b"cannot move it") == 2
        after = {name: file for name, file in snapshot(folder).items() if b"rrn-journal" not in name}
        assert after == before
        for path in (folder / "photos", folder / "photos" / "sub"):
            path.chmod(0o755)


def test_keep(run_similarity: RunSimilarity, photos: Path) -> None:
    """Which of the pictures that are alike is kept."""
    for name, size, filter in (("a", (288, 216), "BICUBIC"), ("b", (192, 144), "NEAREST"), ("c", (115, 90), "LANCZOS")):
        make_picture(1).resize(size, Image.Resampling[filter]).save(photos / f"{name}_enlarged.png")
    for seed in (5, 6):  # more pictures that are like no other: most pairs are not alike
        make_picture(seed).save(photos / f"other{seed}.png")
    os.utime(photos / "sub" / "first.jpg", ns=(0, 2**61))
    kept = {}
    for keep in ("most-similar", "first", "largest", "sharpest", "newest"):
        texts = set()
        for threads in (1, 3):
            run = run_similarity(photos, *SMALL, "--keep", keep, "--json", "-", "--threads", threads)
            texts.add(run.stdout)
        (text,) = texts
        data = json.loads(text)
        assert data.get("keep", "most-similar") == keep
        (group,) = data["groups"]
        assert len(group["members"]) == 5
        assert data["unique"] == 5
        kept[keep] = Path(group["representative"]).name
    assert kept["first"] == "a_enlarged.png"
    assert kept["largest"] == "a_enlarged.png"
    assert kept["newest"] == "first.jpg"
    assert "enlarged" not in kept["sharpest"]
