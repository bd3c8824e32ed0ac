"""What predicts: ONNX Runtime, PyTorch, a Triton endpoint, rrn's own engine, or own code.

Extension point: a further kind is a class with ``describe`` and ``predict`` (:class:`~.interface.Predictor`) and an
entry in ``KINDS``; own code needs neither and is named by ``--model package.module:function``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
from rrn_native.cli.common import one_line

from rrn_ops.evaluation import files, sources
from rrn_ops.evaluation.interface import Description, EvaluationError, Predictor, load_function, split_spec

_TORCH_SUFFIXES = (".pt", ".pth", ".ts", ".torchscript")
Batch = npt.NDArray[np.float32] | Sequence[Path]


def make(spec: str, folder: Path) -> Predictor:
    """Returns the predictor of a spec.

    Args:
        spec: ``onnx:FILE``, ``torch:FILE``, ``triton:http://HOST:PORT/MODEL`` (or ``grpc://``), ``engine:FILE`` or
            ``engine`` for the model that comes with rrn; a file alone, whose suffix decides between the first two; or
            ``package.module:function``.
        folder: What relative paths start from.

    Raises:
        ValueError: It has another form.
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: The kind's library is not installed.
        EvaluationError: The model cannot be loaded, or there is no answer.
    """
    kind, _, rest = spec.partition(":")
    if not _ and kind != "engine":
        kind, rest = _kind_of(spec), spec
    try:
        if kind in KINDS:
            return KINDS[kind](rest, folder)
        name, _, argument = split_spec(spec)
        made = load_function(spec, folder)
        return _Own(made(argument) if argument else made(), sources.digest_of_spec(spec, folder), argument, name)
    except (ValueError, FileNotFoundError, ModuleNotFoundError, EvaluationError):
        raise
    except Exception as error:  # each library has exceptions of its own
        raise EvaluationError(f"{spec}: cannot be loaded: {one_line(error)}") from error


def _kind_of(spec: str) -> str:
    suffix = Path(spec).suffix.lower()
    if suffix == ".onnx":
        return "onnx"
    if suffix in _TORCH_SUFFIXES:
        return "torch"
    raise ValueError(f"--model {spec}: expected .onnx, {', '.join(_TORCH_SUFFIXES)}, or KIND:... ({', '.join(KINDS)})")


def _file(name: str, folder: Path) -> Path:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    return path


class _Onnx:
    """A model in ONNX Runtime, with rrn's operator."""

    def __init__(self, name: str, folder: Path) -> None:
        import onnxruntime

        self._path = _file(name, folder)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.register_custom_ops_library(str(rrn_native.custom_op_library()))
        self._session = onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        self._version = onnxruntime.__version__

    def describe(self) -> Description:
        inputs, outputs = self._session.get_inputs()[0], self._session.get_outputs()[0]
        from rrn_native.model import onnx_file

        external = [self._path.parent / name for name in onnx_file.external_files(self._path)]
        content = [files.digest_of_file(path) for path in (self._path, *external)]
        return Description(
            files.digest_of("onnx", content, self._version),
            input_shape=_shape(inputs.shape),
            outputs=_number(outputs.shape[-1]) if outputs.shape else None,
        )

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        name = self._session.get_inputs()[0].name
        return np.asarray(self._session.run([self._session.get_outputs()[0].name], {name: batch})[0])


class _Torch:
    """A TorchScript file, or the weights of one of rrn's ONNX files in PyTorch's network."""

    def __init__(self, name: str, folder: Path) -> None:
        import torch

        self._torch = torch
        self._path = _file(name, folder)
        self._own = self._path.suffix == ".onnx"
        self._network: Any
        if self._own:
            from rrn_native.model import weights
            from rrn_native.model.network import ReductionResNet18

            self._network = ReductionResNet18.from_state_dict(weights.state_dict_from_onnx(self._path)).eval()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._network = torch.jit.load(  # type: ignore[no-untyped-call]
                    str(self._path), map_location="cpu"
                ).eval()

    def describe(self) -> Description:
        fingerprint = files.digest_of("torch", files.digest_of_file(self._path), str(self._torch.__version__))
        if self._own:
            return Description(fingerprint, input_shape=(3, 224, 224), outputs=512, embeds=True)
        return Description(fingerprint)

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        with self._torch.inference_mode():
            found = self._network(self._torch.from_numpy(np.array(batch, dtype=np.float32)))
        return np.asarray((found[0] if isinstance(found, tuple | list) else found).numpy())


