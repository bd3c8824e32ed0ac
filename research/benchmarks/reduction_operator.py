"""How near the operator (pooling, interleaving, mean) comes to the memory's bandwidth, measured in the same rounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import rrn_native

from research.common import timing

Json = dict[str, Any]
Array = npt.NDArray[Any]

# The stages of ResNet-18 for an input of 224 x 224.
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))
CHANNELS = 512


def plain(layers: list[Array]) -> Array:
    """The operator's definition in NumPy, with float32 sums."""
    pooled = [layer.mean(axis=(2, 3), dtype=np.float32) for layer in layers]
    return sum(np.repeat(vector, CHANNELS // vector.shape[1], axis=1) for vector in pooled) / len(layers)  # type: ignore[return-value]


def _layers(batch: int, dtype: Any) -> list[Array]:
    random = np.random.default_rng(batch)
    return [
        random.standard_normal((batch, channels, side, side), dtype=np.float32).astype(dtype)
        for channels, side in STAGES
    ]


def bandwidth(size: int) -> dict[str, tuple[int, Callable[[], object]]]:
    """Ways to move `size` bytes on one thread: by name, the bytes that are moved and a function that does it."""
    source = np.ones(size // 4, np.float32)
    target = np.zeros_like(source)
    words = source.view(np.uint64)
    return {
        "copy": (2 * size, partial(np.copyto, target, source)),
        # Not np.dot, which NumPy's matrix library may spread over all cores.
        "read (sum)": (size, source.sum),
        "read (maximum)": (size, words.max),
    }


def measure(quick: bool) -> Json:
    """Times the operator on feature maps of several batches and types.

    Returns:
        {"rows": [...]}: for each type and batch milliseconds, GB/s of input read, and the share of the fastest reading
        that one thread was measured to do on as many bytes; "bandwidth": what was measured for that.
    """
    batches = (1, 2) if quick else (1, 8, 64, 192)
    rounds = 2 if quick else 15
    types = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
    rows: list[Json] = []
    moved: list[Json] = []
    for batch in batches:
        inputs = {name: _layers(batch, dtype) for name, dtype in types.items()}
        size = sum(layer.nbytes for layer in inputs["float32"])
        ways = bandwidth(size)
        cases: dict[str, Callable[[], object]] = {f"bandwidth {name}": way for name, (_, way) in ways.items()}
        cases |= {f"rrn {name}": partial(rrn_native.reduction, *layers) for name, layers in inputs.items()}
        cases["NumPy float32"] = partial(plain, inputs["float32"])
        times = timing.interleaved(cases, rounds)
        rates = {name: size_moved / times[f"bandwidth {name}"].median / 1e9 for name, (size_moved, _) in ways.items()}
        best = max(rate for name, rate in rates.items() if name.startswith("read"))
        moved.append(
            {"megabytes": round(size / 1e6, 1), **{f"{k} GB/s": timing.significant(v) for k, v in rates.items()}}
        )
        for name, taken in times.items():
            if name.startswith("bandwidth"):
                continue
            way, _, dtype = name.partition(" ")
            read = sum(layer.nbytes for layer in inputs[dtype])
            rate = read / taken.median / 1e9
            rows.append(
                {
                    "way": way,
                    "type": dtype,
                    "batch": batch,
                    "megabytes": round(read / 1e6, 2),
                    **taken.to_json("ms", 1e3),
                    "gb_per_s": timing.significant(rate),
                    "share_of_bandwidth": timing.significant(rate / best, 3),
                }
            )
        difference = np.abs(rrn_native.reduction(*inputs["float32"]) - plain(inputs["float32"])).max()
        if difference > 1e-5:
            raise RuntimeError(f"the operator and its definition differ by {difference}")
    return {"threads": 1, "bandwidth": moved, "rows": rows}
