"""Says which layer of a stack expects what, before any picture is computed.

A convolution's weights have the shape [out, in / groups, height, width] (PyTorch's documentation of `Conv2d`), so the
channels that it expects are the second number times its groups. A linear layer's weights have the shape [out, in], and
after flattening its input is channels times height times width: it fits pictures of one size only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

Shape = tuple[int, ...]

# Pictures in the imagined batch; Flatten(0), which mixes pictures, shows in the sizes.
_BATCH = 2


@dataclass(frozen=True)
class Row:
    """One layer and what reaches it; shapes are those of one picture, without the batch.

    Attributes:
        place: In the stack, from 0.
        layer: As PyTorch writes it.
        weights: Shape of its weights; None without any.
        expects: Channels or features that its weights are made for; None if any number will do.
        gets: Shape of its input.
        gives: Shape of its output, where a fault in the channels counts as mended; None if there is no output.
        fault: What PyTorch will refuse; None if it fits.
    """

    place: int
    layer: str
    weights: Shape | None
    expects: int | None
    gets: Shape
    gives: Shape | None
    fault: str | None

    @property
    def text(self) -> str:
        """The row as a line to print."""
        made = f", weights {self.weights}" if self.weights else ""
        return f"{self.place} {self.layer}{made}: gets {self.gets}, {self.fault or f'gives {self.gives}'}"


def expected(layer: nn.Module) -> tuple[int, int] | None:
    """Returns which dimension of a layer's input has a fixed size, and that size.

    Args:
        layer: Any; convolutions of pictures, batch normalisation and linear layers are known.

    Returns:
        The dimension, counted from the end, and its size; None if the layer takes any number of channels, or is not
        known.
    """
    match layer:
        case nn.Conv2d():
            return -3, layer.weight.shape[1] * layer.groups
        case nn.BatchNorm2d():
            return -3, layer.num_features
        case nn.Linear():
            return -1, layer.weight.shape[1]
    return None


def check_stack(layers: Iterable[nn.Module], picture: Shape) -> list[Row]:
    """Follows a picture's shape through layers that are called one after the other.

    Nothing is computed: PyTorch's "meta" device works out shapes only. A layer with another number of channels than it
    gets is reported, and the check goes on as if it were mended, so that one call finds all of them.

    Args:
        layers: Modules with one input and one output, such as an `nn.Sequential`.
        picture: [channels, height, width].

    Returns:
        A row for each layer; the last one is that of the layer whose output has no shape (a kernel larger than the
        picture, a convolution after flattening), if there is one.
    """
    rows = []
    shape = (_BATCH, *picture)
    for place, layer in enumerate(layers):
        weight = getattr(layer, "weight", None)
        made = tuple(weight.shape) if isinstance(weight, torch.Tensor) else None
        needs, fault, fits, given = expected(layer), None, shape, None
        if needs is not None and len(shape) >= -needs[0] and shape[needs[0]] != needs[1]:
            what = "features" if isinstance(layer, nn.Linear) else "channels"
            fault = f"expects {needs[1]} {what}, gets {shape[needs[0]]}"
            fits = _with_size(shape, *needs)
        try:
            given = _output(layer, fits)
            # Mended, a normalisation gives as many channels as it gets.
            given = shape if isinstance(layer, nn.BatchNorm2d) else given
        except (RuntimeError, ValueError, IndexError) as error:
            fault = " and ".join(filter(None, (fault, str(error).splitlines()[0])))
        inner = given[1:] if given is not None else None
        rows.append(Row(place, str(layer), made, needs[1] if needs else None, shape[1:], inner, fault))
        if given is None:
            break
        shape = given
    return rows


def _with_size(shape: Shape, dimension: int, size: int) -> Shape:
    sizes = list(shape)
    sizes[dimension] = size
    return tuple(sizes)


def _output(layer: nn.Module, shape: Shape) -> Shape:
    tensors = {
        name: tensor.to("meta") for name, tensor in itertools.chain(layer.named_parameters(), layer.named_buffers())
    }
    dtype = next((tensor.dtype for tensor in layer.parameters()), torch.float32)
    given = torch.func.functional_call(layer, tensors, (torch.empty(shape, dtype=dtype, device="meta"),))
    return tuple(given.shape)
