"""The weights of torchvision's Faster R-CNN with a ResNet-50 and a feature pyramid: read, checked, or seeded.

Names are those of the state dict of ``torchvision.models.detection.fasterrcnn_resnet50_fpn``. Batch normalisation is
folded into the convolutions here.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rrn_ops.streaming.models.contract import DetectorError

Array = npt.NDArray[np.float32]
State = Mapping[str, Array]

# Bottlenecks of each of ResNet-50's stages, and their inner width.
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
PYRAMID = 256
ANCHORS = 3
POOLED = 7
HIDDEN = 1024
CLASSES = 91
_PARTS = ("weight", "bias", "running_mean", "running_var")


def convolutions() -> Iterator[tuple[str, str, tuple[int, int, int, int]]]:
    """Yields the backbone's convolutions: its name, its batch normalisation's, and the shape of its weights."""
    body = "backbone.body"
    yield f"{body}.conv1", f"{body}.bn1", (64, 3, 7, 7)
    before = 64
    for stage, (blocks, width) in enumerate(STAGES, 1):
        for block in range(blocks):
            name = f"{body}.layer{stage}.{block}"
            yield f"{name}.conv1", f"{name}.bn1", (width, before, 1, 1)
            yield f"{name}.conv2", f"{name}.bn2", (width, width, 3, 3)
            yield f"{name}.conv3", f"{name}.bn3", (4 * width, width, 1, 1)
            if block == 0:
                yield f"{name}.downsample.0", f"{name}.downsample.1", (4 * width, before, 1, 1)
            before = 4 * width


def heads(classes: int = CLASSES) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the layers that have a bias: name and shape of the weights."""
    for level, (_, width) in enumerate(STAGES):
        yield f"backbone.fpn.inner_blocks.{level}.0", (PYRAMID, 4 * width, 1, 1)
        yield f"backbone.fpn.layer_blocks.{level}.0", (PYRAMID, PYRAMID, 3, 3)
    yield "rpn.head.conv.0.0", (PYRAMID, PYRAMID, 3, 3)
    yield "rpn.head.cls_logits", (ANCHORS, PYRAMID, 1, 1)
    yield "rpn.head.bbox_pred", (4 * ANCHORS, PYRAMID, 1, 1)
    yield "roi_heads.box_head.fc6", (HIDDEN, PYRAMID * POOLED * POOLED)
    yield "roi_heads.box_head.fc7", (HIDDEN, HIDDEN)
    yield "roi_heads.box_predictor.cls_score", (classes, HIDDEN)
    yield "roi_heads.box_predictor.bbox_pred", (4 * classes, HIDDEN)


def _old_name(name: str) -> str:
    """What torchvision called a layer before version 0.13, as the published weights still do."""
    if name.startswith("rpn.head.conv.0.0"):
        return name.replace(".0.0", "", 1)
    parts = name.split(".")
    return ".".join(parts[:-1]) if name.startswith("backbone.fpn.") and parts[-1] == "0" else name


def shapes(classes: int = CLASSES) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of all tensors of the state dict."""
    found: dict[str, tuple[int, ...]] = {}
    for name, norm, shape in convolutions():
        found[f"{name}.weight"] = shape
        found |= {f"{norm}.{part}": shape[:1] for part in _PARTS}
    for name, head in heads(classes):
        found[f"{name}.weight"] = head
        found[f"{name}.bias"] = head[:1]
    return found


def load(path: Path) -> State:
    """Reads a state dict that ``torch.save`` wrote.

    Returns:
        The tensors of :func:`shapes`, under today's names; and ``bn.num_batches_tracked`` if the file counts batches.

    Raises:
        FileNotFoundError: There is no such file.
        DetectorError: It is no state dict of this network; it says which tensor.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise DetectorError(f"{path}: not a file of torch.save with tensors only") from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(each, torch.Tensor) for each in content.values()):
        raise DetectorError(f"{path}: expected the state dict of fasterrcnn_resnet50_fpn")
    return checked({str(name): tensor.detach().numpy() for name, tensor in content.items()}, str(path))


