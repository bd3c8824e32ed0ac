"""NanoDet-g at 416 x 416, as TensorFlow.js has it: from graph to detector.

Three heads, one for each stride, give 80 class logits and four sides of a box for each cell; a side is the mean of the
numbers 0 ... 10 under a softmax over 11 logits, times the stride. Li et al., "Generalized Focal Loss", NeurIPS 2020.
"""

from __future__ import annotations

import numpy as np
import onnx

from rrn_ops.streaming.models import contract
from rrn_ops.streaming.models.builder import Builder
from rrn_ops.streaming.models.contract import Detector, DetectorError, Weights
from rrn_ops.streaming.models.evaluate import simplified
from rrn_ops.streaming.models.graph import Graph, select_channels
from rrn_ops.streaming.models.to_onnx import convert, picture

SIZE = 416
STRIDES = (8, 16, 32)
CLASSES = 80
PERSON = 0
# A side is one of the numbers 0 ... 10.
BINS = 11
CUT = "input_1"
HEADS = ("PartitionedCall/Add_29", "PartitionedCall/Add_33", "PartitionedCall/Add_37")


def detector(name: str) -> Detector:
    """Returns how a picture becomes the input."""
    return Detector(
        name=name,
        size=(SIZE, SIZE),
        resize="letterbox",
        channels="BGR",
        scale=1,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        nms=0.6,
        score=0.4,
        fill=(0, 0, 0),
    )


def build(name: str, graph: Graph, weights: Weights) -> onnx.ModelProto:
    """Makes the detector of NanoDet's graph model.

    Args:
        name: The model's name.
        graph: The network as it was exported.
        weights: Where it comes from.

    Raises:
        DetectorError: The graph is another network.
    """
    small = simplified(graph, HEADS, [CUT])
    for head in HEADS:
        small = select_channels(small, head, [PERSON, *range(CLASSES, CLASSES + 4 * BINS)])
    builder = Builder()
    values = convert(builder, small, {CUT: picture(contract.INPUT, SIZE, SIZE, "NCHW")}, HEADS)
    flat = []
    for value, stride in zip(values, STRIDES, strict=True):
        cells = SIZE // stride
        if value.shape != (1, cells, cells, 1 + 4 * BINS):
            raise DetectorError(f"a head has the shape {value.shape}, expected {(1, cells, cells, 1 + 4 * BINS)}")
        flat.append(builder.add("Reshape", [value.name, np.array([1, 1 + 4 * BINS, -1], np.int64)]))
    heads = builder.add("Concat", flat, "heads", axis=2)
    sizes = np.array([1, 4 * BINS], np.int64)
    logits, sides = builder.add_several("Split", [heads, sizes], ["logits", "sides"], axis=1)
    probabilities = builder.add("Sigmoid", [logits])
    scores = builder.add("Reshape", [probabilities, np.array([1, -1], np.int64)], "flat_scores")
    return builder.finish(detector(name), weights, _decoded(builder, sides), scores)


def _decoded(builder: Builder, sides: str) -> str:
    """Boxes [1, K, 4] of logits [1, 44, K]."""
    centres, strides = [], []
    for stride in STRIDES:
        cells = SIZE // stride
        rows, columns = np.mgrid[:cells, :cells].reshape(2, -1)
        centres.append(np.stack([columns, rows]) * stride + 0.5 * stride)
        strides.append(np.full(cells * cells, stride))
    middle = np.concatenate(centres, axis=1)
    step = np.concatenate(strides)
    signed = np.stack([-step, -step, step, step])
    # [4, K, 11], so that softmax and mean run over the last axis.
    split = builder.add("Reshape", [sides, np.array([4, BINS, -1], np.int64)], "bins")
    last = builder.add("Transpose", [split], "bins_last", perm=[0, 2, 1])
    mean = builder.add("MatMul", [builder.add("Softmax", [last], axis=2), np.arange(BINS, dtype=np.float32)], "mean")
    corners = builder.add("Add", [builder.add("Mul", [mean, signed.astype(np.float32)]), np.tile(middle, (2, 1))])
    turned = builder.add("Transpose", [corners], "corners", perm=[1, 0])
    return builder.add("Unsqueeze", [turned, np.array([0], np.int64)], "batch_of_corners")
