"""What a run does: its settings, its searches, and the folder in which it can be continued."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from research.common import machine, results
from research.tuning import data

Json = dict[str, Any]
Kind = Literal["tpe", "random", "default", "longer"]

# "longer" and "default" are what the same epochs give without a search: one long training, and restarts.
KINDS: tuple[Kind, ...] = ("longer", "default", "random", "tpe")
SEARCHED: tuple[Kind, ...] = ("random", "tpe")
# Seeds of one search are below the next one's; those of the last trainings are above all of them.
_SEEDS = 10_000
REPEATED = 1_000_000
_ORIGIN, _FINISHED = "origin.json", "finished.json"
_EARLIER, _MOVING = "earlier", "earlier.partial"
_PACKAGES = ("optuna", "torch", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is done.

    Attributes:
        epochs: Of a trial.
        budget: Epochs of a search, pruned and failed trials included.
        searches: Sampler seeds of each kind.
        repeats: Seeds of the trainings at the end: of the winner, of the default, and of the default for `budget`.
        pruning: Whether a trial whose validation accuracy is below the median of the others' is stopped.
    """

    epochs: int
    budget: int
    searches: int
    repeats: int = 5
    pruning: bool = True


SHORT = Settings(epochs=8, budget=80, searches=3)
FULL = Settings(epochs=20, budget=400, searches=3)


@dataclasses.dataclass(frozen=True)
class Search:
    """One search, with a journal of its own.

    Attributes:
        kind: What chooses the configurations.
        number: Which one of its kind.
        epochs: Of a trial.
    """

    kind: Kind
    number: int
    epochs: int

    @property
    def name(self) -> str:
        """Name of the journal, without the ending."""
        return f"{self.kind}-{self.number}"

    @property
    def base(self) -> int:
        """What a trial's number is added to, for the seeds of its sampler and of its training."""
        return _SEEDS * (1 + self.number * len(KINDS) + KINDS.index(self.kind))


def searches(settings: Settings) -> list[Search]:
    """Returns all searches, in the order in which they are done; those that one process does alone come first."""
    return [
        Search(kind, number, settings.budget if kind == "longer" else settings.epochs)
        for kind in KINDS
        for number in range(settings.searches)
    ]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        folder: Holds everything that it writes until its result.
        settings: How much is done.
        source: Where pictures come from.
    """

    folder: Path
    settings: Settings
    source: data.Source

    def journal(self, search: Search) -> Path:
        """Returns the file of a search."""
        return self.folder / f"{search.name}.journal"


def origin(plan: Plan, learning: data.Learning) -> Json:
    """Returns what a trial's numbers depend on: commit, data, versions, processor, settings."""
    return {
        "commit": machine.commit(),
        "data": learning.train.source,
        "data_sha256": learning.digest,
        "classes": len(learning.train.classes),
        "per_class": plan.source.per_class,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "processor": machine.machine()["processor"],
        "settings": dataclasses.asdict(plan.settings),
    }


def now() -> str:
    """Returns the time, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def begin(plan: Plan, given: Json) -> Json:
    """Starts or continues a run in its folder; returns what is recorded there: origin, and when it began.

    Args:
        plan: The run.
        given: `origin`.

    Raises:
        OSError: The folder cannot be written.
        ValueError: It holds a run of another origin, whose trials these must not be mixed with.
    """
    path = plan.folder / _ORIGIN
    if not path.exists():
        results.write(path, {"began": now(), "origin": given})
        return results.read(path)
    found = results.read(path)
    for name, value in given.items():
        if found["origin"].get(name) != value:
            raise ValueError(
                f"{plan.folder.name} holds a run with {name} {found['origin'].get(name)!r}, expected {value!r}; "
                "use --fresh to start again, or --work for another folder"
            )
    return found


def digest(plan: Plan) -> str:
    """Returns the SHA-256 of what `begin` recorded, in hexadecimal digits: no two runs have the same.

    Raises:
        OSError: The run has not begun.
    """
    return results.sha256(plan.folder / _ORIGIN)


def finish(folder: Path) -> None:
    """Notes that a run's result is written, so that the next one in its folder is a new one.

    Raises:
        OSError: The folder cannot be written.
    """
    results.write(folder / _FINISHED, {"finished": now()})


def over(folder: Path) -> bool:
    """Returns whether the run in this folder is to be set aside: its result is written, or a move was interrupted."""
    return (folder / _FINISHED).exists() or (folder / _MOVING).exists()


def set_aside(folder: Path) -> None:
    """Moves what a run wrote into `folder`/earlier, in the place of the run before it; the caller holds its lock.

    A second call, after a first one that was interrupted, completes it: until then there is a folder for what was
    moved, and the record of the run's origin stays where it is until all else is moved.

    Raises:
        OSError: A file cannot be moved.
    """
    moving, origin = folder / _MOVING, folder / _ORIGIN
    if origin.exists():
        moving.mkdir(exist_ok=True)
        for pattern in ("*.journal", "*.pt", "*.json"):
            for path in folder.glob(pattern):
                if path != origin:
                    path.rename(moving / path.name)
        origin.rename(moving / origin.name)
    if moving.exists():
        shutil.rmtree(folder / _EARLIER, ignore_errors=True)
        moving.rename(folder / _EARLIER)


@contextlib.contextmanager
def alone(path: Path, *, wait: bool) -> Iterator[None]:
    """Keeps other processes out of a block; the system frees the lock of a process that dies.

    Args:
        path: Of the lock; made if it is missing.
        wait: Whether to wait for another process.

    Raises:
        ValueError: Another process is inside, and this one was not to wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{path.parent.name} is in use by another run; wait for it, or use --work") from error
        yield
