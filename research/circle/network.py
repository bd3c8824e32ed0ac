"""The network: marks the pixels of the disc, and takes centre, radius and colour from the mark's moments.

Nobody tells it which pixels those are; the losses of centre and radius do. It takes pictures of unequal sizes in one
batch, padded on the right and below, and gives each the answer that it gets alone: after every layer what lies outside
the picture is set to zero, as a convolution's own padding is, and a layer of stride 2 makes ceil(side / 2) of a side
with and without padding.

There is no batch normalisation: its means would include the padding, they would differ between the processes of a
training, and an answer would depend on the other pictures of the batch until somebody calls eval(). So train() and
eval() are the same here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from research.circle.data import COLOURS, Label, Pixels, Spec, draw, label

# What pixels of 0 ... 255 are shifted and scaled by, inside the network, so that a caller cannot forget it.
MEAN, SCALE = 127.5, 63.75
# Pixels between two values of the last map.
STRIDE = 4
# A filter of side 4 around each two by two pixels, so that places tile the picture up to its edges; one more on the
# right and below than on the left and above, so that an odd side becomes the next larger half.
_AROUND = (1, 2, 1, 2)
# A mark is this small at first, so that a disc of usual size has about the right area.
_FIRST_LOGIT = -2.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures of unequal sizes.

    Attributes:
        pictures: uint8 [N, 3, H, W], each in the upper left corner; the rest is padding.
        sizes: int64 [N, 2], height and width of each.
        circles: float32 [N, 3], x, y and radius in pixels.
        colours: int64 [N].
    """

    pictures: torch.Tensor
    sizes: torch.Tensor
    circles: torch.Tensor
    colours: torch.Tensor


def collate(labels: Sequence[Label], *, padding: int = 0, least: int = 0) -> Batch:
    """Draws labels and puts them into one batch.

    Args:
        labels: At least one.
        padding: What is outside of the pictures, 0 ... 255; no answer may depend on it.
        least: The batch is at least this high and wide.
    """
    height, width = (max(least, *sides) for sides in zip(*((each.height, each.width) for each in labels), strict=True))
    pictures = torch.full((len(labels), 3, height, width), padding, dtype=torch.uint8)
    for place, each in zip(pictures, labels, strict=True):
        place[:, : each.height, : each.width] = chw(draw(each))
    return Batch(
        pictures,
        torch.tensor([(each.height, each.width) for each in labels]),
        torch.tensor([(each.x, each.y, each.radius) for each in labels], dtype=torch.float32),
        torch.tensor([each.colour for each in labels]),
    )


def chw(pixels: Pixels) -> torch.Tensor:
    """Returns a picture [H, W, 3] as a tensor [3, H, W]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def drawn(spec: Spec, indices: Sequence[int]) -> Batch:
    """Returns samples of a data set as one batch."""
    return collate([label(spec, int(index)) for index in indices])


def normalised(pictures: torch.Tensor) -> torch.Tensor:
    """Returns pixels 0 ... 255 as float32 -2 ... 2."""
    return (pictures.to(torch.float32) - MEAN) / SCALE


def halved(sizes: torch.Tensor) -> torch.Tensor:
    """Returns the sizes [N, 2] after a layer of stride 2."""
    return torch.div(sizes + 1, 2, rounding_mode="floor")


def inside(sizes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Returns the mask of pictures in a batch: float32 [N, 1, height, width], 1 where a picture is."""
    rows = torch.arange(height, device=sizes.device)[None, :, None] < sizes[:, 0, None, None]
    columns = torch.arange(width, device=sizes.device)[None, None, :] < sizes[:, 1, None, None]
    return (rows & columns)[:, None].to(torch.float32)


class Block(nn.Module):
    """Two convolutions and what went into them: [N, C, h, w] to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        # A block begins as nothing, in place of a normalisation.
        nn.init.zeros_(self.second.weight)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Values and mask as after the layer before; outside of the mask there are zeros."""
        hidden = F.relu(self.first(values)) * mask
        added: torch.Tensor = F.relu(values + self.second(hidden)) * mask
        return added


class CircleNet(nn.Module):
    """Centre, radius and colour of the circle in each picture of any size.

    Args:
        width: Channels of the blocks; the first layer has half of them.
        blocks: How many.
    """

    def __init__(self, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // 2, 4, stride=2)
        self.down = nn.Conv2d(width // 2, width, 4, stride=2)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.mark = nn.Conv2d(width, 1, 1)
        self.colour = nn.Linear(width, len(COLOURS))
        nn.init.constant_(self.mark.bias, _FIRST_LOGIT)  # type: ignore[arg-type]

    def forward(self, pictures: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Looks at a batch.

        Args:
            pictures: [N, 3, H, W], 0 ... 255, of any type of numbers.
            sizes: int64 [N, 2], height and width of each, at most H and W.

        Returns:
            float32 [N, 3], x, y and radius in pixels; float32 [N, 3], logits of COLOURS.
        """
        values, mask = self.features(pictures, sizes)
        mark = torch.sigmoid(self.mark(values)) * mask
        return moments(mark), self.colour(pooled(values, mark))

    def features(self, pictures: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the backbone's features [N, C, h, w], every STRIDE pixels, and their mask [N, 1, h, w]."""
        values = normalised(pictures) * inside(sizes, pictures.shape[2], pictures.shape[3])
        for layer in (self.stem, self.down):
            values, sizes = layer(F.pad(values, _AROUND)), halved(sizes)
            mask = inside(sizes, values.shape[2], values.shape[3])
            values = F.relu(values) * mask
        for block in self.blocks:
            values = block(values, mask)
        return values, mask


def moments(mark: torch.Tensor) -> torch.Tensor:
    """Returns x, y and radius, float32 [N, 3] in pixels, of marks [N, 1, h, w] of STRIDE x STRIDE pixels each.

    The centre is the centre of mass, and the radius that of a disc with the marks' area.
    """
    area = mark.sum((1, 2, 3))
    columns = torch.arange(mark.shape[3], device=mark.device, dtype=mark.dtype) * STRIDE + STRIDE / 2
    rows = torch.arange(mark.shape[2], device=mark.device, dtype=mark.dtype) * STRIDE + STRIDE / 2
    x = (mark.sum((1, 2)) * columns).sum(1) / area
    y = (mark.sum((1, 3)) * rows).sum(1) / area
    return torch.stack((x, y, torch.sqrt(area * (STRIDE**2 / math.pi))), 1)


def pooled(values: torch.Tensor, mark: torch.Tensor) -> torch.Tensor:
    """Returns the mean feature of the marked places, float32 [N, C]."""
    return (values * mark).sum((2, 3)) / mark.sum((2, 3))


def colours(logits: torch.Tensor) -> torch.Tensor:
    """Returns the index of the most likely of COLOURS for each row, int64 [N]."""
    return logits.argmax(1)
