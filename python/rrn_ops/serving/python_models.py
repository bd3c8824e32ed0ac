"""The Python models of a store, and what takes the place of platforms that only containers have.

This runs inside of the server, in the Python that its Python backend starts; `triton_python_backend_utils` exists only
there. The server hands over a list of requests, each with its own batch, and wants a response for each, in order.
(https://github.com/triton-inference-server/python_backend)
"""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
import triton_python_backend_utils as triton

from rrn_ops.serving import gallery

Floats = npt.NDArray[np.float32]


def _strings(values: Sequence[str]) -> npt.NDArray[np.object_]:
    return np.array([value.encode("utf-8", "surrogateescape") for value in values], dtype=np.object_)


def _parameters(arguments: dict[str, str]) -> dict[str, str]:
    config = json.loads(arguments["model_config"])
    return {name: value["string_value"] for name, value in config.get("parameters", {}).items()}


def _failure(message: str) -> Any:
    return triton.InferenceResponse(error=triton.TritonError(message, triton.TritonError.INVALID_ARG))


class Preprocess:
    """`image` BYTES [B, 1], contents of picture files, to `pixels` FP32 [B, 3, size, size] and `error` BYTES [B, 1].

    The picture is decoded, turned upright, resized and normalised by the engine. A request of one picture that cannot
    be read fails. In one of several, the row of that picture is NaN, and its `error` says why; it is empty for the
    others.
    """

    def initialize(self, arguments: dict[str, str]) -> None:
        """Reads the parameters: size, mean, std, divisor, channels, max_bytes, max_pixels."""
        given = _parameters(arguments)
        self._size = int(given["size"])
        self._mean = json.loads(given["mean"])
        self._std = json.loads(given["std"])
        self._divisor = float(given["divisor"])
        self._bgr = given["channels"] == "BGR"
        self._max_bytes = int(given["max_bytes"])
        self._max_pixels = int(given["max_pixels"])
        # The engine lets go of the interpreter's lock.
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests."""
        contents = [triton.get_input_tensor_by_name(request, "image").as_numpy().ravel() for request in requests]
        prepared = iter(list(self._pool.map(self._prepare, [item for batch in contents for item in batch])))
        return [self._respond([next(prepared) for _ in batch]) for batch in contents]

    def finalize(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()

    def _prepare(self, content: bytes) -> tuple[Floats | None, str]:
        if len(content) > self._max_bytes:
            return None, f"the file has {len(content)} bytes, at most {self._max_bytes} are read (parameter max_bytes)"
        try:
            pixels = rrn_native.decode_bytes(content, self._max_pixels, self._size)
            prepared = rrn_native.preprocess(
                pixels, self._size, mean=self._mean, std=self._std, divisor=self._divisor, bgr=self._bgr
            )
        except (rrn_native.RrnError, MemoryError) as error:
            return None, str(error) or "not enough memory"
        return prepared, ""

    def _respond(self, batch: list[tuple[Floats | None, str]]) -> Any:
        if len(batch) == 1 and batch[0][1]:
            return _failure(batch[0][1])
        missing = np.full((3, self._size, self._size), np.nan, np.float32)
        pixels = np.stack([missing if each is None else each for each, _ in batch])
        errors = _strings([error for _, error in batch]).reshape(-1, 1)
        return triton.InferenceResponse([triton.Tensor("pixels", pixels), triton.Tensor("error", errors)])


class Nearest:
    """`embedding` FP32 [B, D] to the most similar pictures of a gallery.

    `names` BYTES [B, k] are their paths, `similarity` FP32 [B, k] the cosines, in descending order. A row that is not
    finite has empty names and NaN.
    """

    def initialize(self, arguments: dict[str, str]) -> None:
        """Reads the parameter k and the gallery beside the version folder."""
        given = _parameters(arguments)
        self._gallery = gallery.load(Path(arguments["model_repository"], "gallery.npz"))
        self._k = int(given["k"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests."""
        batches = [triton.get_input_tensor_by_name(request, "embedding").as_numpy() for request in requests]
        return _answer_together(batches, self._find)

    def _find(self, embeddings: Floats) -> list[Any]:
        index, similarity = rrn_native.nearest(embeddings, self._gallery.rows, self._k)
        names = np.array([*self._gallery.names, ""], dtype=np.str_)[index]
        return [("names", _strings(names.ravel().tolist()).reshape(names.shape)), ("similarity", similarity)]


class OnnxRuntime:
    """In the place of the backend `onnxruntime`, which only containers have: an ONNX file on the CPU."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Opens the model, with the operator libraries that its config.pbtxt names."""
        import onnxruntime

        folder = Path(arguments["model_repository"])
        config = json.loads(arguments["model_config"])
        options = onnxruntime.SessionOptions()
        for library in config.get("model_operations", {}).get("op_library_filename", []):
            options.register_custom_ops_library(str(folder / library))
        path = folder / arguments["model_version"] / (config.get("default_model_filename") or "model.onnx")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = config["input"][0]["name"]
        self._outputs = [each["name"] for each in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests."""
        batches = [triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        return _answer_together(batches, self._run)

    def _run(self, batch: Floats) -> list[Any]:
        return list(zip(self._outputs, self._session.run(self._outputs, {self._input: batch}), strict=True))


class TorchScript:
    """In the place of the backend `pytorch`, which only containers have: a TorchScript file on the CPU."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Opens the model."""
        import torch

        config = json.loads(arguments["model_config"])
        file = config.get("default_model_filename") or "model.pt"
        path = Path(arguments["model_repository"], arguments["model_version"], file)
        self._torch = torch
        self._module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        self._input = config["input"][0]["name"]
        self._output = config["output"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests."""
        batches = [triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        return _answer_together(batches, self._run)

    def _run(self, batch: Floats) -> list[Any]:
        with self._torch.inference_mode():
            return [(self._output, self._module(self._torch.from_numpy(batch)).numpy())]


def _answer_together(batches: list[Floats], run: Callable[[Floats], list[Any]]) -> list[Any]:
    """Runs the batches of several requests as one and gives each its rows."""
    try:
        outputs = run(np.ascontiguousarray(np.concatenate(batches)))
    except (RuntimeError, ValueError) as error:
        return [_failure(str(error)) for _ in batches]
    ends = np.cumsum([len(batch) for batch in batches])
    starts = [0, *ends[:-1]]
    return [
        triton.InferenceResponse([triton.Tensor(name, np.ascontiguousarray(rows[start:end])) for name, rows in outputs])
        for start, end in zip(starts, ends, strict=True)
    ]
