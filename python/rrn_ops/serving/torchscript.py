"""A model of this project as a TorchScript file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from rrn_native.model import runtimes


@dataclasses.dataclass(frozen=True)
class Traced:
    """A traced network.

    Attributes:
        module: float32 [N, 3, size, size] to [N, dim].
        dim: The length of an embedding.
    """

    module: torch.jit.ScriptModule
    dim: int

    def save(self, path: Path) -> None:
        """Writes the file that torch.jit.load reads."""
        torch.jit.save(self.module, str(path))


def trace(model: Path, size: int) -> Traced:
    """Traces the network of an ONNX file that `rrn export` wrote.

    Raises:
        ValueError, RuntimeError, OSError: As for :func:`rrn_native.model.runtimes.traced`.
    """
    module = runtimes.traced(model, size)
    with torch.inference_mode():
        return Traced(module, int(module(torch.zeros((1, 3, size, size))).shape[1]))
