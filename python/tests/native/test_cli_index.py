"""rrn index and rrn watch-folder, run as users run them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rrn_native
from conftest import ROOT, make_picture
from rrn_native import Store
from rrn_native.cli import index as cli_index

SMALL = ("--size", "64", "--threads", "1")
GENEROUS = 120.0  # seconds

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "rrn_native", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "python"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def rrn() -> Run:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*words), env=environment(), capture_output=True, text=True, check=False)

    return run


def answer(run: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert run.returncode == code, run.stderr
    fields: dict[str, Any] = json.loads(run.stdout)
    return fields


def tiny_files(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    made = [folder / f"{number:05}.png" for number in range(count)]
    for number, path in enumerate(made):
        make_picture(number, 16, 16).save(path)
    time.sleep(0.05)  # until they are old enough to be trusted
    return made


def test_add_says_what_it_did(rrn: Run, photos: Path, tmp_path: Path) -> None:
    time.sleep(0.05)
    store = tmp_path / "store"
    first = rrn("index", "add", store, photos, *SMALL)
    assert first.returncode == 0, first.stderr
    files, reused, embedded, skipped, removed = first.stdout.splitlines()
    assert (files, reused, embedded, removed) == ("files     7", "reused    0", "embedded  5", "removed   0")
    assert skipped.startswith("skipped   2: 1 ")
    assert "1 not an image of a known format" in skipped
    (photos / "third.webp").unlink()
    fields = answer(rrn("index", "update", store, photos, "--json", "-", *SMALL))
    assert (fields["command"], fields["version"], fields["store"]) == ("update", 1, str(store))
    counts = {name: fields[name] for name in ("files", "reused", "computed", "embedded", "removed", "damaged", "note")}
    assert counts == {
        **{"files": 6, "reused": 6, "computed": 0, "embedded": 0, "removed": 1, "damaged": 0},
        "note": "",
    }
    assert [Path(file["path"]).name for file in fields["skipped"]] == ["broken.png", "notes.txt"]
    quiet = rrn("index", "add", store, photos, "--quiet", "--json", tmp_path / "r.json", *SMALL)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert json.loads((tmp_path / "r.json").read_text())["reused"] == 6


def test_query_remove_and_info(rrn: Run, photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    rrn("index", "add", store, photos, *SMALL)
    fields = answer(rrn("index", "query", store, photos / "first.png", "-k", "2", "--json", "-", *SMALL))
    library = Store(store, rrn_native.Embedder(size=64, threads=1), create=False)
    expected = [{"path": m.path, "similarity": m.similarity} for m in library.search(photos / "first.png", 2)]
    assert fields["matches"] == expected
    text = rrn("index", "query", store, photos / "first.png", "-k", "1", *SMALL).stdout
    assert text == f"{expected[0]['similarity']:.4f}  {expected[0]['path']}\n"
    nothing = rrn("index", "query", store, photos / "second.png", "--threshold", "0.999999", *SMALL)
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (1, "", "")
    assert answer(rrn("index", "remove", store, photos / "sub", photos / "notes.txt", "--json", "-"))["removed"] == 2
    info = answer(rrn("index", "info", store, "--json", "-"))
    assert (info["files"], info["columns"][0]["rows"], info["columns"][0]["dead"]) == (5, 4, 1)
    assert "files     5\n" in rrn("index", "info", store).stdout
    assert "1 row removed" in rrn("index", "compact", store).stdout
    assert answer(rrn("index", "info", store, "--json", "-"))["columns"][0]["dead"] == 0


def test_verify_and_repair(rrn: Run, photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    rrn("index", "add", store, photos, *SMALL)
    clean = rrn("index", "verify", store)
    assert (clean.returncode, clean.stdout) == (0, "5 rows, nothing wrong\n")
    (vectors,) = store.glob("*.f32")
    content = bytearray(vectors.read_bytes())
    content[7] ^= 8
    vectors.write_bytes(content)
    found = answer(rrn("index", "verify", store, "--json", "-"), 1)
    assert (found["damaged"], len(found["findings"])) == (1, 1)
    assert rrn("index", "verify", store, "--repair").returncode == 0
    assert rrn("index", "verify", store).returncode == 0
    assert answer(rrn("index", "add", store, photos, "--json", "-", *SMALL))["embedded"] == 1


def test_export(rrn: Run, photos: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    store, file = tmp_path / "store", tmp_path / "s.parquet"
    rrn("index", "add", store, photos, *SMALL)
    assert answer(rrn("index", "export", store, "--parquet", file, "--json", "-", *SMALL))["files"] == 7
    assert parquet.read_table(file).num_rows == 7


def test_export_without_pyarrow(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert cli_index.main(["add", str(tmp_path / "s"), str(photos), *SMALL]) == 0
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert cli_index.main(["export", str(tmp_path / "s"), "--parquet", str(tmp_path / "p"), *SMALL]) == 4
    assert "pip install pyarrow (rrn's extra [parquet])" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["add", "{s}", "/nowhere/at/all"], 2, "no such file or folder"),
        (["add", "{p}", "{p}", *SMALL], 2, "photos"),
        (["add", "{s}", "{p}/notes.txt", *SMALL], 3, "no readable image among 1 file"),
        (["add", "{s}", "{p}", "--model", "/nowhere.onnx"], 4, "nowhere.onnx"),
        (["add", "{s}", "{p}", "--json", "/nowhere/at/all.json"], 2, "no such folder"),
        (["update", "{s}", "{p}/first.png", *SMALL], 2, "no such folder"),
        (["query", "{s}", "{p}/first.png", *SMALL], 2, "s"),
        (["query", "{p}", "{p}/first.png", "-k", "0"], 2, "k is 0"),
        (["query", "{p}", "{p}/first.png", "--threshold", "1"], 2, "threshold"),
        (["remove", "{s}", "{p}"], 2, "s"),
        (["verify", "{s}"], 2, "s"),
        (["compact", "{p}"], 2, "photos"),
        (["info", "{p}"], 2, "photos"),
        (["export", "{p}", "--parquet", "/nowhere/at/all"], 2, "no such folder"),
    ],
)
def test_failures(photos: Path, tmp_path: Path, capsys: Any, words: list[str], code: int, text: str) -> None:
    assert cli_index.main([word.format(p=photos, s=tmp_path / "s") for word in words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rrn index {words[0]}: ")
    assert text in line


def test_an_image_that_cannot_be_read(photos: Path, tmp_path: Path, capsys: Any) -> None:
    assert cli_index.main(["add", str(tmp_path / "s"), str(photos), *SMALL]) == 0
    assert cli_index.main(["query", str(tmp_path / "s"), str(photos / "broken.png"), *SMALL]) == 3
    assert "broken.png" in capsys.readouterr().err


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.nightly)])
def test_touched_files_are_embedded_and_no_others(rrn: Run, tmp_path: Path, count: int) -> None:
    files = tiny_files(tmp_path / "files", count)
    words = ["index", "add", tmp_path / "store", tmp_path / "files", "--json", "-", "--size", "32"]
    assert answer(rrn(*words))["embedded"] == count
    for path in files[3 : 3 + 20 : 2]:
        path.touch()
    time.sleep(0.05)
    again = answer(rrn(*words))
    assert (again["embedded"], again["reused"]) == (10, count - 10)
    assert answer(rrn(*words))["embedded"] == 0


def stored_files(folder: Path) -> int:
    """How many files a store that another process writes to knows; 0 before it is there."""
    try:
        return int(Store(folder, create=False, read_only=True).info()["files"])
    except (FileNotFoundError, ValueError, rrn_native.RrnError):
        return 0


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.nightly)])
def test_a_killed_run_goes_on(rrn: Run, tmp_path: Path, count: int) -> None:
    tiny_files(tmp_path / "files", count)
    store = tmp_path / "store"
    words = ["index", "add", store, tmp_path / "files", "--json", "-", "--size", "224", "--threads", "1"]
    process = subprocess.Popen(command(*words), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + GENEROUS
    while not stored_files(store):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end, "nothing was stored"
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert rrn("index", "verify", store).returncode == 0
    again = answer(rrn(*words))
    assert 0 < again["reused"] < count
    assert again["reused"] + again["embedded"] == count
    assert rrn("index", "verify", store).returncode == 0


# ---- watch-folder ----------------------------------------------------------------------------------------------------


class Watching:
    """A process that watches, and the lines that it has printed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self) -> str:
        return os.fsdecode(self._lines.get(timeout=GENEROUS)).rstrip("\n")

    def until(self, **counts: int) -> list[dict[str, Any]]:
        """Batches until the sums of some of their counts are these; changes may come in several."""
        found: list[dict[str, Any]] = []
        while {name: sum(batch[name] for batch in found) for name in counts} != counts:
            found.append(json.loads(self.line()))
        return found

    def end(self, number: int = signal.SIGTERM) -> tuple[int, bytes]:
        self.process.send_signal(number)
        code = self.process.wait(GENEROUS)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@contextlib.contextmanager
