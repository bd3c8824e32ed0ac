"""The whole study on digits: choice, last trainings, one look at the test set, result and page."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is missing")
pytest.importorskip("sklearn", reason="scikit-learn is missing")
pytest.importorskip("matplotlib", reason="Matplotlib is missing")
optuna = pytest.importorskip("optuna", reason="Optuna is missing")

from optuna.trial import TrialState, create_trial  # noqa: E402

from research.common import image_sets, pages, results  # noqa: E402
from research.tuning import data, final, plan, report, run, search, summary, training, workers  # noqa: E402
from research.tuning.plan import Plan, Search, Settings  # noqa: E402
from research.tuning.space import DEFAULT, SPACE  # noqa: E402

DIGITS = data.Source("digits", None, 3, 10)
TINY = [
    "--epochs",
    "1",
    "--budget",
    "5",
    "--searches",
    "2",
    "--repeats",
    "2",
    "--classes",
    "3",
    "--per-class",
    "10",
    "--workers",
    "1",
]


class Opened:
    """Counts who reads what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.honest = image_sets.digits
        self.splits: list[str] = []
        self.there: list[bool] = []

    def __call__(self, split: image_sets.SplitName) -> image_sets.Split:
        self.splits.append(split)
        if split == "test":
            self.there.append((self.folder / "frozen.json").exists())
        return self.honest(split)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Opened]:
    folder = tmp_path_factory.mktemp("study")
    opened = Opened(folder / "work")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(image_sets, "digits", opened)
        # As if it was killed just before its result was written.
        patched.setattr(plan, "finish", lambda _: None)
        words = [*TINY, "--work", str(folder / "work"), "--output", str(folder / "tuning.json")]
        assert run.main(words) == 0
        # A second time there is nothing left to do, and nothing to open.
        assert run.main([*words[:-1], str(folder / "second.json")]) == 0
    return folder, opened


@pytest.fixture
def value(done: tuple[Path, Opened]) -> dict[str, Any]:
    return results.read(done[0] / "tuning.json")


# ---- The test set --------------------------------------------------------------------------------------------------


def test_the_test_set_is_opened_once_after_the_choice_is_on_disk(done: tuple[Path, Opened]) -> None:
    assert done[1].splits.count("test") == 1
    assert done[1].there == [True]
    assert "train" in done[1].splits


