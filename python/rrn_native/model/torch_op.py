"""The reduction operator for PyTorch: loads `libreduction_torch.so`, and defines the operator in plain PyTorch.

    from rrn_native.model import torch_op
    torch_op.load_library()
    embedding = torch.ops.rrn.reduction(p1, p2, p3, p4)  # [B,64], [B,128], [B,256], [B,512] -> [B,512]

The library registers three operators, all differentiable and known to `torch.compile` and `torch.export`:

    torch.ops.rrn.reduction(layerOne, layerTwo, layerThree, layerFour)   four layers to 512 channels
    torch.ops.rrn.reduce_layers(layers, channels=512, normalize=False)   1 to 32 layers to any number of channels
    torch.ops.rrn.repeatInterleave(input)                                [C] or [B, C] to 512 channels

Inputs are float32, float16 or bfloat16 (float64 is refused), on the CPU, or on a CUDA device where the library was
built with CUDA. Feature maps [B, C, H, W] are averaged over H x W in the same pass; maps that are all channels_last are
read as they are. `normalize` divides every row by max(its length, 2^-126), in the same pass too.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import torch

LIBRARY_NAME = "libreduction_torch.so"
LIBRARY_VARIABLE = "RRN_TORCH_OP_LIBRARY"

# What PyTorch forgets when nobody holds it.
_DEFINITIONS: list[torch.library.Library] = []


def library_candidates() -> list[Path]:
    """Returns where the library is looked for, in order.

    That is the file named by the environment variable `RRN_TORCH_OP_LIBRARY` and nothing else if it is set; otherwise
    the package's own folder, its `lib` folder, the `lib` folder of the source tree, and what
    `bindings/torch_extension/setup.py` installed.
    """
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return [Path(named)]
    package = Path(__file__).resolve().parents[1]
    folders = [package, package / "lib", package.parents[1] / "lib"]
    candidates = [folder / LIBRARY_NAME for folder in folders]
    installed = importlib.util.find_spec(LIBRARY_NAME.removesuffix(".so"))
    if installed is not None and installed.origin is not None:
        candidates.append(Path(installed.origin))
    return candidates


def load_library() -> Path | None:
    """Makes `torch.ops.rrn.*` available; does nothing if it already is.

    Returns:
        The library's path, or None if the operators were registered before.

    Raises:
        FileNotFoundError: The library is at none of the places; the message lists them.
        RuntimeError: The library does not load, for example because it was built for another PyTorch.
    """
    if hasattr(torch.ops.rrn, "reduction"):
        return None
    candidates = library_candidates()
    for path in candidates:
        if path.is_file():
            try:
                torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
            except OSError as error:
                raise RuntimeError(
                    f"{path} does not load into PyTorch {torch.__version__}: {error}. "
                    "It must be built against this very PyTorch; run scripts/build.sh again."
                ) from error
            return path
    places = ", ".join(str(path) for path in candidates)
    raise FileNotFoundError(
        f"no {LIBRARY_NAME} at {places}. Build it with scripts/build.sh in an environment that has PyTorch, "
        f"or set {LIBRARY_VARIABLE} to the file."
    )


def load_or_define() -> None:
    """As :func:`load_library`; where the library is not there, defines the operators in plain PyTorch.

    For exporting and validating, which the wheel does too: it has no library, because one fits a single release of
    PyTorch. Operators defined here are slower and have no gradients.

    Raises:
        FileNotFoundError: `RRN_TORCH_OP_LIBRARY` names a file that is not there.
        RuntimeError: The library does not load.
    """
    try:
        load_library()
        return
    except FileNotFoundError:
        if os.environ.get(LIBRARY_VARIABLE):
            raise
    _DEFINITIONS.append(library := torch.library.Library("rrn", "DEF"))  # type: ignore[no-untyped-call]
    kernels = {
        "reduction(Tensor layerOne, Tensor layerTwo, Tensor layerThree, Tensor layerFour) -> Tensor": lambda *four: (
            reference(four)
        ),
        "reduce_layers(Tensor[] layers, int channels=512, bool normalize=False) -> Tensor": reference,
        "repeatInterleave(Tensor input) -> Tensor": lambda layer: reference([layer]),
    }
    for schema, kernel in kernels.items():
        library.define(schema)  # type: ignore[no-untyped-call]
        library.impl(schema.partition("(")[0], kernel, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


def reference(layers: Sequence[torch.Tensor], channels: int = 512, normalize: bool = False) -> torch.Tensor:
    """The operator's definition in PyTorch's own operations, to compare with; needs no library.

    Args:
        layers: Tensors of one floating-point type (float64 too) and one rank: [C_k], [B, C_k], or [B, C_k, H_k, W_k],
            which is averaged over H_k x W_k first. Each C_k divides `channels`.
        channels: The number of output channels.
        normalize: Divide every row by its length.

    Returns:
        [channels] or [B, channels], in the inputs' type: the average of the layers, every channel of layer k repeated
        channels / C_k times in a row.

    Raises:
        ValueError: There is no layer, or some C_k does not divide `channels`.
    """
    if not layers:
        raise ValueError("the reduction needs at least one layer; got none")
    total: torch.Tensor | None = None
    for layer in layers:
        pooled = layer.mean((2, 3)) if layer.dim() == 4 else layer
        if pooled.dim() == 0 or pooled.shape[-1] == 0 or channels % pooled.shape[-1] != 0:
            shapes = ", ".join(str(list(each.shape)) for each in layers)
            raise ValueError(f"every layer's channels must divide {channels}; got {shapes}")
        repeated = pooled.repeat_interleave(channels // pooled.shape[-1], dim=-1)
        total = repeated if total is None else total + repeated
    assert total is not None
    rows = total / len(layers)
    if not normalize:
        return rows
    # float16 does not hold the smallest divisor.
    wide = rows if rows.dtype == torch.float64 else rows.float()
    return torch.nn.functional.normalize(wide, dim=-1, eps=2.0**-126).to(rows.dtype)
