"""Searches: equal budgets, killed processes, trials alone, and a test set that they cannot open."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is missing")
pytest.importorskip("sklearn", reason="scikit-learn is missing")
optuna = pytest.importorskip("optuna", reason="Optuna is missing")

from optuna.trial import TrialState, create_trial  # noqa: E402

from research.common import image_sets  # noqa: E402
from research.common.places import ROOT  # noqa: E402
from research.tuning import data, plan, run, search, training  # noqa: E402
from research.tuning.plan import Plan, Search, Settings  # noqa: E402
from research.tuning.space import DEFAULT, SPACE  # noqa: E402

FOLDER = Path(search.__file__).parent
SOURCE = data.Source("digits", None, 3, 10)
SMALL = Settings(epochs=2, budget=6, searches=1, repeats=2)


def make(folder: Path, settings: Settings = SMALL, source: data.Source = SOURCE) -> Plan:
    made = Plan(folder, settings, source)
    origin = plan.origin(made, data.learning(source))
    plan.begin(made, origin)
    search.make(made, origin)
    return made


def trials(made: Plan, name: str) -> list[optuna.trial.FrozenTrial]:
    (each,) = (each for each in plan.searches(made.settings) if each.name == name)
    return search.open_study(made, each).get_trials()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    made = make(tmp_path_factory.mktemp("searched"))
    search.run(made, 1)
    return made


# ---- Budgets -------------------------------------------------------------------------------------------------------


def test_every_search_uses_its_epochs_and_no_more(searched: Plan) -> None:
    for each in plan.searches(searched.settings):
        found = trials(searched, each.name)
        assert sum(map(search.epochs_of, found)) == 6, each.name
        assert len(found) == (1 if each.kind == "longer" else 3)


def test_a_search_is_not_done_twice(searched: Plan) -> None:
    before = searched.folder.joinpath("tpe-0.journal").read_bytes()
    search.run(searched, 1)
    assert searched.folder.joinpath("tpe-0.journal").read_bytes() == before


def test_trials_without_a_search_have_the_default(searched: Plan) -> None:
    for name in ("default-0", "longer-0"):
        assert all(search.configuration(trial) == DEFAULT for trial in trials(searched, name))
    drawn = [search.configuration(trial) for trial in trials(searched, "random-0")]
    assert len(set(drawn)) == 3


def test_every_trial_has_seeds_of_its_own(searched: Plan) -> None:
    seeds = [
        trial.user_attrs["training_seed"]
        for each in plan.searches(searched.settings)
        for trial in trials(searched, each.name)
    ]
    assert len(set(seeds)) == len(seeds)
    assert [trial.user_attrs["sampler_seed"] for trial in trials(searched, "tpe-0")] == [
        Search("tpe", 0, 2).base + number for number in range(3)
    ]


def test_studies_say_what_they_were_made_with(searched: Plan) -> None:
    attributes = search.open_study(searched, Search("tpe", 0, 2)).user_attrs
    assert attributes["data_sha256"] == data.learning(SOURCE).digest
    assert set(attributes["versions"]) == {"python", "optuna", "torch", "numpy", "scipy"}
    assert {"commit", "processor", "settings"} <= set(attributes)


def ended(state: TrialState, epochs: int) -> optuna.trial.FrozenTrial:
    value = 0.5 if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=dict.fromkeys(range(1, epochs + 1), 0.5))


def test_pruned_and_failed_trials_count_by_their_epochs() -> None:
    several = [ended(TrialState.COMPLETE, 8), ended(TrialState.PRUNED, 3), ended(TrialState.FAIL, 0)]
    for number, trial in enumerate(several):
        trial.number = number
    assert [search.epochs_of(trial) for trial in several] == [8, 3, 1]
    assert search.room(several, epochs=8, budget=20)
    assert not search.room(several, epochs=8, budget=19)


def test_running_trials_hold_room_and_repeated_ones_do_not() -> None:
    running, killed = ended(TrialState.RUNNING, 3), ended(TrialState.FAIL, 5)
    again = ended(TrialState.WAITING, 0)
    for number, trial in enumerate((running, killed, again)):
        trial.number = number
    again.set_user_attr("retry_of", killed.number)
    assert search.room([running, killed, again], epochs=8, budget=16)
    assert not search.room([running, killed, again], epochs=8, budget=15)


def test_two_processes_that_ask_at_the_same_time_draw_other_configurations(tmp_path: Path) -> None:
    made = make(tmp_path)
    asked = [search.ask(made, Search("random", 0, 2)) for _ in range(4)]
    params = [dict(each[1].params) for each in asked if each is not None]
    assert len(params) == 3, "the fourth has no room while three are running"
    assert params[0] != params[1]
    assert params[1] != params[2]


def test_a_bad_trial_is_pruned_and_leaves_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(epochs=8, budget=56, searches=1)
    made = make(tmp_path, settings)
    each = Search("random", 0, 8)

    class Trained:
        def __init__(self, *_: Any, seed: int, **__: Any) -> None:
            self.model = self
            self.score = 0.9 if seed - each.base < 4 else 0.1

        def epoch(self) -> float:
            return 1.0

        def accuracy(self, _: Any) -> float:
            return self.score

    monkeypatch.setattr(training, "Training", Trained)
    search.work(made)
    found = trials(made, "random-0")
    states = [trial.state for trial in found]
    assert states[:4] == [TrialState.COMPLETE] * 4
    assert set(states[4:]) == {TrialState.PRUNED}
    assert {search.epochs_of(trial) for trial in found[4:]} == {2}
    assert settings.budget - settings.epochs < sum(map(search.epochs_of, found)) <= settings.budget
    assert {trial.state for trial in trials(made, "default-0")} == {TrialState.COMPLETE}


def test_a_trial_that_fails_is_kept_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path)

    def broken(_: object) -> float:
        raise training.DivergedError("the loss of step 3 is nan")

    monkeypatch.setattr(training.Training, "epoch", broken)
    search.run(made, 1)
    found = trials(made, "tpe-0")
    assert {trial.state for trial in found} == {TrialState.FAIL}
    assert found[0].user_attrs["error"] == "DivergedError: the loss of step 3 is nan"
    assert len(found) == 5, "each counts as an epoch until there is no room for a trial"


# ---- Killed processes ----------------------------------------------------------------------------------------------

# The third search has ended one trial and an epoch of the next one when it stops.
KILLED = """
import sys
import time
from pathlib import Path
from research.tuning import data, search, workers
from research.tuning.plan import Plan, Settings

