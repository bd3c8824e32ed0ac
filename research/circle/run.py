"""Trains the network for one circle by two processes and measures everything that the study says.

Seven parts: training, errors by size, loss curves of one process against several, ways to compute unequal sizes, the
usual first attempt's mistakes, the ONNX file, and examples. The short form takes some minutes on two cores, the full
form about an hour. Checkpoints are kept, so a run that was stopped continues; the same command gives the same network
on the same kind of processor, whatever the number of threads. A checkpoint of other code is not used: the training
starts again and says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from research.circle import evaluate, export, first_attempt, folders, guards, processes, train, unequal
from research.circle.data import Label, Spec, label
from research.circle.network import CircleNet
from research.circle.train import Config
from research.common import machine, results, timing
from research.common.places import CACHE, RESULTS

Json = dict[str, Any]

PROCESSES = 2
# Subfolders that a run makes and may empty.
TRAINING, COMPARED, ONNX = "circle-training", "circle-compared", "circle-onnx"
# Height and width of the pictures that the report draws.
EXAMPLES = ((64, 64), (99, 99), (100, 100), (128, 128), (256, 256), (512, 512), (72, 150), (200, 90))


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        steps: Of the training.
        pictures: Of each size.
        compared: Steps of the loss curves that are compared.
        attempt: Steps of each first attempt.
        batch: Pictures of a batch of unequal sizes.
        rounds: Of times.
    """

    steps: int
    pictures: int
    compared: int
    attempt: int
    batch: int
    rounds: int


SHORT = Effort(steps=600, pictures=200, compared=40, attempt=300, batch=16, rounds=3)
FULL = Effort(steps=4000, pictures=1000, compared=150, attempt=2000, batch=32, rounds=7)


def training(config: Config, folder: Path) -> Json:
    """Trains by two processes, or continues.

    Returns:
        What was trained, the steps that were there before, the seconds of the others, and the loss of each step.

    Raises:
        OSError: A process failed.
        ValueError: The folder has a training with other settings.
    """
    before = 0
    # What is not usable is said by the processes that train.
    if train.usable(folder / train.CHECKPOINT, lambda line: None):
        before = len(train.State.load(folder / train.CHECKPOINT, config).history)
    begin = time.perf_counter()
    if before < config.steps:
        processes.launch(config, folder, processes=PROCESSES)
    seconds = time.perf_counter() - begin
    model = train.trained(folder)
    return {
        "config": dataclasses.asdict(config),
        "parameters": sum(each.numel() for each in model.parameters()),
        "processes": PROCESSES,
        "steps_before": before,
        "seconds": timing.significant(seconds, 3),
        "curve": [round(value, 5) for value in processes.curve(train.history(folder), config)],
    }


def sizes(model: CircleNet, effort: Effort) -> Json:
    """Returns the errors by size, of mixed sizes, those of the ruler, and which aims are reached."""
    rows = []
    for side in evaluate.SIZES:
        rows.append(evaluate.size_row(evaluate.ask(model), side, effort.pictures))
        print(f"    {side}: centre {rows[-1]['centre_px']['value']:.3f} px", flush=True)
    return {
        "sizes": rows,
        "mixed_sizes": evaluate.unequal_row(evaluate.ask(model), effort.pictures),
        "ruler": [evaluate.size_row(evaluate.ruler, side, effort.pictures) for side in (64, 100, 512)],
        "aims": evaluate.aims(rows),
        "alone_or_padded_px": unequal.invariance(model, Spec(evaluate.TEST_SEED + 2, 32, 48, 160), 32),
    }


def attempts(effort: Effort) -> Json:
    """Returns what each mistake's guard says, which guards notice it, and what a short training comes to."""
    rows = []
    for name, attempt in {"repaired": first_attempt.REPAIRED, **first_attempt.BUGS}.items():
        said = {guard: guards.symptom(check, attempt) for guard, check in guards.GUARDS.items()}
        row: Json = {"bug": name, "symptom": said.get(name, ""), "noticed_by": [guard for guard in said if said[guard]]}
        rows.append(row | first_attempt.outcome(attempt, effort.attempt))
        print(f"    {name}: {row['symptom'] or 'no guard complains'}", flush=True)
    return {"steps": effort.attempt, "side": first_attempt.SIDE, "batch": first_attempt.BATCH, "rows": rows}


