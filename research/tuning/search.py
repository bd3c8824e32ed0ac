"""Trials: asked for, trained, told, and recovered when a process was killed. They see training and validation pictures.

Every search is an Optuna study in a journal file, and several processes work on one search at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from research.tuning import data, training, workers
from research.tuning.plan import SEARCHED, Json, Plan, Search, Settings, alone, searches
from research.tuning.space import DEFAULT, SPACE, Configuration

# Trials drawn at random before TPE models anything, and before the median of others stops one.
STARTUP, PRUNER_STARTUP = 6, 4
# A trial that fails at once costs as much as one epoch, so that a search of failing trials ends.
_LEAST = 1
_RETRY, _SEED, _SAMPLER, LOSSES, ERROR = "retry_of", "training_seed", "sampler_seed", "losses", "error"

optuna.logging.set_verbosity(optuna.logging.WARNING)


class StoppedError(Exception):
    """The process that started this one is gone."""


def storage(path: Path) -> JournalStorage:
    """Opens a journal; a missing one is made."""
    name = str(path.resolve())
    return JournalStorage(JournalFileBackend(name, lock_obj=JournalFileOpenLock(name)))


def repair(path: Path) -> bool:
    """Cuts off a last line that a killed process did not finish, which Optuna could not read past.

    Returns:
        Whether there was one.
    """
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return len(whole) < len(content)


def sampler(search: Search, seed: int) -> BaseSampler:
    """Returns what draws the next trial of a search.

    Several processes have a sampler each, and a restarted one begins its sequence again, so every trial gets a new one
    with a seed of its own.
    """
    if search.kind == "tpe":
        return TPESampler(multivariate=True, constant_liar=True, n_startup_trials=STARTUP, seed=seed)
    return RandomSampler(seed=seed)


def pruner(search: Search, settings: Settings) -> BasePruner:
    """Returns what stops trials; those without a search run to their end."""
    if settings.pruning and search.kind in SEARCHED:
        # In the first quarter the learning rate still rises, and a curve says little.
        return MedianPruner(n_startup_trials=PRUNER_STARTUP, n_warmup_steps=max(1, search.epochs // 4))
    return NopPruner()


def make(plan: Plan, origin: Json) -> None:
    """Makes the studies that are not there yet, each with its origin among its attributes."""
    for search in searches(plan.settings):
        path = plan.journal(search)
        repair(path)
        opened = storage(path)
        if not optuna.get_all_study_names(opened):
            study = optuna.create_study(storage=opened, study_name=search.name, direction="maximize")
            for name, value in {**origin, "epochs": search.epochs, "base_seed": search.base}.items():
                study.set_user_attr(name, value)


def open_study(plan: Plan, search: Search, seed: int | None = None) -> optuna.Study:
    """Returns the study of a search, with its pruner, and the sampler of this seed if there is one."""
    drawing = None if seed is None else sampler(search, seed)
    return optuna.load_study(
        study_name=search.name,
        storage=storage(plan.journal(search)),
        sampler=drawing,
        pruner=pruner(search, plan.settings),
    )


def lost(trials: Sequence[FrozenTrial]) -> set[int]:
    """Returns the numbers of trials whose process was killed and that another one repeats."""
    return {trial.user_attrs[_RETRY] for trial in trials if _RETRY in trial.user_attrs}


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials that ended by themselves: complete, pruned, or failed with an error."""
    gone = lost(trials)
    return [trial for trial in trials if trial.state.is_finished() and trial.number not in gone]


def epochs_of(trial: FrozenTrial) -> int:
    """Returns the epochs that a finished trial has used."""
    return max(_LEAST, len(trial.intermediate_values))


def room(trials: Sequence[FrozenTrial], epochs: int, budget: int) -> bool:
    """Returns whether one more trial can be completed within the budget, if all that are running are completed, too."""
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    return sum(map(epochs_of, finished(trials))) + (running + 1) * epochs <= budget


