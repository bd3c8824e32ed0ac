"""After the search: the choice is written down, trained again with other seeds, and only then the test set is opened.

`test_set` is the only function of the study that opens it, and `evaluate` the only one that calls it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import TrialState

from research.common import intervals, results
from research.common.image_sets import Split
from research.tuning import data, search, training, workers
from research.tuning.plan import REPEATED, SEARCHED, Json, Plan, now, searches
from research.tuning.space import DEFAULT, Configuration

RULE = (
    "the complete trial with the highest validation accuracy of all searches with TPE and at random; of equal ones the "
    "first by kind, sampler seed and trial number"
)
# What is trained at the end, by name: on training and validation pictures, or, to see what the choice was worth, once
# more on the training pictures alone.
FINALS = ("winner", "default")
AGAIN = "again"
_FROZEN = "frozen.json"


def test_set(source: data.Source) -> Split:
    """Opens the test set."""
    return source.read("test")


def freeze(plan: Plan) -> Json:
    """Writes the choice to disk, with the time, unless it is there; returns it.

    Returns:
        {"rule", "frozen", "search", "trial", "validation", "configuration"}.

    Raises:
        RuntimeError: No trial is complete.
    """
    path = plan.folder / _FROZEN
    if path.exists():
        return results.read(path)
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
    results.write(path, {"rule": RULE, "frozen": now(), **found})
    return results.read(path)


@dataclasses.dataclass(frozen=True)
class Task:
    """A training after the search.

    Attributes:
        name: One of `FINALS`, or `AGAIN`.
        number: Of the repeat; the same number means the same seed.
    """

    name: str
    number: int

    def path(self, plan: Plan) -> Path:
        """Returns the file of weights, or of the validation accuracy."""
        return plan.folder / f"{self.name}-{self.number}.{'json' if self.name == AGAIN else 'pt'}"


def tasks(plan: Plan) -> list[Task]:
    """Returns all trainings."""
    return [Task(name, number) for number in range(plan.settings.repeats) for name in (*FINALS, AGAIN)]


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
        configuration = DEFAULT if task.name == "default" else winner
        pictures = learning.train if task.name == AGAIN else learning.whole()
        with training.one_thread():
            run = training.Training(configuration, pictures, epochs=plan.settings.epochs, seed=REPEATED + task.number)
            for _ in range(plan.settings.epochs):
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
        {"opened", "pictures", "accuracies": {"winner": [...], "default": [...]}}; of an earlier call, if there was one.
        "opened" has the time of each opening: two, if a first one was interrupted before it gave an accuracy.
    """
    path = plan.folder / "final.json"
    if path.exists():
        return results.read(path)
    frozen = results.read(plan.folder / _FROZEN)
    configurations = {"winner": Configuration(**frozen["configuration"]), "default": DEFAULT}
    models = {
        name: [
            training.Model.load(Task(name, number).path(plan), configurations[name])
            for number in range(plan.settings.repeats)
        ]
        for name in FINALS
    }
    openings = plan.folder / "openings.json"
    times = [*(results.read(openings)["times"] if openings.exists() else ()), now()]
    results.write(openings, {"times": times})
    pictures = test_set(plan.source)
    with training.one_thread():
        accuracies = {name: [model.accuracy(pictures) for model in several] for name, several in models.items()}
    results.write(path, {"opened": times, "pictures": len(pictures), "accuracies": accuracies})
    return results.read(path)


def compared(winner: Sequence[float], default: Sequence[float]) -> Json:
    """Compares accuracies of the same seeds, in the same order: their means, and a paired t-test.

    Returns:
        {"winner", "default", "difference": interval each, "p": of no difference, null if all differences are equal,
        "verdict": "better", "worse" or "none": a difference whose interval holds 0 is called none}.
    """
    from scipy import stats

    differences = [one - two for one, two in zip(winner, default, strict=True)]
    p = float(stats.ttest_rel(winner, default).pvalue) if len(set(differences)) > 1 else None
    return {
        "winner": intervals.student(winner).to_json(),
        "default": intervals.student(default).to_json(),
        "difference": intervals.student(differences).to_json(),
        "p": p,
        "verdict": verdict(differences),
    }


def verdict(differences: Sequence[float]) -> str:
    """Returns "better" or "worse" if the interval of these differences does not hold 0, else "none".

    Equal differences have no spread, so that nothing is known of their interval: "none".

    Args:
        differences: Paired, of at least two seeds.
    """
    if len(set(differences)) == 1:
        return "none"
    found = intervals.student(differences)
    return "better" if found.low > 0 else "worse" if found.high < 0 else "none"


def optimism(validation: float, again: Sequence[float], test: Sequence[float]) -> Json:
    """Says how much of the best trial's score was luck.

    Args:
        validation: The score by which the winner was chosen.
        again: Scores of the same configuration on the same pictures, with other seeds.
        test: Test accuracies of the winner, trained on training and validation pictures.

    Returns:
        {"validation", "again", "test", "to_again": validation - again (the winner's curse), "to_test": validation -
        test}; intervals are those of the means over seeds.
    """
    return {
        "validation": validation,
        "again": intervals.student(again).to_json(),
        "test": intervals.student(test).to_json(),
        "to_again": intervals.student([validation - value for value in again]).to_json(),
        "to_test": intervals.student([validation - value for value in test]).to_json(),
    }


def again(plan: Plan) -> list[float]:
    """Returns the winner's validation accuracies with other seeds."""
    numbers = range(plan.settings.repeats)
    return [float(results.read(Task(AGAIN, number).path(plan))["accuracy"]) for number in numbers]