def watching(folder: Path, *words: object) -> Iterator[Watching]:
    pytest.importorskip("watchfiles")
    process = subprocess.Popen(
        command("watch-folder", folder, *SMALL, *words),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Background jobs of scripts ignore Ctrl-C, and what they start does so too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield Watching(process)
    finally:
        process.kill()
        process.wait()


def stored(folder: Path) -> set[str]:
    store = Store(folder, rrn_native.Embedder(size=64, threads=1), create=False)
    return {Path(image.path).name for image in store.images() if image.slot is not None}


def test_watching_follows_the_folder(photos: Path, tmp_path: Path) -> None:
    time.sleep(0.05)
    store = tmp_path / "store"
    with watching(photos, "--store", store) as watch:
        assert watch.line() == f"{photos}: 7 files, +5 embedded, 2 skipped, 0 removed"
        make_picture(7).save(tmp_path / "new.png")
        (tmp_path / "new.png").rename(photos / "new.png")
        assert watch.line() == "+1 embedded"
        (photos / "new.png").unlink()
        assert watch.line() == "+0 embedded, 1 removed"
        assert watch.end() == (0, b"")
    assert stored(store) == {"first.png", "first_small.png", "first.jpg", "second.png", "third.webp"}


def test_watching_for_programs(photos: Path, tmp_path: Path) -> None:
    time.sleep(0.05)
    store = tmp_path / "store"
    with watching(photos, "--store", store, "--json", "--similar", "--threshold", "0.9") as watch:
        first = json.loads(watch.line())
        assert (first["first"], first["embedded"], first["skipped"], first["similar"]) == (True, 5, 2, [])
        # A sub-folder that is moved in, and one that is moved inside.
        (tmp_path / "more").mkdir()
        for number in (7, 8):
            make_picture(number).save(tmp_path / "more" / f"{number}.png")
        shutil.copy(photos / "second.png", tmp_path / "more" / "copy.png")
        (tmp_path / "more").rename(photos / "more")
        batches = watch.until(embedded=3, removed=0)
        similar = [each for batch in batches for each in batch["similar"]]
        pairs = {(Path(each["path"]).name, Path(each["match"]).name) for each in similar}
        assert ("copy.png", "second.png") in pairs
        (photos / "more").rename(photos / "sub" / "inside")
        watch.until(embedded=0, removed=3)
        # A file that is seen when half of it is written.
        content = (photos / "second.png").read_bytes()
        (photos / "half.png").write_bytes(content[:100])
        assert sum(batch["skipped"] for batch in watch.until(computed=1)) == 1
        (photos / "half.png").write_bytes(content)
        watch.until(embedded=1)
        shutil.rmtree(photos / "sub")
        watch.until(removed=4)
        assert watch.end(signal.SIGINT) == (0, b"")
    assert stored(store) == {"first.png", "first_small.png", "second.png", "third.webp", "half.png"}


def test_a_change_of_which_the_system_does_not_tell(photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    shutil.copy(photos / "second.png", outside)
    (photos / "linked.png").hardlink_to(outside)
    time.sleep(0.05)
    with watching(photos, "--store", tmp_path / "store", "--json", "--rescan", "1") as watch:
        assert json.loads(watch.line())["embedded"] == 6
        outside.write_bytes((photos / "first.png").read_bytes())
        watch.until(embedded=1)
        assert watch.end() == (0, b"")


def test_names_that_are_no_utf8(photos: Path, tmp_path: Path) -> None:
    time.sleep(0.05)
    with watching(photos, "--store", tmp_path / "store", "--json", "--rescan", "0") as watch:
        watch.line()
        name = os.fsdecode(os.fsencode(photos) + b"/\xff.png")
        Path(name).write_bytes((photos / "second.png").read_bytes())
        watch.until(embedded=1)
        Path(name).unlink()
        watch.until(removed=1)
        assert watch.end()[0] == 0


def test_a_watched_folder_that_disappears(photos: Path, tmp_path: Path) -> None:
    with watching(photos, "--store", tmp_path / "store") as watch:
        watch.line()
        photos.rename(tmp_path / "elsewhere")
        assert watch.process.wait(GENEROUS) == 4
        assert watch.process.stderr is not None
        (line,) = watch.process.stderr.read().decode().splitlines()
    assert line == f"rrn watch-folder: {photos}: the folder is gone"
    assert len(stored(tmp_path / "store")) == 5, "nothing is forgotten for that"


def test_once_is_the_store_of_the_folder(rrn: Run, photos: Path) -> None:
    pytest.importorskip("watchfiles")
    time.sleep(0.05)
    once = rrn("watch-folder", photos, "--once", *SMALL)
    assert (once.returncode, once.stdout) == (0, f"{photos}: 7 files, +5 embedded, 2 skipped, 0 removed\n")
    assert "0 computed" in rrn("query", photos / "first.png", photos, *SMALL).stdout
    found = rrn("find", photos, *SMALL)
    assert "7 of 7 files did not change since they were read before" in found.stderr
    (photos / "second.png").unlink()
    assert "+0 embedded, 1 removed" in rrn("watch-folder", photos, "--once", *SMALL).stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["/nowhere/at/all"], 2, "no such folder"),
        (["{p}", "--threshold", "1"], 2, "--threshold"),
        (["{p}", "--rescan", "-1"], 2, "--rescan"),
        (["{p}", "--store", "{p}"], 2, "photos"),
        (["{p}", "--model", "/nowhere.onnx"], 4, "nowhere.onnx"),
    ],
)
def test_failures_of_watching(rrn: Run, photos: Path, words: list[str], code: int, text: str) -> None:
    pytest.importorskip("watchfiles")
    run = rrn("watch-folder", *(word.format(p=photos) for word in words), "--once", *SMALL)
    assert (run.returncode, run.stdout) == (code, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith("rrn watch-folder: ")
    assert text in line
