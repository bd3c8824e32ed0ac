"""Reads the ImageNet ResNet-18 of Microsoft's NuGet package as a state dict with torchvision's names.

    python -m research.training.pretrained PACKAGE.nupkg --output .cache/imagenet.pth

The package (Microsoft.ML.DnnImageFeaturizer.ResNet18 0.23.1, MIT licence) is a zip file that holds the network without
its classifier, which wants BGR in 0 ... 255 minus a mean picture, and that preprocessing, as ONNX files. Some rewriting
makes a network for rrn's preprocessing (RGB in 0 ... 1, ImageNet's mean and deviation), equal but for the following:

- Preprocessing is folded into the first convolution. The mean picture becomes its mean colour, since a network for any
  input size has no other place for it. At the border torchvision's padding is the mean of its own preprocessing, the
  package's its mean picture. Both move results; `--compare FOLDER` measures how much on the pictures of a folder.
- The package's last stage has a third block, which a ResNet-18 has not; it is left out.
- Each convolution is divided by the deviations of its batch normalisation, whose running variances become 1. Those of
  the package reach 72,000, more than float16 holds.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from PIL import Image
from rrn_native.model.onnx_file import MEAN, STDDEV

from research.common import results
from research.training.student import Student, save_state

SHA256 = "7679c0f8832902d64019b7c8f79784d02bcbbce008d22a5249bdef8e8f45cb73"
NETWORK = "tools/DnnImageModels/ResNet18Onnx/ResNet18.onnx"
PREPROCESSING = "tools/DnnImageModels/ResNetPrepOnnx/ResNetPreprocess.onnx"
BLOCKS = tuple(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))
SIZE = 224
EPSILON = 1e-5  # of torchvision's batch normalisations

Array = npt.NDArray[Any]


class PretrainedError(RuntimeError):
    """The file is not the expected one; the message is one line with what was expected and found."""


@dataclass(frozen=True)
class Package:
    """The package's two models.

    Attributes:
        network: BGR minus the mean picture [1, 3, 224, 224] -> features [1, 512, 1, 1].
        mean_picture: float32 [3, H, W], BGR in 0 ... 255.
    """

    network: onnx.ModelProto
    mean_picture: Array


def read_package(path: Path, sha256: str) -> Package:
    """Reads the package.

    Args:
        path: The .nupkg file.
        sha256: What its SHA-256 must be, as `SHA256`.

    Raises:
        PretrainedError: It is another file.
        OSError: It cannot be read.
    """
    found = results.sha256(path)
    if found != sha256:
        raise PretrainedError(f"{path} has SHA-256 {found}: expected {sha256}, Microsoft's package of version 0.23.1")
    with zipfile.ZipFile(path) as archive:
        network, preprocessing = (onnx.load_model_from_string(archive.read(name)) for name in (NETWORK, PREPROCESSING))
    pictures = [numpy_helper.to_array(tensor) for tensor in preprocessing.graph.initializer]
    means = [picture for picture in pictures if picture.ndim == 4 and picture.shape[:2] == (1, 3)]
    if len(means) != 1:
        raise PretrainedError(f"{path}: expected one mean picture [1, 3, H, W], found {len(means)}")
    return Package(network, means[0][0])


def state_dict(package: Package) -> tuple[dict[str, torch.Tensor], str]:
    """Takes the weights of a ResNet-18 for rrn's preprocessing from the package's network.

    Returns:
        float32 tensors under torchvision's names, and the name of the tensor that leaves the last stage's second block.

    Raises:
        PretrainedError: The graph is not a ResNet-18's.
    """
    graph = _Graph(package.network.graph)
    arrays: dict[str, Array] = {}
    x = graph.convolution(arrays, package.network.graph.input[0].name, "conv1", "bn1")
    x = graph.after(graph.after(x, "Relu"), "MaxPool")
    for block in BLOCKS:
        x = graph.block(arrays, x, block)
    _fold_preprocessing(arrays, package.mean_picture.mean((1, 2)))
    _unit_variances(arrays, graph.epsilon)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in arrays.items()}, x


class _Graph:
    """The nodes of a network by what they read."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        epsilons = {
            attribute.f
            for node in graph.node
            if node.op_type == "BatchNormalization"
            for attribute in node.attribute
            if attribute.name == "epsilon"
        }
        if len(epsilons) != 1:
            raise PretrainedError(f"expected batch normalisations with one epsilon, found {sorted(epsilons)}")
        self.epsilon = epsilons.pop()

    def after(self, name: str, operator: str, kernel: int | None = None) -> str:
        """The output of the only node of a kind that reads a tensor."""
        return str(self._reader(name, operator, kernel).output[0])

    def convolution(self, arrays: dict[str, Array], x: str, name: str, norm: str, kernel: int | None = None) -> str:
        """Takes a convolution and the batch normalisation behind it; returns the output's name."""
        convolution = self._reader(x, "Conv", kernel)
        normalisation = self._reader(convolution.output[0], "BatchNormalization")
        arrays[f"{name}.weight"] = self.initializers[convolution.input[1]]
        for kind, source in zip(
            ("weight", "bias", "running_mean", "running_var"), normalisation.input[1:], strict=True
        ):
            arrays[f"{norm}.{kind}"] = self.initializers[source]
        return str(normalisation.output[0])

    def block(self, arrays: dict[str, Array], x: str, name: str) -> str:
        """Takes a basic block; returns the output's name."""
        y = self.after(self.convolution(arrays, x, f"{name}.conv1", f"{name}.bn1", 3), "Relu")
        y = self.convolution(arrays, y, f"{name}.conv2", f"{name}.bn2", 3)
        if any(node.op_type == "Conv" and self._kernel(node) == 1 for node in self.readers[x]):
            x = self.convolution(arrays, x, f"{name}.downsample.0", f"{name}.downsample.1", 1)
        total = self.after(y, "Add")
        if total != self.after(x, "Add"):
            raise PretrainedError(f"{name}: the two branches are not added to each other")
        return self.after(total, "Relu")

    def _kernel(self, node: onnx.NodeProto) -> int:
        return int(self.initializers[node.input[1]].shape[-1])

    def _reader(self, name: str, operator: str, kernel: int | None = None) -> onnx.NodeProto:
        nodes = [
            node
            for node in self.readers.get(name, [])
            if node.op_type == operator and (kernel is None or self._kernel(node) == kernel)
        ]
        if len(nodes) != 1:
            wanted = operator if kernel is None else f"{operator} {kernel}x{kernel}"
            raise PretrainedError(f"expected one {wanted} behind {name}, found {len(nodes)}; not a ResNet-18")
        return nodes[0]


