"""After the search: the choice is written down, trained again with other seeds, and only then the test set is opened.

`test_set` is the only function of the study that opens it, and `evaluate` the only one that calls it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import TrialState

from research.common import intervals, results
from research.common.image_sets import Split
from research.tuning import data, differences, search, training, workers
from research.tuning.plan import REPEATED, SEARCHED, Json, Plan, digest, now, searches
from research.tuning.space import DEFAULT, Configuration

RULE = (
    "the complete trial with the highest validation accuracy of all searches with TPE and at random; of equal ones the "
    "first by kind, sampler seed and trial number"
)
# What is trained at the end, by name: on training and validation pictures, or, to see what the choice was worth, once
# more on the training pictures alone. "longer" is the default with a whole search's epochs; it takes longest and comes
# first, so that no process begins one when the others are done.
FINALS = ("longer", "winner", "default")
AGAIN = "again"
_FROZEN, _FINAL, _OPENINGS = "frozen.json", "final.json", "openings.json"
_DIGITS = 4
# Of the run that a file belongs to.
_RUN = "run"


def test_set(source: data.Source) -> Split:
    """Opens the test set."""
    return source.read("test")


def freeze(plan: Plan) -> Json:
    """Writes the choice to disk, with the time, unless it is there; returns it.

    Returns:
        {"rule", "frozen", "search", "trial", "validation", "configuration"}.

    Raises:
        RuntimeError: No trial is complete.
        ValueError: The choice that is there is another run's.
    """
    if (kept := _kept(plan, _FROZEN)) is not None:
        return kept
    found: Json | None = None
    for each in searches(plan.settings):
        if each.kind not in SEARCHED:
            continue
        for trial in search.open_study(plan, each).get_trials(states=(TrialState.COMPLETE,)):
            if found is None or trial.value > found["validation"]:
                found = {
                    "search": each.name,
                    "trial": trial.number,
                    "validation": trial.value,
                    "configuration": search.configuration(trial).to_json(),
                }
    if found is None:
        raise RuntimeError("no trial is complete, so there is no winner; see the failed ones in the lines above")
    return _keep(plan, _FROZEN, {"rule": RULE, "frozen": now(), **found})


def _keep(plan: Plan, name: str, value: Json) -> Json:
    """Writes a file of this run; returns it as `_kept` reads it."""
    results.write(plan.folder / name, {_RUN: digest(plan), **value})
    kept = _kept(plan, name)
    assert kept is not None
    return kept


def _kept(plan: Plan, name: str) -> Json | None:
    """Returns what `_keep` wrote, without the run's digest; None if there is no such file.

    Raises:
        ValueError: It is another run's.
    """
    path = plan.folder / name
    if not path.exists():
        return None
    found = results.read(path)
    if found.pop(_RUN, None) != digest(plan):
        raise ValueError(
            f"{name} in {plan.folder.name} is of another run; use --fresh to start again, or --work for another folder"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Task:
    """A training after the search.

    Attributes:
        name: One of `FINALS`, or `AGAIN`.
        number: Of the repeat; the same number means the same seed.
    """

    name: str
    number: int

    def epochs(self, plan: Plan) -> int:
        """Returns how long it takes."""
        return plan.settings.budget if self.name == "longer" else plan.settings.epochs

    def path(self, plan: Plan) -> Path:
        """Returns the file of weights, or of the validation accuracy."""
        return plan.folder / f"{self.name}-{self.number}.{'json' if self.name == AGAIN else 'pt'}"


def tasks(plan: Plan) -> list[Task]:
    """Returns all trainings."""
    return [Task(name, number) for name in (*FINALS, AGAIN) for number in range(plan.settings.repeats)]


def work(plan: Plan, number: int, processes: int) -> None:
    """Does a process's share of the trainings that are not done. A finished one is a file.

    Args:
        plan: The run, its choice frozen.
        number: Of the process.
        processes: How many there are.
    """
    learning = data.learning(plan.source)
    winner = Configuration(**results.read(plan.folder / _FROZEN)["configuration"])
    for task in tasks(plan)[number::processes]:
        if task.path(plan).exists():
            continue
        configuration = winner if task.name in ("winner", AGAIN) else DEFAULT
        pictures = learning.train if task.name == AGAIN else learning.whole()
        with training.one_thread():
            epochs = task.epochs(plan)
            run = training.Training(configuration, pictures, epochs=epochs, seed=REPEATED + task.number)
            for _ in range(epochs):
                run.epoch()
                if not workers.wanted():
                    return
            if task.name == AGAIN:
                results.write(task.path(plan), {"accuracy": run.model.accuracy(learning.validation)})
            else:
                run.model.save(task.path(plan))
        print(f"[{number}] after the search: {task.name}, seed {task.number}", flush=True)


def train(plan: Plan, processes: int) -> None:
    """Does all trainings after the search; those of an earlier, interrupted run are kept.

    Raises:
        RuntimeError: Processes end without one finished training.
    """
    before = -1
    while (missing := sum(not task.path(plan).exists() for task in tasks(plan))) > 0:
        if missing == before:
            raise RuntimeError("the processes ended without finishing a training; their messages are above")
        before = missing
        workers.run(work, plan, processes)


def evaluate(plan: Plan) -> Json:
    """Opens the test set, once for a run, and measures the networks that were trained after the choice was frozen.

    Returns:
        {"opened", "pictures", "accuracies": {"longer": [...], "winner": [...], "default": [...]}}; of an earlier call,
        if there was one. "opened" has the time of each opening: two, if a first one was interrupted before it gave an
        accuracy.

    Raises:
        ValueError: What is in the folder is of another run.
    """
    if (kept := _kept(plan, _FINAL)) is not None:
        return kept
    winner = Configuration(**freeze(plan)["configuration"])
    models = {
        name: [
            training.Model.load(Task(name, number).path(plan), winner if name == "winner" else DEFAULT)
            for number in range(plan.settings.repeats)
        ]
        for name in FINALS
    }
    times = [*(_kept(plan, _OPENINGS) or {"times": ()})["times"], now()]
    _keep(plan, _OPENINGS, {"times": times})
    pictures = test_set(plan.source)
    with training.one_thread():
        accuracies = {name: [model.accuracy(pictures) for model in several] for name, several in models.items()}
    return _keep(plan, _FINAL, {"opened": times, "pictures": len(pictures), "accuracies": accuracies})


def compared(winner: Sequence[float], default: Sequence[float], longer: Sequence[float]) -> Json:
    """Compares accuracies of the same seeds, in the same order.

    Args:
        winner: Of the chosen configuration.
        default: Of the default, trained for as many epochs.
        longer: Of the default, trained for as many epochs as a whole search has.

    Returns:
        {"winner", "default", "longer": interval of the mean each, "difference": interval of winner - default, "p",
        "verdict" (`differences.paired`), "longer_difference": interval of winner - longer with its "p" and "verdict"}.
    """
    to_longer = differences.paired(winner, longer)
    means = {"winner": winner, "default": default, "longer": longer}
    return {
        **{name: intervals.student(values).to_json() for name, values in means.items()},
        **differences.paired(winner, default),
        "longer_difference": to_longer.pop("difference") | to_longer,
    }


def optimism(validation: float, pictures: int, again: Sequence[float], test: Sequence[float]) -> Json:
    """Says how much of the best trial's score was luck.

    Args:
        validation: The score by which the winner was chosen, a share of the validation pictures.
        pictures: How many these are.
        again: Scores of the same configuration on the same pictures, with other seeds.
        test: Test accuracies of the winner, trained on training and validation pictures.

    Returns:
        {"validation", "validation_se", "again", "test", "to_again": validation - again (the winner's curse), "to_test":
        validation - test}; intervals are those of the means over seeds. They take the validation score as it is;
        "validation_se" is its standard error as a share of pictures drawn at random.
    """
    return {
        "validation": validation,
        "validation_se": round(math.sqrt(validation * (1 - validation) / pictures), _DIGITS),
        "again": intervals.student(again).to_json(),
        "test": intervals.student(test).to_json(),
        "to_again": intervals.student([validation - value for value in again]).to_json(),
        "to_test": intervals.student([validation - value for value in test]).to_json(),
    }


def again(plan: Plan) -> list[float]:
    """Returns the winner's validation accuracies with other seeds."""
    numbers = range(plan.settings.repeats)
    return [float(results.read(Task(AGAIN, number).path(plan))["accuracy"]) for number in numbers]
