"""How good a network's answers are: errors in pixels by size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from research.circle import geometry
from research.circle.data import Floats, Integers, Label, Spec, draw, label
from research.circle.network import CircleNet, collate, colours
from research.common import intervals

Json = dict[str, Any]

SIZES = (64, 96, 99, 100, 128, 192, 256, 384, 512)
# The training has seed 0; its pictures never come back here.
TEST_SEED = 1_000_000
# Pixels of the pictures that are computed at once.
_PIXELS = 1 << 20
_DIGITS = 5


@dataclasses.dataclass(frozen=True)
class Answers:
    """What was found in pictures, and what they show.

    Attributes:
        circles: [n, 3], x, y and radius in pixels.
        colours: [n].
        labels: The truth.
    """

    circles: Floats
    colours: Integers
    labels: Sequence[Label]

    def true(self) -> Floats:
        """Returns the true circles, [n, 3]."""
        return np.array([(each.x, each.y, each.radius) for each in self.labels])


Ask = Callable[[Sequence[Label]], Answers]


def ask(model: CircleNet) -> Ask:
    """Returns a function that lets a network look at labels' pictures, all of them in one batch."""

    def asked(labels: Sequence[Label]) -> Answers:
        batch = collate(labels)
        with torch.inference_mode():
            circles, logits = model(batch.pictures, batch.sizes)
        return Answers(circles.double().numpy(), colours(logits).numpy(), labels)

    return asked


def ruler(labels: Sequence[Label]) -> Answers:
    """Answers by the moments of the pixels: what is possible without learning."""
    pictures = [draw(each) for each in labels]
    circles = np.array([geometry.moments(picture.astype(np.float64)) for picture in pictures])
    # The channel of the circle's colour stays at 255.
    found = np.array([picture.sum((0, 1)).argmax() for picture in pictures], np.int64)
    return Answers(circles, found, labels)


def answers(asked: Ask, labels: Sequence[Label]) -> Answers:
    """Asks in batches of a limited number of pixels; returns all answers in the order of the labels."""
    side = max(max(each.height, each.width) for each in labels)
    several = max(1, _PIXELS // side**2)
    parts = [asked(labels[at : at + several]) for at in range(0, len(labels), several)]
    return Answers(
        np.concatenate([part.circles for part in parts]), np.concatenate([part.colours for part in parts]), labels
    )


def measured(found: Answers) -> Json:
    """Returns the errors of answers.

    Returns:
        "pictures"; "centre_px" and "radius_px" with mean, low and high (95 % interval of the mean), p95 and max; "iou"
        with its mean and interval and "least"; "colour", the share that is right, with its interval and "at_least", the
        share that 95 % confidence leaves possible where all are right, and null elsewhere: drawing right answers again
        gives right answers only, and no interval.
    """
    true = found.true()
    overlap = geometry.iou(found.circles, true)
    right = found.colours == [each.colour for each in found.labels]
    rule = round(0.05 ** (1 / len(right)), 4) if right.all() else None
    return {
        "pictures": len(right),
        "centre_px": _spread(geometry.centre_error(found.circles, true)),
        "radius_px": _spread(geometry.radius_error(found.circles, true)),
        "iou": intervals.mean(overlap).to_json(_DIGITS) | {"least": round(float(overlap.min()), _DIGITS)},
        "colour": intervals.mean(right).to_json() | {"at_least": rule},
    }


def _spread(values: Floats) -> Json:
    ends = {"p95": round(float(np.quantile(values, 0.95)), _DIGITS), "max": round(float(values.max()), _DIGITS)}
    return intervals.mean(values).to_json(_DIGITS) | ends


def size_row(asked: Ask, side: int, count: int) -> Json:
    """Returns the errors on square pictures of a side, see measured, and the means as shares of the side."""
    spec = Spec(TEST_SEED + side, count, side, side, square=True)
    row: Json = {"side": side} | measured(answers(asked, [label(spec, index) for index in range(count)]))
    return row | {f"{name}_share": round(row[f"{name}_px"]["value"] / side, 6) for name in ("centre", "radius")}


def unequal_row(asked: Ask, count: int) -> Json:
    """Returns the errors on pictures whose height and width are drawn on their own, 64 to 256, in common batches."""
    spec = Spec(TEST_SEED, count, 64, 256)
    return {"sides": [spec.least, spec.most]} | measured(answers(asked, [label(spec, index) for index in range(count)]))


def aims(rows: Sequence[Json]) -> Json:
    """Says which aims are reached: at 100 pixels, and at all other sizes.

    Returns:
        For each aim whether it is reached.
    """
    (main,) = (row for row in rows if row["side"] == 100)
    others = [row for row in rows if row["side"] != 100]
    return {
        "centre_px_below_1": main["centre_px"]["value"] < 1,
        "radius_px_below_1": main["radius_px"]["value"] < 1,
        "colour_all": main["colour"]["value"] == 1,
        "iou_above_0.95": main["iou"]["value"] > 0.95,
        "others_within_1_percent": all(max(row["centre_share"], row["radius_share"]) <= 0.01 for row in others),
    }
