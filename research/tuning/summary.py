"""What the journals hold, as a result: curves of the best so far, comparisons at equal epochs, importance, failures."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from research.common import intervals
from research.tuning import differences, final, search, space
from research.tuning.plan import KINDS, SEARCHED, Json, Kind, Plan, Search, searches

Trials = dict[str, list[FrozenTrial]]

# Fewer complete trials say nothing about what matters.
_ENOUGH = 8
# The best share, whose parameters are compared with those of all.
_GOOD = 0.25
_DIGITS = 4


def read(plan: Plan) -> Trials:
    """Returns the trials of all searches, by name."""
    return {each.name: search.open_study(plan, each).get_trials() for each in searches(plan.settings)}


def curve(trials: Sequence[FrozenTrial]) -> tuple[list[int], list[float]]:
    """Returns the best score so far, each time when it rises.

    Args:
        trials: Of one search.

    Returns:
        Epochs used until then, in the order in which trials ended, and the score.
    """
    ended = sorted(search.finished(trials), key=lambda trial: (trial.datetime_complete, trial.number))
    used, best = 0, -1.0
    epochs, scores = [], []
    for trial in ended:
        used += search.epochs_of(trial)
        if trial.state == TrialState.COMPLETE and trial.value is not None and trial.value > best:
            best = trial.value
            epochs.append(used)
            scores.append(best)
    return epochs, scores


def one(each: Search, trials: Sequence[FrozenTrial]) -> Json:
    """Returns the record of a search."""
    ended = search.finished(trials)
    states = [trial.state for trial in ended]
    epochs, scores = curve(trials)
    complete = [trial.value for trial in ended if trial.state == TrialState.COMPLETE and trial.value is not None]
    return {
        "name": each.name,
        "kind": each.kind,
        "number": each.number,
        "base_seed": each.base,
        "epochs_used": sum(map(search.epochs_of, ended)),
        "seconds": round(sum(trial.duration.total_seconds() for trial in ended if trial.duration), 1),
        "complete": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "repeated_after_a_kill": len(search.lost(trials)),
        "best": scores[-1] if scores else None,
        "mean_of_complete": round(float(np.mean(complete)), _DIGITS) if complete else None,
        "curve": {"epochs": epochs, "best": scores},
    }


def failures(trials: Trials) -> list[Json]:
    """Returns the trials that ended with an error."""
    return [
        {"search": name, "trial": trial.number, "epochs": search.epochs_of(trial)}
        | {"error": trial.user_attrs.get(search.ERROR, "no reason recorded"), "configuration": trial.params}
        for name, several in trials.items()
        for trial in search.finished(several)
        if trial.state == TrialState.FAIL
    ]


def by_kind(rows: Sequence[Json]) -> list[Json]:
    """Returns the best score of each kind over its seeds: mean with interval, lowest and highest."""
    found = []
    for kind in KINDS:
        best = [row["best"] for row in rows if row["kind"] == kind and row["best"] is not None]
        if best:
            spread = {"mean": _mean(best), "lowest": min(best), "highest": max(best)}
            used = [row["epochs_used"] for row in rows if row["kind"] == kind]
            found.append({"kind": kind, "searches": len(best), "epochs_used": used, **spread})
    return found


def _mean(values: Sequence[float]) -> Json:
    """Returns mean and interval; of a single value there is no interval."""
    if len(values) > 1:
        return intervals.student(values).to_json(_DIGITS)
    return {"value": round(values[0], _DIGITS), "low": None, "high": None}


def comparisons(rows: Sequence[Json]) -> list[Json]:
    """Returns differences of the mean best scores of two kinds at equal budgets; no two searches share a seed.

    Returns:
        [{"first", "second", "difference", "p", "verdict"}] (`differences.independent`), without kinds that have fewer
        than two searches with a score.
    """
    best: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    for row in rows:
        if row["best"] is not None:
            best[row["kind"]].append(row["best"])
    return [
        {"first": first, "second": second, **differences.independent(best[first], best[second])}
        for first, second in itertools.combinations(reversed(KINDS), 2)
        if min(len(best[first]), len(best[second])) > 1
    ]


def importance(trials: Trials, settings_searches: int) -> Json:
    """Says how much each hyper-parameter matters (PED-ANOVA; Watanabe, Bansal and Hutter, 2023), and how sure that is.

    The complete trials of TPE and random search with the same seed number are taken together; pruned ones are left
    out, because their scores are of other epochs.

    Args:
        trials: Of all searches.
        settings_searches: How many seeds there are.

    Returns:
        {"trials": of each seed, "rows": [{"name", "mean", "lowest", "highest", "values"}], by descending mean}; no
        rows if a seed has fewer than 8 complete trials.
    """
    each: list[dict[str, float]] = []
    counts = []
    for number in range(settings_searches):
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [trial for kind in SEARCHED for trial in trials[_name(kind, number)] if trial.state == TrialState.COMPLETE]
        )
        counts.append(len(study.get_trials(deepcopy=False)))
        if counts[-1] >= _ENOUGH:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=_GOOD)
            with warnings.catch_warnings():
                # Equal scores have equal importances, which are in the result.
                warnings.simplefilter("ignore", UserWarning)
                each.append(optuna.importance.get_param_importances(study, evaluator=evaluator))
    rows = []
    for name in space.SPACE if len(each) == settings_searches else ():
        values = [round(found.get(name, 0.0), _DIGITS) for found in each]
        mean = round(float(np.mean(values)), _DIGITS)
        rows.append({"name": name, "mean": mean, "lowest": min(values), "highest": max(values), "values": values})
    return {"trials": counts, "rows": sorted(rows, key=lambda row: -float(row["mean"]))}


def _name(kind: Kind, number: int) -> str:
    return Search(kind, number, 0).name


def result(plan: Plan, frozen: Json, tested: Json, *, validation: int) -> Json:
    """Returns all that a run found.

    Args:
        plan: The run, complete.
        frozen: The choice (`final.freeze`).
        tested: What the test set said (`final.evaluate`).
        validation: How many validation pictures there are.
    """
    trials = read(plan)
    rows = [one(each, trials[each.name]) for each in searches(plan.settings)]
    accuracies: dict[str, list[float]] = tested["accuracies"]
    again = final.again(plan)
    chosen = space.Configuration(**frozen["configuration"])
    return {
        "space": space.to_json(),
        "searches": rows,
        "kinds": by_kind(rows),
        "comparisons": comparisons(rows),
        "failed": failures(trials),
        "winner": frozen,
        "edges": [edge.to_json() for edge in space.edges(chosen)],
        "importance": importance(trials, plan.settings.searches),
        "final": {
            **tested,
            **final.compared(**accuracies),
            # What the choice cost: all searches that it was made from.
            "search_epochs": sum(row["epochs_used"] for row in rows if row["kind"] in SEARCHED),
        },
        "optimism": {
            **final.optimism(frozen["validation"], validation, again, accuracies["winner"]),
            "again_each": again,
        },
    }
