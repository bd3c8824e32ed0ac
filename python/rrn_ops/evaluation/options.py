"""What a run is asked to do; kept in ``config.json`` in the work folder, where each step reads it."""

from __future__ import annotations

import dataclasses
import secrets
import sys
from pathlib import Path
from typing import Any

from rrn_native.cli.common import write_json

from rrn_ops.evaluation import files
from rrn_ops.evaluation.interface import Task

# What each step writes last, and what Snakemake takes for its result.
RESULTS = {
    "ingest": "images.json",
    "preprocess": "prepared.json",
    "predict": "predictions.npy",
    "measure": "measures.json",
    "gate": "gate.json",
    "report": "report/report.html",
}
STEPS = tuple(RESULTS)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of ``rrn eval run``.

    Attributes:
        inputs: The images, a CSV file; absolute, as all paths here.
        outputs: What is expected, a CSV file.
        model: A predictor's spec.
        folder: Where relative modules of metrics and predictors are looked for.
        task: "classification" or "embeddings".
        classes: The names of the classes in the order of the model's outputs; empty for embeddings.
        metrics: Specs of own metrics.
        baseline: A baseline to compare with; empty for none.
        preprocess: "imagenet", "unit", "grey", or a spec of an own function.
        input_shape: (channels, height, width) of what the model takes; None for a model that takes files.
        fingerprint: The model's.
        batch: Images at a time.
        part: Images in a file of partial predictions; a run that was killed continues after the last one.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        worst: How many pictures of the worst the report shows.
    """

    inputs: Path
    outputs: Path
    model: str
    folder: Path
    task: Task = "classification"
    classes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: str = ""
    preprocess: str = "imagenet"
    input_shape: tuple[int, int, int] | None = None
    fingerprint: str = ""
    batch: int = 32
    part: int = 256
    resamples: int = 1000
    seed: int = 0
    worst: int = 20


@dataclasses.dataclass(frozen=True)
class Step:
    """What the result of a step depends on.

    Attributes:
        parts: Fingerprints by what they are of, as "outputs.csv" or "code".
    """

    parts: dict[str, str]

    @property
    def key(self) -> str:
        """One fingerprint of all."""
        return files.digest_of(self.parts)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run: what to do, and what each step depends on.

    Attributes:
        options: What to do.
        steps: For each of :data:`STEPS`.
        run: Tells this run from earlier ones in the same folder.
    """

    options: Options
    steps: dict[str, Step]
    run: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))


def save(work: Path, plan: Plan) -> None:
    """Writes ``config.json``, which Snakemake reads as well.

    Raises:
        OSError: It cannot be written.
    """
    fields = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(plan.options).items()
    }
    steps = {name: {"key": step.key, "parts": step.parts} for name, step in plan.steps.items()}
    write_json(work / "config.json", {"run": plan.run, "python": sys.executable, "options": fields, "steps": steps})


def load(work: Path) -> Plan:
    """Reads ``config.json``.

    Returns:
        What :func:`save` was given.

    Raises:
        ValueError: The folder has none, or one of another release.
    """
    path = work / "config.json"
    if not path.is_file():
        raise ValueError(f"{work}: no evaluation was run here (no config.json)")
    found: dict[str, Any] = files.read_json(path)
    try:
        fields = dict(found["options"])
        for name in ("inputs", "outputs", "folder"):
            fields[name] = Path(fields[name])
        for name in ("classes", "metrics"):
            fields[name] = tuple(fields[name])
        if fields["input_shape"] is not None:
            fields["input_shape"] = tuple(fields["input_shape"])
        return Plan(
            Options(**fields), {name: Step(dict(found["steps"][name]["parts"])) for name in STEPS}, found["run"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not of this release ({error})") from error
