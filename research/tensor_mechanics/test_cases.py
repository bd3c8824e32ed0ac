"""The cases do what is stated, the program writes them, and the page says them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from research.common import pages, results  # noqa: E402
from research.common.places import RESULTS  # noqa: E402
from research.tensor_mechanics import cases, drawing, evidence, report, run  # noqa: E402

CASES = cases.load()
TINY = evidence.Effort((0, 1, 2), (0, 1, 2), 2, 10, 2, 8)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_fails_as_stated_and_its_mended_form_does_not(case: cases.Case) -> None:
    row = cases.run(case)
    assert row["as_expected"], row["happened"]
    assert [each["code"] for each in row["evidence"] if not each["holds"]] == []
    # What raises nothing must be wrong.
    assert row["happened"] != {"raises": None, **row["right"]}
    # The page's tables cannot hold it.
    assert "|" not in f"{case.wrong}{case.mended}{case.reason}"


def test_names_are_told_apart_and_all_questions_are_there() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.question for case in CASES} == set(cases.QUESTIONS)


def planted(**changes: Any) -> cases.Case:
    values = {"name": "planted", "question": "view", "wrong": "x.view(7)", "mended": "x.view(12)", "reason": "seven"}
    return cases.Case(**({**values, "evidence": ("right.shape == (12,)",), "setup": cases.setups()["view"]} | changes))


@pytest.mark.parametrize(
    ("raises", "message", "as_expected"),
    [
        ("RuntimeError", "invalid for input of size 12", True),
        ("RuntimeError", "something else", False),
        ("ValueError", "invalid for input of size 12", False),
        ("", "", False),
    ],
)
def test_another_exception_than_the_stated_one_is_noticed(raises: str, message: str, as_expected: bool) -> None:
    row = cases.run(planted(raises=raises, message=message))
    assert row["as_expected"] is as_expected
    assert row["happened"]["raises"]["type"] == "RuntimeError"


def test_a_case_that_raises_nothing_although_it_is_stated_is_noticed() -> None:
    row = cases.run(planted(wrong="x.view(12)", raises="RuntimeError"))
    assert not row["as_expected"]
    assert row["happened"]["raises"] is None


def test_untrue_evidence_is_recorded_and_shown() -> None:
    row = cases.run(planted(raises="RuntimeError", message="invalid", evidence=("right.shape == (3, 4)",)))
    assert row["evidence"] == [{"code": "right.shape == (3, 4)", "holds": False}]
    assert report.right(row).endswith("; 1 of 1 statements are false")


def test_writing_in_one_form_does_not_reach_the_other() -> None:
    row = cases.run(planted(wrong="x[0, 0] = 99\nx", mended="x"))
    assert row["happened"]["numbers"][0][0] == 99
    assert row["right"]["numbers"][0][0] == 0


def test_a_mended_form_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="invalid for input of size 12"):
        cases.run(planted(mended="x.view(5, 5)"))


def test_code_without_a_last_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an expression at the end"):
        cases.evaluate("a = 1", {})


@pytest.mark.parametrize("change", ['question = "other"', "evidence = []"])
def test_an_incomplete_case_is_refused(tmp_path: Path, change: str) -> None:
    case = {"question": 'question = "view"', "evidence": 'evidence = ["True"]'}
    case[change.partition(" ")[0]] = change
    words = 'name = "a"\nwrong = "x"\nmended = "x"\nreason = "none"'
    lines = ['[setup]\nview = "x = 1"', "[[case]]", words, *case.values()]
    (tmp_path / "cases.toml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"cases\.toml: expected a question of .* and evidence in 'a'"):
        cases.load(tmp_path / "cases.toml")


def test_numbers_are_written_as_json_can_hold_them() -> None:
    assert cases.plain(torch.tensor([[1 / 3, float("nan")], [float("-inf"), -0.0]])) == [[0.3333, "nan"], ["-inf", 0.0]]
    assert cases.plain((1, [torch.tensor(2)])) == [1, [2]]


def test_steps_say_how_a_tensor_lies() -> None:
    found = {row["code"]: row for row in cases.steps()}
    turned, copied = found["x.transpose(0, 1)"], found["x.transpose(0, 1).contiguous()"]
    assert (turned["stride"], turned["contiguous"], turned["shares"]) == ([1, 4], False, True)
    assert turned["places"] == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert (copied["stride"], copied["contiguous"], copied["shares"]) == ([3, 1], True, False)
    assert (found["x[1:]"]["offset"], found["x[:, ::2].view(6)"]["stride"]) == (4, [2])


def test_the_drawn_cube_has_corners_on_both_sides() -> None:
    cube = drawing.cube()
    assert len(cube["edges"]) == 12
    nan = [point == ["nan", "nan"] for point in cube["ours"]]
    assert nan == [depth <= 0 for depth in cube["depth"]]
    assert sum(nan) == 4
    assert all(
        ours == other for ours, other, hidden in zip(cube["ours"], cube["divided"], nan, strict=True) if not hidden
    )


def test_the_program_writes_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evidence, "SHORT", TINY)
    file = tmp_path / "tensor_mechanics.json"
    assert run.main(["--output", str(file)]) == 0
    assert "wrote " in capsys.readouterr().out
    value = results.read(file)
    assert value["command"].startswith("research.tensor_mechanics.run")
    found = value["counts"]["all"]
    assert found["cases"] == found["as_expected"] == len(CASES) == found["raise"] + found["silent"]
    views, stacks = value["evidence"]["views"], value["evidence"]["stacks"]
    assert views["agree"] == views["views"] > views["possible"] > views["possible_not_contiguous"] > 0
    assert stacks["same_layer"] == stacks["same_shapes"] == stacks["stacks"] == TINY.stacks > stacks["faulty"]
    written = report.write(tmp_path, tmp_path)
    page = written[0].read_text()
    assert all(f"| {case.name} |" in page for case in CASES)
    assert "to have 32 channels, but got 16 channels instead" in page
    assert written[1].read_bytes().startswith(b"\x89PNG")


def test_without_opencv_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "cv2", None)
    value = results.read(RESULTS / "tensor_mechanics.json")
    value["evidence"]["cameras"] = evidence.cameras(TINY, print)
    assert "was not compared with OpenCV: OpenCV (cv2) is not installed." in report.markdown(value)


def test_cameras_agree_with_opencv() -> None:
    if evidence.cv2 is None:
        pytest.skip("OpenCV is missing")
    found = evidence.cameras(TINY, lambda line: None)
    assert found["behind"] == found["behind_nan"] == found["behind_finite_in_opencv"] == 4
    assert found["difference_px"]["float64"] < 1e-8
    assert found["difference_px"]["float64"] < found["difference_px"]["float32"] < 0.5


def test_the_readme_has_the_figures_of_the_result() -> None:
    readme = Path(__file__).with_name("README.md").read_text()
    assert pages.with_figures(readme, report.figures(results.read(RESULTS / "tensor_mechanics.json"))) == readme


def test_one_case_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--case", "view after transpose"]) == 0
    shown = capsys.readouterr().out
    assert "  RuntimeError: view size is not compatible" in shown
    assert "  true  not shares_memory(right, x)" in shown
    assert run.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [case.name for case in CASES]


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--case", "nothing"]) == 1
    assert capsys.readouterr().err == "error: --case: expected a name that --list prints, got 'nothing'\n"


def test_an_output_that_cannot_be_written_is_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "measure", lambda _: pytest.fail("it began"))
    assert run.main(["--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
