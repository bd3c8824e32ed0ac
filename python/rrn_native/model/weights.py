"""Where the network's weights come from: a file, or the official ImageNet weights, fetched only when asked for."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rrn_native._lazy import LazyImport

if TYPE_CHECKING:
    import torch
else:
    torch = LazyImport("torch")

# Of ReductionResNet-18: the channels of its last stage.
EMBEDDING_DIM = 512
IMAGENET_FILE = "resnet18-f37072fd.pth"
IMAGENET_URL = f"https://download.pytorch.org/models/{IMAGENET_FILE}"
IMAGENET_ORIGIN = "torchvision ResNet18_Weights.IMAGENET1K_V1"
# torchvision puts the first digits of the file's SHA-256 into its name.
IMAGENET_SHA256_PREFIX = "f37072fd"

Opener = Callable[[str], BinaryIO]


class WeightsError(RuntimeError):
    """The weights cannot be had; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name, with their provenance.

    Attributes:
        state_dict: Tensors on the CPU under the names in the file.
        origin: Where the weights come from, in words; never a path of this machine.
        sha256: Of the file, in hexadecimal.
    """

    state_dict: Mapping[str, torch.Tensor]
    origin: str
    sha256: str


def load_weights(spec: str, opener: Opener | None = None) -> Weights:
    """Loads weights.

    Args:
        spec: A file saved with `torch.save(model.state_dict(), file)`, or "imagenet" for torchvision's official
            ResNet-18 file, which is fetched once and kept in the folder `$RRN_CACHE` (default ~/.cache/rrn).
        opener: What opens a URL for reading; for tests.

    Raises:
        WeightsError: The file is absent, unreadable or not a state dict; or it could not be fetched, or is not the
            official one.
    """
    if spec == "imagenet":
        path = fetch_imagenet(cache_folder(), opener)
        origin = f"{IMAGENET_ORIGIN} ({IMAGENET_URL})"
    else:
        path = Path(spec)
        origin = f"file {path.name}"
    if not path.is_file():
        raise WeightsError(f"no weights file {path}")
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
    return Weights(state_dict, origin, sha256_of(path))


def cache_folder() -> Path:
    """Returns the folder for fetched files: `$RRN_CACHE`, or ~/.cache/rrn. It may not exist yet."""
    named = os.environ.get("RRN_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "rrn"


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{IMAGENET_FILE}.", delete=False) as partial:
            temporary = Path(partial.name)
            try:
                with (opener or _open_url)(IMAGENET_URL) as response:
                    while block := response.read(1 << 20):
                        partial.write(block)
                partial.close()
                digest = sha256_of(temporary)
                if not digest.startswith(IMAGENET_SHA256_PREFIX):
                    raise WeightsError(
                        f"what came from {IMAGENET_URL} has SHA-256 {digest[:8]}... instead of "
                        f"{IMAGENET_SHA256_PREFIX}...; download the file on another machine and pass --weights FILE"
                    )
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
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
