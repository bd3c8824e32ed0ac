"""Compares every way to compute the embedding, on real images.

The ways are PyTorch, ONNX Runtime with and without the operator's library, and the C++ engine. The C++ preprocessing is
compared with an independent one made of Pillow and NumPy.

    rrn validate --images photos/ --weights resnet18.pth

The reference is the network in PyTorch. With `--weights` its weights come from the file that the model was exported
from, so the export is checked too; without, they are read from the ONNX file. Weights that the model stores as float16
are rounded in the reference as well.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from PIL import Image, ImageOps

import rrn_native
from rrn_native import _load, _onnx
from rrn_native.arrays import with_progress
from rrn_native.files import sha256_of
from rrn_native.model import onnx_file, storage, weights
from rrn_native.model.network import PlainOperations, ReductionResNet18, fold_batch_norm, unfold_batch_norm
from rrn_native.model.onnx_file import INPUT_NAME, OUTPUT_NAME

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
# Takes a batch as pixels, one array an image, and as the network's input; uses one of them; returns the embeddings.
Run = Callable[[list[Pixels], Floats], Floats]

EMBEDDING_LIMIT = 1e-5
PREPROCESSING_LIMIT = 1e-5
BATCH = 8


@dataclass
class Row:
    """One comparison.

    Attributes:
        what: What is compared, and with what.
        limit: The largest difference that passes; None if the row only informs.
        max_abs: The largest absolute difference seen so far.
    """

    what: str
    limit: float | None
    max_abs: float = 0.0

    def add(self, expected: Floats, actual: Floats) -> None:
        """Takes in two arrays of one shape; NaN counts as infinitely wrong."""
        if expected.shape != actual.shape:
            raise ValueError(f"{self.what}: shape {list(actual.shape)} instead of {list(expected.shape)}")
        difference = float(np.abs(expected.astype(np.float64) - actual).max(initial=0.0))
        if np.isnan(difference):
            difference = float("inf")
        self.max_abs = max(self.max_abs, difference)

    @property
    def verdict(self) -> str:
        """Returns "ok", "FAILED" or, for a row that only informs, nothing."""
        if self.limit is None:
            return ""
        return "ok" if self.max_abs <= self.limit else "FAILED"


def rounded_as_stored(network: ReductionResNet18, proto: onnx.ModelProto) -> ReductionResNet18:
    """Rounds a network's weights as its export does: to float16 where the model stores them so, folded before that."""
    stored = storage.stored_as_float16(proto)
    if not stored:
        return network
    folded = fold_batch_norm(network).state_dict()
    rounded = {name: value.half().float() if name in stored else value for name, value in folded.items()}
    return ReductionResNet18.from_state_dict(unfold_batch_norm(rounded)).eval()


def load_pixels(path: Path) -> Pixels:
    """Reads an image with Pillow as the project defines it: upright by EXIF, alpha laid over white, RGB.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: Pillow cannot read the file.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                layer = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read it ({error})") from error


def preprocess(pixels: Pixels, described: dict[str, Any], size: int) -> Floats:
    """Resizes and normalises with Pillow and NumPy, independently of the C++ code.

    Args:
        pixels: uint8 [height, width, 3].
        described: As :func:`rrn_native.model.onnx_file.recorded_input` returns it.
        size: The side of the result.

    Returns:
        float32 [3, size, size].
    """
    resized = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    ordered = resized[..., ::-1] if described["channels"] == "BGR" else resized
    scaled = ordered.astype(np.float32) / np.float32(described["divisor"])
    mean = np.asarray(described["mean"], dtype=np.float32)
    std = np.asarray(described["std"], dtype=np.float32)
    return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


def readable_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Returns the files in `folder` and below that both Pillow and the C++ engine can read, sorted, and the others.

    Returns:
        The images, and a line for each other file with what the readers said of it.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: `folder` is not a folder, or holds no readable image.
    """
    images, refused = [], []
    for path in map(Path, rrn_native.find_images(folder)):
        problems = []
        for reader, read in (("C++", rrn_native.decode), ("Pillow", load_pixels)):
            try:
                read(path)
            except (rrn_native.RrnError, OSError, ValueError) as error:
                problems.append(f"{reader}: {error}")
        if problems:
            refused.append(f"{path}: " + "; ".join(problems))
        else:
            images.append(path)
    if not images:
        raise ValueError(f"no readable image in {folder}")
    return images, refused