class _Engine:
    """rrn's engine, which decodes and prepares the files itself."""

    def __init__(self, name: str, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            self._embedder = rrn_native.Embedder(_file(name, folder) if name else None)

    def describe(self) -> Description:
        found = self._embedder
        return Description(found.fingerprint, takes="paths", outputs=found.dim, embeds=True)

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        return self._embedder.embed([Path(path) for path in batch])


class _Triton:
    """A model of a Triton Inference Server; one whose input is BYTES gets the files, any other arrays."""

    def __init__(self, name: str, folder: Path) -> None:
        protocol, _, place = name.partition("://")
        self._url, _, self._model = place.partition("/")
        if protocol not in ("http", "grpc") or not self._url or not self._model:
            raise ValueError(f"triton:{name}: expected triton:http://HOST:PORT/MODEL or triton:grpc://HOST:PORT/MODEL")
        self._triton = importlib.import_module(f"tritonclient.{protocol}")
        self._client = self._triton.InferenceServerClient(self._url)
        more = {"as_json": True} if protocol == "grpc" else {}
        try:
            self._metadata: dict[str, Any] = self._client.get_model_metadata(self._model, **more)
            self._config = self._client.get_model_config(self._model, **more)
        except Exception as error:
            raise EvaluationError(f"triton:{name}: no answer: {one_line(error)}") from error
        self._input = self._metadata["inputs"][0]
        numbers = [each for each in self._metadata["outputs"] if each["datatype"].startswith("FP")]
        if not numbers:
            raise ValueError(f"triton:{name}: the model has no output of numbers")
        self._output = numbers[0]

    def describe(self) -> Description:
        # The weights behind an endpoint are not visible; --force predict asks again.
        fingerprint = files.digest_of("triton", self._url, self._metadata, self._config)
        size = _number(self._output["shape"][-1])
        if self._input["datatype"] == "BYTES":
            return Description(fingerprint, takes="paths", outputs=size)
        return Description(fingerprint, input_shape=_shape(self._input["shape"]), outputs=size)

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        shape = [_number(each) or -1 for each in self._input["shape"]]
        if isinstance(batch, np.ndarray):
            values: npt.NDArray[Any] = batch
        else:
            values = np.array([Path(path).read_bytes() for path in batch], dtype=object)
            values = values.reshape(len(batch), *([1] * (len(shape) - 1)))
        sent = self._triton.InferInput(self._input["name"], list(values.shape), self._input["datatype"])
        sent.set_data_from_numpy(values)
        name = self._output["name"]
        answer = self._client.infer(self._model, [sent], outputs=[self._triton.InferRequestedOutput(name)])
        return np.asarray(answer.as_numpy(name))


class _Own:
    """A predictor of own code, whose fingerprint covers the code as well."""

    def __init__(self, inner: Predictor, digest: str, argument: str, name: str) -> None:
        if not callable(getattr(inner, "describe", None)) or not callable(getattr(inner, "predict", None)):
            raise ValueError(f"{name}: what the function returns has no describe() and predict()")
        self._inner, self._digest = inner, digest
        self._argument = argument

    def describe(self) -> Description:
        found = self._inner.describe()
        fingerprint = files.digest_of("own", found.fingerprint, self._digest, self._argument)
        return Description(fingerprint, found.takes, found.input_shape, found.outputs, found.embeds)

    def predict(self, batch: Batch) -> npt.NDArray[Any]:
        return self._inner.predict(batch)


KINDS: dict[str, Callable[[str, Path], Predictor]] = {
    "onnx": _Onnx,
    "torch": _Torch,
    "triton": _Triton,
    "engine": _Engine,
}


def _number(value: object) -> int | None:
    """A fixed size; None for a name, -1 and what is not there. gRPC's JSON has numbers as text."""
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number > 0 else None


def _shape(shape: Sequence[object]) -> tuple[int, int, int] | None:
    sizes = [_number(each) for each in shape[-3:]]
    if len(shape) < 3 or None in sizes:
        return None
    channels, height, width = sizes
    return (channels or 0, height or 0, width or 0)
