"""Trains ResNet-18 with the reduction operator so that the raw embedding's cosine has a meaning.

    python research/training/train.py --data .cache/training --output .cache/run --minutes 25
    python research/training/train.py --data .cache/training --output .cache/run --minutes 25 --resume

Uses a GPU if there is one. Writes to the output folder `checkpoint.pt` (everything needed to go on), `log.jsonl`,
`weights.pth` (averaged weights, float16, torchvision's names) and `metrics.json`. SIGINT and SIGTERM end it after the
current step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import losses
import overlays
import torch
import torch.nn.functional as F  # noqa: N812
from augment import Augmenter, Batch
from bank import PhotoBank, load_bank
from student import LAST_STAGE_DIM, MAP_CHANNELS, Student, load_student
from teacher import Teacher, load_teacher, working_dtype
from torch import nn
from torch.optim import swa_utils

HERE = Path(__file__).resolve().parent
# What rrn's preprocessing does to every image (rrn_native.model.export.MEAN and STDDEV).
MEAN = (0.485, 0.456, 0.406)
STDDEV = (0.229, 0.224, 0.225)
OVERLAYS = 256
PARTS = ("augment", "teacher", "student")
TERMS = ("loss", "relation", "pair", "regression", "dense", "contrast", "koleo")
Config = dict[str, Any]
# Sides of the pictures are multiples of the largest one where maps are compared.
MAP_STRIDES = (8, 16, 32)
# Crops that are drawn, and kept in memory, together.
GROUP = 32


def load_config(path: Path, *, cuda: bool, changes: list[str] | None = None) -> Config:
    """Reads the configuration.

    Args:
        path: config.toml.
        cuda: Apply its section [cuda].
        changes: "section.name=value" or "seed=value", values as in TOML.

    Raises:
        ValueError: A change names nothing that exists.
    """
    config = tomllib.loads(path.read_text())
    for section, values in config.pop("cuda", {}).items():
        if cuda:
            config[section].update(values)
    for change in changes or []:
        name, _, value = change.partition("=")
        section, _, key = name.rpartition(".")
        target = config.get(section) if section else config
        if not isinstance(target, dict) or key not in target:
            raise ValueError(f"--set {change}: the configuration has no {name}")
        target[key] = tomllib.loads(f"value = {value}")["value"]
    return config


def config_digest(config: Config) -> str:
    """SHA-256 of the configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


