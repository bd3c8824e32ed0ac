"""A model of this project as TorchScript, without a library of its own."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import torch
from rrn_native.model import torch_op, weights
from rrn_native.model.network import ReductionResNet18


class _Plain(torch.nn.Module):
    """The network with the operator written in PyTorch's own operations, so that any libtorch can run it."""

    def __init__(self, network: ReductionResNet18) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch_op.reference(self.network.features(images))


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
        ValueError: Its weights are not those of a ReductionResNet-18, or the result does not work for other batches.
    """
    network = ReductionResNet18.from_state_dict(weights.state_dict_from_onnx(model)).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        # The checks of shapes become constants, as they should.
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
        module: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            _Plain(network).eval(), torch.zeros((2, 3, size, size))
        )
        images = torch.randn((3, 3, size, size), generator=torch.Generator().manual_seed(0))
        embeddings = module(images)
        if not torch.equal(embeddings, _Plain(network).eval()(images)):
            raise ValueError(f"{model}: the traced network computes something else for another batch")
    return Traced(module, int(embeddings.shape[1]))
