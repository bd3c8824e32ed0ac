"""When a tensor can be viewed in another shape: the rule of PyTorch's documentation, as a function of whole numbers.

Element (i, j, ...) of a tensor lies at `storage_offset + i * stride[0] + j * stride[1] + ...`. A view has to describe
the same elements, in the same order, by strides of its own. The documentation of `torch.Tensor.view` says when that is
possible: a new dimension may be a part of an old one, or go over old ones d to d + k for which
stride[i] = stride[i + 1] x size[i + 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """How a tensor lies in memory.

    Attributes:
        shape: Its sizes.
        stride: Elements from one index to the next, in each dimension.
        offset: Of its first element in the storage, in elements.
        contiguous: The elements lie in the order in which they are read.
        places: Of each element in the storage, in reading order.
    """

    shape: Sizes
    stride: Sizes
    offset: int
    contiguous: bool
    places: Sizes


def facts(tensor: torch.Tensor) -> Facts:
    """Returns how a tensor lies in memory."""
    offset = int(tensor.storage_offset())
    places = torch.full(tensor.shape, offset)
    for dimension, (size, step) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        along = [1] * tensor.dim()
        along[dimension] = size
        places = places + step * torch.arange(size).reshape(along)
    order = tuple(places.flatten().tolist())
    return Facts(tuple(tensor.shape), tensor.stride(), offset, tensor.is_contiguous(), order)


def shares_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Returns whether two tensors have the same storage, so that writing to one may change the other."""
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def merged(shape: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Joins neighbouring dimensions as far as the documented condition permits.

    Dimensions of size 1 are left out first: their stride is never used, so the condition does not apply to it.

    Args:
        shape: Sizes, each at least 1.
        stride: As long as the shape, in elements.

    Returns:
        Size and stride of each block, the outermost first; a contiguous tensor has one block, a scalar has no block.
    """
    blocks: list[tuple[int, int]] = []
    for size, step in zip(shape, stride, strict=True):
        if size == 1:
            continue
        if blocks and blocks[-1][1] == step * size:
            blocks[-1] = (blocks[-1][0] * size, step)
        else:
            blocks.append((size, step))
    return blocks


def inferred(count: int, new_shape: Sequence[int]) -> Sizes | None:
    """Returns a shape with its -1 replaced, or None if no tensor of `count` elements has that shape.

    Args:
        count: Elements, at least 0.
        new_shape: Sizes; one may be -1 if the others determine it.
    """
    rest = math.prod(size for size in new_shape if size != -1)
    unknown = new_shape.count(-1)
    if unknown > 1 or any(size < -1 for size in new_shape):
        return None
    if unknown == 0:
        return tuple(new_shape) if rest == count else None
    if rest == 0 or count % rest:
        return None
    return tuple(count // rest if size == -1 else size for size in new_shape)


def view_stride(shape: Sequence[int], stride: Sequence[int], new_shape: Sequence[int]) -> Sizes | None:
    """Returns the strides that a view would have.

    Args:
        shape: The tensor's sizes, each at least 0.
        stride: Its strides, in elements.
        new_shape: The wanted sizes; one may be -1.

    Returns:
        A stride for each new size, or None if the tensor cannot be viewed so. The stride of a size of 1, and all
        strides of a tensor without elements, are never used; PyTorch may write other numbers there.
    """
    count = math.prod(shape)
    target = inferred(count, new_shape)
    if target is None:
        return None
    if count == 0:
        return (1,) * len(target)  # nothing to read, so every shape describes it
    blocks = iter(merged(shape, stride))
    strides = []
    left, step = 1, 1
    for size in target:
        if size > 1 and left == 1:
            left, step = next(blocks)
        if left % size:
            return None
        left //= size
        strides.append(left * step)
    return tuple(strides)


def can_view(shape: Sequence[int], stride: Sequence[int], new_shape: Sequence[int]) -> bool:
    """Returns whether `tensor.view(new_shape)` works for a tensor of this shape and stride; see `view_stride`."""
    return view_stride(shape, stride, new_shape) is not None
