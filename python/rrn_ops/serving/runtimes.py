"""A Triton server as runtimes of ``rrn validate --all``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rrn_ops.serving import runtime, server, store
from rrn_ops.serving.client import Client
from rrn_ops.serving.runtime import ServeError

Floats = npt.NDArray[np.float32]
MODELS = {
    "Triton, native backend": "rrn",
    "Triton, ensemble on ONNX": "rrn_embed",
    "Triton, ensemble on TorchScript": "rrn_embed_torchscript",
}


@contextlib.contextmanager
def serve(model: Path, size: int | None = None) -> Iterator[dict[str, Callable[[Path], Floats] | str]]:
    """Serves a model as long as the context lasts.

    Args:
        model: An ONNX file that `rrn export` wrote.
        size: The input size; None for the model's own.

    Yields:
        What embeds a picture's file over gRPC, by name; a text that says why where it cannot run here.
    """
    try:
        found = runtime.find()
    except ServeError as error:
        yield dict.fromkeys(MODELS, str(error))
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            started = _start(stack, model, size, Path(folder), found)
        except (ServeError, ValueError, OSError) as error:
            started = dict.fromkeys(MODELS, str(error))
        yield started


def _start(
    stack: contextlib.ExitStack, model: Path, size: int | None, folder: Path, found: runtime.Runtime
) -> dict[str, Callable[[Path], Floats] | str]:
    built = store.build(folder / "store", store.Options(model=model, size=size, delay_us=None))
    running = stack.enter_context(server.Server(built.path, found, server.ANY_PORT))
    client = stack.enter_context(running.client())
    missing = {part.model: part.why for part in running.parts if part.how == "missing"}
    return {name: missing.get(served, "") or _asker(client, served) for name, served in MODELS.items()}


def _asker(client: Client, model: str) -> Callable[[Path], Floats]:
    def ask(path: Path) -> Floats:
        row: Floats = client.embed([path], model).rows[0]
        return row

    return ask
