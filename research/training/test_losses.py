"""The terms of the loss."""

from __future__ import annotations

import pytest
import torch

from research.training import losses
from research.training.tiny import same_photo


def test_a_perfect_student_has_no_loss() -> None:
    whitened = torch.nn.functional.normalize(torch.rand(8, 6), dim=1)
    target = losses.target_cosines(whitened, 1.0)
    everything, pairs = losses.relation(whitened, target)
    assert everything < 1e-10 and pairs < 1e-10
    assert abs(losses.regression(3 * whitened, whitened)) < 1e-6


def test_targets_lie_between_zero_and_one() -> None:
    whitened = torch.nn.functional.normalize(torch.randn(20, 6), dim=1)
    for exponent in (1.0, 0.7):
        target = losses.target_cosines(whitened, exponent)
        assert target.min() == 0 and target.max() <= 1 + 1e-5


def test_gradients_flow_through_every_term() -> None:
    related = same_photo(torch.arange(4).repeat(2))
    target = torch.eye(8)
    whitened = torch.nn.functional.normalize(torch.randn(8, 6), dim=1)
    terms = {
        "relation": lambda x: sum(losses.relation(x, target)),
        "regression": lambda x: losses.regression(x, whitened),
        "dense": lambda x: losses.dense([x.view(8, 6, 1, 1)], [torch.randn(8, 6, 1, 1)]),
        "contrast": lambda x: losses.contrast(x, related, 0.1),
        "koleo": lambda x: losses.koleo(x, related),
    }
    for name, term in terms.items():
        embedding = torch.rand(8, 6, requires_grad=True)
        term(embedding).backward()
        assert embedding.grad is not None and embedding.grad.isfinite().all(), name
        assert embedding.grad.abs().sum() > 0, name


def test_maps_are_compared_place_by_place() -> None:
    maps = [torch.randn(4, 3, 6, 6) * 5 + 2, torch.randn(4, 2, 3, 3)]
    alike = [losses.standardised(each) for each in maps]
    assert losses.dense(alike, maps) < 1e-6
    assert losses.dense([0 * each for each in maps], maps) == pytest.approx(1, abs=0.05)
    assert losses.dense([each.roll(1, 3) for each in alike], maps) > 1


def test_regression_finds_a_linear_map() -> None:
    inputs = torch.rand(500, 6)
    outputs = (inputs - inputs.mean(0)) @ torch.randn(6, 4)
    mean, linear = losses.ridge(inputs, outputs)
    # The ridge shrinks it a little.
    assert ((inputs - mean) @ linear - outputs).square().mean() < 0.02 * outputs.square().mean()


def test_contrast_prefers_matching_pairs_and_ignores_the_same_photo() -> None:
    pairs = torch.eye(4).repeat(2, 1)
    related = same_photo(torch.arange(4).repeat(2))
    assert losses.contrast(pairs, related, 0.1) < 0.01
    assert losses.contrast(pairs, related, 0.1) < losses.contrast(torch.rand(8, 4), related, 0.1)
    all_related = torch.ones(8, 8, dtype=torch.bool)
    assert abs(losses.contrast(torch.rand(8, 4), all_related, 0.1)) < 1e-6


def test_koleo_is_smaller_where_photos_are_apart() -> None:
    related = same_photo(torch.arange(4).repeat(2))
    assert losses.koleo(torch.eye(4).repeat(2, 1), related) < losses.koleo(torch.ones(8, 4), related)


def test_whitening_gives_equal_variance_and_no_mean() -> None:
    torch.manual_seed(0)
    features = torch.randn(2000, 8) * torch.arange(1, 9) + 20
    whitening = losses.Whitening.fit(features, 5)
    projected = (torch.nn.functional.normalize(features, dim=1) - whitening.mean) @ whitening.projection
    assert projected.mean(0).abs().max() < 1e-3
    assert torch.allclose(torch.cov(projected.T), torch.eye(5), atol=0.02)
