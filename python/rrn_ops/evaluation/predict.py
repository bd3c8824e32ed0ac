"""Step 3: the model's outputs, written in parts, so that a run that is killed continues where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rrn_native.cli.common import one_line

from rrn_ops.evaluation import files, predictors
from rrn_ops.evaluation.interface import EvaluationError, Predictor
from rrn_ops.evaluation.options import Options


def run(work: Path, options: Options, key: str) -> int:
    """Writes ``predictions.npy``, float32 [n, d].

    Args:
        work: The folder of the run.
        options: Of the run.
        key: The fingerprint of the step; parts of another one are not used.

    Returns:
        How many rows an earlier run had left.

    Raises:
        EvaluationError: The model fails, or returns something other than a row of finite numbers for each image.
    """
    images = [Path(name) for name in files.read_json(work / "images.json")["images"]]
    arrays = None if options.input_shape is None else np.load(work / "prepared.npy", mmap_mode="r")
    folder = work / "parts" / key
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(images), options.part)
    parts = [folder / f"{begin:09d}.npy" for begin in starts]
    left = [part for part in parts if part.is_file()]
    predictor = predictors.make(options.model, options.folder) if len(left) < len(parts) else None
    for begin, part in zip(starts, parts, strict=True):
        if part not in left and predictor is not None:
            end = min(begin + options.part, len(images))
            rows = [
                _rows(predictor, images[at : min(at + options.batch, end)], None if arrays is None else arrays[at:end])
                for at in range(begin, end, options.batch)
            ]
            files.write_rows(part, _joined(rows))
    files.write_rows(work / "predictions.npy", _joined([np.load(part) for part in parts]))
    shutil.rmtree(work / "parts")
    return min(len(left) * options.part, len(images))


def _rows(predictor: Predictor, images: list[Path], arrays: npt.NDArray[Any] | None) -> npt.NDArray[np.float32]:
    batch = images if arrays is None else np.ascontiguousarray(arrays[: len(images)])
    try:
        rows = np.asarray(predictor.predict(batch))
    except EvaluationError:
        raise
    except Exception as error:  # own code, and libraries with exceptions of their own
        raise EvaluationError(f"the model failed at {images[0]}: {one_line(error)}") from error
    rows = rows.reshape(len(rows), -1).astype(np.float32) if rows.ndim else rows
    if rows.ndim != 2 or len(rows) != len(images) or rows.shape[1] == 0:
        raise EvaluationError(
            f"the model returned {list(rows.shape)} for {len(images)} images, expected a row for each"
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise EvaluationError(f"{images[int(np.argmin(finite))]}: the model returned a number that is not finite")
    return rows


def _joined(rows: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    lengths = sorted({each.shape[1] for each in rows})
    if len(lengths) > 1:
        raise EvaluationError(f"the model returned rows of {' and '.join(map(str, lengths))} numbers")
    return np.concatenate(rows)