def checked(state: Mapping[str, npt.NDArray[np.generic]], where: str) -> State:
    """Returns the tensors of a state dict under today's names, as float32.

    Raises:
        DetectorError: One is missing, has another shape or is not finite, or there is one too many.
    """
    score = state.get("roi_heads.box_predictor.cls_score.weight")
    classes = CLASSES if score is None else score.shape[0]
    if classes < 2:
        raise DetectorError(f"{where}: the model has {classes} classes, expected at least the background and people")
    found: dict[str, Array] = {}
    rest = set(state)
    for name, shape in shapes(classes).items():
        layer, _, part = name.rpartition(".")
        old = f"{_old_name(layer)}.{part}"
        source = name if name in state else old
        if source not in state:
            raise DetectorError(f"{where}: {name} is missing; expected the state dict of fasterrcnn_resnet50_fpn")
        if state[source].shape != shape:
            raise DetectorError(f"{where}: {name} has the shape {list(state[source].shape)}, expected {list(shape)}")
        found[name] = state[source].astype(np.float32)
        if not np.isfinite(found[name]).all():
            raise DetectorError(f"{where}: {name} has values that are not finite")
        rest.discard(source)
    counts = {name for name in rest if name.endswith(".num_batches_tracked")}
    if rest - counts:
        raise DetectorError(f"{where}: {min(rest - counts)} is no tensor of fasterrcnn_resnet50_fpn")
    if counts:
        found["bn.num_batches_tracked"] = np.zeros(0, np.float32)
    return found


def folded(state: State) -> dict[str, tuple[Array, Array]]:
    """Returns weights and bias of every layer by its name, batch normalisation folded in.

    torchvision's published weights are for an epsilon of 0; its model sets that for them alone. Models that were
    trained with batch normalisation, whose state dict counts batches, have 1e-5.
    """
    epsilon = 1e-5 if "bn.num_batches_tracked" in state else 0.0
    found: dict[str, tuple[Array, Array]] = {}
    for name, norm, _ in convolutions():
        gain, bias, mean, variance = (state[f"{norm}.{part}"].astype(np.float64) for part in _PARTS)
        if (variance + epsilon <= 0).any():
            raise DetectorError(f"{norm}.running_var has a value of 0 or less")
        factor = gain / np.sqrt(variance + epsilon)
        weight = state[f"{name}.weight"] * factor[:, None, None, None]
        found[name] = (weight.astype(np.float32), (bias - mean * factor).astype(np.float32))
    for name in state:
        layer, _, part = name.rpartition(".")
        if part == "weight" and layer not in found and f"{layer}.running_var" not in state:
            found[layer] = (state[name], state[f"{layer}.bias"])
    return found


def seeded(seed: int = 0) -> State:
    """Makes weights that nobody has trained; the same seed gives the same ones with any version of NumPy.

    They are uniform with the variance of He et al., "Delving Deep into Rectifiers", 2015, which keeps the size of what
    flows through the network. The class of people has a larger bias than all others, so that there are boxes with
    scores on both sides of the usual thresholds. What they find means nothing.
    """
    bits = np.random.PCG64(seed)
    state: dict[str, Array] = {}
    for name, shape in shapes().items():
        layer, _, part = name.rpartition(".")
        if part in ("bias", "running_mean"):
            state[name] = np.zeros(shape, np.float32)
        elif part == "running_var" or len(shape) == 1:
            # The last of each block adds little, or the sum would double with every block.
            state[name] = np.full(shape, 0.2 if layer.endswith("bn3") and part == "weight" else 1.0, np.float32)
        else:
            # The stream of the bits is fixed, unlike that of NumPy's distributions.
            raw = np.asarray(bits.random_raw(math.prod(shape)), np.uint64) >> np.uint64(41)
            uniform = raw.astype(np.float32) * np.float32(2.0**-22) - np.float32(1)
            state[name] = (uniform * np.float32(math.sqrt(6 / math.prod(shape[1:])))).reshape(shape)
    for name, factor in _SEEDED_FACTORS.items():
        state[f"{name}.weight"] *= np.float32(factor)
    state["roi_heads.box_predictor.cls_score.bias"][1] = _SEEDED_BIAS
    return state


# Found by trial: objectness, shifts of boxes and class logits of an ordinary size.
_SEEDED_FACTORS = {
    "rpn.head.cls_logits": 0.5,
    "rpn.head.bbox_pred": 0.05,
    "roi_heads.box_predictor.cls_score": 0.2,
    "roi_heads.box_predictor.bbox_pred": 0.2,
}
_SEEDED_BIAS = 4.0
