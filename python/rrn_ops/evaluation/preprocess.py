"""Step 2: pictures as the arrays that the model takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
from rrn_native.cli.common import one_line, write_json
from rrn_native.files import replace_file

from rrn_ops.evaluation import files
from rrn_ops.evaluation.interface import EvaluationError, load_function
from rrn_ops.evaluation.options import Options

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
Picture = Path | npt.NDArray[np.uint8]
Prepare = Callable[[Picture, tuple[int, int, int]], npt.NDArray[Any]]


def _imagenet(path: Picture, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    return rrn_native.preprocess(path, _side(shape))


def _unit(path: Picture, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    return rrn_native.preprocess(path, _side(shape), mean=(0, 0, 0), std=(1, 1, 1))


def grey(path: Picture, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Returns a picture's brightness, 0 ... 1, resized to a square: float32 [1, side, side].

    Args:
        path: A file, or uint8 [height, width, 3].
        shape: (1, side, side).
    """
    return np.tensordot(_LUMA, _unit(path, shape), axes=1)[None]


# Extension point: a way to prepare pictures is one more entry here; own code uses --preprocess module:function.
WAYS: dict[str, Prepare] = {"imagenet": _imagenet, "unit": _unit, "grey": grey}


def default_way(channels: int) -> str:
    """The name of the usual way for a number of channels."""
    return "grey" if channels == 1 else "imagenet"


def _side(shape: tuple[int, int, int]) -> int:
    if shape[1] != shape[2]:
        raise ValueError(f"the model takes {shape[1]} x {shape[2]}; a built-in way makes squares (see --preprocess)")
    return shape[1]


def _own(
    function: Callable[[npt.NDArray[np.uint8]], Any], path: Picture, shape: tuple[int, int, int]
) -> npt.NDArray[Any]:
    return np.asarray(function(path if isinstance(path, np.ndarray) else rrn_native.decode(path)))


def run(work: Path, options: Options, key: str) -> None:
    """Writes ``prepared.npy``, float32 [n, channels, height, width], and then ``prepared.json``.

    A model that takes files gets no arrays.

    Args:
        work: The folder of the run.
        options: Of the run.
        key: The fingerprint of the step.

    Raises:
        EvaluationError: A picture does not become what the model takes.
        ValueError: There is no such way to prepare pictures.
    """
    images = [Path(name) for name in files.read_json(work / "images.json")["images"]]
    if options.input_shape is None:
        (work / "prepared.npy").unlink(missing_ok=True)
        write_json(work / "prepared.json", {"key": key, "rows": len(images), "shape": None})
        return
    shape = options.input_shape
    way = WAYS.get(options.preprocess) or partial(_own, load_function(options.preprocess, options.folder))

    def write(temporary: Path) -> None:
        # On the disk, because all pictures together need not fit into memory.
        rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(images), *shape))
        for number, image in enumerate(images):
            rows[number] = _checked(way, image, shape)
        rows.flush()

    replace_file(work / "prepared.npy", write)
    write_json(work / "prepared.json", {"key": key, "rows": len(images), "shape": shape})


def _checked(way: Prepare, image: Path, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    try:
        row = way(image, shape)
    except Exception as error:  # own code may raise anything
        raise EvaluationError(f"{image}: cannot be prepared: {one_line(error)}") from error
    if row.shape != shape:
        raise EvaluationError(f"{image}: prepared as {list(row.shape)}, but the model takes {list(shape)}")
    return row
