"""torchvision's own Faster R-CNN with the seeded weights, as it is and after PyTorch's dynamic quantisation."""

from __future__ import annotations

import io
import time
import warnings
from typing import Any

import numpy as np
import torch
import torchvision
from rrn_native import Detections, PixelArray
from rrn_ops.streaming.models import faster_rcnn, faster_rcnn_weights

from research.watch.variants import Json, Layout


def seeded_model() -> Any:
    """Returns the network with the weights of ``rrn watch models add faster-rcnn --seeded``, for 427x240."""
    model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=faster_rcnn.HEIGHT, max_size=faster_rcnn.WIDTH
    )
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

    def run(self, pixels: PixelArray) -> tuple[Detections, float]:
        """See Variant; the time includes torchvision's normalisation."""
        size = (int(pixels.shape[1]), int(pixels.shape[0]))
        picture = torch.from_numpy(self._layout.resized(pixels).transpose(2, 0, 1).astype(np.float32) / 255)
        begin = time.perf_counter()
        with torch.inference_mode():
            output = self._model([picture])[0]
        took = time.perf_counter() - begin
        return Detections.from_torchvision(output, self._layout.size).scaled(size), took

    def ran(self) -> Json:
        """See Variant."""
        return {"replaced": replaced(self._before, self._model)} if self._dynamic else {"replaced": {}}

    def size(self) -> int:
        """Returns the bytes of the saved weights."""
        file = io.BytesIO()
        torch.save(self._model.state_dict(), file)
        return file.getbuffer().nbytes


def quantized(model: Any) -> Any:
    """Returns a copy after PyTorch's dynamic quantisation, which is asked for linear layers and convolutions alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear, torch.nn.Conv2d}, dtype=torch.qint8)


def replaced(before: Any, after: Any) -> Json:
    """Returns, for linear layers and convolutions, how many modules were replaced, and of how many."""
    changed = dict(after.named_modules())
    counts: Json = {}
    for kind in (torch.nn.Linear, torch.nn.Conv2d):
        names = [name for name, module in before.named_modules() if type(module) is kind]
        counts[kind.__name__] = [sum(type(changed[name]) is not kind for name in names), len(names)]
    return counts
