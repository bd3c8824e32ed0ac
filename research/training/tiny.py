"""Tiny configurations, photos, teachers and trainers, for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from research.training import augment, overlays, teacher
from research.training.bank import PhotoBank
from research.training.config import load_config
from research.training.trainer import Trainer

CPU = torch.device("cpu")


def small_config() -> dict[str, Any]:
    return load_config(
        cuda=False,
        changes=[
            "data.batch=12",
            "data.groups=0",
            "data.teacher_size=32",
            "data.student_sizes=[32, 64]",
            "teacher.components=6",
            "teacher.whitening_crops=48",
            "teacher.head_crops=24",
            "optimiser.warm_up=0.0",
            "optimiser.learning_rate=1e-3",
            "run.validation_crops=24",
            "run.checkpoint_minutes=0.0",
            "run.statistics_crops=0",
        ],
    )


def remembering_config() -> dict[str, Any]:
    """Eight groups of crops, two a step."""
    config = small_config()
    config["data"].update(batch=64, groups=8)
    return config


def small_bank(count: int = 10, seed: int = 0) -> PhotoBank:
    random = np.random.default_rng(seed)
    arrays = []
    for index in range(count):
        cells = random.integers(0, 256, (6, 6, 4), dtype=np.uint8)
        pixels = np.kron(cells, np.ones((12, 16, 1), np.uint8))
        pixels[..., 3] = 255
        if index % 4 == 3:
            pixels[:20, :, 3] = 0
        arrays.append(pixels)
    return PhotoBank.from_arrays(arrays, [1.0] * count, list(range(count)), CPU)


def grids(images: Any, maps: bool) -> list[Any]:
    """Colours of a 4 x 4 grid, and of finer ones: something that tells crops apart."""
    pool = torch.nn.functional.avg_pool2d
    features = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
    return [features, *(pool(images.float(), side) for side in (8, 16, 32) if maps)]


small_teacher = teacher.Teacher(grids)


def small_trainer(config: dict[str, Any] | None = None) -> Trainer:
    trainer = Trainer(config or small_config(), small_bank(), small_bank(8, 1), small_teacher, CPU)
    trainer.fit_whitening()
    trainer.fit_heads()
    return trainer


def small_augmenter(**distort: float) -> augment.Augmenter:
    config = small_config()
    config["distort"].update(distort)
    return augment.Augmenter(small_bank(), overlays.render(8, 0, CPU), config["data"], config["distort"], 5)


def same_photo(photo: Any) -> Any:
    return photo[:, None] == photo
