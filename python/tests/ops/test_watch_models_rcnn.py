"""Faster R-CNN: the ONNX graph computes what torchvision's own model does with the same weights."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_models import Array

onnx = pytest.importorskip("onnx", reason="onnx is missing: scripts/build.sh --tests")
ort = pytest.importorskip("onnxruntime")

from rrn_native.model.onnx_file import to_bytes  # noqa: E402
from rrn_ops.streaming.models import faster_rcnn, faster_rcnn_weights  # noqa: E402
from rrn_ops.streaming.models.contract import DetectorError, Weights  # noqa: E402

WEIGHTS = Weights("seeded", "0" * 64)

# In a process of its own: where torchvision's compiled operators do not load, as PyTorch for CPUs and PyPI's
# torchvision do not fit each other, its two operators are written in PyTorch, and torchvision must not keep that.
TORCHVISION = """
import sys
import numpy as np
import torch

def nms(boxes, scores, threshold):
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if alive[i]:
            side = torch.minimum(boxes[i, 2:], boxes[i + 1:, 2:]) - torch.maximum(boxes[i, :2], boxes[i + 1:, :2])
            shared = side.clamp(min=0).prod(1)
            alive[i + 1:] &= ~(shared / (area[i] + area[i + 1:] - shared) > threshold)
    return order[alive]

try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", nms, "CPU")
    import torchvision
    # Where it says no, roi_align is torchvision's own in PyTorch; nms asks this one.
    torchvision.extension._has_ops = lambda: True
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from rrn_ops.streaming.models import faster_rcnn_weights

model = fasterrcnn_resnet50_fpn(
    weights=None, weights_backbone=None, min_size=240, max_size=427, box_detections_per_img=100_000
).eval()
state = {name: torch.from_numpy(array) for name, array in faster_rcnn_weights.seeded().items()}
loaded = model.load_state_dict(state, strict=False)
assert not loaded.unexpected_keys
assert all(name.endswith("num_batches_tracked") for name in loaded.missing_keys)
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.eps = 0.0
picture = torch.from_numpy(np.load(sys.argv[1]))
with torch.inference_mode():
    inner, _ = model.transform([picture])
    found = model([picture])[0]
people = found["labels"] == 1
np.savez(
    sys.argv[2], boxes=found["boxes"][people], scores=found["scores"][people],
    sizes=np.array([*inner.image_sizes[0], *inner.tensors.shape[2:]]),
)
"""


@functools.cache
def seeded() -> faster_rcnn_weights.State:
    return faster_rcnn_weights.seeded()


@pytest.fixture(scope="module")
def model() -> Any:
    return faster_rcnn.build("faster-rcnn", seeded(), WEIGHTS)


@pytest.fixture(scope="module")
def session(model: Any) -> Any:
    return ort.InferenceSession(to_bytes(model), providers=["CPUExecutionProvider"])


def picture(seed: int) -> Array:
    """Fields of colour with a grain, 0 ... 1, [3, 240, 427]; without the grain many scores would be equal."""
    random = np.random.default_rng(seed)
    fields = np.kron(random.uniform(size=(3, 6, 8)), np.ones((1, 40, 54)))[:, :, :427]
    return (0.7 * fields + 0.3 * random.uniform(size=fields.shape)).astype(np.float32)


def same_box(boxes: Array, scores: Array, others: Array, scores_of_others: Array) -> Array:
    """bool [n, m]: a box and one of the others are the same but for rounding."""
    near = np.abs(boxes[:, None] - others[None]).max(axis=2) < 0.05
    return np.asarray(near & (np.abs(scores[:, None] - scores_of_others[None]) < 1e-4))


def test_it_finds_what_torchvision_finds(session: Any, tmp_path: Path) -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is missing: scripts/build.sh --tests --torch")
    image = picture(0)
    np.save(tmp_path / "picture.npy", image)
    command = [sys.executable, "-c", TORCHVISION, str(tmp_path / "picture.npy"), str(tmp_path / "found.npz")]
    # torchvision would compile its roi_align for one call.
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    wanted = np.load(tmp_path / "found.npz")
    # The picture keeps its size, and is filled up to a multiple of 32.
    assert wanted["sizes"].tolist() == [240, 427, 256, 448]
    boxes, scores = session.run(["boxes", "scores"], {"image": image[None]})
    assert len(wanted["scores"]) > 20
    same = same_box(boxes[0], scores[0], wanted["boxes"][:100], wanted["scores"][:100])
    # Anchors lie on a grid, so some overlaps are so close to the limit of 0.7 that rounding decides which of two boxes
    # remains; ONNX Runtime's own levels of optimisation differ in these.
    assert same.any(axis=0).mean() > 0.9
    assert same.any(axis=1).mean() > 0.9


def test_a_picture_without_boxes_gives_none(session: Any) -> None:
    state = dict(seeded())
    name = "roi_heads.box_predictor.cls_score.bias"
    state[name] = np.where(np.arange(91) == 1, -20, 0).astype(np.float32)
    made = faster_rcnn.build("faster-rcnn", state, WEIGHTS)
    other = ort.InferenceSession(to_bytes(made), providers=["CPUExecutionProvider"])
    boxes, scores = other.run(["boxes", "scores"], {"image": picture(1)[None]})
    assert (boxes.shape, scores.shape) == ((1, 0, 4), (1, 0))


def test_the_file_is_of_the_one_form(model: Any, session: Any) -> None:
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("image", [1, 3, 240, 427])]
    assert [each.name for each in session.get_outputs()] == ["boxes", "scores"]
    assert not [node.op_type for node in model.graph.node if node.op_type in ("Loop", "If", "Scan")]
    boxes, scores = session.run(["boxes", "scores"], {"image": picture(2)[None]})
    assert (np.diff(scores[0]) <= 0).all()
    assert (boxes[0] >= 0).all()
    assert (boxes[0] <= [427, 240, 427, 240]).all()


def test_the_same_seed_gives_the_same_bytes(model: Any) -> None:
    again = faster_rcnn.build("faster-rcnn", faster_rcnn_weights.seeded(), WEIGHTS)
    assert to_bytes(again) == to_bytes(model)
    name = "rpn.head.cls_logits.weight"
    assert not np.array_equal(faster_rcnn_weights.seeded(1)[name], seeded()[name])


# ---- Weights -------------------------------------------------------------------------------------------------------


def renamed(state: faster_rcnn_weights.State) -> dict[str, Any]:
    """The names that torchvision's published file has."""
    found = {}
    for name, array in state.items():
        old = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                old = old.replace(f"fpn.{block}.{level}.0.", f"fpn.{block}.{level}.")
        found[old] = array
    return found


