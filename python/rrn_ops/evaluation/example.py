"""Data to try ``rrn eval`` with: drawn faces, a classifier trained on others, a metric, and groups of photos."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
from PIL import Image, ImageDraw
from rrn_native.cli.common import write_json
from rrn_native.files import write_file

from rrn_ops.evaluation import bootstrap, classification, gate, preprocess
from rrn_ops.evaluation.interface import Data, FloatArray

CLASSES = ("anger", "contempt", "disgust", "fear", "joy", "sadness", "surprise")
_SIDE, _INPUT, _CELL, _HIDDEN = 64, 48, 6, 48
_EPSILON = 1e-6
_TRAINED, _TESTED = 120, 20
_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class _Look:
    """What makes an emotion: how far the inner and outer ends of the brows, the mouth's corners, its opening go up."""

    inner: float
    outer: float
    corners: tuple[float, float]
    opening: float
    eyes: float


_LOOKS = {
    "anger": _Look(-4, 2, (-3, -3), 1, 3),
    "contempt": _Look(0, 1, (0, 5), 0, 3),
    "disgust": _Look(-3, 0, (-3, -2), 3, 2),
    "fear": _Look(4, 0, (-2, -2), 4, 5),
    "joy": _Look(1, 1, (5, 5), 2, 3),
    "sadness": _Look(3, -2, (-4, -4), 0, 3),
    "surprise": _Look(4, 4, (0, 0), 8, 5),
}


@dataclasses.dataclass(frozen=True)
class Face:
    """A drawn face.

    Attributes:
        pixels: uint8 [64, 64, 3].
        light: "bright" or "dim".
        pose: "upright" or "tilted".
    """

    pixels: npt.NDArray[np.uint8]
    light: str
    pose: str


def draw(emotion: str, random: np.random.Generator) -> Face:
    """Draws a face, each time another one.

    Args:
        emotion: One of :data:`CLASSES`.
        random: Where position, colours, expression, light and noise come from.
    """
    look = _LOOKS[emotion]
    light = "dim" if random.random() < 0.3 else "bright"
    pose = "tilted" if random.random() < 0.3 else "upright"

    def some(value: float, spread: float = 1.0) -> float:
        return float(value + random.normal(0, spread))

    # Drawn three times as large, so that lines are smooth afterwards.
    scale = 3
    sheet = Image.new("RGB", (_SIDE * scale, _SIDE * scale), tuple(int(v) for v in random.integers(60, 240, 3)))
    pen = ImageDraw.Draw(sheet)
    x, y, radius = some(32, 1.5), some(32, 1.5), some(24, 1.2)

    def points(*values: tuple[float, float]) -> list[tuple[float, float]]:
        return [((x + across) * scale, (y + down) * scale) for across, down in values]

    skin = int(random.integers(150, 235))
    pen.ellipse(points((-radius, -radius), (radius, radius)), fill=(skin, int(skin * 0.85), int(skin * 0.65)))
    ink = (40, 30, 30)
    for side in (-1, 1):
        eye = some(look.eyes, 0.4)
        pen.ellipse(points((side * 9 - 2.5, -6 - eye / 2), (side * 9 + 2.5, -6 + eye / 2)), fill=ink)
        brow = [(side * 4.0, -12 - some(look.inner) / 2), (side * 14.0, -12 - some(look.outer) / 2)]
        pen.line(points(*brow), fill=ink, width=2 * scale)
    left, right = some(look.corners[0]), some(look.corners[1])
    opening = max(0.0, some(look.opening, 0.6))
    lip = [(-9.0, 11 - left / 2), (-4.0, 11 + left / 3), (4.0, 11 + right / 3), (9.0, 11 - right / 2)]
    pen.line(points(*lip), fill=ink, width=2 * scale, joint="curve")
    if opening > 1:
        pen.ellipse(points((-4, 11 - opening / 2), (4, 11 + opening / 2)), fill=(110, 30, 40))
    turned = sheet.rotate(math.copysign(float(random.uniform(8, 16)), random.normal()) if pose == "tilted" else 0)
    small = np.asarray(turned.resize((_SIDE, _SIDE), Image.Resampling.BOX)).astype(np.float64)
    small = small * (0.35 if light == "dim" else 1.0) + random.normal(0, 8, small.shape)
    return Face(np.clip(small, 0, 255).astype(np.uint8), light, pose)


def edge_filters() -> npt.NDArray[np.float32]:
    """Returns filters for edges in eight directions, float32 [8, 1, 3, 3]; they are fixed, not learned."""
    place = np.arange(-1, 2)
    turns = np.arange(8) * math.pi / 4
    slopes = np.cos(turns)[:, None, None] * place[None, None, :] + np.sin(turns)[:, None, None] * place[None, :, None]
    return np.asarray(slopes[:, None] / np.abs(slopes).sum(axis=(1, 2))[:, None, None, None], dtype=np.float32)