def validate(
    model_path: Path,
    files: Sequence[Path],
    *,
    size: int | None = None,
    weights_file: str | None = None,
    progress: rrn_native.Progress | None = None,
) -> list[Row]:
    """Makes all comparisons.

    Args:
        model_path: A file written by `rrn_native.model.export`.
        files: Images; at least one.
        size: The input size; None for the model's own.
        weights_file: What the model was exported from; None takes the weights from the model.
        progress: Called with (done, total) batches of images; returning False cancels.

    Returns:
        One row for each comparison.

    Raises:
        ValueError: The model, the weights or an image cannot be used.
        OSError: A file cannot be read, or a part of rrn is not built.
        rrn_native.RrnError: The engine cannot run the model.
        rrn_native.CancelledError: The progress callback returned False.
    """
    # First, because its errors name the file.
    embedder = rrn_native.Embedder(model_path, size, full_decode=True)
    proto = _onnx.load(model_path)
    described = onnx_file.recorded_input(proto)
    given = weights.load_weights(weights_file or str(model_path)).state_dict
    exact = ReductionResNet18.from_state_dict(given).eval()
    network = rounded_as_stored(exact, proto)
    runs: list[tuple[Row, Run]] = [
        (Row(f"embedding: {name}", EMBEDDING_LIMIT), run)
        for name, run in (
            ("PyTorch, plain operations instead of the operator", in_torch(PlainOperations(network))),
            ("PyTorch, batch normalisation folded", in_torch(fold_batch_norm(network))),
            ("ONNX Runtime, the operator as a function", in_onnx_runtime(model_path, None)),
            ("ONNX Runtime, libreduction_op.so", in_onnx_runtime(model_path, rrn_native.custom_op_library())),
            ("C++ engine", lambda pixels, tensor: embedder.embed(pixels)),
        )
    ]
    if weights_file is not None and network is not exact:
        runs.append((Row("embedding: PyTorch, the weights before their rounding to float16", None), in_torch(exact)))
    decoding = Row("decoding: C++, Pillow (input of the network)", None)
    resizing = Row("preprocessing of the same pixels: C++, Pillow + NumPy", PREPROCESSING_LIMIT)
    whole = Row("files to embeddings: C++ engine, Pillow + PyTorch", None)

    reference = in_torch(network)
    for batch in with_progress(list(_batches(files)), progress):
        pixels = [load_pixels(path) for path in batch]
        tensor = np.stack([preprocess(each, described, embedder.size) for each in pixels])
        expected = reference(pixels, tensor)
        for row, run in runs:
            row.add(expected, run(pixels, tensor))
        decoding.add(tensor, np.stack([embedder.preprocess(path) for path in batch]))
        resizing.add(tensor, np.stack([embedder.preprocess(each) for each in pixels]))
        whole.add(expected, embedder.embed(batch))
    return [decoding, resizing, *(row for row, _ in runs), whole]


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), BATCH):
        yield files[start : start + BATCH]


def in_torch(network: Callable[[torch.Tensor], torch.Tensor]) -> Run:
    """Returns what computes embeddings of the network's input in PyTorch.

    Args:
        network: float32 [N, 3, H, W] to [N, dim].
    """

    def run(pixels: list[Pixels], tensor: Floats) -> Floats:
        del pixels
        with torch.inference_mode():
            embedding: Floats = network(torch.from_numpy(tensor)).numpy()
        return embedding

    return run


def in_onnx_runtime(model_path: Path, library: str | None) -> Run:
    """Returns what computes embeddings of the network's input in ONNX Runtime, on the CPU.

    Args:
        model_path: A file written by `rrn_native.model.export`.
        library: ``libreduction_op.so``; None where the operator's ONNX function is to be run instead.
    """
    options = onnxruntime.SessionOptions()
    if library is not None:
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])

    def run(pixels: list[Pixels], tensor: Floats) -> Floats:
        del pixels
        embedding: Floats = session.run([OUTPUT_NAME], {INPUT_NAME: tensor})[0]
        return embedding

    return run


def table(rows: Sequence[Row]) -> str:
    """Lays the rows out as text."""
    width = max(len(row.what) for row in rows)
    lines = [f"{'compared':<{width}}  max abs difference  limit  verdict"]
    for row in rows:
        limit = "-" if row.limit is None else f"{row.limit:.0e}"
        lines.append(f"{row.what:<{width}}  {row.max_abs:>18.2e}  {limit:>5}  {row.verdict}".rstrip())
    return "\n".join(lines)


def _commit() -> str:
    """The commit of the source tree that this runs from; empty outside of one."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def summary(model_path: Path, files: Sequence[Path], rows: Sequence[Row]) -> dict[str, Any]:
    """Returns what ``rrn validate --json`` writes."""
    return {
        "model": model_path.name,
        "model_sha256": sha256_of(model_path),
        "files_fingerprint": _load.native.files_fingerprint(os.fsencode(model_path)),
        "images": len(files),
        "machine": platform.machine(),
        "commit": _commit(),
        "versions": {
            "rrn": rrn_native.__version__,
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
        "comparisons": [{**asdict(row), "verdict": row.verdict} for row in rows],
    }
