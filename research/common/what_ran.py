"""What a runtime really computed, and in which precision: as ONNX Runtime's profile and OpenVINO's model say."""

from __future__ import annotations

import collections
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Json = dict[str, Any]

# ONNX Runtime's names of convolutions, of linear layers, and of what an attention multiplies.
_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger")
_LINEAR = ("Gemm", "FusedGemm", "QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger")
_PRODUCTS = ("MatMul", "FusedMatMul", "QLinearMatMul")
_OPENVINO = {"Convolution": "convolutions", "FullyConnected": "linear", "MatMul": "products"}


def in_onnxruntime(
    model: str | bytes | Path, options: onnxruntime.SessionOptions, feeds: Mapping[str, npt.NDArray[np.float32]]
) -> Json:
    """Runs a model once on the CPU and reads from ONNX Runtime's profile what its kernels took.

    Args:
        model: A file or a serialised model.
        options: Of the session that is measured; profiling is switched on in them.
        feeds: Inputs by name.

    Returns:
        "convolutions", "linear" and "products" (other matrix products): their number by the kind of their input
        ("float", "uint8" ...; a linear layer that is quantised dynamically may have float input); "casts"; "kernels":
        all.
    """
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    counts: Json = {}
    for name, operators in (("convolutions", _CONVOLUTIONS), ("linear", _LINEAR), ("products", _PRODUCTS)):
        chosen = [kernel for kernel in kernels if kernel["op_name"] in operators]
        kinds = collections.Counter(next(iter(kernel["input_type_shape"][0])) for kernel in chosen)
        counts[name] = dict(sorted(kinds.items()))
    casts = sum(kernel["op_name"] == "Cast" for kernel in kernels)
    return counts | {"casts": casts, "kernels": len(kernels)}


def in_openvino(compiled: Any) -> Json:
    """Returns what a compiled model's layers compute in, and what was asked for.

    Args:
        compiled: openvino's CompiledModel.

    Returns:
        "compiled": the precision of the whole, as the property says; "convolutions", "linear" and "products": their
        number by precision.
    """
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in _OPENVINO.values()}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        name = _OPENVINO.get(info["layerType"].value)
        if name is not None:
            counts[name][str(info["runtimePrecision"].value)] += 1
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return {"compiled": hint} | {name: dict(sorted(kinds.items())) for name, kinds in counts.items()}
