"""What is searched: the hyper-parameters with their ranges, and what a person would write first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Json = dict[str, Any]

SPACE: Mapping[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(("sgd", "adamw")),
    "learning_rate": FloatDistribution(1e-3, 0.3, log=True),
    "weight_decay": FloatDistribution(1e-5, 0.1, log=True),
    "batch": CategoricalDistribution((32, 64, 128)),
    "width": IntDistribution(8, 24, step=4),
    "depth": IntDistribution(1, 2),
    "dropout": FloatDistribution(0.0, 0.4),
    "label_smoothing": FloatDistribution(0.0, 0.2),
    "augmentation": FloatDistribution(0.0, 1.0),
}
# Bounds that no wider range could move: there is no dropout below 0.
NATURAL = {("dropout", "low"), ("label_smoothing", "low"), ("augmentation", "low"), ("depth", "low")}
# A value is at an edge when it is this near to a bound, as a share of the range.
NEAR = 0.05


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A point of `SPACE`.

    Attributes:
        optimizer: "sgd" (Nesterov, momentum 0.9) or "adamw".
        learning_rate: The highest of the schedule.
        weight_decay: As the optimiser understands it.
        batch: Pictures of a step.
        width: Channels of the first stage; the second and third have twice and four times as many.
        depth: Residual blocks of each stage.
        dropout: Before the last layer.
        label_smoothing: Of the cross entropy.
        augmentation: Strength of flips, shifts and erased squares, 0 to 1.
    """

    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch: int = 64
    width: int = 16
    depth: int = 1
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augmentation: float = 0.5

    def to_json(self) -> Json:
        """Returns the values by name, in the order of `SPACE`."""
        return dataclasses.asdict(self)


DEFAULT = Configuration()


@dataclasses.dataclass(frozen=True)
class Edge:
    """A value near a bound of its range.

    Attributes:
        name: Of the hyper-parameter.
        value: What was chosen.
        bound: "low" or "high".
        at: The bound's value.
        natural: Whether a wider range is impossible.
    """

    name: str
    value: float
    bound: str
    at: float
    natural: bool

    def to_json(self) -> Json:
        """Returns the fields by name."""
        return dataclasses.asdict(self)


def position(distribution: BaseDistribution, value: float) -> float | None:
    """Returns where a value is in its range, 0 (lowest) to 1 (highest), on the range's own scale.

    Returns:
        None for choices that are no numbers.
    """
    if isinstance(distribution, FloatDistribution | IntDistribution):
        low, high = float(distribution.low), float(distribution.high)
        if distribution.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)
    if isinstance(distribution, CategoricalDistribution) and not isinstance(distribution.choices[0], str):
        return distribution.choices.index(value) / (len(distribution.choices) - 1)
    return None


def bounds(distribution: BaseDistribution) -> tuple[Any, Any]:
    """Returns the lowest and the highest value; of choices the first and the last."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low, distribution.high
    assert isinstance(distribution, CategoricalDistribution)
    return distribution.choices[0], distribution.choices[-1]


def edges(configuration: Configuration) -> list[Edge]:
    """Returns the values within `NEAR` of a bound: the best one may be outside of the range."""
    found = []
    for name, value in configuration.to_json().items():
        place = position(SPACE[name], value)
        if place is None or NEAR < place < 1 - NEAR:
            continue
        bound = "low" if place <= NEAR else "high"
        at = bounds(SPACE[name])[bound == "high"]
        found.append(Edge(name, value, bound, at, (name, bound) in NATURAL))
    return found


def to_json() -> list[Json]:
    """Returns the space as rows: name, range or choices, scale, and the default's value."""
    rows = []
    for name, distribution in SPACE.items():
        row: Json = {"name": name}
        if isinstance(distribution, CategoricalDistribution):
            row |= {"choices": list(distribution.choices), "scale": "choice"}
        else:
            low, high = bounds(distribution)
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            row |= {"low": low, "high": high, "scale": "log" if distribution.log else "linear"}
        rows.append(row | {"default": DEFAULT.to_json()[name]})
    return rows
