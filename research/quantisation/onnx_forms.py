"""The forms that ONNX Runtime runs: float32, float16, and 8 bits with ranges found while running or measured before."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from rrn_native.session import session_options

from research.common import what_ran
from research.quantisation.networks import INPUT
from research.quantisation.task import Floats, Json, Task, some

_PRODUCTS = ("Conv", "Gemm", "MatMul")


class Session:
    """A file that ONNX Runtime runs on the CPU, with the engine's settings.

    Args:
        model: The file.
        task: What it belongs to.
        more: What `ran` adds.
        library: The operator's library, for a file that needs it.
    """

    def __init__(self, model: Path, task: Task, more: Json | None = None, library: str | None = None) -> None:
        self._model = model
        self._task = task
        self._more = more or {}
        self._library = library
        self._session = onnxruntime.InferenceSession(model, self._options(), providers=["CPUExecutionProvider"])
        (given,) = self._session.get_inputs()
        self._input = given.name

    def _options(self) -> onnxruntime.SessionOptions:
        options = session_options(self._library)
        options.intra_op_num_threads = self._task.threads
        # Other processes are measured in between; threads that wait must not spin.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options

    def run(self, images: Floats) -> Floats:
        """See Built."""
        (outputs,) = self._session.run(None, {self._input: images})
        return np.asarray(outputs, np.float32)

    def ran(self) -> Json:
        """See Built."""
        return what_ran.in_onnxruntime(self._model, self._options(), {self._input: some(self._task, 1)}) | self._more

    def size(self) -> int:
        """See Built: the file."""
        return self._model.stat().st_size


class _Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Gives pictures to ONNX Runtime's calibration, one at a time."""

    def __init__(self, images: Floats) -> None:
        self._images: Iterator[Floats] = iter(images)

    def get_next(self) -> dict[str, Floats] | None:
        """Returns the next input; None at the end."""
        one = next(self._images, None)
        return None if one is None else {INPUT: np.ascontiguousarray(one[None])}


def float32(task: Task) -> Session:
    """The exported file as it is."""
    return Session(task.onnx, task)


def float16(task: Task) -> Session:
    """Weights and tensors in float16, input and output in float32."""
    path = task.file(".onnx")
    made = ONNXModel(convert_float_to_float16(onnx.load(task.onnx), keep_io_types=True))
    made.topological_sort()
    onnx.save(made.model, path)
    return Session(path, task)


def dynamic(task: Task) -> Session:
    """8 bits by quantize_dynamic: int8 weights, uint8 activations whose range is found while running."""
    path = task.file(".onnx")
    quantization.quantize_dynamic(task.onnx, path, weight_type=quantization.QuantType.QUInt8)
    counts = [collections.Counter(node.op_type for node in onnx.load(each).graph.node) for each in (task.onnx, path)]
    replaced = {
        op: [counts[0][op] - counts[1][op], counts[0][op]] for op in ("Conv", "Gemm", "MatMul") if counts[0][op]
    }
    return Session(path, task, {"replaced": replaced})


def static(task: Task) -> Session:
    """8 bits by quantize_static, QDQ: int8 weights for each output channel, uint8 activations with measured ranges."""
    path, prepared = task.file(".onnx"), task.file(".prepared.onnx")
    quant_pre_process(task.onnx, prepared)
    # A transformer's normalisations and activations stay in float32: with them in 8 bits, sessions refuse the file.
    chosen = list(_PRODUCTS) if task.network == "dinov2" else None
    quantization.quantize_static(
        prepared,
        path,
        _Pictures(np.load(task.calibration)),
        op_types_to_quantize=chosen,
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
    )
    prepared.unlink()
    return Session(path, task)


def shipped_file() -> Path:
    """Returns the project's default model."""
    import rrn_native

    return Path(rrn_native.default_model())


def shipped_int8_file() -> Path:
    """Returns the project's default model in 8 bits, which `rrn quantize` made."""
    return shipped_file().with_suffix(".int8.onnx")


def shipped(task: Task) -> Session:
    """The project's own file of the default model, with the operator's library."""
    import rrn_native

    return Session(shipped_file(), task, library=rrn_native.custom_op_library())


def shipped_int8(task: Task) -> Session:
    """The project's own 8-bit file, which `rrn quantize` made."""
    import rrn_native

    return Session(shipped_int8_file(), task, library=rrn_native.custom_op_library())
