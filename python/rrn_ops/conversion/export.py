"""Writes the converted network: Hugging Face's folder, TorchScript and ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from rrn_ops.conversion.libraries import ViTForImageClassification
from rrn_ops.conversion.proof import random_inputs
from rrn_ops.conversion.vit import Shape

# timm's ViTs: bicubic to the whole square, levels / 255, mean and deviation 0.5.
PROCESSOR: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
TOLERANCE = 1e-4


class _Logits(torch.nn.Module):
    """The network with a tensor as its result."""

    def __init__(self, network: ViTForImageClassification) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(pixel_values).logits
        return logits


def save(network: ViTForImageClassification, shape: Shape, folder: Path) -> None:
    """Writes `config.json`, `model.safetensors` and `preprocessor_config.json`, and reads them back.

    Raises:
        OSError: They cannot be written.
        ValueError: What was read back differs.
    """
    network.save_pretrained(folder)
    size = {"height": shape.image, "width": shape.image}
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "size": size}, indent=2) + "\n")
    again = ViTForImageClassification.from_pretrained(folder).state_dict()
    for name, value in network.state_dict().items():
        if name not in again or not torch.equal(value, again[name]):
            raise ValueError(f"{folder}: {name} is not what was written")


@torch.inference_mode()
def torchscript(network: ViTForImageClassification, shape: Shape, path: Path) -> float:
    """Writes a TorchScript file, `pixel_values` [N, channels, image, image] to logits [N, classes].

    Returns:
        The largest difference of its logits to the network's, on other inputs than it was traced with.

    Raises:
        ValueError: That is above `TOLERANCE`; the file is removed.
    """
    wrapped = _Logits(network).eval()
    traced = torch.jit.trace(wrapped, random_inputs(shape, 2, seed=1))  # type: ignore[no-untyped-call]
    torch.jit.save(torch.jit.freeze(traced), str(path))
    inputs = random_inputs(shape, 3, seed=2)
    again = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return _checked(again(inputs), wrapped(inputs), path)


@torch.inference_mode()
def onnx(network: ViTForImageClassification, shape: Shape, path: Path) -> float:
    """Writes an ONNX file, `pixel_values` [N, channels, image, image] to `logits` [N, classes], and runs it.

    Returns:
        As for `torchscript`.

    Raises:
        ValueError: As for `torchscript`.
    """
    import onnxruntime

    wrapped = _Logits(network).eval()
    torch.onnx.export(
        wrapped,
        (random_inputs(shape, 2, seed=1),),
        str(path),
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    inputs = random_inputs(shape, 3, seed=2)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixel_values": inputs.numpy()})
    return _checked(torch.from_numpy(found), wrapped(inputs), path)


def _checked(found: torch.Tensor, wanted: torch.Tensor, path: Path) -> float:
    largest = float((found - wanted).abs().max())
    if not largest <= TOLERANCE:
        path.unlink()
        raise ValueError(
            f"{path.name}: logits differ by {largest:g} from the network's, expected {TOLERANCE:g} at most"
        )
    return largest
