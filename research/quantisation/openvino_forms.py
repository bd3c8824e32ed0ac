"""The forms that OpenVINO runs: float32, bfloat16, and 8 bits by NNCF, with and without accuracy control."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from research.common import what_ran
from research.quantisation.labelled import Head
from research.quantisation.networks import INPUT
from research.quantisation.task import BATCHES, Floats, Json, Task

# The loss of accuracy, or of mean cosine for untrained weights, that accuracy control allows.
MOST_DROP = 0.01


class Compiled:
    """A model that OpenVINO compiled for the CPU, once for each size of batch.

    Args:
        model: openvino's Model.
        task: What it belongs to.
        precision: What is asked for: "f32" or "bf16".
        more: What `ran` adds.
    """

    def __init__(self, model: Any, task: Task, precision: str = "f32", more: Json | None = None) -> None:
        import openvino

        self._path = task.file(".xml")
        openvino.save_model(model, self._path, compress_to_fp16=False)
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": task.threads,
        }
        core = openvino.Core()
        self._more = {"asked": precision, **(more or {})}
        self._compiled: dict[int, Any] = {}
        self._requests: dict[int, Any] = {}
        for batch in BATCHES:
            # A model for each size of batch: one of any size is slower.
            fixed = core.read_model(self._path)
            fixed.reshape([batch, *list(fixed.input(0).partial_shape)[1:]])
            self._compiled[batch] = core.compile_model(fixed, "CPU", options)
            self._requests[batch] = self._compiled[batch].create_infer_request()

    def run(self, images: Floats) -> Floats:
        """See Built."""
        request = self._requests[len(images)]
        request.infer({INPUT: images})
        return np.array(request.get_output_tensor(0).data, np.float32)

    def ran(self) -> Json:
        """See Built."""
        return what_ran.in_openvino(self._compiled[BATCHES[0]]) | self._more

    def size(self) -> int:
        """See Built: graph and weights."""
        return sum(path.stat().st_size for path in (self._path, self._path.with_suffix(".bin")))


def _model(task: Task) -> Any:
    import openvino

    return openvino.Core().read_model(task.onnx)


def float32(task: Task) -> Compiled:
    """The exported file, asked to compute in float32."""
    return Compiled(_model(task), task)


def bfloat16(task: Task) -> Compiled:
    """The exported file, asked to compute in bfloat16."""
    return Compiled(_model(task), task, "bf16")


def _options(task: Task) -> dict[str, Any]:
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    transformer = {"model_type": nncf.ModelType.TRANSFORMER} if task.network == "dinov2" else {}
    return {"preset": nncf.QuantizationPreset.MIXED, **transformer}


def int8(task: Task) -> Compiled:
    """8 bits by nncf.quantize: ranges from the pictures for calibration."""
    import nncf

    images = np.load(task.calibration)
    made = nncf.quantize(_model(task), nncf.Dataset(_singly(images)), subset_size=len(images), **_options(task))
    return Compiled(made, task)


def int8_controlled(task: Task) -> Compiled:
    """8 bits by NNCF with accuracy control: layers go back to float32 until the loss is allowed."""
    import nncf

    images = np.load(task.calibration)
    with np.load(task.validation) as found:
        inputs, expected, labels = found["inputs"], found["outputs"], found["labels"]
    head = Head.load(task.head) if task.head.is_file() else None

    def validate(compiled: Any, items: Iterable[Any]) -> float:
        outputs = np.concatenate([np.array(compiled(item)[0]) for item in items])
        if head is not None:
            return float((head.classes(outputs) == labels[: len(outputs)]).mean())
        lengths = np.linalg.norm(outputs, axis=1) * np.linalg.norm(expected[: len(outputs)], axis=1)
        return float(((outputs * expected[: len(outputs)]).sum(axis=1) / lengths).mean())

    made = nncf.quantize_with_accuracy_control(
        _model(task),
        nncf.Dataset(_singly(images)),
        nncf.Dataset(_singly(inputs)),
        validation_fn=validate,
        max_drop=MOST_DROP,
        subset_size=len(images),
        **_options(task),
    )
    scored = "accuracy" if head is not None else "mean cosine to float32"
    return Compiled(made, task, more={"allowed_drop": MOST_DROP, "controlled": scored})


def _singly(images: Floats) -> list[Floats]:
    return [np.ascontiguousarray(images[place : place + 1]) for place in range(len(images))]
