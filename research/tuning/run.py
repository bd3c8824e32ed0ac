"""Searches hyper-parameters of a small network, and says what that was worth on a test set, opened once in a run.

TPE, random search and a first guess get the same number of training epochs. Without --data it runs on scikit-learn's
digits, which shows that everything works and says nothing about CIFAR-100. A run that was interrupted, or killed,
continues when the same command is given again; a finished one is moved into earlier/. --trial repeats one trial of a
journal alone and compares its curve.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from research.common import image_sets, machine, results, timing
from research.common.places import CACHE, RESULTS
from research.tuning import cifar_binary, data, final, plan, search, summary
from research.tuning.plan import FULL, SHORT, Json, Plan, Settings

STAND_IN = "stand-in data: scikit-learn's digits; give --data or --download for CIFAR-100"
_SHORT_CLASSES, _SHORT_PER_CLASS = 20, 100
_ALL_CLASSES = 100


def source(arguments: argparse.Namespace) -> data.Source:
    """Returns where pictures come from; fetches them if that is asked for.

    Raises:
        OSError: They cannot be fetched.
        ValueError: The archive is missing or another one.
    """
    classes = arguments.classes or (_ALL_CLASSES if arguments.full else _SHORT_CLASSES)
    per_class = arguments.per_class or (None if arguments.full else _SHORT_PER_CLASS)
    if arguments.download:
        return data.Source("binary", cifar_binary.fetch(CACHE), classes, per_class)
    if arguments.data is None:
        return data.Source("digits", None, classes, per_class)
    archive = arguments.data / image_sets.CIFAR
    if not archive.is_file():
        raise ValueError(f"--data {arguments.data.name}: expected {image_sets.CIFAR} in it, got none; see --help")
    return data.Source("subset", archive, classes, per_class)


def settings(arguments: argparse.Namespace) -> Settings:
    """Returns how much is done.

    Raises:
        ValueError: A number is too small, or a trial is longer than its search.
    """
    chosen = FULL if arguments.full else SHORT
    given = {name: getattr(arguments, name) for name in ("epochs", "budget", "searches", "repeats")}
    chosen = dataclasses.replace(chosen, **{name: value for name, value in given.items() if value is not None})
    for name, least in (("epochs", 1), ("searches", 1), ("repeats", 2)):
        if getattr(chosen, name) < least:
            raise ValueError(f"--{name}: expected at least {least}, got {getattr(chosen, name)}")
    if chosen.budget < chosen.epochs:
        raise ValueError(f"--budget: expected at least the epochs of a trial, {chosen.epochs}, got {chosen.budget}")
    return dataclasses.replace(chosen, pruning=not arguments.no_pruning)


def measure(chosen: Plan, processes: int, *, fresh: bool) -> Json:
    """Does a run, or what is left of it.

    Args:
        chosen: The run.
        processes: That train at the same time, with one thread each.
        fresh: Whether an unfinished run in the folder is set aside, as a finished one is.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The data are unusable, or the folder holds another run.
        RuntimeError: No trial can be finished.
    """
    learning = data.learning(chosen.source)
    origin = plan.origin(chosen, learning)
    with plan.alone(chosen.folder / "run.lock", wait=False):
        if fresh or plan.over(chosen.folder):
            plan.set_aside(chosen.folder)
        continued = (chosen.folder / "origin.json").exists()
        began = plan.begin(chosen, origin)
        if continued:
            print(f"continues the run in {chosen.folder.name}, begun {began['began']}", flush=True)
        search.make(chosen, origin)
        search.run(chosen, processes)
        frozen = final.freeze(chosen)
        final.train(chosen, processes)
        tested = final.evaluate(chosen)
        value = summary.result(chosen, frozen, tested, validation=len(learning.validation))
    counts = {"train": len(learning.train), "validation": len(learning.validation), "held_back": tested["pictures"]}
    described = {"source": learning.train.source, "sha256": learning.digest, "classes": len(learning.train.classes)}
    return {
        "data": {**described, "stand_in": chosen.source.kind == "digits", **counts},
        "settings": dataclasses.asdict(chosen.settings) | {"processes": processes},
        "continued": continued,
        **value,
    }


def reproduce(arguments: argparse.Namespace) -> int:
    """Repeats one trial, prints both curves, and returns 0 if they are equal to the last bit."""
    found = search.reproduce(arguments.study, arguments.trial, source(arguments))
    print(f"{found['search']} trial {found['trial']}: epoch, loss and validation accuracy as recorded, and again")
    for epoch, row in enumerate(zip(*found["recorded"].values(), *found["again"].values(), strict=True), start=1):
        print(f"{epoch}  {row[0]!r} {row[1]!r}  {row[2]!r} {row[3]!r}")
    if found["identical"]:
        print("identical to the last bit")
        return 0
    print(f"different; it was made with {found['made_with']}")
    return 1


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if found < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text}")
        return found

    return number


def parser() -> argparse.ArgumentParser:
    """Returns the command line's parser."""
    made = argparse.ArgumentParser(
        prog="research.tuning.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = made.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, metavar="DIR", help=f"folder with {image_sets.CIFAR}")
    size = f"{cifar_binary.SIZE / 1e6:.0f} MB"
    where.add_argument("--download", action="store_true", help=f"fetch all of CIFAR-100 into .cache/ ({size})")
    made.add_argument("--full", action="store_true", help="all classes, longer trials, more of them: hours")
    made.add_argument(
        "--epochs", type=int, metavar="N", help=f"of a trial (default {SHORT.epochs}, full {FULL.epochs})"
    )
    made.add_argument(
        "--budget", type=int, metavar="N", help=f"epochs of a search (default {SHORT.budget}, full {FULL.budget})"
    )
    made.add_argument(
        "--searches", type=int, metavar="N", help=f"sampler seeds of each kind (default {SHORT.searches})"
    )
    made.add_argument("--repeats", type=int, metavar="N", help=f"seeds at the end (default {SHORT.repeats})")
    classes, per_class = f"default {_SHORT_CLASSES}, full: all", f"default {_SHORT_PER_CLASS}, full: all"
    made.add_argument("--classes", type=_at_least(1), metavar="N", help=f"first classes ({classes})")
    made.add_argument("--per-class", type=_at_least(1), metavar="N", help=f"pictures of a class ({per_class})")
    made.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    made.add_argument(
        "--workers", type=int, default=min(2, machine.cores()), metavar="N", help="processes (default: 2)"
    )
    made.add_argument("--work", type=Path, metavar="DIR", help="folder of the run (default: .cache/tuning/...)")
    made.add_argument("--fresh", action="store_true", help="start again instead of continuing a run")
    made.add_argument("--output", type=Path, default=RESULTS / "tuning.json", metavar="FILE")
    alone = made.add_argument_group("one trial alone")
    alone.add_argument("--trial", type=_at_least(0), metavar="N", help="number of the trial to repeat")
    alone.add_argument("--study", type=Path, metavar="FILE", help="journal, such as .cache/tuning/.../tpe-0.journal")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    if arguments.data is None and not arguments.download:
        print(STAND_IN, flush=True)
    try:
        if (arguments.trial is None) != (arguments.study is None):
            raise ValueError("--trial and --study: expected both or neither, got one of them")
        if arguments.trial is not None:
            return reproduce(arguments)
        if arguments.workers < 1:
            raise ValueError(f"--workers: expected at least 1, got {arguments.workers}")
        results.check_writable(arguments.output)
        form = "full" if arguments.full else "short"
        chosen = source(arguments)
        folder = arguments.work or CACHE / "tuning" / f"{form}-{chosen.kind}"
        value = machine.head(machine.command_line("research.tuning.run", words))
        value["versions"] |= {name: importlib.metadata.version(name) for name in ("optuna", "scipy")}
        start = time.monotonic()
        value["form"] = form
        value |= measure(Plan(folder, settings(arguments), chosen), arguments.workers, fresh=arguments.fresh)
        # Of a run in parts nobody has measured the whole.
        value["seconds"] = None if value["continued"] else timing.significant(time.monotonic() - start)
        value["load_after"] = timing.significant(os.getloadavg()[0], 3)
        results.write(arguments.output, value)
        plan.finish(folder)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
