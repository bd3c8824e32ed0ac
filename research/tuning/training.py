"""A small residual network on small pictures, and its training on one thread: the same seed gives the same bits."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from research.common import results
from research.common.image_sets import Split
from research.tuning.space import Configuration

# Of all steps, those in which the learning rate rises.
WARMUP = 0.15
_SHIFT = 4
_ERASED = 10
_EVALUATED = 250
# Pictures of one colour have no deviation to divide by.
_TINY = 1e-8


class DivergedError(ArithmeticError):
    """The loss is not finite."""


class Block(nn.Module):
    """A convolution beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = _convolution(width, width, 1)[:-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 [n, width, h, w] to the same shape."""
        return torch.relu(x + self.layers(x))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def network(configuration: Configuration, classes: int) -> nn.Sequential:
    """Returns the network: float32 [n, 3, 32, 32] to logits [n, classes]; its weights come from PyTorch's generator."""
    widths = [configuration.width * factor for factor in (1, 2, 4)]
    stages = []
    for inputs, outputs in zip([3, *widths], widths, strict=False):
        blocks = [Block(outputs) for _ in range(configuration.depth)]
        stages.append(nn.Sequential(_convolution(inputs, outputs, 2), *blocks))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(configuration.dropout), nn.Linear(widths[-1], classes))
    return nn.Sequential(*stages, *head)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread inside, because the order of a sum depends on their number; as before after it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def augmented(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Returns pictures that are flipped, shifted and partly erased at random, by PyTorch's generator.

    Args:
        x: float32 [n, 3, side, side], normalised, so that 0 is the mean colour.
        strength: 0 (nothing changes) to 1 (half are flipped, shifts up to 4 pixels, a square of 10 pixels erased).
    """
    count, _, _, side = x.shape
    flipped = torch.rand(count) < strength / 2
    shift, hole = round(strength * _SHIFT), round(strength * _ERASED)
    offsets = torch.randint(-shift, shift + 1, (2, count, 1))
    corners = torch.randint(0, side, (2, count, 1)) - hole // 2
    along = torch.arange(side)
    rows, columns = ((along + offset).clamp(0, side - 1) for offset in offsets)
    columns = torch.where(flipped[:, None], side - 1 - columns, columns)
    moved = x.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    inside = [(along >= corner) & (along < corner + hole) for corner in corners]
    kept = ~(inside[0][:, :, None] & inside[1][:, None, :])
    found: torch.Tensor = (moved * kept[..., None]).permute(0, 3, 1, 2)
    return found


class Model:
    """A network with the colours that it was trained on.

    Args:
        configuration: Of the network.
        classes: How many it tells apart.
        mean: float64 [3], of the pictures' red, green and blue, 0 to 1.
        deviation: float64 [3], likewise.
    """

    def __init__(self, configuration: Configuration, classes: int, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        self.configuration, self.classes = configuration, classes
        self.mean, self.deviation = mean, deviation
        made = network(configuration, classes)
        self.network = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def tensors(self, pictures: Split) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns float32 [n, 3, side, side], normalised and with the channels last in memory, and int64 [n]."""
        scaled = torch.from_numpy(pictures.pixels) / 255.0
        normal = ((scaled - self.mean) / self.deviation).float()
        return normal.permute(0, 3, 1, 2), torch.from_numpy(pictures.labels)

    def accuracy(self, pictures: Split) -> float:
        """Returns the share of pictures whose class is found, 0 to 1."""
        self.network.eval()
        x, y = self.tensors(pictures)
        with torch.no_grad():
            batches = zip(torch.split(x, _EVALUATED), torch.split(y, _EVALUATED), strict=True)
            found = [int((self.network(a).argmax(1) == b).sum()) for a, b in batches]
        return sum(found) / len(y)

    def save(self, path: Path) -> None:
        """Writes the weights; the file is complete or missing.

        Raises:
            OSError: The file cannot be written.
        """
        content = io.BytesIO()
        colours = {"mean": self.mean, "deviation": self.deviation}
        torch.save({"weights": self.network.state_dict(), "classes": self.classes, **colours}, content)
        results.write_bytes(path, content.getvalue())

    @classmethod
    def load(cls, path: Path, configuration: Configuration) -> Model:
        """Reads weights that `save` wrote.

        Raises:
            OSError: The file cannot be read.
            RuntimeError: The weights are another configuration's.
        """
        found = torch.load(path, weights_only=True)
        model = cls(configuration, found["classes"], found["mean"], found["deviation"])
        model.network.load_state_dict(found["weights"])
        return model


def _optimizer(configuration: Configuration, network: nn.Module) -> torch.optim.Optimizer:
    rate, decay = configuration.learning_rate, configuration.weight_decay
    if configuration.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=rate, weight_decay=decay, momentum=0.9, nesterov=True, fused=True
        )
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay, fused=True)


class Training:
    """A network that learns; the generator of PyTorch belongs to it as long as it does.

    Args:
        configuration: How.
        pictures: What it learns from.
        epochs: The length of the learning rate's schedule: linear up, then a cosine down to 0.
        seed: Of weights, order, augmentation and dropout.
    """

    def __init__(self, configuration: Configuration, pictures: Split, *, epochs: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.configuration = configuration
        scaled = torch.from_numpy(pictures.pixels).double() / 255
        mean, deviation = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2)) + _TINY
        self.model = Model(configuration, len(pictures.classes), mean, deviation)
        self._x, self._y = self.model.tensors(pictures)
        self._optimizer = _optimizer(configuration, self.model.network)
        self._loss = nn.CrossEntropyLoss(label_smoothing=configuration.label_smoothing)
        self._steps = epochs * math.ceil(len(pictures) / configuration.batch)
        self._step = 0

    def rate(self) -> float:
        """Returns the learning rate of the next step."""
        warmup = max(1, round(self._steps * WARMUP))
        if self._step < warmup:
            share = (self._step + 1) / warmup
        else:
            share = 0.5 + 0.5 * math.cos(math.pi * (self._step - warmup) / max(1, self._steps - warmup))
        return self.configuration.learning_rate * share

    def epoch(self) -> float:
        """Learns from every picture once; returns the mean loss.

        Raises:
            DivergedError: The loss of a step is not finite.
        """
        network = self.model.network
        network.train()
        total = 0.0
        for chosen in torch.split(torch.randperm(len(self._y)), self.configuration.batch):
            for group in self._optimizer.param_groups:
                group["lr"] = self.rate()
            self._optimizer.zero_grad()
            x = augmented(self._x[chosen], self.configuration.augmentation)
            loss = self._loss(network(x), self._y[chosen])
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DivergedError(f"the loss of step {self._step + 1} is {value}")
            loss.backward()
            self._optimizer.step()
            self._step += 1
            total += value * len(chosen)
        return total / len(self._y)
