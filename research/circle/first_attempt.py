"""The usual first attempt on pictures of one size, repaired, and the mistakes that it is usually made with.

Each mistake replaces one part of the repaired attempt. research.circle.guards has a check for each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from research.circle import data, evaluate, network
from research.circle.data import Integers, Label, Spec
from research.circle.evaluate import Answers
from research.circle.network import Batch

Json = dict[str, Any]

SIDE = 64
BATCH = 32
RATE = 1e-3
COUNT = 3072
TEST_COUNT = 256
# Feature maps at the end of the backbone.
_CELLS = SIDE // 8
Answer = tuple[torch.Tensor, torch.Tensor]


class Plain(nn.Module):
    """Three convolutions with batch normalisation and a linear layer: pictures [N, 3, 64, 64] of one size only."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * _CELLS**2, 64), nn.ReLU(), nn.Linear(64, 6))

    def forward(self, pictures: torch.Tensor) -> Answer:
        """Returns x, y and radius as shares of the side, [N, 3], and logits of the colours, [N, 3]."""
        return split(self.head(self.backbone(pictures)))


class NoBackbone(Plain):
    """Features that nobody computes from the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.zeros(1, 32, _CELLS, _CELLS))

    def forward(self, pictures: torch.Tensor) -> Answer:
        """As Plain.forward."""
        return split(self.head(self.features.expand(len(pictures), -1, -1, -1)))


class NoReturn(Plain):
    """A forward that forgets its result."""

    def forward(self, pictures: torch.Tensor) -> Answer:  # type: ignore[return]
        """As Plain.forward is meant to be."""
        split(self.head(self.backbone(pictures)))


class OtherName(nn.Module):
    """A method that PyTorch does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Plain()

    def foward(self, pictures: torch.Tensor) -> Answer:
        """As Plain.forward."""
        answer: Answer = self.plain(pictures)
        return answer


def split(outputs: torch.Tensor) -> Answer:
    """Returns the circles [N, 3] and the logits [N, 3] of outputs [N, 6]."""
    return outputs[:, :3], outputs[:, 3:]


def terms(answer: Answer, batch: Batch) -> torch.Tensor:
    """Returns position, radius and colour of the loss, [3], of comparable size."""
    circles, logits = answer
    true = batch.circles / SIDE
    position = F.smooth_l1_loss(circles[:, :2], true[:, :2], beta=0.05) / 0.25
    radius = F.smooth_l1_loss(circles[:, 2], true[:, 2], beta=0.02) / 0.06
    return torch.stack((position, radius, F.cross_entropy(logits, batch.colours)))


def labels_with_labels(answer: Answer, batch: Batch) -> torch.Tensor:
    """As terms, of the labels and the labels."""
    del answer
    return terms((batch.circles / SIDE, 10.0 * F.one_hot(batch.colours, 3)), batch)


def in_pixels(answer: Answer, batch: Batch) -> torch.Tensor:
    """As terms, with squared pixels beside a cross-entropy."""
    circles, logits = answer
    squares = (circles * SIDE - batch.circles) ** 2
    return torch.stack((squares[:, :2].mean(), squares[:, 2].mean(), F.cross_entropy(logits, batch.colours)))


def not_normalised(pictures: torch.Tensor) -> torch.Tensor:
    """Returns pixels as they are, 0 ... 255."""
    return pictures.to(torch.float32)


def as_listed(count: int, seed: int, epoch: int) -> Integers:
    """Returns an order without shuffling."""
    del seed, epoch
    return np.arange(count)


def over_the_batch(logits: torch.Tensor) -> torch.Tensor:
    """Returns an argmax over the wrong axis: [3] in the place of [N]."""
    return logits.argmax(0)


def value_for_index(logits: torch.Tensor) -> torch.Tensor:
    """Returns the greatest logit, rounded, in the place of where it is; max returns both."""
    return logits.max(1).values.round().long()


@dataclasses.dataclass(frozen=True)
class Attempt:
    """The parts of a first attempt.

    Attributes:
        build: Makes the network.
        prepare: Pictures uint8 to what the network gets.
        terms: The loss of an answer, [3]; their sum is minimised.
        order: (count, seed, epoch) to the order of the samples, which lie in folders by colour.
        ready: Called with the network before it answers.
        colours: Logits to the index of the colour.
    """

    build: Callable[[], nn.Module] = Plain
    prepare: Callable[[torch.Tensor], torch.Tensor] = network.normalised
    terms: Callable[[Answer, Batch], torch.Tensor] = terms
    order: Callable[[int, int, int], Integers] = data.order
    ready: Callable[[nn.Module], object] = nn.Module.eval
    colours: Callable[[torch.Tensor], torch.Tensor] = network.colours


REPAIRED = Attempt()
BUGS: Mapping[str, Attempt] = {
    "labels with labels": Attempt(terms=labels_with_labels),
    "no backbone": Attempt(build=NoBackbone),
    "missing return": Attempt(build=NoReturn),
    "other name": Attempt(build=OtherName),
    "loss scales": Attempt(terms=in_pixels),
    "inputs 0 ... 255": Attempt(prepare=not_normalised),
    "no eval mode": Attempt(ready=nn.Module.train),
    "no shuffle": Attempt(order=as_listed),
    "argmax over the batch": Attempt(colours=over_the_batch),
    "value for index": Attempt(colours=value_for_index),
}


def in_folders(count: int, seed: int = 0) -> list[Label]:
    """Returns labels as they lie in the folders red, green and blue: by colour."""
    spec = Spec(seed, count, SIDE, SIDE, square=True)
    return sorted((data.label(spec, index) for index in range(count)), key=lambda each: each.colour)


def batches(attempt: Attempt, labels: Sequence[Label], steps: int) -> list[list[Label]]:
    """Returns the labels of each step's batch, in the order of the attempt."""
    orders = [attempt.order(len(labels), 0, epoch) for epoch in range(-(-steps * BATCH // len(labels)))]
    stream = np.concatenate(orders)[: steps * BATCH].reshape(steps, BATCH)
    return [[labels[index] for index in row] for row in stream]


def trained(attempt: Attempt, steps: int) -> nn.Module:
    """Trains an attempt for some steps.

    Raises:
        Exception: What its mistake makes PyTorch raise.
    """
    torch.manual_seed(0)
    model = attempt.build()
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    for labels in batches(attempt, in_folders(COUNT), steps):
        batch = network.collate(labels)
        optimiser.zero_grad()
        attempt.terms(model(attempt.prepare(batch.pictures)), batch).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model


def outcome(attempt: Attempt, steps: int) -> Json:
    """Trains an attempt and measures it on test pictures, one asked after the other as a user would.

    Returns:
        {"raises"} with the error, or the errors of research.circle.evaluate.measured and "colour_reported", the share
        of right colours by the attempt's own count.
    """
    try:
        model = trained(attempt, steps)
        attempt.ready(model)
        spec = Spec(evaluate.TEST_SEED, TEST_COUNT, SIDE, SIDE, square=True)
        labels = [data.label(spec, index) for index in range(TEST_COUNT)]
        with torch.no_grad():
            found = [model(attempt.prepare(network.collate([each]).pictures)) for each in labels]
        circles, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
        answers = Answers((circles * SIDE).double().numpy(), network.colours(logits).numpy(), labels)
        colours = attempt.colours(logits)
        reported = float((colours == network.collate(labels).colours).float().mean())
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return {"raises": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return evaluate.measured(answers) | {"colour_reported": round(reported, 4)}