def test_a_second_look_is_on_record(done: tuple[Path, Opened], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for path in (done[0] / "work").iterdir():
        if path.name != "final.json":
            (work / path.name).write_bytes(path.read_bytes())
    origin = results.read(work / "origin.json")["origin"]
    again = Plan(work, Settings(**origin["settings"]), data.Source("digits", None, 3, 10))
    tested = final.evaluate(again)
    assert len(tested["opened"]) == 2
    assert tested["accuracies"] == results.read(done[0] / "work" / "final.json")["accuracies"]


def test_the_choice_stays_as_it_was_written(done: tuple[Path, Opened]) -> None:
    first, second = (results.read(done[0] / name) for name in ("tuning.json", "second.json"))
    assert second["winner"] == first["winner"]
    assert second["final"] == first["final"]
    assert (first["continued"], second["continued"], second["seconds"]) == (False, True, None)


def test_the_winner_is_the_best_trial_of_the_searches(value: dict[str, Any]) -> None:
    rows = [row for row in value["searches"] if row["kind"] in ("tpe", "random")]
    assert value["winner"]["validation"] == max(row["best"] for row in rows)
    (row,) = (row for row in rows if row["name"] == value["winner"]["search"])
    assert row["best"] == value["winner"]["validation"]


def test_last_trainings_have_equal_seeds_and_the_validation_pictures_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Plan(tmp_path, Settings(epochs=2, budget=6, searches=1, repeats=2), data.Source("digits", None, 3, 10))
    winner = DEFAULT.to_json() | {"width": 8}
    results.write(tmp_path / "frozen.json", {"configuration": winner})
    seen = []

    class Trained:
        def __init__(self, configuration: Any, pictures: Any, *, epochs: int, seed: int) -> None:
            seen.append((configuration.width, len(pictures), epochs, seed - plan.REPEATED))
            self.model = self

        def epoch(self) -> None: ...

        def accuracy(self, pictures: Any) -> float:
            return float(len(pictures))

        def save(self, path: Path) -> None:
            path.touch()

    monkeypatch.setattr(training, "Training", Trained)
    final.train(made, 1)
    arms = [(16, 30, 6), (8, 30, 2), (16, 30, 2), (8, 24, 2)]
    assert seen == [(*arm, number) for arm in arms for number in range(2)]
    assert final.again(made) == [6.0, 6.0], "measured on the validation pictures"
    final.train(made, 1)
    assert len(seen) == 8, "nothing is trained twice"


def test_processes_share_the_long_trainings(tmp_path: Path) -> None:
    made = Plan(tmp_path, plan.SHORT, data.Source("digits", None, 3, 10))
    shares = [[task.epochs(made) for task in final.tasks(made)[number::2]] for number in range(2)]
    assert sorted(share.count(plan.SHORT.budget) for share in shares) == [2, 3]
    assert [sorted(share, reverse=True) for share in shares] == shares, "the long ones come first"


# ---- Statistics ----------------------------------------------------------------------------------------------------


def complete(value: float, epochs: int, rate: float = 0.01) -> optuna.trial.FrozenTrial:
    params = DEFAULT.to_json() | {"learning_rate": rate}
    steps = dict.fromkeys(range(1, epochs + 1), value)
    return create_trial(value=value, params=params, distributions=dict(SPACE), intermediate_values=steps)


def test_the_curve_rises_and_counts_pruned_epochs() -> None:
    trials = [complete(0.2, 4), create_trial(state=TrialState.PRUNED, value=0.9, intermediate_values={1: 0.9})]
    trials += [complete(0.1, 4), complete(0.3, 4)]
    for number, trial in enumerate(trials):
        trial.number = number
    assert summary.curve(trials) == ([4, 13], [0.2, 0.3])


def test_what_decides_the_score_is_important() -> None:
    random = np.random.default_rng(0)
    trials = {}
    for kind in ("tpe", "random"):
        for number in range(2):
            rates = 10 ** random.uniform(-3, -0.6, 12)
            trials[f"{kind}-{number}"] = [complete(float(rate), 1, float(rate)) for rate in rates]
    found = summary.importance(trials, 2)
    assert found["trials"] == [24, 24]
    assert found["rows"][0]["name"] == "learning_rate"
    assert found["rows"][0]["lowest"] > 0.5
    assert max(row["highest"] for row in found["rows"][1:]) < 0.2
    few = {name: several[:3] for name, several in trials.items()}
    assert summary.importance(few, 2) == {"trials": [6, 6], "rows": []}


# ---- Continued and refused runs ------------------------------------------------------------------------------------


def test_a_folder_of_another_run_is_refused(done: tuple[Path, Opened], capsys: pytest.CaptureFixture[str]) -> None:
    before = (done[0] / "work" / "tpe-0.journal").read_bytes()
    words = [*TINY, "--work", str(done[0] / "work"), "--output", str(done[0] / "third.json")]
    assert run.main([*words, "--per-class", "9"]) == 1
    error = capsys.readouterr().err
    assert "work holds a run with data_sha256" in error
    assert "use --fresh to start again" in error
    assert (done[0] / "work" / "tpe-0.journal").read_bytes() == before


def test_a_finished_run_is_set_aside_and_an_unfinished_one_when_that_is_asked_for(tmp_path: Path) -> None:
    # Of an option that is given twice, the last one counts.
    few = [*TINY, "--budget", "1", "--searches", "1"]
    words = [*few, "--work", str(tmp_path / "work"), "--output", str(tmp_path / "out.json")]
    chosen = tmp_path / "work" / "frozen.json"

    def done(*more: str) -> bytes:
        assert run.main([*words, *more]) == 0
        assert not results.read(tmp_path / "out.json")["continued"]
        return chosen.read_bytes()

    first = done()
    second = done()
    assert (tmp_path / "work" / "earlier" / chosen.name).read_bytes() == first
    (tmp_path / "work" / "finished.json").unlink()
    done("--fresh")
    assert (tmp_path / "work" / "earlier" / chosen.name).read_bytes() == second


FILES = ("origin.json", "finished.json", "frozen.json", "final.json", "tpe-0.journal", "winner-0.pt")


@pytest.mark.parametrize("moves", range(len(FILES) + 1))
def test_an_interrupted_move_is_completed(moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        (tmp_path / name).write_text(name)
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "winner-1.pt").write_text("of the run before")
    honest, left = Path.rename, iter(range(moves))

    def rename(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return honest(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            plan.set_aside(tmp_path)
    assert plan.over(tmp_path), "the next run sees it"
    assert (tmp_path / "origin.json").exists() == (moves < len(FILES))
    plan.set_aside(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"earlier"}
    assert {path.name: path.read_text() for path in (tmp_path / "earlier").iterdir()} == {name: name for name in FILES}
    assert not plan.over(tmp_path)


@pytest.mark.parametrize("name", ["frozen.json", "final.json", "openings.json"])
def test_files_of_another_run_are_refused(name: str, done: tuple[Path, Opened], tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(done[0] / "work", work)
    origin = results.read(work / "origin.json")
    if name == "openings.json":
        (work / "final.json").unlink()
    old = results.read(work / name)
    results.write(work / "origin.json", {**origin, "began": "another time"})
    for each in {"frozen.json", "final.json", "openings.json"} - {name}:
        if (work / each).exists():
            results.write(
                work / each, {**results.read(work / each), "run": plan.digest(Plan(work, plan.SHORT, DIGITS))}
            )
    made = Plan(work, Settings(**origin["origin"]["settings"]), DIGITS)
    with pytest.raises(ValueError, match=rf"^{name} in work is of another run; use --fresh"):
        (final.freeze if name == "frozen.json" else final.evaluate)(made)
    assert results.read(work / name) == old


def test_a_choice_of_another_run_is_one_line(
    done: tuple[Path, Opened], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    shutil.copytree(done[0] / "work", work)
    results.write(work / "frozen.json", {**results.read(work / "frozen.json"), "run": "0"})
    assert run.main([*TINY, "--work", str(work), "--output", str(tmp_path / "out.json")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: frozen.json in work is of another run; use --fresh to start again, or --work for another folder"
    ]


def test_only_a_run_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    plan.set_aside(tmp_path)
    assert (tmp_path / "mine.json").exists(), "no run is here"
    for name in ("origin.json", "tpe-0.journal", "winner-0.pt", "notes.txt"):
        (tmp_path / name).write_text("{}")
    plan.set_aside(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "earlier"}


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        plan.alone(tmp_path / "run.lock", wait=False),
        pytest.raises(ValueError, match="in use by another run"),
        plan.alone(tmp_path / "run.lock", wait=False),
    ):
        pytest.fail("both are inside")


def killed_once(made: Plan, number: int, _: int) -> None:
    """Ends the first time as if it was killed in the middle of a trial."""
    asked = search.ask(made, Search("tpe", 0, 1))
    if asked is not None and not (made.folder / "killed").exists():
        (made.folder / "killed").write_text(str(number))
        os.kill(os.getpid(), signal.SIGKILL)
    if asked is not None:
        asked[0].tell(asked[1], 0.5)


def test_processes_that_are_killed_are_told_apart(tmp_path: Path) -> None:
    made = Plan(tmp_path, Settings(epochs=1, budget=2, searches=1), data.Source("digits", None, 3, 10))
    search.make(made, plan.origin(made, data.learning(made.source)))
    assert -signal.SIGKILL in workers.run(killed_once, made, 2)
    study = search.open_study(made, Search("tpe", 0, 1))
    assert search.recover(study) == 1


def test_processes_that_do_nothing_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Plan(tmp_path, Settings(epochs=1, budget=2, searches=1), data.Source("digits", None, 3, 10))
    search.make(made, plan.origin(made, data.learning(made.source)))
    monkeypatch.setattr(workers, "run", lambda *_: [1, 1])
    with pytest.raises(RuntimeError, match="without finishing a trial"):
        search.run(made, 2)
    results.write(tmp_path / "frozen.json", {"configuration": DEFAULT.to_json()})
    with pytest.raises(RuntimeError, match="without finishing a training"):
        final.train(made, 2)
    with pytest.raises(RuntimeError, match="no trial is complete"):
        (tmp_path / "frozen.json").unlink()
        final.freeze(made)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--budget", "3"], "--budget: expected at least the epochs of a trial, 8, got 3"),
        (["--repeats", "1"], "--repeats: expected at least 2, got 1"),
        (["--workers", "0"], "--workers: expected at least 1, got 0"),
        (["--data", "nowhere"], "--data nowhere: expected cifar100_subset.zip in it"),
    ],
)
def test_errors_are_one_line(words: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([*words, "--work", str(tmp_path / "work"), "--output", str(tmp_path / "out.json")]) == 1
    found = capsys.readouterr().err.splitlines()
    assert len(found) == 1
    assert found[0].startswith(f"error: {error}")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--trial", "-1"], "argument --trial: expected a whole number of at least 0, got -1"),
        (["--per-class", "-1"], "argument --per-class: expected a whole number of at least 1, got -1"),
        (["--classes", "0"], "argument --classes: expected a whole number of at least 1, got 0"),
        (["--classes", "few"], "argument --classes: expected a whole number of at least 1, got few"),
    ],
)
def test_numbers_below_the_least_are_refused(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(words)
    assert capsys.readouterr().err.splitlines()[-1].endswith(error)


def test_the_least_numbers_are_taken() -> None:
    found = run.parser().parse_args(["--trial", "0", "--per-class", "1", "--classes", "1"])
    assert (found.trial, found.per_class, found.classes) == (0, 1, 1)


def test_an_unwritable_output_is_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "measure", lambda *_, **__: pytest.fail("it works"))
    (tmp_path / "file").touch()
    assert run.main(["--work", str(tmp_path / "work"), "--output", str(tmp_path / "file" / "out.json")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / image_sets.CIFAR).touch()
    found = run.source(run.parser().parse_args(["--data", str(tmp_path)]))
    assert (found.kind, found.classes, found.per_class) == ("subset", 20, 100)


# ---- The page ------------------------------------------------------------------------------------------------------


def test_page_and_charts_are_made_of_the_result(done: tuple[Path, Opened], tmp_path: Path) -> None:
    written = report.write(done[0], tmp_path)
    assert [path.name for path in written] == ["tuning.md", "tuning.png", "tuning_importance.png", "tuning_final.png"]
    assert all(path.stat().st_size > 500 for path in written)
    page = written[0].read_text()
    assert "**Stand-in data: scikit-learn's digits." in page.split("\n\n")[1]
    assert {f"]({path.name})" in page for path in written[1:2] + written[3:]} == {True}


def test_the_first_line_says_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "measure", lambda *_, **__: {"continued": True})
    assert run.main(["--work", str(tmp_path / "work"), "--output", str(tmp_path / "out.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == run.STAND_IN


def test_sentences_follow_the_intervals(value: dict[str, Any]) -> None:
    changed = copy.deepcopy(value)
    changed["final"] |= final.compared([0.80, 0.81, 0.82], [0.5, 0.51, 0.53], [0.9, 0.92, 0.92])
    words = report.conclusion(changed)
    assert "is better than the default trained for 1 epochs: 81.0 % (78.5 to 83.5) against" in words
    assert "It is worse than the default trained for 5 epochs, the budget of one search: 91.3 %" in words
    changed["final"] |= final.compared([0.5, 0.6, 0.4], [0.5, 0.5, 0.5], [0.2, 0.3, 0.1])
    words = report.conclusion(changed)
    assert "shows no difference to the default trained for 1 epochs" in words
    changed["comparisons"] = []
    assert report.searches_sentence(changed) == "With one seed of each kind the searches cannot be compared."


def test_all_epochs_behind_the_winner_are_told(value: dict[str, Any]) -> None:
    used = [row["epochs_used"] for row in value["searches"] if row["kind"] in ("tpe", "random")]
    assert len(used) == 4
    assert f"used {sum(used)} epochs in total." in report.conclusion(value)


def test_openings_are_those_of_this_run(value: dict[str, Any]) -> None:
    assert "was opened once in this run, at " in report.markdown(value)
    changed = copy.deepcopy(value)
    changed["final"]["opened"] = ["one", "two"]
    assert "was opened 2 times in this run, at one and two." in report.markdown(changed)


def test_the_validation_scores_own_error_is_told(value: dict[str, Any]) -> None:
    score, pictures = value["winner"]["validation"], value["data"]["validation"]
    error = math.sqrt(score * (1 - score) / pictures)
    assert f"a standard error of {100 * error:.1f} points" in report.optimism_sentence(value)


def test_failed_trials_and_edges_are_on_the_page(value: dict[str, Any]) -> None:
    changed = copy.deepcopy(value)
    changed["failed"] = [{"search": "tpe-1", "trial": 3, "epochs": 2, "error": "DivergedError: planted"}]
    changed["edges"] = [{"name": "width", "value": 24, "bound": "high", "at": 24, "natural": False}]
    page = report.markdown(changed)
    assert "| tpe-1 | 3 | 2 | DivergedError: planted |" in page
    assert "`width` 24 is within 5 % of the high bound 24, so the best value may be outside of the range" in page
    changed["failed"], changed["edges"] = [], []
    assert "No trial failed." in report.markdown(changed)


def test_the_readme_has_room_for_the_figures(value: dict[str, Any]) -> None:
    readme = (Path(report.__file__).parent / "README.md").read_text(encoding="utf-8")
    made = pages.with_figures(readme, report.figures(value))
    assert report.conclusion(value) in made
    assert len(made.splitlines()) <= 80


def test_curves_of_a_chart_hold_the_last_score(value: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(value))
    changed["searches"][0] |= {"kind": "tpe", "curve": {"epochs": [2, 4], "best": [0.1, 0.3]}}
    changed["searches"] = changed["searches"][:1]
    (line,) = report.best_so_far(changed, "tpe")
    assert np.isnan(line[:2]).all()
    assert line[2:].tolist() == [0.1, 0.1, 0.3, 0.3]


def test_one_thread_is_what_the_results_were_computed_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    seen = set()
    honest = training.Training.epoch
    monkeypatch.setattr(training.Training, "epoch", lambda self: (seen.add(torch.get_num_threads()), honest(self))[1])
    made = Plan(tmp_path, Settings(epochs=1, budget=1, searches=1), data.Source("digits", None, 3, 10))
    search.make(made, plan.origin(made, data.learning(made.source)))
    search.run(made, 1)
    assert seen == {1}
