"""SSD detectors of TensorFlow's Object Detection API with MobileNet-v2 at 300 x 300: from graph to detector.

The network is cut where its own picture loop ends and where its heads do; anchors and decoding are those of the API's
``ssd_anchor_generator`` and ``faster_rcnn_box_coder``: 1,917 boxes on grids of 19, 10, 5, 3, 2 and 1 cells with scales
from 0.2 to 0.95 and the factors 10, 10, 5, 5. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx

from rrn_ops.streaming.models import contract
from rrn_ops.streaming.models.builder import Builder
from rrn_ops.streaming.models.contract import Detector, DetectorError, Weights
from rrn_ops.streaming.models.evaluate import simplified
from rrn_ops.streaming.models.graph import Graph, select_channels
from rrn_ops.streaming.models.to_onnx import convert, picture

SIZE = 300
GRIDS = (19, 10, 5, 3, 2, 1)
# Of the heads' channels: class 0 is the background, 1 a person.
PERSON = 1
CLASSES = 91
# The tensor [1, 300, 300, 3] of pixels -1 ... 1.
CUT = "Preprocessor/sub"
_LEAST_SCALE, _MOST_SCALE = 0.2, 0.95
# Box encodings are y, x, height, width; the detector's are x, y, width, height.
_XYWH = (1, 0, 3, 2)


def anchors() -> npt.NDArray[np.float64]:
    """Returns float64 [1917, 4]: centre x, centre y, width, height, where 1 is the picture's side."""
    steps = len(GRIDS) - 1
    scales = [_LEAST_SCALE + (_MOST_SCALE - _LEAST_SCALE) * index / steps for index in range(steps + 1)] + [1.0]
    found = []
    for level, cells in enumerate(GRIDS):
        if level == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[level], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
            shapes.append((math.sqrt(scales[level] * scales[level + 1]), 1.0))
        sides = [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for scale, ratio in shapes]
        found += [
            ((column + 0.5) / cells, (row + 0.5) / cells, width, height)
            for row in range(cells)
            for column in range(cells)
            for width, height in sides
        ]
    return np.array(found)


def detector(name: str) -> Detector:
    """Returns how a picture becomes the input: (pixel / 255 - 0.5) / 0.5 is the API's pixel * 2 / 255 - 1."""
    return Detector(
        name=name,
        size=(SIZE, SIZE),
        resize="stretch",
        channels="RGB",
        scale="1/255",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        nms=0.6,
        score=0.4,
    )


def build(name: str, graph: Graph, weights: Weights) -> onnx.ModelProto:
    """Makes the detector of a network of the Object Detection API.

    Args:
        name: The model's name.
        graph: The network as it was exported.
        weights: Where it comes from.

    Raises:
        DetectorError: The graph is another network.
    """
    heads = [
        [f"BoxPredictor_{level}/{head}/BiasAdd" for level in range(len(GRIDS))]
        for head in ("BoxEncodingPredictor", "ClassPredictor")
    ]
    outputs = [*heads[0], *heads[1]]
    small = simplified(graph, outputs, [CUT])
    places = anchors()
    counts = [3 if level == 0 else 6 for level in range(len(GRIDS))]
    for level, count in enumerate(counts):
        order = [4 * anchor + axis for anchor in range(count) for axis in _XYWH]
        small = select_channels(small, heads[0][level], order)
        small = select_channels(small, heads[1][level], [CLASSES * anchor + PERSON for anchor in range(count)])
    builder = Builder()
    values = convert(builder, small, {CUT: picture(contract.INPUT, SIZE, SIZE)}, outputs)
    for value, cells, count in zip(values, GRIDS * 2, [4 * each for each in counts] + counts, strict=True):
        if value.shape != (1, cells, cells, count):
            raise DetectorError(f"a head has the shape {value.shape}, expected {(1, cells, cells, count)}")
    flat = []
    for value, last in zip(values, [4] * len(GRIDS) + [1] * len(GRIDS), strict=True):
        rows = builder.add("Transpose", [value.name], f"{value.name}/rows", perm=[0, 2, 3, 1])
        flat.append(builder.add("Reshape", [rows, np.array([1, -1, last], np.int64)], f"{value.name}/flat"))
    encodings = builder.add("Concat", flat[: len(GRIDS)], "encodings", axis=1)
    logits = builder.add("Concat", flat[len(GRIDS) :], "logits", axis=1)
    probabilities = builder.add("Sigmoid", [logits])
    scores = builder.add("Reshape", [probabilities, np.array([1, -1], np.int64)], "flat_scores")
    return builder.finish(detector(name), weights, _decoded(builder, encodings, places), scores)


def _decoded(builder: Builder, encodings: str, places: npt.NDArray[np.float64]) -> str:
    """Boxes [1, K, 4] of encodings [1, K, 4] in the order x, y, width, height."""
    half = np.array([2, 2], np.int64)
    moved, grown = builder.add_several("Split", [encodings, half], ["moved", "grown"], axis=2)
    centres, sides = (places[None, :, part] * SIZE for part in (slice(0, 2), slice(2, 4)))
    centre = builder.add("Add", [builder.add("Mul", [moved, sides / 10]), centres], "centre")
    growth = builder.add("Exp", [builder.add("Mul", [grown, np.float32(0.2)])])
    reach = builder.add("Mul", [growth, sides / 2], "reach")
    corners = [builder.add(op, [centre, reach]) for op in ("Sub", "Add")]
    return builder.add("Concat", corners, "corners", axis=2)
