"""The network as an ONNX file, and as the engine's runtime runs it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rrn_native.session import cpu_session

from research.circle.data import Label, Spec, label
from research.circle.evaluate import TEST_SEED, Answers
from research.circle.network import CircleNet, collate

Json = dict[str, Any]

OPSET = 18
INPUTS, OUTPUTS = ("pictures", "sizes"), ("circles", "logits")


def write(model: CircleNet, path: Path) -> None:
    """Writes a network as ONNX, with any number of pictures of any height and width.

    Args:
        model: As it is.
        path: Gets the file. Inputs: pictures, uint8 [N, 3, H, W], and sizes, int64 [N, 2]; outputs: circles and logits,
            float32 [N, 3] each.

    Raises:
        OSError: It cannot be written.
    """
    batch = collate([label(Spec(0, 2, 64, 128), index) for index in range(2)])
    number, height, width = (torch.export.Dim(name, min=least) for name, least in (("N", 1), ("H", 16), ("W", 16)))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            (batch.pictures, batch.sizes),
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: number, 2: height, 3: width}, {0: number}),
        )
    if program is None:
        raise OSError(
            f"{path.name}: expected a program of torch.onnx.export, got nothing; check the version of PyTorch"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path)


class Runtime:
    """A file that ONNX Runtime runs with the engine's settings.

    Args:
        path: From write.
    """

    def __init__(self, path: Path) -> None:
        self._session = cpu_session(str(path))

    def __call__(self, labels: Sequence[Label]) -> Answers:
        """Looks at labels' pictures, all of them in one batch; as evaluate.ask."""
        circles, logits = self.raw(labels)
        return Answers(circles.astype(np.float64), logits.argmax(1), labels)

    def raw(self, labels: Sequence[Label]) -> tuple[Any, Any]:
        """Returns both outputs as they are."""
        batch = collate(labels)
        circles, logits = self._session.run(
            list(OUTPUTS), {"pictures": batch.pictures.numpy(), "sizes": batch.sizes.numpy()}
        )
        return circles, logits


def compared(model: CircleNet, runtime: Runtime, sizes: Sequence[int], *, count: int = 8) -> list[Json]:
    """Returns for each side, and for a batch of unequal sizes, how far both answers are from each other at most.

    Args:
        model: The network in PyTorch.
        runtime: Its file.
        sizes: Sides of square pictures.
        count: Pictures of each.
    """
    specs = [Spec(TEST_SEED + side, count, side, side, square=True) for side in sizes]
    specs.append(Spec(TEST_SEED, count, min(sizes), max(sizes)))
    rows = []
    for spec in specs:
        labels = [label(spec, index) for index in range(count)]
        batch = collate(labels)
        with torch.inference_mode():
            expected = [each.numpy() for each in model(batch.pictures, batch.sizes)]
        found = runtime.raw(labels)
        px, logits = (float(np.abs(one - two).max()) for one, two in zip(found, expected, strict=True))
        sides = [spec.least] if spec.square else [spec.least, spec.most]
        rows.append({"sides": sides, "px": px, "logits": logits})
    return rows
