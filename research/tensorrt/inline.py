"""Replaces the operator's node by its function's body, so that a file needs the standard operators only.

The shipped model has one node of the domain `rrn`, and beside it the function that defines it
(:mod:`rrn_native.model.onnx_function`). A parser that knows no functions must not see it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import inliner
from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_input_shape_fixed

from research.tensorrt.pictures import Floats, noise

STANDARD_DOMAINS = ("", "ai.onnx")


def custom_domains(proto: onnx.ModelProto) -> set[str]:
    """Returns the domains other than ONNX's that nodes of the main graph are of."""
    return {node.domain for node in proto.graph.node} - set(STANDARD_DOMAINS)


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model with the bodies of its functions in the place of the nodes that call them.

    Args:
        proto: A model; what it imports of domains that it no longer uses is left out of the copy.

    Raises:
        ValueError: A node of a custom domain is left, because the model has no function for it.
        onnx.checker.ValidationError: The result is no valid model.
    """
    plain = inliner.inline_local_functions(proto)
    left = custom_domains(plain)
    if left:
        raise ValueError(
            f"nodes of {', '.join(sorted(left))}: expected a model with functions for them, got none; "
            "export it with rrn export"
        )
    imports = [each for each in plain.opset_import if each.domain in STANDARD_DOMAINS]
    del plain.opset_import[:]
    plain.opset_import.extend(imports)
    onnx.checker.check_model(plain, full_check=True)
    return plain


def with_fixed_shape(proto: onnx.ModelProto, batch: int, size: int) -> onnx.ModelProto:
    """Returns a copy whose one input is [batch, 3, size, size], and nothing about it dynamic."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    make_input_shape_fixed(fixed.graph, fixed.graph.input[0].name, (batch, 3, size, size))
    # The names of dimensions that are numbers now.
    fix_output_shapes(fixed)
    return fixed


def run(proto: onnx.ModelProto, images: Floats, threads: int = 1) -> Floats:
    """Runs a model in ONNX Runtime on the CPU.

    Args:
        proto: With one input and one output.
        images: float32 [n, 3, height, width].
        threads: That compute one batch together.

    Returns:
        float32 [n, 512].
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without it 8-bit products overflow on processors without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {session.get_inputs()[0].name: images})[0]
    return result


def differences(
    original: onnx.ModelProto, plain: onnx.ModelProto, batches: tuple[int, ...], size: int
) -> Mapping[str, Mapping[str, float]]:
    """Returns the largest difference of two models' outputs on random numbers.

    Args:
        original: With the function.
        plain: Without.
        batches: Sizes of batches.
        size: Height and width, in pixels.

    Returns:
        By "dynamic" and "static" (the second model with a fixed shape), then by batch size as text.
    """
    found: dict[str, dict[str, float]] = {"dynamic": {}, "static": {}}
    for batch in batches:
        images = noise(batch, size)
        expected = run(original, images)
        for kind, model in (("dynamic", plain), ("static", with_fixed_shape(plain, batch, size))):
            found[kind][str(batch)] = float(np.abs(run(model, images) - expected).max())
    return found
