"""The table of forms: what a person calls them, who runs them, and what builds them."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping

from research.quantisation.task import Built, Task

# What all others are compared with.
BASE = "torch"
_TORCH, _ONNX, _OPENVINO = "PyTorch", "ONNX Runtime", "OpenVINO"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A form of a network.

    Attributes:
        words: A name that a person can say.
        runtime: Who runs it.
        precision: What is asked for: "fp32", "fp16", "bf16" or "int8".
        module: A module of this package that builds it; imported in the process that does.
        function: Its function, of a Task.
        package: That has to be installed; "" for those that rrn needs anyway.
        networks: The only ones that have it; empty for all.
        onnx: Whether it is a file that ONNX Runtime, and with it a server, can run.
    """

    words: str
    runtime: str
    precision: str
    module: str
    function: str
    package: str = ""
    networks: tuple[str, ...] = ()
    onnx: bool = False

    def build(self, task: Task) -> Built:
        """Builds it; whatever goes wrong in the library that does, is raised."""
        made: Built = getattr(importlib.import_module(f"research.quantisation.{self.module}"), self.function)(task)
        return made


VARIANTS: Mapping[str, Variant] = {
    BASE: Variant("fp32", _TORCH, "fp32", "torch_forms", "eager"),
    "torch_compile": Variant("fp32, torch.compile", _TORCH, "fp32", "torch_forms", "compiled"),
    "torch_bf16": Variant("bf16, autocast", _TORCH, "bf16", "torch_forms", "bfloat16"),
    "torch_dynamic": Variant("int8 dynamic, torch.ao", _TORCH, "int8", "torch_forms", "dynamic"),
    "torchao": Variant(
        "int8 dynamic, torchao", _TORCH, "int8", "torch_forms", "torchao", "torchao", ("lite0", "dinov2")
    ),
    "torchao_compile": Variant(
        "int8 dynamic, torchao and torch.compile",
        _TORCH,
        "int8",
        "torch_forms",
        "torchao_compiled",
        "torchao",
        ("dinov2",),
    ),
    "onnx": Variant("fp32", _ONNX, "fp32", "onnx_forms", "float32", onnx=True),
    "onnx_fp16": Variant("fp16", _ONNX, "fp16", "onnx_forms", "float16", onnx=True),
    "onnx_dynamic": Variant("int8 dynamic", _ONNX, "int8", "onnx_forms", "dynamic", onnx=True),
    "onnx_static": Variant("int8 static, per channel", _ONNX, "int8", "onnx_forms", "static", onnx=True),
    "rrn": Variant("fp32, rrn's file", _ONNX, "fp32", "onnx_forms", "shipped", "", ("resnet18",), onnx=True),
    "rrn_int8": Variant("int8, rrn's file", _ONNX, "int8", "onnx_forms", "shipped_int8", "", ("resnet18",), onnx=True),
    "openvino": Variant("fp32", _OPENVINO, "fp32", "openvino_forms", "float32", "openvino"),
    "openvino_bf16": Variant("bf16", _OPENVINO, "bf16", "openvino_forms", "bfloat16", "openvino"),
    "openvino_int8": Variant("int8, NNCF", _OPENVINO, "int8", "openvino_forms", "int8", "nncf"),
    "openvino_controlled": Variant(
        "int8, NNCF with accuracy control", _OPENVINO, "int8", "openvino_forms", "int8_controlled", "nncf"
    ),
}


def of_network(name: str) -> list[str]:
    """Returns the forms of a network, the base first."""
    return [each for each, variant in VARIANTS.items() if not variant.networks or name in variant.networks]