def features_of(rows: npt.NDArray[np.float32]) -> FloatArray:
    """Returns how strong the edges of each direction are in each of 8 x 8 cells, with mean 0 and variance 1 an image.

    Args:
        rows: float32 [n, 1, 48, 48].

    Returns:
        float64 [n, 512].
    """
    padded = np.pad(rows[:, 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    edges = np.maximum(np.einsum("nyxab,fab->nfyx", windows, edge_filters()[:, 0], optimize=True), 0)
    cells = edges.reshape(len(rows), 8, _INPUT // _CELL, _CELL, _INPUT // _CELL, _CELL).mean(axis=(3, 5))
    flat = cells.reshape(len(rows), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + _EPSILON))


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network of one hidden layer on :func:`features_of`.

    Attributes:
        first: float32 [512, hidden].
        first_bias: float32 [hidden].
        second: float32 [hidden, classes].
        second_bias: float32 [classes].
    """

    first: npt.NDArray[np.float32]
    first_bias: npt.NDArray[np.float32]
    second: npt.NDArray[np.float32]
    second_bias: npt.NDArray[np.float32]

    def logits(self, rows: npt.NDArray[np.float32]) -> FloatArray:
        """Returns the outputs, computed by NumPy.

        Args:
            rows: float32 [n, 1, 48, 48].

        Returns:
            float64 [n, classes].
        """
        hidden = np.maximum(features_of(rows) @ self.first + self.first_bias, 0)
        return np.asarray(hidden @ self.second + self.second_bias)


def inputs_of(faces: Sequence[Face]) -> npt.NDArray[np.float32]:
    """Returns what the classifier takes, float32 [n, 1, 48, 48]: grey, as ``--preprocess grey`` makes it."""
    return np.stack([preprocess.grey(face.pixels, (1, _INPUT, _INPUT)) for face in faces]).astype(np.float32)


def train(seed: int = 1, epochs: int = 40) -> Classifier:
    """Trains a classifier on drawn faces with Adam; takes seconds.

    Args:
        seed: Of the faces and of the weights at the start.
        epochs: How often each face is seen.
    """
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(CLASSES)), _TRAINED)
    rows = features_of(inputs_of([draw(CLASSES[label], random) for label in labels]))
    sizes = [(rows.shape[1], _HIDDEN), (_HIDDEN,), (_HIDDEN, len(CLASSES)), (len(CLASSES),)]
    values = [random.normal(0, 1 / math.sqrt(size[0]), size) if len(size) == 2 else np.zeros(size) for size in sizes]
    means = [np.zeros(size) for size in sizes]
    squares = [np.zeros(size) for size in sizes]
    step = 0
    for _ in range(epochs):
        for chosen in np.array_split(random.permutation(len(labels)), max(1, len(labels) // 64)):
            step += 1
            for value, mean, square, slope in zip(
                values, means, squares, _slopes(values, rows[chosen], labels[chosen]), strict=True
            ):
                mean += 0.1 * (slope - mean)
                square += 0.001 * (slope**2 - square)
                value -= 0.001 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return Classifier(*(value.astype(np.float32) for value in values))


def _slopes(values: list[Any], rows: FloatArray, labels: npt.NDArray[np.int64]) -> list[FloatArray]:
    """Gradients of the mean cross entropy, with a little weight decay."""
    hidden = np.maximum(rows @ values[0] + values[1], 0)
    logits = hidden @ values[2] + values[3]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = (powers / powers.sum(axis=1, keepdims=True) - np.eye(len(CLASSES))[labels]) / len(rows)
    back = (error @ values[2].T) * (hidden > 0)
    return [rows.T @ back + 1e-3 * values[0], back.sum(axis=0), hidden.T @ error + 1e-3 * values[2], error.sum(axis=0)]


def write_onnx(classifier: Classifier, path: Path) -> None:
    """Writes a classifier as ONNX: float32 [batch, 1, 48, 48] -> float32 [batch, classes].

    Raises:
        OSError: The file cannot be written.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["edges"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["edges"], ["strong"]),
        helper.make_node("AveragePool", ["strong"], ["cells"], kernel_shape=[_CELL, _CELL], strides=[_CELL, _CELL]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("LayerNormalization", ["flat", "ones", "zeros"], ["features"], epsilon=_EPSILON),
        helper.make_node("Gemm", ["features", "first", "first_bias"], ["raw"]),
        helper.make_node("Relu", ["raw"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "second", "second_bias"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, _INPUT, _INPUT])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])
    size = len(classifier.first)
    constants = {"filters": edge_filters(), "ones": np.ones(size, np.float32), "zeros": np.zeros(size, np.float32)}
    constants |= {each.name: getattr(classifier, each.name) for each in dataclasses.fields(classifier)}
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "faces", [image], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    write_file(path, model.SerializeToString())


def write_faces(folder: Path, classifier: Classifier, seed: int = 2, each: int = _TESTED) -> None:
    """Writes faces that the classifier has not seen, with both tables and a baseline.

    Args:
        folder: Gets ``faces/``, ``inputs.csv``, ``outputs.csv``, ``classes.txt`` and ``baseline.json``.
        classifier: What the expected outputs and the baseline are computed by.
        seed: Of the faces.
        each: How many of each class.

    Raises:
        OSError: A file cannot be written.
    """
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), each)
    faces = [draw(CLASSES[label], random) for label in labels]
    names = [f"faces/{CLASSES[label]}_{number:03d}.png" for number, label in enumerate(labels)]
    (folder / "faces").mkdir(parents=True, exist_ok=True)
    for name, face in zip(names, faces, strict=True):
        write_file(folder / name, _png(Image.fromarray(face.pixels)))
    logits = classifier.logits(inputs_of(faces))
    _write_csv(
        folder / "inputs.csv",
        ["image", "light", "pose"],
        [[name, face.light, face.pose] for name, face in zip(names, faces, strict=True)],
    )
    _write_csv(
        folder / "outputs.csv",
        ["image", "label", "output"],
        [
            [name, CLASSES[label], json.dumps([round(float(value), 5) for value in row])]
            for name, label, row in zip(names, labels, logits, strict=True)
        ],
    )
    write_file(folder / "classes.txt", "".join(f"{name}\n" for name in CLASSES).encode())
    write_json(folder / "baseline.json", _baseline(logits, labels))


