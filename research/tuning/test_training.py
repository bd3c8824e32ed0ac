"""The network's training: the same seed, the same bits; augmentation; what cannot be trained."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is missing")
pytest.importorskip("optuna", reason="Optuna is missing")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from research.common.image_sets import Split  # noqa: E402
from research.tuning import training  # noqa: E402
from research.tuning.space import DEFAULT, Configuration  # noqa: E402

SMALL = dataclasses.replace(DEFAULT, width=8, batch=32, dropout=0.2)


def pictures(count: int = 60) -> Split:
    """Three classes that differ in colour."""
    random = np.random.default_rng(1)
    labels = np.arange(count) % 3
    pixels = random.integers(0, 120, (count, 32, 32, 3), np.uint8)
    pixels[np.arange(count), :, :, labels] += 100
    return Split(pixels, labels, ("a", "b", "c"), "drawn", "")


def curve(configuration: Configuration, seed: int) -> list[float]:
    with training.one_thread():
        run = training.Training(configuration, pictures(), epochs=2, seed=seed)
        return [run.epoch(), run.epoch()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_seed_gives_the_same_bits_whatever_ran_before(optimizer: str) -> None:
    chosen = dataclasses.replace(SMALL, optimizer=optimizer)
    first = curve(chosen, 7)
    torch.rand(5)
    assert curve(chosen, 7) == first
    assert curve(chosen, 8) != first


def test_it_learns() -> None:
    with training.one_thread():
        run = training.Training(dataclasses.replace(SMALL, learning_rate=0.01), pictures(), epochs=6, seed=1)
        losses = [run.epoch() for _ in range(6)]
        assert losses[-1] < losses[0] / 2
        assert run.model.accuracy(pictures()) > 0.9


def test_one_thread_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    with training.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@settings(max_examples=20, deadline=None)
@given(strength=st.floats(0, 1), seed=st.integers(0, 1000))
def test_augmentation_moves_pixels_and_makes_no_new_ones(strength: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.arange(1, 2 * 32 * 32 + 1).float().reshape(2, 1, 32, 32).repeat(1, 3, 1, 1)
    found = training.augmented(x, strength)
    assert found.shape == x.shape
    for before, after in zip(x, found, strict=True):
        assert set(after.unique().tolist()) <= {0.0, *before.unique().tolist()}


def test_augmentation_of_strength_0_changes_nothing_and_of_1_does() -> None:
    torch.manual_seed(0)
    x = torch.rand(20, 3, 32, 32) + 1
    assert torch.equal(training.augmented(x, 0.0), x)
    strong = training.augmented(x, 1.0)
    assert not torch.equal(strong, x)
    assert 0 < float((strong == 0).float().mean()) <= 100 / 32**2


def test_shift_and_flip_are_the_same_for_all_colours() -> None:
    torch.manual_seed(3)
    grey = torch.rand(8, 1, 32, 32).repeat(1, 3, 1, 1) + 1
    found = training.augmented(grey, 1.0)
    assert torch.equal(found[:, 0], found[:, 2])


def test_the_rate_rises_and_falls_to_nothing() -> None:
    run = training.Training(SMALL, pictures(), epochs=10, seed=1)
    rates = []
    for step in range(20):
        run._step = step
        rates.append(run.rate())
    top = rates.index(max(rates))
    assert rates[top] == SMALL.learning_rate
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top + 1 :] == sorted(rates[top + 1 :], reverse=True)
    assert rates[-1] < SMALL.learning_rate / 20


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    run = training.Training(
        dataclasses.replace(SMALL, optimizer="sgd", learning_rate=math.inf), pictures(), epochs=1, seed=1
    )
    with pytest.raises(training.DivergedError, match="the loss of step"):
        run.epoch()


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    run = training.Training(SMALL, pictures(), epochs=1, seed=1)
    run.epoch()
    run.model.save(tmp_path / "weights.pt")
    loaded = training.Model.load(tmp_path / "weights.pt", SMALL)
    x, _ = run.model.tensors(pictures())
    y, _ = loaded.tensors(pictures())
    assert torch.equal(x, y)
    assert torch.equal(run.model.network.eval()(x), loaded.network.eval()(x))
    with pytest.raises(RuntimeError, match="size mismatch"):
        training.Model.load(tmp_path / "weights.pt", dataclasses.replace(SMALL, width=12))
