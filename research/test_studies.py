"""Running all studies: their commands, one that fails, and READMEs whose figures are those of the results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from research import studies
from research.common.places import RESULTS, ROOT


def test_commands_have_what_a_study_takes() -> None:
    output = Path("out.json")
    plain = studies.command("tensor_mechanics", output, data=Path("data"), full=True)
    assert plain[3:] == ["research.tensor_mechanics.run", "--output", "out.json", "--full"]
    more = studies.command("tuning", output, data=Path("data"), full=True)
    assert more[3:] == ["research.tuning.run", "--output", "out.json", "--data", "data", "--full"]
    assert studies.command("tuning", output, data=None, full=False)[4:] == ["--output", "out.json"]


def test_a_study_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def command(name: str, output: Path, **options: object) -> list[str]:
        return [sys.executable, "-c", f"raise SystemExit({3 if name == 'circle' else 0})"]

    monkeypatch.setattr(studies, "command", command)
    monkeypatch.setattr(studies, "write", lambda measured, folder, names: written.extend(names))
    failed = studies.run(["tensorrt", "circle", "tuning"], tmp_path, data=None, full=False)
    assert failed == {"circle": "exit status 3"}
    assert written == ["tensorrt", "tuning"]


def test_unknown_studies_and_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in ((["circles"], "no study circles"), (["--data", str(tmp_path / "none")], "is no folder")):
        with pytest.raises(SystemExit) as ended:
            studies.main(words)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_the_help_names_every_study() -> None:
    text = (ROOT / "scripts" / "research.sh").read_text(encoding="utf-8")
    assert ", ".join(studies.STUDIES) in text


@pytest.mark.parametrize("name", list(studies.STUDIES))
def test_the_figures_of_a_readme_are_those_of_the_result(name: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing")
    made = studies.readmes(RESULTS, [name])
    assert {path: path.read_text(encoding="utf-8") for path in made} == made, "run scripts/findings.sh"
