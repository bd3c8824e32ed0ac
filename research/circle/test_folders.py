"""What a run may find and delete: checkpoints of other code, folders of others, and processes without a parent."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from research.circle import folders, origin, processes, run, train, unequal  # noqa: E402
from research.circle.train import CHECKPOINT, Config  # noqa: E402
from research.common.places import ROOT  # noqa: E402

TINY = Config(steps=2, batch=2, count=4, least=32, most=48, width=8, blocks=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# ---- The code of a checkpoint --------------------------------------------------------------------------------------


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    """Changes a checkpoint in place."""
    parts = torch.load(folder / CHECKPOINT, weights_only=True)
    change(parts)
    torch.save(parts, folder / CHECKPOINT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda parts: parts["origin"].update(sources="0" * 64, commit="old"),
            "again: other sources (commit old, now ",
        ),
        (lambda parts: parts["origin"]["versions"].update(torch="1.0"), "again: torch 1.0, now "),
        (lambda parts: parts.pop("origin"), "again: it does not say which code made it"),
    ],
)
def test_a_checkpoint_of_other_code_is_not_continued(change: Callable[[Any], None], words: str, tmp_path: Path) -> None:
    first = train.train(TINY, tmp_path, report=lambda line: None)
    # A history that no training has: continued, it would stay.
    changed(tmp_path, lambda parts: parts.update(history=[[9.0, 9.0, 9.0]]))
    changed(tmp_path, change)
    lines: list[str] = []
    again = train.train(TINY, tmp_path, report=lines.append)
    assert words in lines[0]
    assert again.history == first.history
    assert train.usable(tmp_path / CHECKPOINT)


def test_a_checkpoint_of_another_commit_with_the_same_sources_is_continued_and_said(tmp_path: Path) -> None:
    train.train(TINY, tmp_path, report=lambda line: None)
    changed(tmp_path, lambda parts: parts["origin"].update(commit="old"))
    lines: list[str] = []
    assert train.usable(tmp_path / CHECKPOINT, lines.append)
    assert "is of commit old, now " in lines[0]


def test_the_sources_are_all_that_a_training_imports_of_this_study() -> None:
    found = set(origin.MODULES)
    for name in origin.MODULES:
        tree = ast.parse(Path(origin.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "research.circle":
                found |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("research.circle."):
                found.add(str(node.module).rpartition(".")[2])
    # The origin itself changes no number.
    assert found == {*origin.MODULES, "origin"}


# ---- Folders -------------------------------------------------------------------------------------------------------


def test_a_folder_is_used_by_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("it began"))
    words = ["--folder", str(tmp_path), "--output", str(tmp_path / "out.json")]
    with folders.locked(tmp_path):
        assert run.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --folder: ")
    assert "in use by another run" in error
    assert list(tmp_path.iterdir()) == []
    with folders.locked(tmp_path):
        pass


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from research.circle import folders\n"
        "with folders.locked(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match="in use by another run"), folders.locked(tmp_path):
            pytest.fail("two inside")
        process.kill()
    with folders.locked(tmp_path):
        pass


@pytest.mark.parametrize("name", [run.TRAINING, run.COMPARED, run.ONNX])
def test_folders_of_others_are_refused_and_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "launch", lambda *_, **__: pytest.fail("it began"))
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_text("1")
    words = ["--fresh", "--folder", str(tmp_path), "--output", str(tmp_path / "out.json")]
    assert run.main(words) == 1
    assert f"no {name}, or one with the file {folders.MARK}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / name).iterdir()] == ["precious"]


def test_an_own_folder_is_emptied_but_for_its_mark_and_what_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("1")
    mine = folders.own(tmp_path / "mine")
    (mine / "part").mkdir()
    (mine / "part" / CHECKPOINT).write_text("1")
    (mine / "file").write_text("1")
    (mine / "link").symlink_to(tmp_path / "outside")
    folders.emptied(mine)
    assert [path.name for path in mine.iterdir()] == [folders.MARK]
    assert (tmp_path / "outside" / "precious").is_file()
    assert folders.own(mine) == mine


# ---- Processes without a parent ------------------------------------------------------------------------------------


def running(process: int) -> bool:
    """Whether a process does something: neither gone nor waiting for somebody to read its status."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def worker_of(parent: int) -> int:
    """The process that measures memory; 0 if it is not there."""
    for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):
            if "research.circle.unequal" in Path(f"/proc/{each}/cmdline").read_text().split("\0")[1:3]:
                return int(each)
    return 0


def waited(what: Callable[[], object], seconds: float) -> object:
    """What a function returns as soon as it is true, or after some time."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is missing")
def test_the_process_that_measures_memory_ends_with_its_parent(tmp_path: Path) -> None:
    train.train(TINY, tmp_path, report=lambda line: None)
    # Labels for minutes, in little memory.
    program = (
        "import sys; from pathlib import Path; from research.circle import unequal\n"
        "unequal.peak(Path(sys.argv[1]), 'one by one', 'equal', 10**8)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) as parent:
        try:
            worker = waited(lambda: worker_of(parent.pid), 60)
        finally:
            parent.kill()
    assert isinstance(worker, int)
    assert worker > 0
    try:
        assert waited(lambda: not running(worker), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def test_a_process_that_fails_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="expected status 0 of the process that measures memory, got 1"):
        unequal.peak(tmp_path, "padded", "equal", 1)
