"""Pictures of unequal sizes without padding: what torch.nested can do, and the network on top of it.

Neither layout of nested tensors has a convolution. The jagged one allows a single ragged dimension, so a picture
becomes a list of H x W pixels with C channels; what it has are linear layers, functions of single values and, without a
gradient, sums over the ragged dimension. A convolution is then a linear layer on the neighbours of each pixel,
which an index gathers first, and a sum is taken of the padded list.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from research.circle.network import STRIDE, CircleNet, normalised

Json = dict[str, Any]

_MAPS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "conv2d": lambda maps: F.conv2d(maps, torch.ones(4, 3, 3, 3)),
    "max_pool2d": lambda maps: F.max_pool2d(maps, 2),
    "adaptive_avg_pool2d": lambda maps: F.adaptive_avg_pool2d(maps, 1),
    "unfold": lambda maps: F.unfold(maps, 3),
}
_LISTS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": lambda rows: F.linear(rows, torch.ones(4, 3)),
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "product": lambda rows: rows * rows,
    "sum over the places": lambda rows: rows.sum(1),
    "to_padded_tensor": lambda rows: torch.nested.to_padded_tensor(rows, 0.0),
}


def operators() -> list[Json]:
    """Tries what a network needs on nested tensors of this PyTorch.

    Returns:
        For each operator and layout "error" and "gradient_error", the first sentence of what PyTorch says of the
        operator and of its gradient, or "".
    """
    pictures = [torch.ones(3, 8, 9), torch.ones(3, 6, 7)]
    lists = [each.flatten(1).T.contiguous() for each in pictures]
    rows = []
    for kind, given, tried in (("maps [C, H, W]", pictures, _MAPS), ("lists [H W, C]", lists, _LISTS)):
        for name, operator in tried.items():
            for layout in (torch.strided, torch.jagged):
                row = {"operator": name, "on": kind, "layout": str(layout).removeprefix("torch.")}
                rows.append(row | _tried(operator, given, layout))
    return rows


def _tried(operator: Callable[[torch.Tensor], torch.Tensor], given: list[torch.Tensor], layout: torch.layout) -> Json:
    leaves = [each.clone().requires_grad_() for each in given]
    errors = {"error": "", "gradient_error": ""}
    stage = "error"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The API is a prototype, as PyTorch says each time.
        try:
            made = operator(torch.nested.as_nested_tensor(leaves, layout=layout))
            stage = "gradient_error"
            made = torch.nested.to_padded_tensor(made, 0.0) if made.is_nested else made
            made.sum().backward()
        except RuntimeError as error:  # NotImplementedError is one, too
            errors[stage] = f"{type(error).__name__}: {str(error).partition('. ')[0]}"
    return errors


class Grid:
    """Where the pixels of pictures are in one list of all pixels.

    Args:
        sizes: Height and width of each picture.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self.sizes = list(sizes)
        counts = torch.tensor([height * width for height, width in sizes])
        self.offsets = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))

    def nested(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the pixels [P, C] as a nested tensor [N, *, C]."""
        return torch.nested.nested_tensor_from_jagged(values, self.offsets)

    def neighbours(self, side: int, stride: int) -> tuple[torch.Tensor, Grid]:
        """Returns the pixels below a filter at each of its places, and the grid of these places.

        Args:
            side: Of the filter, which begins one pixel above and left of its place.
            stride: Pixels between two places.

        Returns:
            int64 [P', side * side], where P stands for a pixel outside of the picture.
        """
        made = Grid([(-(-height // stride), -(-width // stride)) for height, width in self.sizes])
        total = int(self.offsets[-1])
        parts = []
        for (height, width), (rows, columns), start in zip(self.sizes, made.sizes, self.offsets.tolist(), strict=False):
            steps = torch.arange(-1, side - 1)
            y = (torch.arange(rows) * stride)[:, None, None, None] + steps[:, None]
            x = (torch.arange(columns) * stride)[None, :, None, None] + steps
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            parts.append(torch.where(inside, start + y * width + x, total).reshape(rows * columns, side * side))
        return torch.cat(parts), made


def _convolved(layer: nn.Conv2d, values: torch.Tensor, where: torch.Tensor, grid: Grid) -> torch.Tensor:
    """A convolution of pixels [P, C] as a linear layer of a nested tensor: [P', C']."""
    around = torch.cat((values, values.new_zeros(1, values.shape[1])))[where].flatten(1)
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(grid.nested(around), weight, layer.bias).values()


def forward(model: CircleNet, pictures: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Lets a network look at pictures by nested tensors.

    Args:
        model: As it is.
        pictures: [3, H, W] each, 0 ... 255.

    Returns:
        As CircleNet.forward of a padded batch.
    """
    grid = Grid([(each.shape[1], each.shape[2]) for each in pictures])
    values = torch.cat([normalised(each).flatten(1).T for each in pictures])
    for layer in (model.stem, model.down):
        where, grid = grid.neighbours(4, 2)
        values = F.relu(_convolved(layer, values, where, grid))
    where, _ = grid.neighbours(3, 1)
    for block in model.blocks:
        hidden = F.relu(_convolved(block.first, values, where, grid))  # type: ignore[arg-type]
        values = F.relu(values + _convolved(block.second, hidden, where, grid))  # type: ignore[arg-type]
    mark = torch.sigmoid(F.linear(grid.nested(values), model.mark.weight.flatten(1), model.mark.bias))
    area = _sums(mark)
    places = torch.cat([_places(*size) for size in grid.sizes])
    centre = _sums(grid.nested(mark.values() * places)) / area
    radius = torch.sqrt(area * (STRIDE**2 / math.pi))
    pooled = _sums(grid.nested(values * mark.values())) / area
    return torch.cat((centre, radius), 1), model.colour(pooled)


def _sums(rows: torch.Tensor) -> torch.Tensor:
    """The sums over the places of [N, *, C]: [N, C]."""
    return rows.to_padded_tensor(0.0).sum(1)


def _places(rows: int, columns: int) -> torch.Tensor:
    """Centres of the places of a map, x and y in pixels of the picture: float32 [rows * columns, 2]."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2) * STRIDE + STRIDE / 2
