"""ReductionResNet-18: a ResNet-18 whose four stages are averaged into one embedding by the reduction operator.

    model = ReductionResNet18.from_state_dict(torch.load("resnet18.pth", weights_only=True)).eval()
    embedding = model(images)  # float32 [N, 3, H, W] -> float32 [N, 512]

The network's parameters have torchvision's names (conv1.weight, layer1.0.bn2.running_var, ...), so every ResNet-18
checkpoint in that format fits. The classifier (fc.*) has no part in the embedding; where a checkpoint has one, it is
ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import nn

from rrn_native.model import torch_op

STAGE_CHANNELS = (64, 128, 256, 512)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, *, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def _normalisation(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them: [N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int, batch_norm: bool) -> None:
        """Makes the block; without `batch_norm`, the convolutions have biases instead."""
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3, stride, bias=not batch_norm)
        self.bn1 = _normalisation(outputs, batch_norm)
        self.relu1 = nn.ReLU()
        self.conv2 = _convolution(outputs, outputs, 3, 1, bias=not batch_norm)
        self.bn2 = _normalisation(outputs, batch_norm)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _convolution(inputs, outputs, 1, stride, bias=not batch_norm), _normalisation(outputs, batch_norm)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block on [N, inputs, H, W]."""
        y = self.relu1(self.bn1(self.conv1(x)))
        output: torch.Tensor = self.relu2(self.bn2(self.conv2(y)) + self.downsample(x))
        return output