def recover(study: optuna.Study) -> int:
    """Ends trials that no process works on any more, and asks for each again, with its parameters and its seed.

    Only for a study that no process works on. A second call, after a first one that was interrupted, completes it.

    Returns:
        How many.
    """
    trials = study.get_trials()
    repeated = lost(trials)
    stale = [trial for trial in trials if trial.state == TrialState.RUNNING]
    for trial in stale:
        if trial.number not in repeated:
            kept = {name: trial.user_attrs[name] for name in (_SEED, _SAMPLER) if name in trial.user_attrs}
            study.enqueue_trial(trial.params, user_attrs={**kept, _RETRY: trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    return len(stale)


def ask(plan: Plan, search: Search) -> tuple[optuna.Study, optuna.Trial] | None:
    """Starts the next trial of a search, or returns None if its budget has no room for one."""
    # Without the lock two processes could take the same room, and draw from the same number of trials.
    with alone(plan.folder / "ask.lock", wait=True):
        trials = open_study(plan, search).get_trials()
        if not room(trials, search.epochs, plan.settings.budget):
            return None
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        number = min(waiting, default=len(trials))
        study = open_study(plan, search, search.base + number)
        if search.kind not in SEARCHED and not waiting:
            study.enqueue_trial(DEFAULT.to_json())
        trial = study.ask(dict(SPACE))
        if _SEED not in trial.user_attrs:
            trial.set_user_attr(_SEED, search.base + trial.number)
            trial.set_user_attr(_SAMPLER, search.base + number)
        return study, trial


def configuration(trial: optuna.Trial | FrozenTrial) -> Configuration:
    """Returns a trial's parameters."""
    return Configuration(**trial.params)


def attempt(
    study: optuna.Study, trial: optuna.Trial, learning: data.Learning, epochs: int, alive: Callable[[], bool]
) -> None:
    """Trains a trial and tells what came out; its score is the validation accuracy after the last epoch.

    An error of the training ends the trial as failed, with the reason.

    Raises:
        StoppedError: The process is no longer wanted; the trial stays as it is, to be recovered.
    """
    losses: list[float] = []
    try:
        run = training.Training(configuration(trial), learning.train, epochs=epochs, seed=int(trial.user_attrs[_SEED]))
        for epoch in range(1, epochs + 1):
            losses.append(run.epoch())
            accuracy = run.model.accuracy(learning.validation)
            if not alive():
                raise StoppedError
            trial.report(accuracy, epoch)
            if epoch < epochs and trial.should_prune():
                trial.set_user_attr(LOSSES, losses)
                study.tell(trial, state=TrialState.PRUNED)
                return
    except (ArithmeticError, RuntimeError, ValueError) as error:
        trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr(LOSSES, losses)
    study.tell(trial, accuracy)


def work(plan: Plan, number: int = 0, _processes: int = 1) -> None:
    """Does trials of all searches until no budget has room; what each process runs.

    Args:
        plan: The run.
        number: Of the process, for its lines of progress.
    """
    learning = data.learning(plan.source)
    with training.one_thread():
        for search in searches(plan.settings):
            while (asked := ask(plan, search)) is not None:
                study, trial = asked
                try:
                    attempt(study, trial, learning, search.epochs, workers.wanted)
                except StoppedError:
                    return
                _tell(plan, search, study.get_trials(), trial.number, number)


def _tell(plan: Plan, search: Search, trials: Sequence[FrozenTrial], number: int, process: int) -> None:
    (trial,) = (each for each in trials if each.number == number)
    last = trial.intermediate_values.get(len(trial.intermediate_values))
    score = "no score" if last is None else f"validation {last:.3f}"
    complete = [each.value for each in trials if each.state == TrialState.COMPLETE and each.value is not None]
    best = f", best {max(complete):.3f}" if complete else ""
    used = sum(map(epochs_of, finished(trials)))
    print(
        f"[{process}] {search.name} trial {number}: {trial.state.name.lower()} after {epochs_of(trial)} epochs, "
        f"{score}{best}; {used} of {plan.settings.budget} epochs",
        flush=True,
    )


def run(plan: Plan, processes: int) -> None:
    """Does all searches to the end of their budgets, and repeats trials whose process was killed.

    Raises:
        RuntimeError: Processes end without one finished trial.
    """
    before = -1
    while True:
        count, open_ = 0, False
        for search in searches(plan.settings):
            study = open_study(plan, search)
            if (repeated := recover(study)) > 0:
                print(f"{search.name}: {repeated} unfinished, asked for again", flush=True)
            trials = study.get_trials()
            count += len(finished(trials))
            open_ |= room(trials, search.epochs, plan.settings.budget)
        if not open_:
            return
        if count == before:
            raise RuntimeError("the processes ended without finishing a trial; their messages are above")
        before = count
        workers.run(work, plan, processes)


def reproduce(path: Path, number: int, source: data.Source) -> Json:
    """Trains one trial of a journal alone, and compares it with what is recorded.

    Args:
        path: The journal.
        number: The trial's.
        source: Where pictures come from.

    Returns:
        {"search", "trial", "recorded": {"losses", "accuracies"}, "again": the same, "identical"}.

    Raises:
        OSError: A file cannot be read.
        ValueError: There is no such journal, no such trial, or it has no curve; or the pictures are other ones.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is no journal; expected a file such as tpe-0.journal in the run's folder")
    try:
        study = optuna.load_study(study_name=None, storage=storage(path))
        trial = study.get_trials()[number]
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name} has no trial {number} ({error})") from error
    if LOSSES not in trial.user_attrs:
        raise ValueError(f"trial {number} of {path.name} is {trial.state.name.lower()} and has no curve to compare")
    origin = study.user_attrs
    given = data.learning(data.Source(source.kind, source.archive, origin["classes"], origin["per_class"]))
    if given.digest != origin["data_sha256"]:
        raise ValueError(
            f"{path.name} was made with {origin['data']} (SHA-256 {origin['data_sha256'][:12]}), got "
            f"{given.train.source} ({given.digest[:12]}); use the same --data or --download"
        )
    steps = sorted(trial.intermediate_values)
    recorded = {
        "losses": trial.user_attrs[LOSSES],
        "accuracies": [trial.intermediate_values[step] for step in steps],
    }
    again: dict[str, list[float]] = {"losses": [], "accuracies": []}
    with training.one_thread():
        run = training.Training(
            configuration(trial), given.train, epochs=int(origin["epochs"]), seed=int(trial.user_attrs[_SEED])
        )
        for _ in steps:
            again["losses"].append(run.epoch())
            again["accuracies"].append(run.model.accuracy(given.validation))
    return {
        "search": study.study_name,
        "trial": number,
        "recorded": recorded,
        "again": again,
        "identical": recorded == again,
        "made_with": {name: origin[name] for name in ("commit", "versions", "processor")},
    }
