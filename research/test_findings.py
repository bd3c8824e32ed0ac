"""findings/ is what its programs write: bytes are compared with those in the repository."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

import matplotlib
import PIL
import pytest

from research import findings
from research.common import examples
from research.common.places import FINDINGS, RESULTS, ROOT

# Written by research/report, and compared by its tests.
_REPORT = ("report.docx", "report.pdf", "figures/", "results/")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example photos, or the source tree where they have been made already."""
    if (ROOT / "examples" / "photos").is_dir():
        return ROOT
    folder = tmp_path_factory.mktemp("root")
    (folder / "examples").mkdir()
    try:
        examples.make(folder / "examples" / "photos")
    except OSError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture(scope="module")
def written(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return findings.write(RESULTS, photos, tmp_path_factory.mktemp("findings"))


def test_the_repository_holds_what_the_programs_write(written: list[Path]) -> None:
    installed = [f"matplotlib=={matplotlib.__version__}", f"pillow=={PIL.__version__}"]
    wanted = (ROOT / "scripts" / "common.sh").read_text().partition("DRAWING_PACKAGES=(")[2].partition(")")[0].split()
    if installed != wanted:
        pytest.skip(f"other releases draw other bytes: {' '.join(installed)}, expected {' '.join(wanted)}")
    different = [path.name for path in written if path.read_bytes() != (FINDINGS / path.name).read_bytes()]
    assert different == [], "run scripts/findings.sh and commit what it writes"


def test_every_file_of_the_findings_is_written_by_a_program(written: list[Path]) -> None:
    run = subprocess.run(["git", "ls-files", "-z", "findings"], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    tracked = [name.removeprefix("findings/") for name in run.stdout.split("\0") if name]
    names = {path.name for path in written}
    assert {name for name in tracked if not name.startswith(_REPORT)} == names
    page = written[0].read_text()
    results = {name for name in tracked if name.startswith("results/")}
    patterns = re.findall(r"`([\w./*]+\.\w+)`", page)
    for name in {*results, *names} - {"README.md"}:
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns), f"README.md does not name {name}"


def test_the_script_explains_itself_and_refuses_other_words() -> None:
    script = ROOT / "scripts" / "findings.sh"
    text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--measure" in text
    run = subprocess.run([script, "--everything"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "unknown argument --everything" in run.stderr


def test_what_is_missing_is_said_in_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(findings, "ROOT", photos)
    assert findings.main(["--results", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "evaluation.json" in capsys.readouterr().err