def onnx(model: CircleNet, folder: Path, effort: Effort) -> Json:
    """Returns the file's size, its differences to PyTorch, and its errors at 100 pixels."""
    path = folder / "circle.onnx"
    export.write(model, path)
    runtime = export.Runtime(path)
    rows = export.compared(model, runtime, evaluate.SIZES)
    return {
        "bytes": path.stat().st_size,
        "opset": export.OPSET,
        "rows": rows,
        "most_px": max(row["px"] for row in rows),
        "most_logits": max(row["logits"] for row in rows),
        "at_100": evaluate.size_row(runtime, 100, effort.pictures),
    }


def examples(model: CircleNet) -> list[Json]:
    """Returns what was found in pictures of EXAMPLES, and what they show."""
    rows = []
    for number, (height, width) in enumerate(EXAMPLES):
        shown = _example(number, height, width)
        found = evaluate.ask(model)([shown])
        circle = [round(float(value), 4) for value in found.circles[0]]
        rows.append({"label": dataclasses.asdict(shown), "circle": circle, "colour": int(found.colours[0])})
    return rows


def _example(number: int, height: int, width: int) -> Label:
    shorter = min(height, width)
    # Chosen by its labels, which have all colours, before anything was found in it.
    shown = label(Spec(evaluate.TEST_SEED + 4, len(EXAMPLES), shorter, shorter, square=True), number)
    # A square example's circle, moved along the longer side by half of what that has more.
    x, y = shown.x + (width - shorter) / 2, shown.y + (height - shorter) / 2
    return dataclasses.replace(shown, height=height, width=width, x=x, y=y)


def measure(effort: Effort, folder: Path) -> Json:
    """Runs all parts.

    Args:
        effort: How much.
        folder: Keeps the checkpoints and the ONNX file, in subfolders with a mark.

    Raises:
        OSError: A process failed, or a file cannot be written.
        ValueError: The folder has a training with other settings, or a subfolder that no run made.
    """
    config = Config(steps=effort.steps)
    trained, compared, exported = (folders.own(folder / name) for name in (TRAINING, COMPARED, ONNX))
    value: Json = {"training": _part(1, "training", lambda: training(config, trained))}
    model = train.trained(trained)
    value |= _part(2, "errors by size", lambda: sizes(model, effort))
    # An odd batch, so that the two processes have unequal parts.
    short = Config(steps=effort.compared, batch=15, count=256, least=32, most=96)
    folders.emptied(compared)
    value["processes"] = _part(3, "one process or several", lambda: processes.compare(short, compared))
    value["unequal"] = _part(
        4,
        "unequal sizes",
        lambda: unequal.measure(model, trained, count=effort.batch, rounds=effort.rounds),
    )
    value["first_attempt"] = _part(5, "first attempts", lambda: attempts(effort))
    value["onnx"] = _part(6, "ONNX", lambda: onnx(model, exported, effort))
    value["examples"] = _part(7, "examples", lambda: examples(model))
    return value


def _part(number: int, words: str, run: Callable[[], Any]) -> Any:
    print(f"[{number}/7] {words}", flush=True)
    begin = time.perf_counter()
    value = run()
    print(f"[{number}/7] {time.perf_counter() - begin:.0f} s", flush=True)
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="research.circle.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="more steps and pictures (about an hour)")
    parser.add_argument("--fresh", action="store_true", help="train again, even if there is a checkpoint")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="of checkpoints, in subfolders of the study's own (default: .cache/circle/FORM)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "circle.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    form = "full" if arguments.full else "short"
    folder = (arguments.folder or CACHE / "circle" / form).resolve()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    try:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--folder: expected a folder, got the file {folder.name}; choose another")
        results.check_writable(arguments.output)
        value = machine.head(machine.command_line("research.circle.run", words)) | {"form": form}
        with folders.locked(folder):
            if arguments.fresh:
                folders.emptied(folder / TRAINING)
            value |= measure(FULL if arguments.full else SHORT, folder)
        value["seconds"] = timing.significant(time.perf_counter() - begin, 3)
        results.write(arguments.output, value)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
