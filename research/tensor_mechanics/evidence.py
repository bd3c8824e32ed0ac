"""Counts how often the functions of this study and the libraries agree, over many tensors, stacks and cameras."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from research.tensor_mechanics.camera import project_camera
from research.tensor_mechanics.layers import Row, check_stack, expected
from research.tensor_mechanics.strides import view_stride

try:
    import cv2
except ImportError:  # its system library may be missing, too
    cv2 = None  # type: ignore[assignment]

Json = dict[str, Any]
Shape = tuple[int, ...]
Progress = Callable[[str], None]
Spec = tuple[type[nn.Module], dict[str, Any]]

# The argument of a layer's type that says what it expects.
_EXPECTS = {nn.Conv2d: "in_channels", nn.BatchNorm2d: "num_features", nn.Linear: "in_features"}


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        sizes: Of each dimension of a tensor that is viewed.
        strides: Of each dimension.
        new_dimensions: The most of a view.
        stacks: Of random layers.
        cameras: At random places.
        points: Before and behind each.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    new_dimensions: int
    stacks: int
    cameras: int
    points: int


SHORT = Effort((0, 1, 2, 3), (0, 1, 2, 3, 4, 6), 3, 300, 200, 64)
FULL = Effort((0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 6, 8, 12), 4, 3000, 5000, 64)
# Of a tensor that is viewed, at most.
DIMENSIONS = 3


def shapes(count: int, most: int) -> list[Shape]:
    """Returns all shapes with a number of elements and at most a number of dimensions.

    Args:
        count: Elements; for 0 the sizes are 0, 1 and 2.
        most: Dimensions.
    """
    sizes = [size for size in range(1, count + 1) if count % size == 0] if count else [0, 1, 2]
    every = itertools.chain.from_iterable(itertools.product(sizes, repeat=length) for length in range(most + 1))
    return [shape for shape in every if math.prod(shape) == count]


def views(effort: Effort, progress: Progress) -> Json:
    """Asks PyTorch for every view of every tensor of small sizes and strides, and compares with `view_stride`.

    Returns:
        What was tried, and "tensors", "views" (asked for), "agree" (both said the same), "possible" (PyTorch
        gave one), of which "strides_agree", "empty" are of tensors without elements, and "possible_not_contiguous" are
        of tensors that are not contiguous.
    """
    memory = torch.empty(1 + DIMENSIONS * max(effort.sizes) * max(effort.strides))
    names = ("tensors", "views", "agree", "possible", "strides_agree", "empty", "possible_not_contiguous")
    found = dict.fromkeys(names, 0)
    targets = {
        count: shapes(count, effort.new_dimensions)
        for count in {math.prod(each) for each in itertools.product(effort.sizes, repeat=DIMENSIONS)} | {1}
    }
    for length in range(DIMENSIONS + 1):
        for shape in itertools.product(effort.sizes, repeat=length):
            new_shapes = targets.setdefault(math.prod(shape), shapes(math.prod(shape), effort.new_dimensions))
            for stride in itertools.product(effort.strides, repeat=length):
                found["tensors"] += 1
                _compare(memory.as_strided(shape, stride), new_shapes, found)
            if shape[2:] and not any(shape[1:]):
                progress(f"views: {found['views']:,}, tensors of {length} dimensions that begin with {shape[0]}")
    progress(f"views: {found['views']:,} of tensors with up to {DIMENSIONS} dimensions")
    return {
        "dimensions": DIMENSIONS,
        "sizes": list(effort.sizes),
        "strides": list(effort.strides),
        "new_dimensions": effort.new_dimensions,
        **found,
    }


def _compare(tensor: torch.Tensor, new_shapes: Sequence[Shape], found: dict[str, int]) -> None:
    shape, stride, contiguous = tuple(tensor.shape), tensor.stride(), tensor.is_contiguous()
    for new_shape in new_shapes:
        found["views"] += 1
        ours = view_stride(shape, stride, new_shape)
        try:
            theirs = tensor.view(new_shape).stride()
        except RuntimeError:
            found["agree"] += ours is None
            continue
        found["possible"] += 1
        found["agree"] += ours is not None
        found["empty"] += 0 in shape
        found["possible_not_contiguous"] += not contiguous
        found["strides_agree"] += ours is not None and same_steps(new_shape, ours, theirs)


def same_steps(shape: Shape, first: Sequence[int], second: Sequence[int]) -> bool:
    """Returns whether two strides mean the same places: where a size is 0 or 1 a stride is never used."""
    steps = zip(shape, first, second, strict=True)
    return 0 in shape or all(one == other for size, one, other in steps if size > 1)


def random_stack(seed: int) -> tuple[list[Spec], Shape]:
    """Draws layers and a picture's shape; some of the layers expect other channels than they get.

    Returns:
        Types with their arguments, and [channels, height, width].
    """
    draw = random.Random(seed)
    picture = (3, draw.randint(6, 24), draw.randint(6, 24))
    specs: list[Spec] = []
    channels = picture[0]
    for place in range(draw.randint(1, 4)):
        out = draw.choice((4, 8, 12, 16))
        arguments = {
            "in_channels": channels if draw.random() < 0.8 else draw.choice((4, 8, 12, 16)),
            "out_channels": out,
            "kernel_size": draw.choice((1, 3, 5)),
            "stride": draw.choice((1, 2)),
            "padding": draw.choice((0, 1)),
            # The picture's three channels cannot be cut.
            "groups": draw.choice((1, 2, 4)) if place else 1,
        }
        specs.append((nn.Conv2d, arguments))
        channels = out
        if draw.random() < 0.5:
            specs.append((nn.BatchNorm2d, {"num_features": channels if draw.random() < 0.8 else 20}))
        specs.append(draw.choice([(nn.ReLU, {}), (nn.MaxPool2d, {"kernel_size": 2}), (nn.Identity, {})]))
    if draw.random() < 0.7:
        side = draw.choice((1, 2))
        pool: Spec = (nn.AdaptiveAvgPool2d, {"output_size": side})
        specs += [pool] if draw.random() < 0.7 else []
        specs += [(nn.Flatten, {}), (nn.Linear, {"in_features": channels * side * side, "out_features": 5})]
    return specs, picture


def made(specs: Sequence[Spec]) -> list[nn.Module]:
    """Returns the layers."""
    return [kind(**arguments) for kind, arguments in specs]


def mended(specs: Sequence[Spec], rows: Sequence[Row]) -> list[Spec]:
    """Returns a stack whose layers expect what `check_stack` says that they get."""
    changed = []
    for (kind, arguments), row, layer in zip(specs, rows, made(specs), strict=True):
        known = expected(layer)
        if known is not None:
            # Without the batch a dimension counted from the end is still the same.
            arguments = arguments | {_EXPECTS[kind]: row.gets[known[0]]}
        changed.append((kind, arguments))
    return changed


def outputs(layers: Sequence[nn.Module], picture: Shape) -> Iterator[Shape]:
    """Runs layers one after the other on two pictures, and yields the shape of each output, without the batch.

    Raises:
        RuntimeError: PyTorch refuses what a layer gets.
    """
    tensor = torch.zeros(2, *picture)
    for layer in layers:
        tensor = layer(tensor)
        yield tuple(tensor.shape[1:])


def agreement(layers: Sequence[nn.Module], picture: Shape, rows: Sequence[Row]) -> tuple[int | None, int | None, bool]:
    """Compares a check with what PyTorch does.

    Returns:
        The first layer that the check finds a fault with and that PyTorch refuses (None: no layer), and whether all
        shapes before it are the same.
    """
    shapes_found = []
    refused = None
    try:
        for shape in outputs(layers, picture):
            shapes_found.append(shape)
    except (RuntimeError, ValueError):
        refused = len(shapes_found)
    blamed = next((row.place for row in rows if row.fault), None)
    return blamed, refused, shapes_found == [row.gives for row in rows[: len(shapes_found)]]


def stacks(effort: Effort, progress: Progress) -> Json:
    """Checks random stacks and runs them.

    Returns:
        "stacks", "faulty" (PyTorch refuses a layer), "same_layer" (both name the same one, or no layer), "same_shapes"
        (of all outputs before it); "mendable" (faulty, and every fault is one of channels or features) and
        "mended_runs" (of those, when they expect what they get).
    """
    found = dict.fromkeys(("stacks", "faulty", "same_layer", "same_shapes", "mendable", "mended_runs"), 0)
    for seed in range(effort.stacks):
        specs, picture = random_stack(seed)
        layers = made(specs)
        rows = check_stack(layers, picture)
        blamed, refused, same = agreement(layers, picture, rows)
        found["stacks"] += 1
        found["faulty"] += refused is not None
        found["same_layer"] += blamed == refused
        found["same_shapes"] += same
        if refused is not None and len(rows) == len(specs) and rows[-1].gives is not None:
            found["mendable"] += 1
            right = mended(specs, rows)
            found["mended_runs"] += all(row.fault is None for row in check_stack(made(right), picture)) and (
                len(list(outputs(made(right), picture))) == len(specs)
            )
    progress(f"stacks: {found['stacks']:,}, {found['faulty']:,} of them faulty")
    return found


def random_camera(seed: int, count: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Draws a camera, and points of which a quarter lies behind it.

    Args:
        seed: The same one gives the same numbers.
        count: Of points.

    Returns:
        Rotation vector [3], translation [3, 1], intrinsics [3, 3], points of the camera's axes [count, 3], and the
        numbers w [count, 1] of either sign by which homogeneous points are scaled; all float64.
    """
    draw = np.random.default_rng(seed)
    depth = draw.uniform(0.5, 100, (count, 1))
    depth[: count // 4] *= -1
    camera = np.hstack([draw.uniform(-1, 1, (count, 2)) * depth, depth])
    focal = draw.uniform(200, 2000, 2)
    intrinsics = np.array([[focal[0], 0, draw.uniform(100, 1000)], [0, focal[1], draw.uniform(100, 1000)], [0, 0, 1]])
    scale = draw.uniform(0.1, 10, (count, 1)) * draw.choice([-1, 1], (count, 1))
    return draw.uniform(-2, 2, 3), draw.uniform(-10, 10, (3, 1)), intrinsics, camera, scale


def cameras(effort: Effort, progress: Progress) -> Json:
    """Projects random points and compares with OpenCV.

    Returns:
        "cameras", "points", "behind", "behind_nan" (ours), "behind_finite_in_opencv", and for float64 and float32 the
        largest difference to OpenCV's float64 numbers in pixels, of the points in front; or {"absent": why}.
    """
    if cv2 is None:
        return {"absent": "OpenCV (cv2) is not installed"}
    found = dict.fromkeys(("cameras", "points", "behind", "behind_nan", "behind_finite_in_opencv"), 0)
    difference = {"float64": 0.0, "float32": 0.0}
    for seed in range(effort.cameras):
        vector, translation, intrinsics, camera, scale = random_camera(seed, effort.points)
        rotation = cv2.Rodrigues(vector)[0]
        world = (camera - translation.T) @ rotation
        theirs = cv2.projectPoints(world, vector, translation, intrinsics, None)[0].reshape(-1, 2)
        points = np.hstack([world, np.ones_like(scale)]) * scale
        behind = camera[:, 2] < 0
        for dtype in difference:
            given = (torch.from_numpy(np.asarray(each, dtype)) for each in (points, rotation, translation, intrinsics))
            ours = project_camera(*given).numpy()
            apart = np.abs(ours[~behind, :2] - theirs[~behind]).max()
            difference[dtype] = max(difference[dtype], float(apart))
            if dtype == "float64":
                found["behind_nan"] += int(np.isnan(ours[behind]).all(axis=1).sum())
        found["cameras"] += 1
        found["points"] += len(points)
        found["behind"] += int(behind.sum())
        found["behind_finite_in_opencv"] += int(np.isfinite(theirs[behind]).all(axis=1).sum())
    progress(f"cameras: {found['cameras']:,} with {found['points']:,} points")
    return {**found, "difference_px": difference, "opencv": cv2.__version__}
