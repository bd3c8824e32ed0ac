"""``rrn eval``: a model measured on labelled pictures, with a report and a gate against regressions."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrn_native import RrnError
from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, USAGE, check_output, fail, write_json
from rrn_native.cli.parser import Parser

from rrn_ops.evaluation.options import STEPS

if TYPE_CHECKING:
    from rrn_ops.evaluation.options import Options

# The code of "nothing readable" elsewhere; here the pictures were checked before.
REGRESSION = NOTHING_READABLE
_PROBLEMS_SHOWN = 50

_EPILOG = """examples:
  rrn eval example faces                              makes data, a model and a metric to try this with
  rrn eval check --inputs inputs.csv --outputs outputs.csv
  rrn eval run --inputs inputs.csv --outputs outputs.csv --model model.onnx
  rrn eval run ... --metric my_metrics.py:polarity --baseline baseline.json
  rrn eval baseline --work evaluation --output baseline.json --tolerance 0.01
  rrn eval step measure --work evaluation             one step alone

inputs.csv has the column image, a path that starts at the file's folder; each further column makes slices. outputs.csv
has the columns image and label (the expected class or group), and perhaps output (a JSON list: the expected numbers).

--model is a file (.onnx for ONNX Runtime, .pt for TorchScript), onnx:FILE, torch:FILE, engine:FILE (engine alone: rrn's
own model), triton:http://HOST:PORT/MODEL, triton:grpc://HOST:PORT/MODEL, or package.module:function, which returns a
predictor.

The steps ingest, preprocess, predict, measure, gate and report run when the content of what they depend on has changed,
or their code. A run that was killed continues where it was.

