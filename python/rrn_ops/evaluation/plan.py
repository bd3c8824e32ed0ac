"""From the words of the command line to a plan: which task this is, and what each step depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import rrn_native

from rrn_ops.evaluation import files, gate, ingest, interface, predictors, preprocess, sources, tables
from rrn_ops.evaluation.interface import Description, Task
from rrn_ops.evaluation.options import Options, Plan, Step


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is evaluated.

    Attributes:
        task: "classification" or "embeddings".
        classes: In the order of the outputs; empty for embeddings.
        reason: Why, in plain words.
    """

    task: Task
    classes: tuple[str, ...]
    reason: str


def read_classes(text: str) -> tuple[str, ...]:
    """Reads the names of classes.

    Args:
        text: A file with a name on each line, or names with commas between them.

    Raises:
        ValueError: A name comes twice, or no name is there.
    """
    path = Path(text)
    words = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    names = tuple(word.strip() for word in words if word.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"--classes {text}: expected two names or more, each once; got {', '.join(names) or 'none'}")
    return names


def decide(task: Task | None, classes: tuple[str, ...], model: Description, labels: Sequence[str]) -> Decision:
    """Decides what is evaluated, from what was asked for and what the model says.

    Args:
        task: What was asked for; None for a guess.
        classes: Likewise; empty for the labels, sorted.
        model: What the model says about itself.
        labels: Of the images.

    Raises:
        ValueError: The model's outputs do not fit the classes.
    """
    names = tuple(sorted(set(labels)))
    if task is not None:
        reason = "--task"
    elif classes:
        task, reason = "classification", "--classes is given"
    elif model.embeds:
        task, reason = "embeddings", "the model is known to give embeddings"
    elif model.outputs == len(names):
        task, reason = (
            "classification",
            f"the model has {model.outputs} outputs for {len(names)} labels, sorted by name",
        )
    else:
        outputs = "an unknown number of" if model.outputs is None else model.outputs
        task, reason = "embeddings", f"the model has {outputs} outputs for {len(names)} labels"
    if task == "embeddings":
        return Decision(task, (), reason)
    classes = classes or names
    if model.outputs is not None and model.outputs != len(classes):
        raise ValueError(f"the model has {model.outputs} outputs, but there are {len(classes)} classes")
    return Decision(task, classes, reason)


def make(options: Options, task: Task | None, size: int | None, work: Path) -> tuple[Plan, Decision]:
    """Examines tables, model, metrics and baseline.

    Args:
        options: What was asked for; ``task``, ``input_shape``, ``fingerprint`` and an empty ``preprocess`` are
            filled in.
        task: What was asked for; None for a guess.
        size: The side of the model's input; None for the one that the model says.
        work: The folder of the run.

    Raises:
        TableError: The tables have problems.
        ValueError, FileNotFoundError: Something that was named is not there or does not fit.
        EvaluationError: The model cannot be loaded.
    """
    if options.baseline:
        gate.read_baseline(Path(options.baseline))
    for spec in options.metrics:
        interface.load_function(spec, options.folder)
    examined = ingest.examine(options.inputs, options.outputs, options.classes or None, work)
    model = predictors.make(options.model, options.folder).describe()
    decision = decide(task, options.classes, model, examined.tables.labels)
    shape = None
    if model.takes == "arrays":
        shape = model.input_shape if size is None else ((model.input_shape or (3,))[0], size, size)
        if shape is None:
            raise ValueError("the model does not say how large its input is: --size N")
    way = options.preprocess or preprocess.default_way(shape[0] if shape else 3)
    options = dataclasses.replace(
        options,
        task=decision.task,
        classes=decision.classes,
        input_shape=shape,
        fingerprint=model.fingerprint,
        preprocess=way,
    )
    return Plan(options, steps_of(options, examined)), decision


def steps_of(options: Options, examined: ingest.Examined) -> dict[str, Step]:
    """Returns what each step depends on.

    Args:
        options: Complete.
        examined: The tables.
    """
    rows: tables.Tables = examined.tables
    folder = options.folder
    images = files.digest_of(examined.digests)
    steps: dict[str, Step] = {}
    steps["ingest"] = Step(
        {
            options.inputs.name: files.digest_of_file(options.inputs),
            # Two tables may have the same name in different folders.
            options.outputs.name if options.outputs.name != options.inputs.name else str(options.outputs): (
                files.digest_of_file(options.outputs)
            ),
            "an image": images,
            "a path": files.digest_of(rows.images),
            "--classes": files.digest_of(options.classes),
            "code": _code("ingest"),
        }
    )
    way = options.preprocess
    own_way = "" if way in preprocess.WAYS else sources.digest_of_spec(way, folder)
    steps["preprocess"] = Step(
        {
            "an image": images,
            "the way to prepare images": files.digest_of(way, own_way, options.input_shape),
            "code": _code("preprocess"),
        }
    )
    steps["predict"] = Step(
        {"the model": options.fingerprint, "its input": steps["preprocess"].key, "code": _code("predict")}
    )
    own = [(spec, sources.digest_of_spec(spec, folder)) for spec in options.metrics]
    steps["measure"] = Step(
        {
            "its predictions": steps["predict"].key,
            "a label or expected output": files.digest_of(rows.labels, rows.outputs),
            "a slice": files.digest_of(rows.slices),
            "a path": files.digest_of(rows.images),
            "a metric": files.digest_of(own),
            "an option": files.digest_of(options.task, options.classes, options.resamples, options.seed, options.worst),
            "code": _code("measure"),
        }
    )
    baseline = files.digest_of_file(Path(options.baseline)) if options.baseline else ""
    steps["gate"] = Step(
        {"the measures": steps["measure"].key, "the baseline": files.digest_of(baseline), "code": _code("gate")}
    )
    names = files.digest_of(options.model, options.inputs.name, options.outputs.name)
    steps["report"] = Step({"the measures or the gate": steps["gate"].key, "a name": names, "code": _code("report")})
    return steps


def _code(step: str) -> str:
    return files.digest_of(rrn_native.__version__, sources.digest_of_module(f"rrn_ops.evaluation.{step}"))
