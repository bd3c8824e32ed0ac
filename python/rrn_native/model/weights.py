"""Where the network's weights come from: a file, or the official ImageNet weights, fetched only when asked for.

An exported ONNX file is such a file, too: :func:`state_dict_from_onnx` reads its weights.
"""

from __future__ import annotations

import pickle
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import onnx
import torch
from onnx import numpy_helper

from rrn_native import _onnx
from rrn_native.errors import RrnError
from rrn_native.files import cache_folder, replace_file, sha256_of
from rrn_native.model import onnx_file, storage
from rrn_native.model.network import unfold_batch_norm

IMAGENET_FILE = "resnet18-f37072fd.pth"
IMAGENET_URL = f"https://download.pytorch.org/models/{IMAGENET_FILE}"
IMAGENET_ORIGIN = "torchvision ResNet18_Weights.IMAGENET1K_V1"
# torchvision puts the first digits of the file's SHA-256 into its name.
IMAGENET_SHA256_PREFIX = "f37072fd"

Opener = Callable[[str], BinaryIO]


class WeightsError(RuntimeError):
    """The weights cannot be read or downloaded; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name, with their provenance.

    Attributes:
        state_dict: Tensors on the CPU under the names in the file.
        origin: Where the weights come from, in words; never a path of this machine.
        sha256: Of the file, in hexadecimal; of an ONNX file the one noted in it, of the weights it was exported from.
        recorded_input: How an ONNX file wants its input (:func:`rrn_native.model.onnx_file.recorded_input`); None for
            other files, which do not say.
    """

    state_dict: Mapping[str, torch.Tensor]
    origin: str
    sha256: str
    recorded_input: Mapping[str, Any] | None = None


def load_weights(spec: str, opener: Opener | None = None) -> Weights:
    """Loads weights.

    Args:
        spec: A file saved with `torch.save(model.state_dict(), file)`, an ONNX file (.onnx) that `rrn export` has
            written, whose origin and SHA-256 are those noted in it, or "imagenet" for torchvision's official ResNet-18
            file, which is fetched once and kept in `$XDG_CACHE_HOME/rrn` (default ~/.cache/rrn).
        opener: What opens a URL for reading; for tests.

    Raises:
        WeightsError: The file is absent, unreadable or not a state dict; or it could not be fetched, or is not the
            official one.
    """
    if spec == "imagenet":
        folder = cache_folder()
        if folder is None:
            raise WeightsError("no place to keep fetched weights: neither XDG_CACHE_HOME nor HOME is set")
        path = fetch_imagenet(folder, opener)
        origin = f"{IMAGENET_ORIGIN} ({IMAGENET_URL})"
    else:
        path = Path(spec)
        origin = f"file {path.name}"
    if not path.is_file():
        raise WeightsError(f"no weights file {path}")
    if path.suffix == ".onnx":
        proto = _load(path)
        noted = _onnx.properties(proto)
        return Weights(
            _state_dict(proto, path),
            noted.get("rrn.weights.origin", f"file {path.name}"),
            noted.get("rrn.weights.sha256") or sha256_of(path),
            _recorded_input(proto, path),
        )
    return Weights(read_state_dict(path), origin, sha256_of(path))


def read_state_dict(path: Path) -> Mapping[str, Any]:
    """Returns what `torch.save` wrote to a file, on the CPU; nothing in it is executed.

    Raises:
        WeightsError: The file cannot be read, holds more than tensors, or holds no state dict.
    """
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} cannot be read as PyTorch weights (tensors only): {reason}") from error
    if not isinstance(state_dict, Mapping):
        raise WeightsError(
            f"{path} holds a {type(state_dict).__name__}, not a state dict; save it with "
            "torch.save(model.state_dict(), file)"
        )
    return state_dict


def state_dict_from_onnx(path: Path) -> dict[str, torch.Tensor]:
    """Returns the weights of a file that `rrn export` has written, however it stores them, as a state dict.

    Exported convolutions contain their batch normalisations, so those of the state dict only add the bias: see
    :func:`rrn_native.model.network.unfold_batch_norm`, also for what that means before training. The network made of it
    gives the file's embeddings, and exporting it again gives the file's weights again, bit for bit.

    Returns:
        float32 tensors on the CPU for `ReductionResNet18.from_state_dict`, under torchvision's names.

    Raises:
        FileNotFoundError: No such file.
        WeightsError: It is no ONNX file, or not a network of convolutions in float32 alone.
    """
    return _state_dict(_load(path), path)


def _recorded_input(proto: onnx.ModelProto, path: Path) -> Mapping[str, Any]:
    try:
        return onnx_file.recorded_input(proto)
    except RrnError as error:
        raise WeightsError(f"{path}: {error}") from error


def _load(path: Path) -> onnx.ModelProto:
    try:
        return _onnx.load(path)
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _state_dict(proto: onnx.ModelProto, path: Path) -> dict[str, torch.Tensor]:
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        raise WeightsError(f"{path} is quantised to 8 bits; name a file that rrn export has written")
    tensors = storage.to_float32(proto).graph.initializer
    state = unfold_batch_norm(
        {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in tensors
            if tensor.data_type == onnx.TensorProto.FLOAT
        }
    )
    if not state:
        raise WeightsError(f"{path} holds no convolutions in float32; name a file that rrn export has written")
    return state


def fetch_imagenet(folder: Path, opener: Opener | None = None) -> Path:
    """Returns the official ImageNet weights in `folder`, fetching them if they are not there.

    The file appears under its name only when it is complete and its SHA-256 is right, so an interrupted or a concurrent
    run cannot leave a broken one behind. A file that is there but wrong is fetched again.

    Raises:
        WeightsError: There is no way to the server, the folder cannot be written, or what came is not the file.
    """
    path = folder / IMAGENET_FILE
    if path.is_file() and sha256_of(path).startswith(IMAGENET_SHA256_PREFIX):
        return path

    def fetch(temporary: Path) -> None:
        with (opener or _open_url)(IMAGENET_URL) as response, temporary.open("wb") as partial:
            shutil.copyfileobj(response, partial, 1 << 20)
        digest = sha256_of(temporary)
        if not digest.startswith(IMAGENET_SHA256_PREFIX):
            raise WeightsError(
                f"what came from {IMAGENET_URL} has SHA-256 {digest[:8]}... instead of {IMAGENET_SHA256_PREFIX}...; "
                "download the file on another machine and pass --weights FILE"
            )

    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, fetch)
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise WeightsError(
            f"cannot fetch {IMAGENET_URL} into {folder} ({reason}); download the file on another machine and pass "
            "--weights FILE"
        ) from error
    return path


def _open_url(url: str) -> BinaryIO:
    response: BinaryIO = urllib.request.urlopen(url, timeout=60)
    return response
