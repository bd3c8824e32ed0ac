"""Runs the steps through Snakemake, which decides which ones have to run, and says in plain words what happened."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rrn_native
from rrn_native.cli.common import RUNTIME_ERROR, one_line, write_json
from rrn_native.files import remove_left_over

from rrn_ops.evaluation import files, options
from rrn_ops.evaluation.options import RESULTS, STEPS, Plan

_LOG = "snakemake.log"
_POLL_SECONDS = 0.05


class StepError(RuntimeError):
    """A step failed.

    Attributes:
        code: The exit code of ``rrn eval``.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a step.

    Attributes:
        step: Its name.
        ran: False where its result was there already.
        reason: Why it ran; empty where it did not.
        seconds: How long it took; 0 where it did not run.
        note: What the step says about itself.
    """

    step: str
    ran: bool
    reason: str
    seconds: float
    note: str

    def __str__(self) -> str:
        if not self.ran:
            return f"{self.step:<11} cached"
        note = f"; {self.note}" if self.note else ""
        return f"{self.step:<11} ran in {self.seconds:.1f} s ({self.reason}{note})"


def run(
    work: Path, plan: Plan, *, until: str = "report", force: str | None = None, say: Callable[[Done], None]
) -> list[Done]:
    """Brings the results up to date.

    Args:
        work: The folder of the run; made if it is not there.
        plan: What to do.
        until: The last step.
        force: A step that runs although nothing has changed, and with it what depends on it.
        say: Called for each step when it is done.

    Returns:
        All steps up to the last one.

    Raises:
        StepError: A step failed, or Snakemake did.
        ValueError: Another run is at work in the folder.
        ModuleNotFoundError: Snakemake is not installed.
    """
    import snakemake as _

    steps = STEPS[: STEPS.index(until) + 1]
    with locked(work) as lock:
        reasons = {step: _reason(work, step, plan) for step in steps}
        options.save(work, plan)
        remove_left_over(work)
        (work / "failure.json").unlink(missing_ok=True)
        told: set[str] = set()

        def tell(step: str, found: dict[str, Any]) -> None:
            if step not in told:
                told.add(step)
                say(_done(step, found, reasons, force))

        # Snakemake runs nothing else beside ingest, whose results are ancient to all others, and takes what it has no
        # notes about in .snakemake for good. A gate must not pass on results of another table, so the parts that each
        # step has recorded decide what is left: first ingest, and then all others.
        forced = [force] if force else []
        for _ in range(3):
            _snakemake(work, plan, until, forced, lock, say=tell)
            left = _left(work, steps, plan, force)
            if not left:
                break
            forced = left[:1] if left[0] == "ingest" else left
        else:
            raise StepError(f"Snakemake did not run {', '.join(left)} (see {work / _LOG})", RUNTIME_ERROR)
    states = {step: _state(work, step) for step in steps}
    done = [
        _done(step, found if found.get("run") == plan.run else None, reasons, force) for step, found in states.items()
    ]
    for each in done:
        if not each.ran:
            say(each)
    return done


@contextlib.contextmanager
def locked(work: Path) -> Iterator[int]:
    """Keeps other runs out of a folder until this one and the Snakemake that it started are at their end.

    The kernel drops the lock when they end, however they end, so nothing stale is left after a kill, as Snakemake's own
    lock would be.

    Raises:
        ValueError: Another run is at work.
    """
    work.mkdir(parents=True, exist_ok=True)
    lock = os.open(work / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{work}: another run is at work here") from error
        yield lock
    finally:
        os.close(lock)


def record(work: Path, step: str, plan: Plan, seconds: float, note: str) -> None:
    """Notes that a step has written its result.

    Args:
        work: The folder of the run.
        step: Its name.
        plan: Of the run.
        seconds: How long it took.
        note: What it says about itself.

    Raises:
        OSError: It cannot be written.
    """
    (work / "steps").mkdir(exist_ok=True)
    state = {"run": plan.run, "parts": plan.steps[step].parts, "seconds": seconds, "note": note}
    write_json(work / "steps" / f"{step}.json", state)


def record_failure(work: Path, plan: Plan, text: str, code: int) -> None:
    """Notes why a step failed, for the process that started Snakemake.

    Raises:
        OSError: It cannot be written.
    """
    write_json(work / "failure.json", {"run": plan.run, "text": text, "code": code})


def _snakemake(
    work: Path, plan: Plan, until: str, forced: list[str], lock: int, *, say: Callable[[str, dict[str, Any]], None]
) -> None:
    """Runs Snakemake up to a step.

    Raises:
        StepError: It, or a step, failed.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(Path(__file__).with_name("Snakefile"))]
    command += ["--directory", str(work), "--configfile", str(work / "config.json"), "--cores", "1", "--nolock"]
    # Incomplete: of a step that was killed. Greedy: the steps are a chain, so there is nothing to optimise.
    command += ["--rerun-incomplete", "--scheduler", "greedy", "--nocolor"]
    command += ["--forcerun", *forced] if forced else []
    command += ["--", RESULTS[until]]
    # The steps import the same rrn as this process.
    root = str(Path(rrn_native.__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    waiting = list(STEPS)
    with (work / _LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
        )
        try:
            with _termination_raises():
                while True:
                    code = process.poll()
                    for step in list(waiting):
                        found = _state(work, step)
                        if found.get("run") == plan.run:
                            waiting.remove(step)
                            say(step, found)
                    if code is not None:
                        break
                    time.sleep(_POLL_SECONDS)
        except BaseException:
            _end(process)
            raise
    if code != 0:
        raise _failure(work, plan, code)


@contextlib.contextmanager
def _termination_raises() -> Iterator[None]:
    """Lets SIGTERM, which would leave Snakemake at work, end the process as other exceptions do."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends Snakemake and the step that it runs, for which it would wait otherwise."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    # Snakemake first, so that it starts nothing more.
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    process.wait()


def _state(work: Path, step: str) -> dict[str, Any]:
    path = work / "steps" / f"{step}.json"
    return dict(files.read_json(path)) if path.is_file() else {}


def _changed(work: Path, step: str, plan: Plan) -> list[str]:
    """The parts of what a step depends on that are not as they were when it ran; empty where it has not run."""
    before = _state(work, step).get("parts")
    parts = plan.steps[step].parts
    return [name for name, digest in parts.items() if before is not None and before.get(name) != digest]


def _left(work: Path, steps: Sequence[str], plan: Plan, force: str | None) -> list[str]:
    """The steps whose result is not that of this plan, and the forced one while it has not run."""
    states = {step: _state(work, step) for step in steps}
    return [
        step
        for step, state in states.items()
        if state.get("parts") != plan.steps[step].parts or (step == force and state.get("run") != plan.run)
    ]


def _reason(work: Path, step: str, plan: Plan) -> str:
    """Why a step will run, should Snakemake run it; to be asked before."""
    if not (work / RESULTS[step]).is_file():
        return "its result is missing" if _state(work, step) else "no result yet"
    changed = _changed(work, step, plan)
    return f"{', '.join(changed)} changed" if changed else "the step before it ran again"


def _done(step: str, found: dict[str, Any] | None, reasons: dict[str, str], force: str | None) -> Done:
    if found is None:
        return Done(step, False, "", 0.0, "")
    reason = "--force" if step == force else reasons.get(step, "")
    return Done(step, True, reason, float(found["seconds"]), str(found["note"]))


def _failure(work: Path, plan: Plan, code: int) -> StepError:
    path = work / "failure.json"
    found = files.read_json(path) if path.is_file() else {}
    if found.get("run") == plan.run:
        return StepError(str(found["text"]), int(found["code"]))
    lines = (work / _LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((one_line(line) for line in reversed(lines) if "rror" in line), f"exit status {code}")
    return StepError(f"Snakemake failed: {last} (see {work / _LOG})", RUNTIME_ERROR)
