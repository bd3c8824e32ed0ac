"""torchvision's Faster R-CNN (ResNet-50, feature pyramid) at 427 x 240 for people, as one ONNX graph without loops.

It computes what ``fasterrcnn_resnet50_fpn(min_size=240, max_size=427)`` does for label 1, with torchvision's defaults.
At this size torchvision's transform leaves the picture's size as it is, and adds zeros below and to the right up to the
next multiple of 32 (448 x 256); boxes come back in pixels of the picture. Two things differ: the 100 best boxes are
chosen among people alone, not among all classes; and only people's boxes are computed. Ren et al., "Faster R-CNN",
NeurIPS 2015; Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rrn_ops.streaming.models import contract
from rrn_ops.streaming.models.builder import Builder, Term
from rrn_ops.streaming.models.contract import Detector, Weights
from rrn_ops.streaming.models.faster_rcnn_weights import POOLED, PYRAMID, STAGES, Array, State, folded

WIDTH, HEIGHT = 427, 240
PADDED = (256, 448)
PERSON = 1
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_STRIDES = (4, 8, 16, 32, 64)
_ANCHOR_SIZES = (32, 64, 128, 256, 512)
_RATIOS = (0.5, 1.0, 2.0)
# torchvision's defaults.
PROPOSALS = 1000
DETECTIONS = 100
SCORE = 0.05
_PROPOSAL_OVERLAP, _BOX_OVERLAP = 0.7, 0.5
_LEAST_PROPOSAL, _LEAST_BOX = 1e-3, 1e-2
_MOST_GROWTH = math.log(1000 / 16)
# Proposals from this square root of their area on belong to the next level of the pyramid; the factor is torchvision's
# 1e-6 under the logarithm.
_LEVEL_SIDES = tuple(side * 2.0**-1e-6 for side in (112.0, 224.0, 448.0))
# Scores of what is removed, and the threshold that all others are above.
_REMOVED, _ANY = np.float32(-1), np.float32(-0.5)


def detector(name: str) -> Detector:
    """Returns how a picture becomes the input; torchvision's own normalisation is in the graph."""
    return Detector(
        name=name,
        size=(WIDTH, HEIGHT),
        resize="stretch",
        channels="RGB",
        scale="1/255",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        nms=None,
        score=0.5,
    )


