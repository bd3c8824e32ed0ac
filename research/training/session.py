"""One call of the training: runs steps, logs, validates and saves."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from research.training.trainer import PARTS, TERMS, Trainer


class Session:
    """One call of the program: trains until the time, the steps or a signal say stop.

    Args:
        trainer: What to train.
        arguments: The command line of train.py.

    Attributes:
        validation: What the last validation measured; empty before the first.
        throughput: crops_per_second and the milliseconds of each of PARTS, as they were last measured.
    """

    def __init__(self, trainer: Trainer, arguments: argparse.Namespace) -> None:
        self._trainer = trainer
        self._output: Path = arguments.output
        self._steps: int | None = arguments.steps
        self._seconds = 60 * arguments.minutes if arguments.minutes else math.inf
        schedule = arguments.schedule_minutes or arguments.minutes or math.inf
        self._schedule = 60 * schedule
        self._stopped = False
        self._began = time.monotonic()
        self._before = trainer.elapsed
        self.validation: dict[str, float] = {}
        self.throughput: dict[str, float] = {}

    def stop(self, *_: object) -> None:
        """Ends training after the current step."""
        self._stopped = True

    def _progress(self) -> float:
        if self._steps is not None:
            return self._trainer.step_number / self._steps
        return self._trainer.elapsed / self._schedule

    def run(self) -> None:
        """Trains."""
        trainer, settings = self._trainer, self._trainer.config["run"]
        last_save = last_validation = last_log = time.monotonic()
        logged_crops = trainer.crops
        sums = torch.zeros(len(TERMS), device=trainer.device)
        count = 0
        first_step = trainer.step_number
        while not self._stopped and self._progress() < 1 and time.monotonic() - self._began < self._seconds:
            log_now = (trainer.step_number + 1) % settings["log_steps"] == 0 or trainer.step_number == first_step
            clock: dict[str, float] | None = {} if log_now else None
            sums += trainer.step(self._progress(), clock)
            count += 1
            now = time.monotonic()
            trainer.elapsed = self._before + now - self._began
            if clock is not None:
                terms = dict(zip(TERMS, (sums / count).tolist(), strict=True))
                if not math.isfinite(terms["loss"]):
                    raise FloatingPointError(f"the loss is {terms['loss']} at step {trainer.step_number}")
                rate = (trainer.crops - logged_crops) / max(now - last_log, 1e-9)
                milliseconds = {f"{part}_ms": 1000 * seconds for part, seconds in clock.items()}
                self.throughput = {"crops_per_second": rate, **milliseconds}
                self._log({"terms": terms, **self.throughput})
                self._print(terms, rate)
                sums.zero_()
                count, last_log, logged_crops = 0, now, trainer.crops
            if now - last_validation > 60 * settings["validate_minutes"]:
                self._validate()
                last_validation = time.monotonic()
            if now - last_save > 60 * settings["checkpoint_minutes"]:
                trainer.save(self._output / "checkpoint.pt")
                last_save = time.monotonic()
        self._validate()
        trainer.save(self._output / "checkpoint.pt")

    def _validate(self) -> None:
        self.validation = self._trainer.validate()
        if self.validation:
            self._log({"validation": self.validation})
            print(
                "held out: " + ", ".join(f"{name} {value:.3f}" for name, value in self.validation.items()), flush=True
            )

    def _log(self, record: dict[str, Any]) -> None:
        trainer = self._trainer
        common = {
            "step": trainer.step_number,
            "crops": trainer.crops,
            "elapsed": round(trainer.elapsed, 1),
            "progress": round(self._progress(), 4),
            "learning_rate": trainer.optimiser.param_groups[0]["lr"],
        }
        with (self._output / "log.jsonl").open("a") as file:
            file.write(json.dumps({**common, **record}) + "\n")

    def _print(self, terms: dict[str, float], rate: float) -> None:
        progress = self._progress()
        trainer = self._trainer
        session = time.monotonic() - self._began
        share = progress - self._before / self._schedule if self._steps is None else progress
        remaining = min(session / max(share, 1e-9) * (1 - progress), self._seconds - session)
        parts = ", ".join(f"{part} {self.throughput[part + '_ms']:.0f} ms" for part in PARTS)
        print(
            f"step {trainer.step_number}, {trainer.crops} crops, {100 * progress:.1f} %, ETA {remaining / 60:.1f} min, "
            f"{rate:.0f} crops/s ({parts}): " + ", ".join(f"{name} {value:.4f}" for name, value in terms.items()),
            flush=True,
        )
