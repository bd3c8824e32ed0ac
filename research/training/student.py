"""The student: ResNet-18 and the reduction operator in plain torch operations, with torchvision's parameter names.

The same network as `rrn_native.model.network.ReductionResNet18`, into which its state dict fits; that one needs the
built operator library, which machines that only train do not have.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from research.common import results

STAGE_CHANNELS = (64, 128, 256, 512)
LAST_STAGE_DIM = 512
MAP_CHANNELS = (128, 256, 512)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x), inplace=True)


class Student(nn.Module):
    """Normalised pictures [N, 3, H, W] -> (embedding [N, 512], averages of the last stage [N, 512], three maps).

    Embedding and averages are float32. The maps are what leaves the stages of stride 8, 16 and 32: MAP_CHANNELS.

    Args:
        channels: Of the four stages; each divides the last, which is the embedding's length. Other ones for tests.
    """

    def __init__(self, channels: tuple[int, ...] = STAGE_CHANNELS) -> None:
        super().__init__()
        one, two, three, four = channels
        self.conv1 = nn.Conv2d(3, one, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(one)
        self.layer1 = nn.Sequential(_Block(one, one, 1), _Block(one, one, 1))
        self.layer2 = nn.Sequential(_Block(one, two, 2), _Block(two, two, 1))
        self.layer3 = nn.Sequential(_Block(two, three, 2), _Block(three, three, 1))
        self.layer4 = nn.Sequential(_Block(three, four, 2), _Block(four, four, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, images: torch.Tensor, train_lower: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Returns what the class says; without `train_lower` no gradient goes below layer3."""
        averages, maps = [], []
        with torch.set_grad_enabled(torch.is_grad_enabled() and train_lower):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, 1)
            for stage in (self.layer1, self.layer2):
                x = stage(x)
                averages.append(x.mean((2, 3), dtype=torch.float32))
        maps.append(x)
        for stage in (self.layer3, self.layer4):
            x = stage(x)
            averages.append(x.mean((2, 3), dtype=torch.float32))
            maps.append(x)
        return reduction(averages), averages[-1], maps


def load_student(path: Path) -> Student:
    """A student with the weights of a file, as float32.

    Args:
        path: A state dict with torchvision's names; what the student has not (the classifier) is left out.

    Raises:
        ValueError: It is no state dict, or some of the student's weights are missing or have another shape.
        OSError: The file cannot be read.
    """
    student = Student()
    own = student.state_dict()
    with path.open("rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{path}: not a file of tensors") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: expected a state dict, got {type(state).__name__}")
    wanted = {name: value.float() for name, value in state.items() if name in own}
    for name, value in wanted.items():
        if value.shape != own[name].shape:
            raise ValueError(f"{path}: {name} has shape {tuple(value.shape)}: expected {tuple(own[name].shape)}")
    missing = student.load_state_dict(wanted, strict=False).missing_keys
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing[:5])}")
    return student


def save_state(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Writes weights that `load_student` reads; the file is complete or untouched.

    Raises:
        OSError: The folder cannot be written.
    """
    content = io.BytesIO()
    torch.save(dict(state), content)
    results.write_bytes(path, content.getvalue())


def reduction(averages: list[torch.Tensor]) -> torch.Tensor:
    """The operator: every stage's [N, C] repeat-interleaved to as many channels as the last has; their mean."""
    width = averages[-1].shape[1]
    spread = [average.repeat_interleave(width // average.shape[1], 1) for average in averages]
    return torch.stack(spread).mean(0)