class ReductionResNet18(nn.Module):
    """The embedding network; float32 [N, 3, H, W] -> float32 [N, 512] for any H and W from 1 up.

    Args:
        batch_norm: With batch normalisation, as it is trained, or with the normalisation folded into the convolutions
            (see `fold_batch_norm`), as it is exported.

    Raises:
        FileNotFoundError: `libreduction_torch.so` is not there (see `torch_op.load_library`).
    """

    def __init__(self, batch_norm: bool = True) -> None:
        """Makes the network with random weights."""
        super().__init__()
        torch_op.load_library()
        self.batch_norm = batch_norm
        self.conv1 = _convolution(3, 64, 7, 2, bias=not batch_norm)
        self.bn1 = _normalisation(64, batch_norm)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(64, 64, 1)
        self.layer2 = self._stage(64, 128, 2)
        self.layer3 = self._stage(128, 256, 2)
        self.layer4 = self._stage(256, 512, 2)
        self.pool1 = nn.AdaptiveAvgPool2d(1)
        self.pool2 = nn.AdaptiveAvgPool2d(1)
        self.pool3 = nn.AdaptiveAvgPool2d(1)
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride, self.batch_norm), BasicBlock(outputs, outputs, 1, self.batch_norm)
        )

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Runs the four stages on float32 [N, 3, H, W]; returns their averages [N,64], [N,128], [N,256], [N,512]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        one = self.layer1(x)
        two = self.layer2(one)
        three = self.layer3(two)
        four = self.layer4(three)
        return (
            self.pool1(one).flatten(1),
            self.pool2(two).flatten(1),
            self.pool3(three).flatten(1),
            self.pool4(four).flatten(1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the embeddings [N, 512] of normalised RGB images, float32 [N, 3, H, W]."""
        embedding: torch.Tensor = torch.ops.rrn.reduction(*self.features(images))
        return embedding

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, torch.Tensor], batch_norm: bool = True) -> Self:
        """Makes the network with these weights.

        Args:
            state_dict: Tensors of any floating-point type under torchvision's ResNet-18 names. fc.* is ignored;
                *.num_batches_tracked, which only training uses, may be missing.
            batch_norm: As in the constructor.

        Raises:
            ValueError: Names are missing or unknown, or shapes differ; the message is one line that lists them.
        """
        model = cls(batch_norm)
        wanted = model.state_dict()
        given = {name: value for name, value in state_dict.items() if not name.startswith("fc.")}
        for name, value in wanted.items():
            if name.endswith(".num_batches_tracked"):
                given.setdefault(name, value)
        problems = [
            _listing("missing", [name for name in wanted if name not in given]),
            _listing("unexpected", [name for name in given if name not in wanted]),
            _listing("not tensors", [name for name, value in given.items() if not isinstance(value, torch.Tensor)]),
        ]
        problems.append(
            _listing(
                "of another shape",
                [
                    f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}"
                    for name in wanted
                    if isinstance(given.get(name), torch.Tensor) and given[name].shape != wanted[name].shape
                ],
            )
        )
        found = "; ".join(problem for problem in problems if problem)
        if found:
            raise ValueError(f"these are not the weights of a ResNet-18 in torchvision's format: {found}")
        model.load_state_dict({name: given[name].to(wanted[name].dtype) for name in wanted})
        return model


def _listing(what: str, names: list[str]) -> str:
    """'missing: a, b, c and 12 more', or nothing."""
    if not names:
        return ""
    shown = ", ".join(names[:6])
    return f"{what}: {shown}" + (f" and {len(names) - 6} more" if len(names) > 6 else "")


class PlainOperations(nn.Module):
    """A network with PyTorch's own operations in the place of the operator: the same numbers without a library.

    Args:
        network: The network, whose parameters it shares.
    """

    def __init__(self, network: ReductionResNet18) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, H, W] to [N, 512]."""
        return torch_op.reference(self.network.features(images))


def fold_batch_norm(model: ReductionResNet18) -> ReductionResNet18:
    """Returns an equal network in evaluation mode whose convolutions have taken in their batch normalisations.

    A quarter of the nodes disappear, so every runtime is fast without knowing the fusion. Folding is computed in
    float64 and rounded once, to keep the outputs as close to the original as float32 allows.
    """
    if not model.batch_norm:
        return model.eval()
    state = model.state_dict()
    folded: dict[str, torch.Tensor] = {}
    for convolution in [name.removesuffix(".weight") for name, value in state.items() if value.dim() == 4]:
        norm = _normalisation_after(convolution)
        module = model.get_submodule(norm)
        assert isinstance(module, nn.BatchNorm2d)
        scale = state[f"{norm}.weight"].double() / (state[f"{norm}.running_var"].double() + module.eps).sqrt()
        weight = state[f"{convolution}.weight"].double() * scale[:, None, None, None]
        bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
        folded[f"{convolution}.weight"] = weight.float()
        folded[f"{convolution}.bias"] = bias.float()
    return ReductionResNet18.from_state_dict(folded, batch_norm=False).eval()


def unfold_batch_norm(folded: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the state dict of a network with batch normalisations from that of a folded one.

    What `fold_batch_norm` has done cannot be undone: the variances and scales are in the weights. So the batch
    normalisations that come back only add the bias: mean 0, variance 1 - eps, scale 1. Evaluated, the network
    gives the same embeddings, and folding it gives the same weights again. Before it is trained, its batch
    normalisations need statistics (research/training measures them when it starts from such weights).

    Args:
        folded: `state_dict()` of a network without `batch_norm`; other names are left out.

    Returns:
        float32 tensors under torchvision's names, without *.num_batches_tracked.
    """
    state: dict[str, torch.Tensor] = {}
    for name, value in folded.items():
        convolution, _, kind = name.rpartition(".")
        if kind != "weight" or value.dim() != 4 or f"{convolution}.bias" not in folded:
            continue
        norm = _normalisation_after(convolution)
        bias = folded[f"{convolution}.bias"].float()
        state[name] = value.float()
        state[f"{norm}.weight"] = torch.ones_like(bias)
        state[f"{norm}.bias"] = bias
        state[f"{norm}.running_mean"] = torch.zeros_like(bias)
        # The default eps of nn.BatchNorm2d.
        state[f"{norm}.running_var"] = torch.full_like(bias, 1 - 1e-5)
    return state


def _normalisation_after(convolution: str) -> str:
    """conv1 -> bn1, layer2.0.conv2 -> layer2.0.bn2, layer2.0.downsample.0 -> layer2.0.downsample.1."""
    norm = convolution.replace("conv", "bn")
    return norm if norm != convolution else convolution.removesuffix("0") + "1"