def anchors() -> list[npt.NDArray[np.float64]]:
    """Returns float64 [cells * 3, 4] for each level: left, top, right, bottom in pixels, row by row."""
    found = []
    for stride, size in zip(_STRIDES, _ANCHOR_SIZES, strict=True):
        heights = np.sqrt(np.array(_RATIOS)) * size
        widths = size / np.sqrt(np.array(_RATIOS))
        corners = np.round(np.stack([-widths, -heights, widths, heights], axis=1) / 2)
        rows, columns = np.mgrid[: PADDED[0] // stride, : PADDED[1] // stride].reshape(2, -1) * stride
        shifts = np.stack([columns, rows, columns, rows], axis=1)
        found.append((shifts[:, None] + corners[None]).reshape(-1, 4))
    return found


class _Network:
    """The parts of the network, each written once into a builder."""

    def __init__(self, builder: Builder, layers: Mapping[str, tuple[Array, Array]]) -> None:
        self.builder = builder
        self.layers = layers

    def convolution(self, source: str, name: str, stride: int = 1, relu: bool = False) -> str:
        """A convolution that keeps the size, but for its stride."""
        weight, bias = self.layers[name]
        size = weight.shape[2]
        terms = [source, self.builder.constant(weight, f"{name}.weight"), self.builder.constant(bias, f"{name}.bias")]
        shape = {"kernel_shape": [size] * 2, "pads": [size // 2] * 4, "strides": [stride] * 2}
        made = self.builder.add("Conv", terms, name, **shape)
        return self.builder.add("Relu", [made], f"{name}.relu") if relu else made

    def linear(self, source: str, name: str, rows: slice = slice(None)) -> str:
        """A fully connected layer, or some of its outputs."""
        weight, bias = self.layers[name]
        terms = [
            source,
            self.builder.constant(weight[rows], f"{name}.weight"),
            self.builder.constant(bias[rows], f"{name}.bias"),
        ]
        return self.builder.add("Gemm", terms, name, transB=1)

    def backbone(self, picture: str) -> list[str]:
        """ResNet-50: the results of its four stages."""
        body = "backbone.body"
        last = self.convolution(picture, f"{body}.conv1", 2, relu=True)
        pool = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
        last = self.builder.add("MaxPool", [last], f"{body}.maxpool", **pool)
        found = []
        for stage, (blocks, _) in enumerate(STAGES, 1):
            for block in range(blocks):
                name = f"{body}.layer{stage}.{block}"
                stride = 2 if block == 0 and stage > 1 else 1
                inner = self.convolution(last, f"{name}.conv1", relu=True)
                inner = self.convolution(inner, f"{name}.conv2", stride, relu=True)
                inner = self.convolution(inner, f"{name}.conv3")
                if block == 0:
                    last = self.convolution(last, f"{name}.downsample.0", stride)
                last = self.builder.add("Relu", [self.builder.add("Add", [inner, last])], name)
            found.append(last)
        return found

    def pyramid(self, stages: list[str]) -> list[str]:
        """The feature pyramid: five levels from fine to coarse."""
        builder, fpn = self.builder, "backbone.fpn"
        last = self.convolution(stages[-1], f"{fpn}.inner_blocks.3.0")
        levels = [self.convolution(last, f"{fpn}.layer_blocks.3.0")]
        nearest = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        for level in (2, 1, 0):
            size = np.array([1, PYRAMID, *(side // _STRIDES[level] for side in PADDED)], np.int64)
            above = builder.add("Resize", [last, "", "", size], f"{fpn}.above.{level}", **nearest)
            last = builder.add("Add", [self.convolution(stages[level], f"{fpn}.inner_blocks.{level}.0"), above])
            levels.insert(0, self.convolution(last, f"{fpn}.layer_blocks.{level}.0"))
        # torchvision's LastLevelMaxPool: every second value.
        pool = {"kernel_shape": [1, 1], "strides": [2, 2]}
        levels.append(builder.add("MaxPool", [levels[-1]], f"{fpn}.pool", **pool))
        return levels

    def rows(self, source: str, width: int) -> str:
        """[cells * 3, width] of a head [1, 3 * width, rows, columns]."""
        turned = self.builder.add("Transpose", [source], f"{source}.rows", perm=[0, 2, 3, 1])
        shape = np.array([-1, width] if width > 1 else [-1], np.int64)
        return self.builder.add("Reshape", [turned, shape], f"{source}.flat")

    def clipped(self, corners: list[str], name: str) -> tuple[str, str, str]:
        """Boxes [n, 4] cut at the picture's edge, of corners [n, 2]; their width and height, each [n, 1]."""
        edge = np.array([WIDTH, HEIGHT], np.float32)
        inside = [
            self.builder.add("Min", [self.builder.add("Max", [each, np.float32(0)]), edge], f"{name}.inside")
            for each in corners
        ]
        side = self.builder.add("Sub", [inside[1], inside[0]], f"{name}.side")
        width, height = self.builder.add_several(
            "Split", [side, np.array([1, 1], np.int64)], [f"{name}.width", f"{name}.height"], axis=1
        )
        return self.builder.add("Concat", inside, f"{name}.boxes", axis=1), width, height

    def decoded(self, deltas: str, centre: str, side: str, factors: tuple[float, float], name: str) -> list[str]:
        """Corners [n, 2] of shifts [n, 4] relative to boxes with these centres and sides [n, 2]."""
        builder = self.builder
        halves = np.array([2, 2], np.int64)
        moved, grown = builder.add_several("Split", [deltas, halves], [f"{name}.moved", f"{name}.grown"], axis=1)
        if factors != (1.0, 1.0):
            moved = builder.add("Div", [moved, np.float32(factors[0])])
            grown = builder.add("Div", [grown, np.float32(factors[1])])
        middle = builder.add("Add", [builder.add("Mul", [moved, side]), centre], f"{name}.centre")
        growth = builder.add("Exp", [builder.add("Min", [grown, np.float32(_MOST_GROWTH)])])
        half = builder.add("Mul", [builder.add("Mul", [growth, side]), np.float32(0.5)], f"{name}.half")
        return [builder.add(op, [middle, half], f"{name}.corner") for op in ("Sub", "Add")]

    def remaining(self, boxes: str, scores: str, most: int, overlap: float, least: np.float32, name: str) -> str:
        """Rows [k] of boxes that no better one overlaps."""
        builder = self.builder
        batch = builder.add("Unsqueeze", [boxes, np.array([0], np.int64)])
        values = builder.add("Unsqueeze", [scores, np.array([0, 1], np.int64)])
        limits: list[Term] = [
            np.array([most], np.int64),
            np.array([overlap], np.float32),
            np.array([least], np.float32),
        ]
        chosen = builder.add("NonMaxSuppression", [batch, values, *limits], f"{name}.nms")
        return builder.add("Gather", [chosen, np.array(2, np.int64)], f"{name}.rows", axis=1)

    def without_small(self, scores: str, width: str, height: str, least: float) -> str:
        """Scores [n], or -1 where a box has hardly any width or height."""
        builder = self.builder
        large = [builder.add("GreaterOrEqual", [side, np.float32(least)]) for side in (width, height)]
        both = builder.add("Squeeze", [builder.add("And", large), np.array([1], np.int64)])
        return builder.add("Where", [both, scores, _REMOVED])


def _proposals(network: _Network, levels: list[str]) -> str:
    """Boxes [n, 4], n at most 1,000, that may hold an object: the region proposal network."""
    builder = network.builder
    kept_boxes, kept_scores = [], []
    for level, (source, places) in enumerate(zip(levels, anchors(), strict=True)):
        name = f"rpn.{level}"
        inner = network.convolution(source, "rpn.head.conv.0.0", relu=True)
        logits = network.rows(network.convolution(inner, "rpn.head.cls_logits"), 1)
        deltas = network.rows(network.convolution(inner, "rpn.head.bbox_pred"), 4)
        count = min(PROPOSALS, len(places))
        best, index = builder.add_several(
            "TopK", [logits, np.array([count], np.int64)], [f"{name}.best", f"{name}.index"], axis=0
        )
        centres = ((places[:, :2] + places[:, 2:]) / 2).astype(np.float32)
        sides = (places[:, 2:] - places[:, :2]).astype(np.float32)
        chosen, centre, side = (builder.add("Gather", [each, index]) for each in (deltas, centres, sides))
        corners = network.decoded(chosen, centre, side, (1.0, 1.0), name)
        boxes, width, height = network.clipped(corners, name)
        scores = network.without_small(builder.add("Sigmoid", [best]), width, height, _LEAST_PROPOSAL)
        rows = network.remaining(boxes, scores, PROPOSALS, _PROPOSAL_OVERLAP, _ANY, name)
        kept_boxes.append(builder.add("Gather", [boxes, rows]))
        kept_scores.append(builder.add("Gather", [scores, rows]))
    boxes = builder.add("Concat", kept_boxes, "rpn.boxes", axis=0)
    scores = builder.add("Concat", kept_scores, "rpn.scores", axis=0)
    most = builder.add("Min", [builder.add("Shape", [scores]), np.array([PROPOSALS], np.int64)])
    _, index = builder.add_several("TopK", [scores, most], ["rpn.best", "rpn.index"], axis=0)
    return builder.add("Gather", [boxes, index], "proposals")


def _pooled(network: _Network, levels: list[str], proposals: str) -> tuple[str, str]:
    """What each proposal covers, [n, 256, 7, 7] of the level that fits its size; and the proposals in that order."""
    builder = network.builder
    halves = np.array([2, 2], np.int64)
    first, last = builder.add_several("Split", [proposals, halves], ["proposals.first", "proposals.last"], axis=1)
    area = builder.add("ReduceProd", [builder.add("Sub", [last, first]), np.array([1], np.int64)], keepdims=0)
    side = builder.add("Unsqueeze", [builder.add("Sqrt", [area]), np.array([1], np.int64)])
    above = builder.add("GreaterOrEqual", [side, np.array(_LEVEL_SIDES, np.float32)])
    # 0 ... 3: how many of the three sides it reaches.
    level_of = builder.add(
        "ReduceSum", [builder.add("Cast", [above], to=onnx.TensorProto.INT64), np.array([1], np.int64)], keepdims=0
    )
    pooled, ordered = [], []
    for level, source in enumerate(levels[:4]):
        here = builder.add("NonZero", [builder.add("Equal", [level_of, np.array(level, np.int64)])])
        rows = builder.add("Squeeze", [here, np.array([0], np.int64)], f"roi.{level}.rows")
        ordered.append(builder.add("Gather", [proposals, rows], f"roi.{level}.boxes"))
        batch = builder.add("Mul", [rows, np.array(0, np.int64)], f"roi.{level}.batch")
        shape: dict[str, Any] = {"output_height": POOLED, "output_width": POOLED, "sampling_ratio": 2}
        shape |= {"spatial_scale": 1 / _STRIDES[level], "coordinate_transformation_mode": "output_half_pixel"}
        pooled.append(builder.add("RoiAlign", [source, ordered[-1], batch], f"roi.{level}.pooled", **shape))
    return builder.add("Concat", pooled, "roi.pooled", axis=0), builder.add("Concat", ordered, "roi.boxes", axis=0)


def _found(network: _Network, pooled: str, proposals: str) -> tuple[str, str]:
    """Boxes [1, k, 4] and scores [1, k] of people: the box head."""
    builder = network.builder
    hidden = builder.add("Flatten", [pooled])
    for layer in ("fc6", "fc7"):
        hidden = builder.add("Relu", [network.linear(hidden, f"roi_heads.box_head.{layer}")])
    logits = network.linear(hidden, "roi_heads.box_predictor.cls_score")
    probabilities = builder.add("Softmax", [logits], axis=1)
    scores = builder.add("Gather", [probabilities, np.array(PERSON, np.int64)], "person.scores", axis=1)
    rows = slice(4 * PERSON, 4 * PERSON + 4)
    deltas = network.linear(hidden, "roi_heads.box_predictor.bbox_pred", rows)
    halves = np.array([2, 2], np.int64)
    first, last = builder.add_several("Split", [proposals, halves], ["roi.first", "roi.last"], axis=1)
    side = builder.add("Sub", [last, first], "roi.side")
    centre = builder.add("Add", [first, builder.add("Mul", [side, np.float32(0.5)])], "roi.centre")
    corners = network.decoded(deltas, centre, side, (10.0, 5.0), "person")
    boxes, width, height = network.clipped(corners, "person")
    scores = network.without_small(scores, width, height, _LEAST_BOX)
    chosen = network.remaining(boxes, scores, DETECTIONS, _BOX_OVERLAP, np.float32(SCORE), "person")
    batch = np.array([0], np.int64)
    return (
        builder.add("Unsqueeze", [builder.add("Gather", [boxes, chosen]), batch], "person.batch_of_boxes"),
        builder.add("Unsqueeze", [builder.add("Gather", [scores, chosen]), batch], "person.batch_of_scores"),
    )


def build(name: str, state: State, weights: Weights) -> onnx.ModelProto:
    """Makes the detector.

    Args:
        name: The model's name.
        state: What :func:`faster_rcnn_weights.load` or :func:`faster_rcnn_weights.seeded` returns.
        weights: Where it comes from, for the metadata.

    Raises:
        DetectorError: A variance of a batch normalisation is 0.
    """
    builder = Builder()
    network = _Network(builder, folded(state))
    mean, std = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (_MEAN, _STD))
    picture = builder.add("Div", [builder.add("Sub", [contract.INPUT, mean]), std], "normalised")
    pads = np.array([0, 0, 0, 0, 0, 0, PADDED[0] - HEIGHT, PADDED[1] - WIDTH], np.int64)
    levels = network.pyramid(network.backbone(builder.add("Pad", [picture, pads], "padded")))
    pooled, proposals = _pooled(network, levels, _proposals(network, levels))
    boxes, scores = _found(network, pooled, proposals)
    return builder.finish(detector(name), weights, boxes, scores)