calls = 0

def wanted():
    global calls
    calls += 1
    if calls == 6 + 6 + 2 + 2:
        print("in the middle", flush=True)
        time.sleep(600)
    return True

workers.wanted = wanted
settings = Settings(epochs=2, budget=6, searches=1, repeats=2)
search.work(Plan(Path(sys.argv[1]), settings, data.Source("digits", None, 3, 10)))
"""


def test_killed_in_the_middle_of_a_trial_and_continued(tmp_path: Path, searched: Plan) -> None:
    made = make(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert any(line == b"in the middle\n" for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    (stale,) = (trial for trial in trials(made, "random-0") if trial.state == TrialState.RUNNING)
    assert (stale.number, len(stale.intermediate_values)) == (1, 1)

    search.run(made, 1)
    found = trials(made, "random-0")
    assert [trial.state for trial in search.finished(found)] == [TrialState.COMPLETE] * 3, "as many as asked for"
    assert sum(map(search.epochs_of, search.finished(found))) == SMALL.budget
    assert search.lost(found) == {stale.number}
    (again,) = (trial for trial in found if trial.user_attrs.get("retry_of") == stale.number)
    assert again.params == stale.params
    for name in ("training_seed", "sampler_seed"):
        assert again.user_attrs[name] == stale.user_attrs[name]
    assert again.intermediate_values[1] == stale.intermediate_values[1], "to the last bit"
    uninterrupted = trials(searched, "random-0")[1]
    assert again.user_attrs["losses"] == uninterrupted.user_attrs["losses"]
    for each in plan.searches(made.settings):
        assert len(search.finished(trials(made, each.name))) == (1 if each.kind == "longer" else 3)


def test_recovering_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path)
    each = Search("random", 0, 2)
    asked = search.ask(made, each)
    assert asked is not None
    study = search.open_study(made, each)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            search.recover(study)
    assert search.recover(search.open_study(made, each)) == 1
    assert search.recover(search.open_study(made, each)) == 0
    assert [trial.state for trial in trials(made, "random-0")] == [TrialState.FAIL, TrialState.WAITING]


def test_a_process_whose_starter_is_gone_leaves_its_trial(tmp_path: Path) -> None:
    made = make(tmp_path)
    asked = search.ask(made, Search("tpe", 0, 2))
    assert asked is not None
    with pytest.raises(search.StoppedError):
        search.attempt(*asked, data.learning(SOURCE), 2, lambda: False)
    assert [trial.state for trial in trials(made, "tpe-0")] == [TrialState.RUNNING]


def test_half_a_line_at_the_end_of_a_journal_is_cut_off(tmp_path: Path) -> None:
    made = make(tmp_path)
    path = tmp_path / "tpe-0.journal"
    before = path.read_bytes()
    assert not search.repair(path)
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert search.repair(path)
    assert path.read_bytes() == before
    assert trials(made, "tpe-0") == []


# ---- One trial alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tpe-0", "longer-0"])
def test_a_trial_alone_has_the_same_curve_to_the_last_bit(name: str, searched: Plan) -> None:
    found = search.reproduce(searched.folder / f"{name}.journal", 0, SOURCE)
    assert found["identical"]
    assert found["again"] == found["recorded"]
    assert len(found["again"]["losses"]) == (6 if name == "longer-0" else 2)


def test_the_command_for_a_trial_alone(searched: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    journal = str(searched.folder / "random-0.journal")
    assert run.main(["--trial", "1", "--study", journal]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "identical to the last bit"


def test_another_curve_is_noticed(
    searched: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = training.Training.epoch
    monkeypatch.setattr(training.Training, "epoch", lambda self: float(np.nextafter(honest(self), 9)))
    assert run.main(["--trial", "1", "--study", str(searched.folder / "random-0.journal")]) == 1
    assert "different; it was made with" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--trial", "99"], "has no trial 99"),
        (["--trial", "0", "--study", "missing.journal"], "missing.journal is no journal"),
        (["--trial", "0"], "expected both or neither"),
    ],
)
def test_a_trial_that_is_not_there(
    words: list[str], error: str, searched: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["--study", str(searched.folder / "tpe-0.journal")] if words[1] == "99" else []
    assert run.main([*words, *study]) == 1
    assert error in capsys.readouterr().err


def test_other_pictures_are_noticed(tmp_path: Path) -> None:
    made = make(tmp_path)
    study = search.open_study(made, Search("tpe", 0, 2))
    study.set_user_attr("data_sha256", "0" * 64)
    trial = study.ask(dict(SPACE))
    trial.set_user_attr("losses", [1.0])
    study.tell(trial, 0.5)
    with pytest.raises(ValueError, match="use the same --data or --download"):
        search.reproduce(tmp_path / "tpe-0.journal", 0, SOURCE)


# ---- The test set --------------------------------------------------------------------------------------------------


def opening(path: Path) -> list[str]:
    """Functions of a module that pass the name of the test set to anything, or that import the module that may."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            for each in ast.walk(node):
                words = [*each.args, *(word.value for word in each.keywords)] if isinstance(each, ast.Call) else []
                if any(isinstance(word, ast.Constant) and word.value == "test" for word in words):
                    found.append(node.name)
        if isinstance(node, ast.ImportFrom):
            found += [f"imports {alias.name}" for alias in node.names if alias.name == "final"]
    return found


def test_one_function_opens_the_test_set_and_the_search_does_not_know_it() -> None:
    modules = [path for path in FOLDER.glob("*.py") if not path.name.startswith("test_")]
    found = {path.name: names for path in modules if (names := opening(path))}
    assert found == {"final.py": ["test_set"], "run.py": ["imports final"], "summary.py": ["imports final"]}


def test_a_planted_opening_is_found(tmp_path: Path) -> None:
    code = 'from research.tuning import final\ndef score(source):\n    return source.read(split="test")\n'
    (tmp_path / "module.py").write_text(code)
    assert opening(tmp_path / "module.py") == ["imports final", "score"]


def test_a_search_cannot_open_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, opened = image_sets.digits, []

    def only_train(split: image_sets.SplitName) -> image_sets.Split:
        opened.append(split)
        if split == "test":
            raise AssertionError("the test set was opened")
        return honest(split)

    monkeypatch.setattr(image_sets, "digits", only_train)
    made = make(tmp_path)
    search.run(made, 1)
    assert set(opened) == {"train"}
    assert trials(made, "tpe-0")[0].state == TrialState.COMPLETE
    with pytest.raises(AssertionError, match="the test set was opened"):
        SOURCE.read("test")
