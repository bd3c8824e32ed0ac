"""The reader of Microsoft's package, on a generated network of its form."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from research.common import results
from research.training import pretrained

CHANNELS = (4, 8, 8, 16)
SIDE = pretrained.SIZE
EPSILON = 1e-3
RANDOM = np.random.default_rng(5)


class Builder:
    """Writes a network of the package's form: a stem, blocks of two convolutions, three of them in the last stage."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        name = f"constant{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def convolution(self, x: str, inputs: int, outputs: int, kernel: int, stride: int) -> str:
        weight = RANDOM.normal(0, (2 / (inputs * kernel * kernel)) ** 0.5, (outputs, inputs, kernel, kernel))
        # As the package's: one row less behind than before, which an even side does not notice.
        pad = kernel // 2
        pads = [pad, pad, pad - (stride - 1) * (kernel > 1), pad - (stride - 1) * (kernel > 1)]
        y = self.add("Conv", x, self.constant(weight), strides=[stride] * 2, pads=pads, kernel_shape=[kernel] * 2)
        norm = [
            RANDOM.uniform(0.5, 1.5, outputs),
            RANDOM.normal(0, 0.2, outputs),
            RANDOM.normal(0, 0.2, outputs),
            RANDOM.uniform(0.5, 4, outputs),
        ]
        return self.add("BatchNormalization", y, *map(self.constant, norm), epsilon=EPSILON)

    def block(self, x: str, inputs: int, outputs: int, stride: int) -> str:
        y = self.add("Relu", self.convolution(x, inputs, outputs, 3, stride))
        y = self.convolution(y, outputs, outputs, 3, 1)
        if stride > 1:
            x = self.convolution(x, inputs, outputs, 1, stride)
        return self.add("Relu", self.add("Add", y, x))

    def model(self, last_blocks: int = 3) -> onnx.ModelProto:
        # The package's first convolution sees 0 ... 255.
        x = self.add("Relu", self.convolution("pictures", 3, CHANNELS[0], 7, 2))
        x = self.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])
        inputs = CHANNELS[0]
        for stage, outputs in enumerate(CHANNELS):
            for block in range(last_blocks if stage == len(CHANNELS) - 1 else 2):
                x = self.block(x, inputs, outputs, 2 if stage and not block else 1)
                inputs = outputs
        shape = [1, 3, SIDE, SIDE]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def package(folder: Path, network: onnx.ModelProto, mean_picture: Any) -> Path:
    mean = numpy_helper.from_array(np.asarray(mean_picture, np.float32)[None], "MeanImage")
    empty = helper.make_graph([], "preprocessing", [], [], [mean])
    path = folder / "package.nupkg"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(pretrained.NETWORK, network.SerializeToString())
        archive.writestr(pretrained.PREPROCESSING, helper.make_model(empty).SerializeToString())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.png")
        coarse = RANDOM.integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(files[-1])
    return files


def test_the_rewritten_network_is_the_package_s(tmp_path: Path, pictures: list[Path]) -> None:
    # With torchvision's mean as the mean picture, padding is the same, too: equal but for rounding.
    colour = 255 * np.asarray(pretrained.MEAN)[::-1]
    path = package(tmp_path, Builder().model(), np.broadcast_to(colour[:, None, None], (3, SIDE, SIDE)))
    read = pretrained.read_package(path, results.sha256(path))
    assert min(pretrained.compare(read, pictures)) > 1 - 1e-6
    state, _ = pretrained.state_dict(read)
    assert {name for name in state if "layer4.2" in name} == set()
    for name, value in state.items():
        assert value.dtype == torch.float32
        if name.endswith("running_var"):
            assert (value == 1).all()


def test_another_mean_is_folded_into_the_first_convolution(tmp_path: Path, pictures: list[Path]) -> None:
    network = Builder().model()
    mean = np.broadcast_to(np.reshape([90.0, 140.0, 100.0], (3, 1, 1)), (3, SIDE, SIDE)).copy()
    path = package(tmp_path, network, mean)
    read = pretrained.read_package(path, results.sha256(path))
    at_border, same = pretrained.compare(read, pictures)
    assert at_border == same > 0.999, "only the padding differs"
    mean[:, :, : SIDE // 2] += 60
    path = package(tmp_path, network, mean)
    uneven, even = pretrained.compare(pretrained.read_package(path, results.sha256(path)), pictures)
    assert uneven < even


def test_other_files_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = np.zeros((3, SIDE, SIDE))
    path = package(tmp_path, Builder().model(), mean)
    assert pretrained.main([str(path), "--output", str(tmp_path / "o.pth")]) == 2
    error = capsys.readouterr().err
    assert "expected 7679c0f8" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o.pth").exists()
    monkeypatch.setattr(pretrained, "SHA256", results.sha256(path))
    assert pretrained.main([str(path), "--output", str(tmp_path / "o.pth")]) == 0
    saved = torch.load(tmp_path / "o.pth", weights_only=True)
    assert saved["layer4.1.conv2.weight"].dtype == torch.float16


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path, Builder().model(last_blocks=1), np.zeros((3, SIDE, SIDE)))
    with pytest.raises(pretrained.PretrainedError, match="expected one Conv 3x3 behind"):
        pretrained.state_dict(pretrained.read_package(path, results.sha256(path)))
