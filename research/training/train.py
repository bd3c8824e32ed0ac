"""Trains ResNet-18 with the reduction operator so that the raw embedding's cosine has a meaning.

    python -m research.training.train --data .cache/training --output .cache/run --minutes 25
    python -m research.training.train --data .cache/training --output .cache/run --minutes 25 --resume

Uses a GPU if there is one. Writes to the output folder `checkpoint.pt` (everything needed to go on), `log.jsonl`,
`weights.pth` (averaged weights, float16, torchvision's names) and `metrics.json`. SIGINT and SIGTERM end it after the
current step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import torch

from research.common import machine, results
from research.training.bank import load_bank
from research.training.config import FILE, config_digest, load_config
from research.training.session import Session
from research.training.student import load_student, save_state
from research.training.teacher import load_teacher
from research.training.trainer import Trainer

MODULE = "python -m research.training.train"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _write_results(trainer: Trainer, session: Session, arguments: argparse.Namespace, data: dict[str, int]) -> None:
    """Writes weights.pth and metrics.json."""
    weights = arguments.output / "weights.pth"
    save_state(weights, trainer.weights())
    metrics = {
        **machine.head(arguments.command),
        "device": _device_name(trainer.device),
        "teacher": arguments.teacher,
        "initial": arguments.init.name if arguments.init else "random",
        "config": trainer.config,
        "config_sha256": config_digest(trainer.config),
        "data": data,
        "data_sha256": results.sha256(arguments.data / "index.json"),
        "steps": trainer.step_number,
        "crops": trainer.crops,
        "minutes": round(trainer.elapsed / 60, 2),
        "throughput": session.throughput,
        "validation": session.validation,
        "weights_sha256": results.sha256(weights),
    }
    results.write(arguments.output / "metrics.json", metrics)
    print(f"{weights}: {weights.stat().st_size / 2**20:.1f} MiB, {trainer.crops} crops, {trainer.elapsed / 60:.1f} min")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=MODULE,
        description="Train ResNet-18 for the reduction operator.",
        epilog="Exit status: 0 trained (or stopped by a signal, with a checkpoint), 1 the loss is not finite, "
        "2 wrong arguments or data.",
    )
    parser.add_argument("--data", type=Path, default=Path(".cache/training"), metavar="FOLDER", help="from prepare.py")
    parser.add_argument("--output", type=Path, default=Path(".cache/run"), metavar="FOLDER")
    parser.add_argument("--minutes", type=float, help="end this call after as long")
    parser.add_argument(
        "--schedule-minutes",
        type=float,
        help="length of the learning rate's schedule over all calls (default: --minutes)",
    )
    parser.add_argument("--steps", type=int, help="length of the schedule in steps instead: reproducible to the bit")
    parser.add_argument("--resume", action="store_true", help="go on from the output folder's checkpoint")
    parser.add_argument(
        "--init", type=Path, metavar="WEIGHTS.pth", help="start from these weights, with a new schedule"
    )
    parser.add_argument("--teacher", default="lite0", help="lite0, lite1, lite2, FILE.pt or FILE.onnx (see teacher.py)")
    parser.add_argument("--config", type=Path, default=FILE, metavar="FILE")
    parser.add_argument("--set", action="append", metavar="SECTION.NAME=VALUE", help="change the configuration")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    arguments.command = machine.command_line(MODULE, sys.argv[1:] if argv is None else argv)
    device = torch.device(arguments.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    checkpoint = arguments.output / "checkpoint.pt"
    try:
        if arguments.minutes is None and arguments.steps is None:
            raise ValueError("say how long: --minutes or --steps")
        if checkpoint.exists() and not arguments.resume:
            raise ValueError(f"{checkpoint} exists: --resume it, or use another --output")
        config = load_config(arguments.config, cuda=device.type == "cuda", changes=arguments.set)
        arguments.output.mkdir(parents=True, exist_ok=True)
        bank = load_bank(arguments.data, "train", device, photograph_weight=config["data"]["photograph_weight"])
        held_out = load_bank(arguments.data, "held_out", device)
        teacher = load_teacher(arguments.teacher, device)
        initial = load_student(arguments.init) if arguments.init else None
        trainer = Trainer(config, bank, held_out, teacher, device, initial)
        if arguments.resume and checkpoint.exists():
            trainer.restore(checkpoint)
            print(f"going on at step {trainer.step_number}, after {trainer.elapsed / 60:.1f} min", flush=True)
        else:
            trainer.fit_whitening()
            explained = trainer.fit_heads()
            if explained:
                shares = ", ".join(f"{100 * share:.0f} %" for share in explained)
                print(f"variance of the teacher's maps that the first weights' maps explain: {shares}", flush=True)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    data = {"pictures": len(bank), "photos": int(bank.group.max()) + 1, "held_out_pictures": len(held_out)}
    print(f"{_device_name(device)}: {data}", flush=True)
    session = Session(trainer, arguments)
    handlers = {number: signal.signal(number, session.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        session.run()
    except FloatingPointError as error:
        # The last checkpoint is from before and stays as it is.
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    _write_results(trainer, session, arguments, data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
