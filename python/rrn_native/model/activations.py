"""What 8 bits would do to the activations of a network, and the ranges that cost the least."""

from __future__ import annotations

import concurrent.futures
import copy
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rrn_native.session import cpu_session

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]

METHODS = ("relative", "minmax")
# The operators that get 8 bits. Averages, Flatten and the reduction are not among them: they are the embedding itself.
QUANTIZED = ("Conv", "Relu", "MaxPool", "Add")
_LEVELS = 255
# Numbers are counted by the upper half of their bits: sign, exponent and 7 bits of the fraction, fine at every scale.
_POSITIVE_BINS = 0x7F80  # those of the finite positive numbers
_SIGN = 0x8000
# Candidates for the ends of a range and for its step, from 1e-6 to 1e6.
_PER_OCTAVE = 6
_GRID = np.exp2(np.arange(-20 * _PER_OCTAVE, 20 * _PER_OCTAVE + 1) / _PER_OCTAVE)
# No range is cut to less than this share of what was seen.
_SMALLEST_SHARE = 1 / 512


class QuantizeError(RuntimeError):
    """The model cannot be quantised; the message is one line that says why."""


@dataclasses.dataclass(frozen=True)
class Activation:
    """What rounding and clipping would do to one activation of n pictures; k is the length of the grid.

    Errors are squared and relative to the picture's own sum of squares.

    Attributes:
        lowest: The smallest value seen, or 0.
        highest: The largest value seen, or 0.
        above: float32 [n, k], the error by clipping at the grid's values.
        below: float32 [n, k], the same at their negatives.
        rounding: float32 [n, k], the error by rounding to multiples of the grid's values.
    """

    lowest: float
    highest: float
    above: Floats
    below: Floats
    rounding: Floats


def workers() -> int:
    """Returns how many pictures are computed side by side: one for each usable core."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1))


def activations(proto: onnx.ModelProto) -> list[str]:
    """Returns the tensors that may get 8 bits: the input and what the quantised operators compute."""
    return [
        proto.graph.input[0].name,
        *(node.output[0] for node in proto.graph.node if node.op_type in QUANTIZED),
    ]


def collect(proto: onnx.ModelProto, pictures: Iterable[Floats]) -> dict[str, Activation]:
    """Runs pictures through the float32 network and measures every activation.

    A picture leaves some kilobytes for each activation behind; the activations themselves are not kept.

    Args:
        proto: The model.
        pictures: The network's inputs, float32 [3, H, W] each.

    Raises:
        QuantizeError: There is no picture, or an activation is not finite.
    """
    names = activations(proto)
    observed = copy.deepcopy(proto)
    present = {value.name for value in observed.graph.output}
    for name in names[1:]:
        if name not in present:
            observed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = cpu_session(observed.SerializeToString())

    def observe(picture: Floats) -> list[Activation]:
        values = [picture, *session.run(names[1:], {names[0]: picture[None]})]
        return [_observe(name, value) for name, value in zip(names, values, strict=True)]

    found: list[list[Activation]] = []
    count = workers()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        # In chunks, so that not all pictures are in memory at once.
        for chunk in _chunks(pictures, count):
            found += pool.map(observe, chunk)
    if not found:
        raise QuantizeError("there is no image to calibrate on")
    return {name: _together(each) for name, each in zip(names, zip(*found, strict=True), strict=True)}


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _observe(name: str, value: Floats) -> Activation:
    """Measures one activation of one picture."""
    flat = np.ascontiguousarray(value, np.float32).reshape(-1)
    if not np.isfinite(flat).all():
        raise QuantizeError(f"{name} is not finite for one of the images")
    counts = np.bincount(flat.view(np.uint32) >> 16, minlength=2 * _SIGN).astype(np.float64)
    positive, negative = counts[:_POSITIVE_BINS], counts[_SIGN : _SIGN + _POSITIVE_BINS]
    size = _bin_values()
    both = positive + negative
    energy = max(float(np.dot(both, np.square(size))), 1e-30)
    # Rounding errors are spread evenly over a step, but what is nearer to zero than half a step becomes zero.
    small = np.searchsorted(size, _GRID / 2)
    lost = np.append(0, np.cumsum(both * np.square(size)))[small]
    rounded = (both.sum() - np.append(0, np.cumsum(both))[small]) * np.square(_GRID) / 12
    return Activation(
        min(0.0, float(flat.min(initial=0))),
        max(0.0, float(flat.max(initial=0))),
        *(
            (part / energy).astype(np.float32)[None]
            for part in (_clipped(positive), _clipped(negative), lost + rounded)
        ),
    )


@functools.cache
def _bin_values() -> npt.NDArray[np.float64]:
    """The middle of every bin of positive numbers."""
    bits = (np.arange(_POSITIVE_BINS, dtype=np.uint32) << 16) + np.uint32(1 << 15)
    return bits.view(np.float32).astype(np.float64)


def _clipped(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of (value - limit) ** 2 over the values above each limit of the grid."""
    size = _bin_values()
    above = [np.append(np.cumsum((counts * size**power)[::-1])[::-1], 0) for power in range(3)]
    first = np.searchsorted(size, _GRID)
    zeroth, linear, square = (sums[first] for sums in above)
    total: npt.NDArray[np.float64] = np.maximum(square - 2 * _GRID * linear + np.square(_GRID) * zeroth, 0)
    return total


def _together(each: Sequence[Activation]) -> Activation:
    return Activation(
        min(one.lowest for one in each),
        max(one.highest for one in each),
        np.concatenate([one.above for one in each]),
        np.concatenate([one.below for one in each]),
        np.concatenate([one.rounding for one in each]),
    )


def choose_range(activation: Activation, method: str) -> Range:
    """Chooses the range of real values that the 256 levels cover.

    Args:
        activation: What was measured.
        method: "relative" minimises the mean of the pictures' relative errors (the root of the squared error by
            rounding and clipping); "minmax" covers all that was seen.

    Returns:
        (lowest <= 0, highest >= 0).

    Raises:
        ValueError: Unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    low, high = activation.lowest, activation.highest
    if method == "minmax" or low == high:
        return low, high

    def ends(extreme: float, clipping: Floats) -> tuple[npt.NDArray[np.float64], Floats]:
        """The candidates for one end, the extreme itself last, and what each clips: [m] and [m, n]."""
        first, last = np.searchsorted(_GRID, [extreme * _SMALLEST_SHARE, extreme])
        nothing = np.zeros((1, len(clipping)), np.float32)
        return np.append(_GRID[first:last], extreme), np.concatenate([clipping[:, first:last].T, nothing])

    lows, below = ends(-low, activation.below)
    best, chosen = np.inf, (low, high)
    for highest, above in zip(*ends(high, activation.above), strict=True):
        steps = (highest + lows) / _LEVELS
        nearest = np.clip(np.rint(np.log2(steps / _GRID[0]) * _PER_OCTAVE).astype(int), 0, len(_GRID) - 1)
        rounding = activation.rounding.T[nearest] * np.square(steps / _GRID[nearest])[:, None]
        errors = np.sqrt(rounding + below + above).mean(axis=1)
        index = int(np.argmin(errors))
        if errors[index] < best:
            best, chosen = float(errors[index]), (-float(lows[index]), float(highest))
    return chosen