def test_old_names_are_the_same_weights() -> None:
    old = renamed(seeded())
    assert "backbone.fpn.inner_blocks.0.weight" in old
    made = faster_rcnn_weights.checked(old, "old.pth")
    assert set(made) == set(seeded())
    assert all(made[name] is not None and np.array_equal(made[name], array) for name, array in seeded().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rpn.head.cls_logits.bias": None}, r"w\.pth: rpn\.head\.cls_logits\.bias is missing"),
        ({"backbone.body.conv1.weight": np.zeros((64, 3, 3, 3))}, r"conv1\.weight has the shape \[64, 3, 3, 3\], exp"),
        ({"backbone.body.bn1.bias": np.full(64, np.nan)}, r"bn1\.bias has values that are not finite"),
        ({"mask.weight": np.zeros(1)}, r"mask\.weight is no tensor of fasterrcnn_resnet50_fpn"),
        ({"roi_heads.box_predictor.cls_score.weight": np.zeros((1, 1024))}, "has 1 classes"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    state = {name: array for name, array in {**seeded(), **change}.items() if array is not None}
    with pytest.raises(DetectorError, match=message):
        faster_rcnn_weights.checked(state, "w.pth")


def test_batch_normalisation_has_the_epsilon_of_its_model() -> None:
    state = dict(seeded())
    state["backbone.body.bn1.running_var"] = np.full(64, 4e-5, np.float32)
    plain = faster_rcnn_weights.folded(state)["backbone.body.conv1"][0]
    counted = {**state, "backbone.body.bn1.num_batches_tracked": np.zeros(())}
    trained = faster_rcnn_weights.folded(faster_rcnn_weights.checked(counted, "w.pth"))["backbone.body.conv1"][0]
    np.testing.assert_allclose(trained, plain * np.sqrt(4e-5 / 5e-5), rtol=1e-5)
    state["backbone.body.bn1.running_var"] = np.zeros(64, np.float32)
    with pytest.raises(DetectorError, match=r"bn1\.running_var has a value of 0"):
        faster_rcnn_weights.folded(state)


def test_a_file_of_torch_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is missing: scripts/build.sh --tests --torch")
    path = tmp_path / "weights.pth"
    torch.save({"model": {name: torch.from_numpy(array) for name, array in seeded().items()}}, path)
    found = faster_rcnn_weights.load(path)
    assert all(np.array_equal(found[name], array) for name, array in seeded().items())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DetectorError, match=r"weights\.pth: not a file of torch\.save"):
        faster_rcnn_weights.load(path)
    torch.save([1, 2], path)
    with pytest.raises(DetectorError, match="expected the state dict"):
        faster_rcnn_weights.load(path)
    with pytest.raises(FileNotFoundError):
        faster_rcnn_weights.load(tmp_path / "gone.pth")