def _baseline(logits: FloatArray, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    outputs = logits.astype(np.float32)
    data = Data("classification", outputs, labels, CLASSES, tuple(Path() for _ in labels))
    data = dataclasses.replace(data, probabilities=classification.probabilities_of(outputs)[0])
    mask = np.ones(len(labels), dtype=bool)
    found = {each.name: bootstrap.measure(each, mask, 10, 0) for each in classification.statistics(data)}
    return gate.baseline_of(
        {"metrics": {name: dataclasses.asdict(each) for name, each in found.items() if each is not None}}, _TOLERANCE
    )


def write_photos(folder: Path, photos: Path | None) -> int:
    """Writes the tables of photo groups: files whose names begin alike, as ``cat.png`` and ``cat_small.jpg``.

    Args:
        folder: Gets ``photo_inputs.csv`` and ``photo_outputs.csv``, and ``photos/`` where none are given.
        photos: A folder of photos; None to draw some.

    Returns:
        How many photos there are.

    Raises:
        OSError: A file cannot be written.
    """
    if photos is None:
        photos = folder / "photos"
        _draw_photos(photos)
    found = [path for path in sorted(photos.rglob("*")) if path.is_file() and _readable(path)]
    names = [os.path.relpath(path, folder) for path in found]
    _write_csv(
        folder / "photo_inputs.csv",
        ["image", "format"],
        [[name, path.suffix[1:].lower()] for name, path in zip(names, found, strict=True)],
    )
    _write_csv(
        folder / "photo_outputs.csv",
        ["image", "label"],
        [[name, path.stem.partition("_")[0]] for name, path in zip(names, found, strict=True)],
    )
    return len(found)


def _draw_photos(folder: Path) -> None:
    """Eight pictures of smooth colours, each with a smaller, a cropped and a recompressed copy."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    for number in range(8):
        cells = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(cells).resize((192, 144), Image.Resampling.BICUBIC)
        copies = {"small": picture.resize((96, 72)), "cropped": picture.crop((12, 12, 192, 144))}
        for name, copy in {"": picture, **copies}.items():
            write_file(folder / f"scene{number}{'_' if name else ''}{name}.png", _png(copy))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=30)
        write_file(folder / f"scene{number}_recompressed.jpg", buffer.getvalue())


def _readable(path: Path) -> bool:
    try:
        rrn_native.decode(path)
    except (OSError, rrn_native.RrnError):
        return False
    return True


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    write_file(path, buffer.getvalue().encode())


def make(folder: Path, photos: Path | None) -> list[str]:
    """Makes the whole example.

    Args:
        folder: Made if it is not there.
        photos: As for :func:`write_photos`.

    Returns:
        Lines that say what was made and what to do with it.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classifier = train()
    write_onnx(classifier, folder / "faces.onnx")
    write_faces(folder, classifier)
    shutil.copyfile(Path(__file__).with_name("example_metric.py"), folder / "my_metrics.py")
    count = write_photos(folder, photos)
    return [
        f"{folder}: {_TESTED * len(CLASSES)} drawn faces of {len(CLASSES)} classes, faces.onnx (trained on "
        f"{_TRAINED * len(CLASSES)} others), my_metrics.py, baseline.json, and tables of {count} photos",
        "",
        f"rrn eval run --inputs {folder}/inputs.csv --outputs {folder}/outputs.csv --model {folder}/faces.onnx \\",
        f"  --classes {folder}/classes.txt --metric {folder}/my_metrics.py:polarity \\",
        f"  --baseline {folder}/baseline.json --work {folder}/evaluation",
        f"rrn eval run --inputs {folder}/photo_inputs.csv --outputs {folder}/photo_outputs.csv --model engine \\",
        f"  --work {folder}/photo_evaluation",
    ]