def _fold_preprocessing(arrays: dict[str, Array], mean_colour: Array) -> None:
    """The first convolution for normalised RGB instead of BGR in 0 ... 255 minus a mean colour (BGR)."""
    weight = arrays["conv1.weight"][:, ::-1].astype(np.float64)
    mean, deviation = (255 * np.asarray(values, np.float64) for values in (MEAN, STDDEV))
    # x255 - colour = deviation * normalised + (mean - colour); what is constant goes into the batch normalisation.
    constant = (weight * (mean - mean_colour[::-1])[:, None, None]).sum((1, 2, 3))
    arrays["conv1.weight"] = weight * deviation[:, None, None]
    arrays["bn1.running_mean"] = arrays["bn1.running_mean"] - constant


def _unit_variances(arrays: dict[str, Array], epsilon: float) -> None:
    for norm in [name.removesuffix(".running_var") for name in arrays if name.endswith(".running_var")]:
        variance = arrays[f"{norm}.running_var"].astype(np.float64)
        deviation = np.sqrt((variance + epsilon) / (1 + EPSILON))
        convolution = norm.replace("bn", "conv") if "bn" in norm else norm.removesuffix("1") + "0"
        arrays[f"{convolution}.weight"] = arrays[f"{convolution}.weight"] / deviation[:, None, None, None]
        arrays[f"{norm}.running_mean"] = arrays[f"{norm}.running_mean"] / deviation
        arrays[f"{norm}.running_var"] = np.ones_like(variance)


@torch.inference_mode()
def compare(package: Package, pictures: Sequence[Path]) -> tuple[float, float]:
    """Compares the last stage's averages of the package's network with those of the rewritten one, at 224 x 224 pixels.

    Args:
        package: The package.
        pictures: Files that Pillow reads.

    Returns:
        The smallest cosine of the two for a picture, and the smallest where the package's network is given the
        mean colour in place of the mean picture.
    """
    state, last = state_dict(package)
    student = Student(tuple(len(state[f"layer{stage}.0.bn2.weight"]) for stage in (1, 2, 3, 4)))
    student.load_state_dict(state, strict=False)
    student.eval()
    network = onnx.ModelProto()
    network.CopyFrom(package.network)
    network.graph.output.append(onnx.ValueInfoProto(name=last))
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    worst = [1.0, 1.0]
    colour = np.broadcast_to(package.mean_picture.mean((1, 2), keepdims=True), package.mean_picture.shape)
    for path in pictures:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, np.float32).transpose(2, 0, 1)
        normalised = (pixels / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STDDEV, (3, 1, 1))
        ours = student(torch.from_numpy(normalised.astype(np.float32))[None])[1][0].numpy()
        for i, mean in enumerate((package.mean_picture, colour)):
            images = (pixels[::-1] - mean)[None].astype(np.float32)
            theirs = session.run([last], {session.get_inputs()[0].name: images})[0].mean((0, 2, 3))
            cosine = ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs))
            worst[i] = min(worst[i], float(cosine))
    return worst[0], worst[1]


def main(words: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m research.training.pretrained", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE.nupkg")
    parser.add_argument("--output", type=Path, metavar="FILE.pth", help="write the state dict, float16, here")
    parser.add_argument("--compare", type=Path, metavar="FOLDER", help="of JPEG files: how much the rewriting moves")
    arguments = parser.parse_args(words)
    try:
        package = read_package(arguments.package, SHA256)
        if arguments.output:
            save_state(arguments.output, {name: value.half() for name, value in state_dict(package)[0].items()})
            print(arguments.output)
        if arguments.compare:
            picture, colour = compare(package, sorted(arguments.compare.glob("*.jpg")))
            print(f"smallest cosine {picture:.6f}; with the mean colour in both {colour:.6f}")
    except (OSError, PretrainedError) as error:
        print(f"pretrained: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
