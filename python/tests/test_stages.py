"""The stages of scripts/test.sh and scripts/nightly.sh: what a failure does, what is reported, what is analysed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import stages


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as scripts/test.sh runs, in a source tree in `folder`."""
    start = f'. "{ROOT}/scripts/common.sh"; ROOT={folder}; . "{ROOT}/scripts/stages.sh"; cd "$ROOT"\n'
    return subprocess.run(["bash", "-c", start + script], capture_output=True, text=True, check=False)


STAGES = """
good() { echo fine; }
bad() { false; echo not reached; }
start_stages
stage "first thing" good
stage "second thing" bad
stage "third thing" good
"""


def test_a_failure_stops(tmp_path: Path) -> None:
    done = shell(tmp_path, STAGES)
    assert done.returncode == 1
    assert "not reached" not in done.stdout and "== third thing" not in done.stdout
    assert done.stderr.count("failed: false") == 1
    *_, first, second, every = done.stdout.splitlines()
    assert re.fullmatch(r"first thing +\d+ +\d+", first)
    assert re.fullmatch(r"second thing +\d+ +\d+  failed", second)
    assert re.fullmatch(r"all +\d+ +\d+", every)


def test_going_on_after_a_failure(tmp_path: Path) -> None:
    done = shell(tmp_path, "STAGES_GO_ON=yes" + STAGES + "echo $STAGES_FAILED")
    assert done.returncode == 0
    assert "not reached" not in done.stdout and "== third thing" in done.stdout
    assert "\n1\n" in done.stdout
    assert [stage["ok"] for stage in stages.stages(tmp_path / "build" / "stages")] == [True, False, True]


def test_seconds_are_those_of_the_stage(tmp_path: Path) -> None:
    script = """start_stages
stage wait sleep 1.5
stage work bash -c 'for ((i = 0; i < 700000; ++i)); do :; done'
"""
    assert shell(tmp_path, script).returncode == 0
    wait, work = stages.stages(tmp_path / "build" / "stages")
    assert wait["seconds"] >= 1 and wait["cpu_seconds"] == 0
    assert work["cpu_seconds"] > 0


CTEST = """<testsuite><testcase name="Good" classname="Good" time="1.5" status="run"/>
<testcase name="Bad" classname="Bad" time="0.5" status="fail"><failure message=""/></testcase>
<testcase name="Skip" classname="Skip" time="0" status="notrun"><skipped message=""/></testcase></testsuite>"""
PYTEST = """<testsuites><testsuite><testcase classname="test_a" name="test_one" time="2"/>
<testcase classname="test_a" name="test_two" time="1"><error message="x"/></testcase></testsuite></testsuites>"""


def test_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.xml").write_text(CTEST)
    (tmp_path / "p.xml").write_text(PYTEST)
    assert stages.count(tmp_path / "c.xml") == {"passed": 1, "failed": 1, "skipped": 1}
    assert stages.count(tmp_path / "p.xml") == {"passed": 1, "failed": 1, "skipped": 0}
    assert stages.main(["slowest", str(tmp_path / "p.xml"), "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["Slowest tests:", "    2.00 s  test_a::test_one"]


def test_the_result_of_a_night(tmp_path: Path) -> None:
    (tmp_path / "c.xml").write_text(CTEST)
    (tmp_path / "table.tsv").write_text("build\t60\t110\t0\t\nC++ tests\t9\t12\t1\tc.xml\n")
    assert stages.main(["result", str(tmp_path), str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["ok"], result["seconds"]) == (False, 69)
    assert result["stages"][0] == {"name": "build", "seconds": 60, "cpu_seconds": 110, "ok": True}
    assert result["stages"][1]["tests"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert {"command", "machine", "versions", "commit"} <= set(result)
    assert str(ROOT) not in json.dumps(result)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with 25 commits: one adds all files, each of the others changes one."""
    folder = tmp_path / "repository"
    room = folder / "inference" / "src" / "room"
    room.mkdir(parents=True)
    (folder / "include" / "rrn").mkdir(parents=True)
    (folder / "include" / "rrn" / "face.h").write_text("1\n")
    (room / "a.h").write_text("1\n")
    (room / "a.cc").write_text('#include "room/a.h"\n')
    (room / "b.cc").write_text('#include "rrn/face.h"\n')
    (room / "old.cc").write_text("1\n")
    (folder / "notes.md").write_text("1\n")
    git(folder, "init", "-q", "-b", "main")
    commit(folder)
    with (room / "old.cc").open("a") as file:
        file.write("2\n")
    commit(folder)
    for number in range(23):
        with (folder / "notes.md").open("a") as file:
            file.write(f"{number}\n")
        commit(folder)
    return folder


def git(folder: Path, *words: str) -> None:
    who = {f"GIT_{role}_{part}": "x@y" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    subprocess.run(["git", "-C", folder, *words], env=os.environ | who, capture_output=True, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")


def changed(folder: Path) -> list[str]:
    done = shell(folder, "changed_sources")
    assert done.returncode == 0, done.stderr
    return [Path(line).name for line in done.stdout.splitlines()]


def test_changed_sources(repository: Path, tmp_path: Path) -> None:
    room = repository / "inference" / "src" / "room"
    assert changed(repository) == []
    (room / "a.h").write_text("2\n")
    assert changed(repository) == ["a.cc"]
    commit(repository)
    (repository / "include" / "rrn" / "face.h").write_text("2\n")
    (room / "new.cc").write_text("1\n")
    assert changed(repository) == ["a.cc", "b.cc", "new.cc"]
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD~24")
    assert changed(repository) == ["a.cc", "b.cc", "new.cc"]
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD~25")
    assert changed(repository) == ["a.cc", "b.cc", "new.cc", "old.cc"]
    commit(repository)
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    assert changed(tmp_path / "shallow") == ["a.cc", "b.cc", "new.cc", "old.cc"]


@pytest.mark.parametrize("script", ["test.sh", "nightly.sh"])
def test_help(script: str) -> None:
    command = [ROOT / "scripts" / script]
    text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "clang-tidy" in text and "nightly" in text
    assert subprocess.run([*command, "--wrong"], capture_output=True, check=False).returncode == 2
