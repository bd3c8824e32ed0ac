"""The state of a training, and its step."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.optim import swa_utils

from research.training import losses, overlays, validation
from research.training.anchor import Anchor
from research.training.augment import Augmenter, Batch
from research.training.bank import PhotoBank
from research.training.config import GROUP, MAP_STRIDES, Config, check_config
from research.training.memory import GroupMemory
from research.training.student import LAST_STAGE_DIM, MAP_CHANNELS, Student
from research.training.teacher import Teacher, autocast

# What rrn's preprocessing does to every image (rrn_native.model.export.MEAN and STDDEV).
MEAN = (0.485, 0.456, 0.406)
STDDEV = (0.229, 0.224, 0.225)
OVERLAYS = 256
PARTS = ("augment", "teacher", "student")
TERMS = ("loss", "relation", "pair", "regression", "dense", "contrast", "koleo", "anchor", "hold")


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


def _optimiser(parameters: list[nn.Parameter], settings: Config) -> torch.optim.Optimizer:
    """AdamW with the section [optimiser] of the configuration."""
    decayed = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings["weight_decay"]},
            # Decay of normalisations and biases only slows them down.
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings["learning_rate"],
        # One pass over the parameters in place of ten; on a CPU too they do not fit into its caches.
        fused=True,
    )


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
        check_config(config)
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
        self.anchor = None
        if config["loss"]["anchor"] or config["loss"]["hold"]:
            if initial is None:
                raise ValueError("loss.anchor and loss.hold compare with the first weights: say which (--init)")
            first = copy.deepcopy(self.student)
            self.anchor = Anchor(
                first, config["loss"]["anchor_size"], lambda pictures: self.normalised(pictures, "student")
            )
        self._run_student: Any = self.student
        if device.type == "cuda":
            # One compilation for each input size: shapes known in advance are faster than dynamic ones.
            self._run_student = torch.compile(self.student, dynamic=False)
        self.parameters = [*self.student.parameters(), *self.head.parameters(), *self.adapters.parameters()]
        self.optimiser = _optimiser(self.parameters, config["optimiser"])
        self.normalised = Normaliser(config, device)
        self.whitening: losses.Whitening | None = None
        self.step_number = 0
        self.crops = 0
        self.elapsed = 0.0
        self._memory = GroupMemory()  # of the teacher's features

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
        self._to_training()
        lasts: list[torch.Tensor] = []
        targets: list[torch.Tensor] = []
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
        """The groups of crops that a step shows, or None where every step draws new crops.

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
        return self._memory(groups, lambda: self._teach(batch))

    def _maps(self, batch: Batch) -> list[torch.Tensor]:
        """The teacher's maps of what the student sees; none where they are not wanted."""
        return self.teacher.maps(self.normalised(batch.distorted, "teacher")) if self.adapters else []

    def _wanted(self, batch: Batch, groups: list[int] | None) -> torch.Tensor | None:
        """The first weights' embeddings of the clean crops; None where they are not wanted."""
        return self.anchor.wanted(self.augmenter, batch.crops, groups) if self.anchor else None

    def _to_training(self) -> None:
        self.student.train(not self.config["optimiser"]["freeze_statistics"])

    def loss(
        self,
        batch: Batch,
        features: torch.Tensor,
        teachers: list[torch.Tensor],
        wanted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The terms of the loss.

        Args:
            batch: What the student sees.
            features: The teacher's of the clean crops, [N, D].
            teachers: From `_maps`.
            wanted: From `_wanted`.

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
        with autocast(self.device):
            embedding, last, maps = self._run_student(self.normalised(batch.distorted, "student"), train_lower)
            guesses = [adapter(each) for adapter, each in zip(self.adapters, maps, strict=False)]
        embedding = embedding.float()
        dense = losses.dense([guess.float() for guess in guesses], teachers) if guesses else embedding.new_zeros(())
        related = batch.related()
        everything, pairs = losses.relation(embedding, target, batch.crops.same_crop)
        nothing = embedding.new_zeros(())
        terms = {
            "relation": everything,
            "pair": pairs,
            "regression": losses.regression(self.head(last.float()), whitened),
            "dense": dense,
            "contrast": losses.contrast(embedding, related, weights["contrast_temperature"]),
            "koleo": losses.koleo(embedding, related),
            "anchor": nothing if wanted is None else losses.regression(embedding, wanted),
            "hold": nothing if wanted is None else losses.relation(embedding, wanted @ wanted.T)[0],
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
        wanted = self._wanted(batch, groups)
        times.append(self._now(timed))
        self._to_training()
        terms = self.loss(batch, features, maps, wanted)
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
            above the training's, the student has memorised its photos (gap.py measures that).
            The rest is from `validation.copies`.
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
            with autocast(self.device):
                embedding, _, _ = self.ema(self.normalised(shown, "student"))
                copies, last, _ = self.ema(self.normalised(batch.distorted, "student"))
            clean.append(F.normalize(embedding.float(), dim=1))
            distorted.append(F.normalize(copies.float(), dim=1))
            whitened = self.whitening(self._teach(batch, self.validator))
            regression.append(losses.regression(self.head(last.float()), whitened))
            photo.append(batch.photo)
            step += 1
        measured = validation.copies(torch.cat(distorted), torch.cat(clean), torch.cat(photo))
        return {"regression": torch.stack(regression).mean().item(), **measured}

    # ---- saving

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        assert self.whitening is not None
        return {
            "student": self.student.state_dict(),
            "head": self.head.state_dict(),
            "adapters": self.adapters.state_dict(),
            "ema": self.ema.state_dict(),
            "anchor": self.anchor.network.state_dict() if self.anchor else {},
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
        if self.anchor:
            self.anchor.network.load_state_dict(state["anchor"])
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
        student: Student = copy.deepcopy(self.ema)
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