Exit codes: 0 done, 2 wrong usage or problems in the tables (all are listed with file and line), 3 a metric is below the
baseline by more than its tolerance, 4 the model, a metric or an output failed."""


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn eval", description="Measure a model on labelled pictures: metrics, report, gate.", epilog=_EPILOG
    )
    verbs = made.add_subparsers(dest="what", required=True, metavar="run|check|step|baseline|example")
    run = _verb(verbs, "run", "run what has changed, and write the report")
    check = _verb(verbs, "check", "check the two tables and all images, and nothing else")
    for each in (run, check):
        each.add_argument("--inputs", type=Path, required=True, metavar="CSV", help="the images")
        each.add_argument("--outputs", type=Path, required=True, metavar="CSV", help="what is expected of them")
        each.add_argument(
            "--classes", metavar="A,B,...|FILE", help="in the order of the model's outputs (default: sorted)"
        )
    _add_run(run)
    step = _verb(verbs, "step", "run one step alone, whether or not anything has changed")
    step.add_argument("step", choices=STEPS)
    step.add_argument("--run", default="", help=argparse.SUPPRESS)
    baseline = _verb(verbs, "baseline", "make a baseline of a run")
    baseline.add_argument("--output", required=True, metavar="FILE", help="the baseline; - for standard output")
    baseline.add_argument(
        "--tolerance", type=float, default=0.01, metavar="D", help="of each metric (default %(default)s)"
    )
    for each in (run, step, baseline):
        each.add_argument(
            "--work", type=Path, default=Path("evaluation"), metavar="DIR", help="of results (default %(default)s)"
        )
    example = _verb(verbs, "example", "make drawn faces of 7 emotions, a model trained on others, and a metric")
    example.add_argument("folder", type=Path, metavar="DIR", help="made if it is not there")
    example.add_argument("--photos", type=Path, metavar="DIR", help="photos for the example of embeddings")
    return made


def _verb(verbs: argparse._SubParsersAction[Parser], name: str, summary: str) -> Parser:
    return verbs.add_parser(name, prog=f"rrn eval {name}", description=summary, epilog="", help=summary)


def _add_run(run: Parser) -> None:
    run.add_argument("--model", required=True, metavar="SPEC", help="see rrn eval --help")
    run.add_argument("--task", choices=["classification", "embeddings"], help="(default: a guess, which is printed)")
    run.add_argument(
        "--metric", action="append", default=[], metavar="SPEC", help="package.module:function or file.py:function"
    )
    run.add_argument("--baseline", type=Path, metavar="FILE", help="compare with it; exit code 3 if a metric is worse")
    run.add_argument(
        "--preprocess",
        default="",
        metavar="WAY",
        help="imagenet, unit, grey, or a function (default: imagenet, or grey for one channel)",
    )
    run.add_argument("--size", type=int, metavar="PIXELS", help="of the model's input (default: what the model says)")
    run.add_argument("--batch", type=int, default=32, metavar="N", help="images at a time (default %(default)s)")
    run.add_argument(
        "--part", type=int, default=256, metavar="N", help="a killed run loses fewer (default %(default)s)"
    )
    run.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default %(default)s)")
    run.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default %(default)s)")
    run.add_argument("--worst", type=int, default=20, metavar="N", help="pictures in the report (default %(default)s)")
    run.add_argument("--until", choices=STEPS, default="report", help="the last step (default %(default)s)")
    run.add_argument("--force", choices=STEPS, metavar="STEP", help="run it, and what depends on it, in any case")
    run.add_argument("--json", metavar="FILE", help="metrics, gate and what ran; - for standard output, not text")


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    program = f"rrn eval {arguments.what}"
    from rrn_ops.evaluation.interface import EvaluationError
    from rrn_ops.evaluation.tables import TableError
    from rrn_ops.evaluation.workflow import StepError

    try:
        return _COMMANDS[arguments.what](arguments)
    except TableError as error:
        for problem in error.problems[:_PROBLEMS_SHOWN]:
            fail(program, str(problem), USAGE)
        more = f", of which {_PROBLEMS_SHOWN} are shown" if len(error.problems) > _PROBLEMS_SHOWN else ""
        return fail(program, f"{len(error.problems)} problems in the tables{more}; nothing was run", USAGE)
    except (ValueError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        return fail(program, error, USAGE)
    except StepError as error:
        return fail(program, error, error.code)
    except (EvaluationError, RrnError) as error:
        return fail(program, error, RUNTIME_ERROR)


def _check(arguments: argparse.Namespace) -> int:
    from rrn_ops.evaluation import ingest, measure, plan

    classes = plan.read_classes(arguments.classes) if arguments.classes else None
    found = ingest.examine(arguments.inputs, arguments.outputs, classes).tables
    counts = Counter(found.labels)
    shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())[:20])
    print(f"{len(found.names)} images, {len(counts)} labels: {shown}{', ...' if len(counts) > 20 else ''}")
    for column, values in found.slices.items():
        different = len(set(values))
        verdict = "slices" if 1 < different <= measure.MAX_VALUES else "no slices"
        print(f"column {column}: {different} values, {verdict}")
    print(f"{sum(each is not None for each in found.outputs)} expected outputs; no problems")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    # What later steps need: that it is missing is said before anything has run.
    for needed in ("snakemake", "matplotlib", "PIL", "onnx"):
        importlib.import_module(needed)
    from rrn_ops.evaluation import files, plan, workflow
    from rrn_ops.evaluation.options import Options

    for name, least in (("batch", 1), ("part", 1), ("resamples", 10), ("worst", 0), ("seed", 0)):
        if getattr(arguments, name) < least:
            raise ValueError(f"--{name} {getattr(arguments, name)}: expected {least} or more")
    check_output(arguments.json)
    say: Callable[[str], None] = (lambda _: None) if arguments.json == "-" else lambda text: print(text, flush=True)
    work = arguments.work.absolute()
    options = Options(
        inputs=arguments.inputs.absolute(),
        outputs=arguments.outputs.absolute(),
        model=arguments.model,
        folder=Path.cwd(),
        classes=plan.read_classes(arguments.classes) if arguments.classes else (),
        metrics=tuple(arguments.metric),
        baseline=str(arguments.baseline.absolute()) if arguments.baseline else "",
        preprocess=arguments.preprocess,
        batch=arguments.batch,
        part=arguments.part,
        resamples=arguments.resamples,
        seed=arguments.seed,
        worst=arguments.worst,
    )
    made, decision = plan.make(options, arguments.task, arguments.size, work)
    say(f"{decision.task} ({decision.reason})")
    if decision.classes:
        say(f"classes in the order of the outputs: {', '.join(decision.classes)}")
    done = workflow.run(work, made, until=arguments.until, force=arguments.force, say=lambda each: say(str(each)))
    result: dict[str, object] = {"task": decision.task, "steps": {each.step: each.reason or None for each in done}}
    passed = True
    if arguments.until in ("gate", "report"):
        measures, gate = files.read_json(work / "measures.json"), files.read_json(work / "gate.json")
        passed = bool(gate["passed"])
        result |= {"metrics": measures["metrics"], "gate": gate}
        _say_results(measures, gate, say)
    if arguments.until == "report":
        result["report"] = str(work / "report" / "report.html")
        say(f"{arguments.work / 'report' / 'report.html'}: the report")
    if arguments.json is not None:
        write_json(arguments.json, result)
    return 0 if passed else REGRESSION


def _say_results(measures: dict[str, Any], gate: dict[str, Any], say: Callable[[str], None]) -> None:
    say("")
    for name, found in measures["metrics"].items():
        interval = "" if found["lower"] is None else f"  ({found['lower']:.3f} ... {found['upper']:.3f})"
        say(f"{name:<26} {found['value']:.3f}{interval}")
    say("")
    for each in gate["metrics"]:
        if not each["passed"]:
            say(f"REGRESSION: {each['text']}")
    if gate["metrics"] and gate["passed"]:
        say(f"gate: {len(gate['metrics'])} metrics within their tolerance")


def _step(arguments: argparse.Namespace) -> int:
    from rrn_native.cli.common import failure_code, one_line

    from rrn_ops.evaluation import options, workflow

    work = arguments.work.absolute()
    plan = options.load(work)
    if arguments.run and arguments.run != plan.run:
        raise ValueError(f"{work}: another run has begun here")
    begin = time.monotonic()
    try:
        # In a run of Snakemake, the process that started it has the lock.
        with contextlib.nullcontext() if arguments.run else workflow.locked(work):
            note = _run_step(arguments.step, work, plan.options, plan.steps[arguments.step].key)
    except Exception as error:  # whatever it is, the process that started Snakemake is to know
        text = f"{arguments.step}: {one_line(error)}"
        code = failure_code(error)
        workflow.record_failure(work, plan, text, code)
        return fail("rrn eval step", text, code)
    seconds = time.monotonic() - begin
    workflow.record(work, arguments.step, plan, seconds, note)
    if not arguments.run:
        print(f"{arguments.step} ran in {seconds:.1f} s")
    return 0


def _run_step(step: str, work: Path, options: Options, key: str) -> str:
    """Runs a step, of which only what it needs is imported; returns what it says about itself."""
    found = importlib.import_module(f"rrn_ops.evaluation.{step}").run(work, options, key)
    return f"{found} predictions were left by an earlier run" if found else ""


def _baseline(arguments: argparse.Namespace) -> int:
    from rrn_ops.evaluation import files, gate

    if arguments.tolerance < 0:
        raise ValueError(f"--tolerance {arguments.tolerance}: expected 0 or more")
    path = arguments.work / "measures.json"
    if not path.is_file():
        raise ValueError(f"{arguments.work}: no evaluation was run here (no measures.json)")
    made = gate.baseline_of(files.read_json(path), arguments.tolerance)
    write_json(arguments.output, made)
    if arguments.output != "-":
        print(f"{arguments.output}: a baseline of {len(made['metrics'])} metrics, tolerance {arguments.tolerance:g}")
    return 0


def _example(arguments: argparse.Namespace) -> int:
    from rrn_ops.evaluation import example

    for line in example.make(arguments.folder, arguments.photos):
        print(line)
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "check": _check,
    "step": _step,
    "baseline": _baseline,
    "example": _example,
}
