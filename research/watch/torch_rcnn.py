"""torchvision's own Faster R-CNN with the seeded weights, as it is and after PyTorch's dynamic quantisation."""

from __future__ import annotations

import functools
import importlib
import io
import statistics
import sys
import time
import warnings
from typing import Any

import cv2
import numpy as np
import torch
from rrn_native import Detections, PixelArray
from rrn_ops.streaming.models import faster_rcnn, faster_rcnn_weights

from research.common import timing
from research.watch.variants import Json, Layout

# Layers whose time is added up, as they are and as they become.
_KINDS: dict[str, tuple[Any, ...]] = {
    "Conv2d": (torch.nn.Conv2d,),
    "Linear": (torch.nn.Linear, torch.ao.nn.quantized.dynamic.Linear),
}


def _nms(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    corners = boxes.numpy()
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), 0.0, overlap) if len(corners) else []
    return torch.from_numpy(np.asarray(kept, np.int64).reshape(-1))


@functools.cache
def load_torchvision() -> tuple[Any, bool]:
    """Imports torchvision; says whether its compiled operators fit PyTorch.

    PyPI's torchvision does not fit PyTorch for CPUs. Then its nms is OpenCV's here, and its roi_align is the one that
    torchvision has in Python.
    """
    try:
        return importlib.import_module("torchvision"), True
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    found: Any = importlib.import_module("torchvision")
    # An operator lives as long as its library.
    found.rrn_library = library
    found.extension._has_ops = lambda: True
    return found, False


def seeded_model() -> Any:
    """Returns the network with the weights of ``rrn watch models add faster-rcnn --seeded``, for 427x240."""
    detection = load_torchvision()[0].models.detection
    model = detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=faster_rcnn.HEIGHT, max_size=faster_rcnn.WIDTH
    )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # As the ONNX file has it, see faster_rcnn_weights.folded.
            module.eps = 0.0
    state = {name: torch.from_numpy(np.array(value)) for name, value in faster_rcnn_weights.seeded().items()}
    missing, unknown = model.load_state_dict(state, strict=False)
    # Counters of batches, which are not used.
    left = [name for name in (*missing, *unknown) if not name.endswith("num_batches_tracked")]
    if left:
        raise ValueError(f"torchvision's network has other tensors: {', '.join(left[:3])}")
    return model.eval()


class TorchModel:
    """torchvision's network on the processor.

    Args:
        layout: Of the ONNX file, so that the network sees the same pixels.
        threads: That compute one picture together.
        dynamic: After ``torch.ao.quantization.quantize_dynamic`` with all kinds of modules that it is asked for.
    """

    def __init__(self, layout: Layout, threads: int, *, dynamic: bool) -> None:
        torch.set_num_threads(threads)
        self._layout = layout
        self._before = seeded_model()
        self._model = quantized(self._before) if dynamic else self._before
        self._dynamic = dynamic
        self._spent: dict[str, list[float]] = {name: [] for name in _KINDS}
        for module in self._model.modules():
            self._watch(module)

    def _watch(self, module: Any) -> None:
        """Adds up the time of layers of a kind, in milliseconds for each picture."""
        kind = next((name for name, types in _KINDS.items() if isinstance(module, types)), None)
        if kind is None:
            return
        begins: list[float] = []

        def before(*_: object) -> None:
            begins.append(time.perf_counter())

        def after(*_: object) -> None:
            self._spent[kind][-1] += (time.perf_counter() - begins.pop()) * 1000

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def run(self, pixels: PixelArray) -> tuple[Detections, float]:
        """See Variant; the time is that of the convolutions and linear layers, which quantisation is about.

        What is between them takes much longer where torchvision's compiled operators do not fit PyTorch.
        """
        size = (int(pixels.shape[1]), int(pixels.shape[0]))
        picture = torch.from_numpy(self._layout.resized(pixels).transpose(2, 0, 1).astype(np.float32) / 255)
        for values in self._spent.values():
            values.append(0.0)
        with torch.inference_mode():
            output = self._model([picture])[0]
        took = sum(values[-1] for values in self._spent.values()) / 1000
        return Detections.from_torchvision(output, self._layout.size).scaled(size), took

    def ran(self) -> Json:
        """See Variant."""
        changed = replaced(self._before, self._model) if self._dynamic else {}
        spent = {name: timing.significant(statistics.median(values)) for name, values in self._spent.items() if values}
        return {"replaced": changed, "compiled_operators": load_torchvision()[1], "median_ms": spent}

    def size(self) -> int:
        """Returns the bytes of the saved weights."""
        file = io.BytesIO()
        torch.save(self._model.state_dict(), file)
        return file.getbuffer().nbytes


def quantized(model: Any) -> Any:
    """Returns a copy after PyTorch's dynamic quantisation, which is asked for linear layers and convolutions alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantise: Any = torch.ao.quantization.quantize_dynamic
        return quantise(model, {torch.nn.Linear, torch.nn.Conv2d}, dtype=torch.qint8)


def replaced(before: Any, after: Any) -> Json:
    """Returns, for linear layers and convolutions, how many modules were replaced, and of how many."""
    changed = dict(after.named_modules())
    counts: Json = {}
    for kind in (torch.nn.Linear, torch.nn.Conv2d):
        names = [name for name, module in before.named_modules() if type(module) is kind]
        counts[kind.__name__] = [sum(type(changed[name]) is not kind for name in names), len(names)]
    return counts
