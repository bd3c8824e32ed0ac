"""Crops and distortions of drawn pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from research.training import augment, overlays
from research.training.tiny import CPU, same_photo, small_augmenter, small_bank, small_config


@pytest.mark.parametrize("size", [24, 32, 48])
def test_batches_have_their_shapes_and_range(size: int) -> None:
    made = small_augmenter()
    batch = made.batch(3, size)
    clean = made.render(batch.crops, size)
    assert clean.shape == batch.distorted.shape == (12, 3, size, size)
    for pictures in (clean, batch.distorted):
        assert pictures.isfinite().all() and pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(batch.photo[:6], batch.photo[6:])


def test_a_step_always_gives_the_same_batch() -> None:
    first, second = small_augmenter(), small_augmenter()
    first.batch(1, 32)
    one, two, other = first.batch(2, 32), second.batch(2, 32), second.batch(3, 32)
    assert torch.equal(first.render(one.crops, 32), second.render(two.crops, 32))
    assert torch.equal(one.distorted, two.distorted)
    assert not torch.equal(one.crops.quad, other.crops.quad)


def test_groups_of_crops_come_again_in_any_company() -> None:
    made = small_augmenter()
    alone = made.render(made.batch(0, 32, [7]).crops, 32)
    assert torch.equal(made.render(made.batch(5, 32, [7]).crops, 32), alone)
    assert not torch.equal(made.batch(0, 32, [7]).distorted, made.batch(5, 32, [7]).distorted)
    first, second = (made._crops(2 * group, 3) for group in (4, 9))
    together = made.render(made.batch(1, 32, [4, 9]).crops, 32)
    halves = [made.render(crops, 32).view(2, 3, 3, 32, 32) for crops in (first, second)]
    assert torch.equal(together, torch.cat(halves, 1).flatten(0, 1))


def test_every_distortion_alone_changes_its_share_of_pictures() -> None:
    names = ["mirror", "turn", "palette", "geometry", "colour", "grey", "blur", "noise", "rescale", "jpeg", "overlay"]
    none = dict.fromkeys(names, 0.0)
    clean = small_augmenter().render(small_augmenter().batch(0, 32).crops, 32)
    untouched = small_augmenter(**none).distorted(clean)
    assert (untouched - clean).abs().max() <= 0.5 / 255 + 1e-4
    for name in names:
        changed = small_augmenter(**{**none, name: 1.0}).distorted(clean)
        assert ((changed - clean).abs().amax((1, 2, 3)) > 0.01).sum() >= 8, name


def test_turns_and_palettes_keep_what_they_should() -> None:
    made = small_augmenter()._distorter
    pictures = torch.rand((8, 3, 6, 6), generator=torch.Generator().manual_seed(2))
    turned = made._turned(pictures)
    assert torch.equal(turned.flatten(2).sort().values, pictures.flatten(2).sort().values)
    assert all(torch.equal(turned[i].rot90(-quarters, (1, 2)), pictures[i]) for i, quarters in ((0, 1), (3, 2), (7, 3)))
    other = made._palette(pictures)
    # Turning the hue keeps the mean of the channels; exchanging them, too.
    torch.testing.assert_close(other[:6].mean(1), pictures[:6].mean(1))
    torch.testing.assert_close(other[6:], 1 - pictures[6:])
    grey = torch.full((4, 3, 2, 2), 0.3)
    torch.testing.assert_close(made._palette(grey)[:3], grey[:3])


def test_same_crops_are_equal_and_others_are_not() -> None:
    made = small_augmenter()
    crops = made.batch(8, 32).crops
    clean = made.render(crops, 32)
    equal = (clean[:6] == clean[6:]).flatten(1).all(1)
    # A cut-out's ground is a photo, so the flag holds for it as well.
    assert torch.equal(equal, crops.same_crop)


@pytest.mark.parametrize("blend_share", [0.0, 1.0])
def test_mixed_pairs_show_a_part_of_their_partner(blend_share: float) -> None:
    config = small_config()
    config["data"].update(mix_share=0.5, blend_share=blend_share)
    made = augment.Augmenter(small_bank(), overlays.render(8, 0, CPU), config["data"], config["distort"], 5)
    crops = made.batch(2, 32).crops
    assert len(crops.mixed) == 6 and not (crops.mixed == crops.partner).any()
    clean = made.render(crops, 32)
    none = crops.mixed[:0]
    plain = made.render(dataclasses.replace(crops, mixed=none, partner=none, window=crops.window[:0]), 32)
    others = torch.tensor([index not in crops.mixed for index in range(12)])
    assert torch.equal(clean[others], plain[others])
    for index, partner, window, opacity in zip(crops.mixed, crops.partner, crops.window, crops.opacity, strict=True):
        left, top, right, bottom = (window * 32).round().int().tolist()
        expected = plain[index].clone()
        inside = (slice(None), slice(top, bottom), slice(left, right))
        expected[inside] = expected[inside] * (1 - opacity) + plain[partner][inside] * opacity
        assert (clean[index] - expected).abs().max() < 1e-5
        assert (opacity < 1) == bool(blend_share)


def test_crops_that_show_a_part_of_a_photo_are_related_to_it() -> None:
    config = small_config()
    config["data"].update(mix_share=0.5, blend_share=0.0, cutout_share=0.0)
    made = augment.Augmenter(small_bank(), overlays.render(8, 0, CPU), config["data"], config["distort"], 5)
    batch = made.batch(2, 32)
    related = batch.related()
    assert torch.equal(related, related.T) and related.diagonal().all()
    assert related[batch.crops.mixed, batch.crops.partner].all()
    plain = dataclasses.replace(batch, other=torch.full_like(batch.other, -1))
    assert torch.equal(plain.related(), same_photo(batch.photo))
    assert related.sum() > plain.related().sum()


def test_sampling_a_whole_photo_gives_it_back() -> None:
    made = small_augmenter()
    photos = small_bank()
    index = torch.tensor([0])
    size = int(photos.height[0, 0])
    quad = torch.tensor([[[0.0, 0.0], [96.0, 0.0], [0.0, 72.0], [96.0, 72.0]]])
    sampled = made._sample(index, quad, size)[0]
    pixels = photos.pixels[: 72 * 96].view(torch.uint8).view(72, 96, 4)
    assert (sampled[6::12, 8] * 255 - pixels[6::12, 8]).abs().max() < 1


def test_jpeg_keeps_flat_pictures_and_harms_noise() -> None:
    made = small_augmenter()._distorter
    flat = torch.full((4, 3, 40, 40), 0.5)
    assert (made._jpeg(flat) - flat).abs().max() < 0.05
    noise = torch.rand(4, 3, 40, 40)
    assert (made._jpeg(noise) - noise).abs().mean() > 0.02