class Normaliser:
    """Brings pictures to the scale that a network was trained with.

    Args:
        config: From `load_config`.
        device: Where the pictures are.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        teacher = config["teacher"]
        self._scales = {
            who: tuple(torch.tensor(values, device=device)[:, None, None] for values in scale)
            for who, scale in {"student": (MEAN, STDDEV), "teacher": (teacher["mean"], teacher["std"])}.items()
        }

    def __call__(self, pictures: torch.Tensor, who: str) -> torch.Tensor:
        """Pictures [N, 3, H, W] in 0 ... 1 as the "student" or the "teacher" wants them."""
        mean, std = self._scales[who]
        return ((pictures - mean) / std).contiguous(memory_format=torch.channels_last)


class Trainer:
    """The state of a training and its step.

    Args:
        config: From `load_config`.
        bank: The photos to train on.
        held_out: The photos to validate on, or None.
        teacher: From `load_teacher`; with `loss.dense` one that has maps.
        device: Where everything runs.
        initial: The weights to start from (`load_student`), or None for random ones. It is trained itself, not a copy.
    """

    def __init__(
        self,
        config: Config,
        bank: PhotoBank,
        held_out: PhotoBank | None,
        teacher: Teacher,
        device: torch.device,
        initial: Student | None = None,
    ) -> None:
        data = config["data"]
        if data["batch"] % 2 or (data["groups"] and (data["batch"] % GROUP or data["groups"] * GROUP % data["batch"])):
            raise ValueError(
                f"data.batch is {data['batch']} and data.groups {data['groups']}: expected an even batch, and with "
                f"groups one that is a multiple of {GROUP} and divides data.groups x {GROUP}"
            )
        if config["loss"]["dense"] and any(size % MAP_STRIDES[-1] for size in data["student_sizes"]):
            raise ValueError(
                f"data.student_sizes are {data['student_sizes']}: expected multiples of {MAP_STRIDES[-1]}, where every "
                "network's maps have the same sides; or loss.dense=0"
            )
        torch.manual_seed(config["seed"])
        self.config = config
        self.device = device
        self.teacher = teacher
        patches = overlays.render(OVERLAYS, config["seed"], device)
        self.augmenter = Augmenter(bank, patches, config["data"], config["distort"], config["seed"])
        self.validator: Augmenter | None = None
        if held_out is not None:
            # Another seed, or validation would draw the same numbers as the first steps.
            # Without mixtures, which are related to pictures that would count as unrelated.
            plain = {**config["data"], "mix_share": 0.0}
            self.validator = Augmenter(held_out, patches, plain, config["distort"], config["seed"] + 1)
        student = initial or Student()
        self.student = student.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = nn.Linear(LAST_STAGE_DIM, config["teacher"]["components"]).to(device)
        # From the student's maps to the teacher's; thrown away as the head is.
        self.adapters = nn.ModuleList()
        if config["loss"]["dense"]:
            self.adapters.extend(
                nn.Conv2d(inputs, outputs, 1)
                for inputs, outputs in zip(MAP_CHANNELS, self._map_channels(), strict=True)
            )
        self.adapters.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.student).eval().requires_grad_(False)
        self._run_student: Any = self.student
        if device.type == "cuda":
            # One compilation for each input size: shapes known in advance are faster than dynamic ones.
            self._run_student = torch.compile(self.student, dynamic=False)
        self.parameters = [*self.student.parameters(), *self.head.parameters(), *self.adapters.parameters()]
        decayed = [parameter for parameter in self.parameters if parameter.dim() > 1]
        others = [parameter for parameter in self.parameters if parameter.dim() <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config["optimiser"]["weight_decay"]},
                # Decay of normalisations and biases only slows them down.
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config["optimiser"]["learning_rate"],
            # One pass over the parameters in place of ten; on a CPU too they do not fit into its caches.
            fused=True,
        )
        self.normalised = Normaliser(config, device)
        self.whitening: losses.Whitening | None = None
        self.step_number = 0
        self.crops = 0
        self.elapsed = 0.0
        # Teacher's features of groups of crops that come again, float16 [pairs of a group x 2, D] each.
        self._memory: dict[int, torch.Tensor] = {}

    def _map_channels(self) -> list[int]:
        """Channels of the teacher's maps, which only its answer tells.

        Raises:
            ValueError: It has no maps, or they have other sides than the student's.
        """
        side = self.config["data"]["student_sizes"][0]
        maps = self.teacher.maps(torch.zeros(1, 3, side, side, device=self.device))
        sides = [tuple(each.shape[2:]) for each in maps]
        expected = [(side // stride, side // stride) for stride in MAP_STRIDES]
        if sides != expected:
            raise ValueError(f"the teacher's maps of {side} x {side} pixels are {sides}: expected {expected}")
        return [each.shape[1] for each in maps]

    def _autocast(self) -> torch.autocast:
        dtype = working_dtype(self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)

    def fit_whitening(self) -> None:
        """Measures the teacher's mean and principal directions over many crops."""
        wanted = self.config["teacher"]["whitening_crops"]
        features: list[torch.Tensor] = []
        # Negative steps: crops that no training step uses.
        while sum(len(part) for part in features) < wanted:
            batch = self.augmenter.batch(-1 - len(features), self.config["data"]["student_sizes"][0])
            features.append(self._teach(batch))
        components = self.config["teacher"]["components"]
        self.whitening = losses.Whitening.fit(torch.cat(features), components)
        if self.whitening.projection.shape[1] != components:
            raise ValueError(f"the teacher gives fewer than {components} components; lower teacher.components")

    @torch.no_grad()
    def fit_heads(self) -> list[float]:
        """Sets the head and the adapters to the linear regressions on what the student gives now.

        Found by gradients they would take hundreds of steps, in which they would teach the student noise. With
        `teacher.head_crops` 0 they stay random all the same.

        Returns:
            The share of the teacher's maps' variance that each adapter explains on these crops; empty without adapters
            or crops.
        """
        if not self.config["teacher"]["head_crops"]:
            return []
        assert self.whitening is not None
        # As in training: with the batch's own statistics. The running ones move on, and the averaged weights follow.
        self.student.train()
        lasts, targets = [], []
        places: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = [([], []) for _ in self.adapters]
        while sum(map(len, lasts)) < self.config["teacher"]["head_crops"]:
            # Negative steps again.
            batch = self.augmenter.batch(-1 - len(lasts), self.student_size(len(lasts)))
            _, last, maps = self.student(self.normalised(batch.distorted, "student"))
            lasts.append(last)
            targets.append(self.whitening(self._teach(batch)))
            for (inputs, outputs), own, theirs in zip(places, maps, self._maps(batch), strict=False):
                inputs.append(own.movedim(1, 3).flatten(0, 2))
                outputs.append(losses.standardised(theirs).movedim(1, 3).flatten(0, 2))
        mean, linear = losses.ridge(torch.cat(lasts), torch.cat(targets))
        self.head.weight.copy_(linear.T)
        self.head.bias.copy_(-mean @ linear)
        explained = []
        for adapter, (inputs, outputs) in zip(self.adapters, places, strict=True):
            own, theirs = torch.cat(inputs), torch.cat(outputs)
            mean, linear = losses.ridge(own, theirs)
            adapter.weight.copy_(linear.T[:, :, None, None])  # type: ignore[operator]
            adapter.bias.copy_(-mean @ linear)  # type: ignore[operator]
            explained.append(1 - ((own - mean) @ linear - theirs).square().mean().item())
        return explained

    def student_size(self, step: int) -> int:
        """The side of a step's distorted pictures."""
        sizes = self.config["data"]["student_sizes"]
        # Changed after every round of `lower_every` steps, or the lower layers might see one size only.
        size: int = sizes[step // self.config["optimiser"]["lower_every"] % len(sizes)]
        return size

    def groups(self, step: int) -> list[int] | None:
        """The groups of crops that a step shows, or None where every step has crops of its own.

        Every group is seen once in each round through all of them, together with other groups each time.
        """
        data = self.config["data"]
        count, per_step = data["groups"], data["batch"] // GROUP
        if not count:
            return None
        steps = count // per_step
        generator = torch.Generator().manual_seed(self.config["seed"] * 1_000_003 + step // steps)
        order = torch.randperm(count, generator=generator)
        return order[step % steps * per_step :][:per_step].tolist()

    def _teach(self, batch: Batch, augmenter: Augmenter | None = None) -> torch.Tensor:
        """The teacher's features [N, D] of the clean crops; `augmenter` is the one that made them."""
        clean = (augmenter or self.augmenter).render(batch.crops, self.config["data"]["teacher_size"])
        return self.teacher(self.normalised(clean, "teacher"))

    def _features(self, batch: Batch, groups: list[int] | None) -> torch.Tensor:
        """The same, from memory where the crops were seen before."""
        if groups is None:
            return self._teach(batch)
        if not all(group in self._memory for group in groups):
            halves = self._teach(batch).half().view(2, len(groups), GROUP // 2, -1)
            for index, group in enumerate(groups):
                self._memory[group] = halves[:, index].clone()
        return torch.cat([self._memory[group] for group in groups], 1).float().flatten(0, 1)

    def _maps(self, batch: Batch) -> list[torch.Tensor]:
        """The teacher's maps of what the student sees; none where they are not wanted."""
        return self.teacher.maps(self.normalised(batch.distorted, "teacher")) if self.adapters else []

    def loss(self, batch: Batch, features: torch.Tensor, teachers: list[torch.Tensor]) -> torch.Tensor:
        """The terms of the loss.

        Args:
            batch: What the student sees.
            features: The teacher's of the clean crops, [N, D].
            teachers: From `_maps`.

        Returns:
            The terms named in TERMS, float32; the first is the weighted sum.
        """
        assert self.whitening is not None
        weights = self.config["loss"]
        whitened = self.whitening(features)
        target = losses.target_cosines(
            whitened[:, : self.config["teacher"]["relation_components"]], weights["target_exponent"]
        )
        # The lower layers cost more than half of the backward pass.
        train_lower = self.step_number % self.config["optimiser"]["lower_every"] == 0
        with self._autocast():
            embedding, last, maps = self._run_student(self.normalised(batch.distorted, "student"), train_lower)
            guesses = [adapter(each) for adapter, each in zip(self.adapters, maps, strict=False)]
        embedding = embedding.float()
        dense = losses.dense([guess.float() for guess in guesses], teachers) if guesses else embedding.new_zeros(())
        related = batch.related()
        everything, pairs = losses.relation(embedding, target, batch.crops.same_crop)
        terms = {
            "relation": everything,
            "pair": pairs,
            "regression": losses.regression(self.head(last.float()), whitened),
            "dense": dense,
            "contrast": losses.contrast(embedding, related, weights["contrast_temperature"]),
            "koleo": losses.koleo(embedding, related),
        }
        total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return torch.stack([total, *terms.values()])

    def step(self, progress: float, clock: dict[str, float] | None = None) -> torch.Tensor:
        """Trains on one batch.

        Args:
            progress: Share of the schedule that is over, for the learning rate.
            clock: Filled with the seconds of each of PARTS; measuring them makes the step wait for the device.

        Returns:
            The loss's terms, detached.
        """
        settings = self.config["optimiser"]
        warm = min(1.0, (progress + 1e-3) / settings["warm_up"]) if settings["warm_up"] > 0 else 1.0
        rate = settings["learning_rate"] * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))) + 1e-6
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        timed = clock is not None
        times = [self._now(timed)]
        groups = self.groups(self.step_number)
        batch = self.augmenter.batch(self.step_number, self.student_size(self.step_number), groups)
        times.append(self._now(timed))
        features, maps = self._features(batch, groups), self._maps(batch)
        times.append(self._now(timed))
        self.student.train()
        terms = self.loss(batch, features, maps)
        self.optimiser.zero_grad(set_to_none=True)
        terms[0].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, settings["gradient_clip"])
        self.optimiser.step()
        self.step_number += 1
        self.crops += len(batch.photo)
        self._average(settings["ema"])
        if clock is not None:
            times.append(self._now(timed))
            clock.update({part: after - before for part, before, after in zip(PARTS, times, times[1:], strict=False)})
        return terms.detach()

    def _now(self, timed: bool) -> float:
        if timed and self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """Moves the averaged weights; early on they follow quickly."""
        decay = min(decay, (1 + self.step_number) / (10 + self.step_number))
        averaged, current = self.ema.state_dict(), self.student.state_dict()
        floating = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[name] for name in floating], [current[name] for name in floating], 1 - decay)

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """How the averaged weights do on distorted copies of held-out photos (no labels needed).

        Returns:
            regression: the loss's term of that name on these photos, with the averaged weights; where it stays well
            above the training's, the student knows its photos by heart (gap.py measures that); copy_recall_at_1: share
            of distorted crops whose nearest clean crop is their own; copy_above and unrelated_above: shares of cosines
            above 0.75 of copies and of crops of different photos; best_f1 and best_threshold over copies and unrelated
            pairs; the means of both.
        """
        if self.validator is None:
            return {}
        assert self.whitening is not None
        size = max(self.config["data"]["student_sizes"])
        clean: list[torch.Tensor] = []
        distorted: list[torch.Tensor] = []
        photo: list[torch.Tensor] = []
        regression: list[torch.Tensor] = []
        wanted = self.config["run"]["validation_crops"]
        step = 0
        while sum(len(part) for part in photo) < wanted:
            batch = self.validator.batch(step, size)
            shown = self.validator.render(batch.crops, size)
            with self._autocast():
                embedding, _, _ = self.ema(self.normalised(shown, "student"))
                copies, last, _ = self.ema(self.normalised(batch.distorted, "student"))
            clean.append(F.normalize(embedding.float(), dim=1))
            distorted.append(F.normalize(copies.float(), dim=1))
            whitened = self.whitening(self._teach(batch, self.validator))
            regression.append(losses.regression(self.head(last.float()), whitened))
            photo.append(batch.photo)
            step += 1
        cosines = torch.cat(distorted) @ torch.cat(clean).T
        photos = torch.cat(photo)
        copies = cosines.diagonal()
        others = cosines[photos[:, None] != photos[None]]
        # A crop that is in the batch twice counts as found either way.
        best = cosines.amax(1)
        scores = torch.cat([copies, others])
        order = scores.argsort(descending=True)
        hits = (order < len(copies)).double().cumsum(0)
        f1 = 2 * hits / (torch.arange(1, len(scores) + 1, device=hits.device) + len(copies))
        top = f1.argmax()
        return {
            "regression": torch.stack(regression).mean().item(),
            "copy_recall_at_1": (copies >= best - 1e-6).float().mean().item(),
            "copy_above": (copies > 0.75).float().mean().item(),
            "copy_mean": copies.mean().item(),
            "unrelated_above": (others > 0.75).float().mean().item(),
            "unrelated_mean": others.mean().item(),
            "best_f1": f1[top].item(),
            "best_threshold": scores[order[top]].item(),
        }

    # ---- saving

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        assert self.whitening is not None
        return {
            "student": self.student.state_dict(),
            "head": self.head.state_dict(),
            "adapters": self.adapters.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "whitening": {"mean": self.whitening.mean, "projection": self.whitening.projection},
            "step": self.step_number,
            "crops": self.crops,
            "elapsed": self.elapsed,
            "random": torch.get_rng_state(),
            "config": self.config,
        }

    def save(self, path: Path) -> None:
        """Writes a checkpoint; the file is complete or the old one."""
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        torch.save(self.state(), partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            ValueError: It was made with another configuration.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != self.config:
            raise ValueError(f"{path} was made with another configuration; use the same, or start a new run (--init)")
        self.student.load_state_dict(state["student"])
        self.head.load_state_dict(state["head"])
        if [each.weight.shape for each in self.adapters] != [
            value.shape for name, value in state["adapters"].items() if name.endswith("weight")
        ]:
            raise ValueError(f"{path} was made with another teacher; use the same, or start a new run (--init)")
        self.adapters.load_state_dict(state["adapters"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.whitening = losses.Whitening(**state["whitening"])
        self.step_number, self.crops, self.elapsed = state["step"], state["crops"], state["elapsed"]
        torch.set_rng_state(state["random"].cpu())

    def settled(self) -> Student:
        """The averaged student, its batch normalisations measured at the size of use (`run.statistics_*`).

        Those of the training are of smaller and distorted crops, and of other weights than the averaged ones: see
        Touvron et al., "Fixing the train-test resolution discrepancy" (2019), and Izmailov et al., "Averaging weights
        leads to wider optima and better generalization" (2018).
        """
        student = copy.deepcopy(self.ema)
        settings = self.config["run"]
        steps = math.ceil(settings["statistics_crops"] / self.config["data"]["batch"])

        def pictures() -> Iterator[torch.Tensor]:
            for step in range(steps):
                # Negative steps: crops that no training step uses. Every other batch is distorted, as copies are.
                batch = self.augmenter.batch(-1 - step, settings["statistics_size"])
                clean = step % 2 == 0
                shown = self.augmenter.render(batch.crops, settings["statistics_size"]) if clean else batch.distorted
                yield self.normalised(shown, "student")

        if steps:
            swa_utils.update_bn(pictures(), student)
        return student

    def weights(self) -> dict[str, torch.Tensor]:
        """The averaged weights as they are to be shipped: float16 on the CPU, torchvision's names."""
        return {
            name: value.half().cpu().contiguous()
            for name, value in self.settled().state_dict().items()
            if value.is_floating_point()
        }


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    result = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


class _Session:
    """One call of the program: trains until the time, the steps or a signal say stop."""

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


def _write_results(trainer: Trainer, session: _Session, arguments: argparse.Namespace, data: dict[str, int]) -> None:
    """Writes weights.pth and metrics.json."""
    weights = arguments.output / "weights.pth"
    partial = weights.with_name(f".{weights.name}.partial")
    torch.save(trainer.weights(), partial)
    partial.replace(weights)
    metrics = {
        "command": shlex.join(["python", *sys.argv]),
        "commit": _commit(),
        "device": _device_name(trainer.device),
        "torch": torch.__version__,
        "teacher": arguments.teacher,
        "initial": str(arguments.init) if arguments.init else "random",
        "config": trainer.config,
        "config_sha256": config_digest(trainer.config),
        "data": data,
        "data_sha256": hashlib.sha256((arguments.data / "index.json").read_bytes()).hexdigest(),
        "steps": trainer.step_number,
        "crops": trainer.crops,
        "minutes": round(trainer.elapsed / 60, 2),
        "throughput": session.throughput,
        "validation": session.validation,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    (arguments.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"{weights}: {weights.stat().st_size / 2**20:.1f} MiB, {trainer.crops} crops, {trainer.elapsed / 60:.1f} min")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
    parser.add_argument("--config", type=Path, default=HERE / "config.toml", metavar="FILE")
    parser.add_argument("--set", action="append", metavar="SECTION.NAME=VALUE", help="change the configuration")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
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
    session = _Session(trainer, arguments)
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
