"""Copies of photos: other pictures, reproducible, of the strength that their names say."""

from __future__ import annotations

import numpy as np
import pytest

from research.common import copies
from research.common.photos import draw


@pytest.mark.parametrize("name", copies.TRANSFORMS)
@pytest.mark.parametrize("size", [(320, 240), (33, 70)])
def test_a_copy_is_another_rgb_picture(name: str, size: tuple[int, int]) -> None:
    photo = draw(3, *size)
    copy = copies.make_copy(photo, name, seed=1)
    pixels = np.asarray(copy)
    assert copy.mode == "RGB"
    assert pixels.dtype == np.uint8
    assert pixels.shape == (copy.height, copy.width, 3)
    assert copies.photo_hash(copy) != copies.photo_hash(photo)
    assert copies.photo_hash(photo) == copies.photo_hash(draw(3, *size)), "the photo itself was changed"


def test_copies_depend_on_seed_photo_and_transform_alone() -> None:
    photo = draw(5)
    first = copies.with_copies(photo, seed=1)
    again = copies.with_copies(draw(5), seed=1)
    assert len(first) == len(copies.TRANSFORMS) + 1
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    index = list(copies.TRANSFORMS).index("border") + 1
    alone = copies.make_copy(photo, "border", seed=1)
    np.testing.assert_array_equal(np.asarray(alone), first[index])
    assert copies.photo_hash(copies.make_copy(photo, "border", seed=2)) != copies.photo_hash(alone)


def test_crops_keep_what_they_promise() -> None:
    photo = draw(1, 400, 300)
    for seed in range(20):
        for name, least, most in (("crop 70-90 %", 0.7, 0.9), ("crop 50-70 %", 0.5, 0.7)):
            copy = copies.make_copy(photo, name, seed)
            share = copy.width * copy.height / (400 * 300)
            # The bent aspect ratio may meet the edge of the photo, which costs a little area.
            assert least * 0.85 <= share <= most * 1.01
