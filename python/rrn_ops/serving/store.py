"""Makes a model store: every model's folder, config.pbtxt, file and what it needs beside it.

Layout of a store, as Triton reads it: `NAME/config.pbtxt`, `NAME/1/FILE`, and beside them `gallery.npz`,
`libreduction_op.so` and `warmup/`. `Dockerfile` and `run_container.sh` at the top run it in a container.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import rrn_native
from rrn_native import doctor
from rrn_native.arrays import DEFAULT_MAX_PIXELS, DEFAULT_SIZE
from rrn_native.files import replace_file
from rrn_native.model import onnx_file

from rrn_ops.serving import checks, gallery
from rrn_ops.serving.container import container_files
from rrn_ops.serving.description import Model, Step, Tensor, check_ensemble, to_pbtxt

MAX_BYTES = 64 << 20
_IMAGE = Tensor("image", "BYTES", (1,))
_ERROR = Tensor("error", "BYTES", (1,))
_EMBEDDING = "embedding"
_PYTHON_MODEL = '''"""{summary}"""

from rrn_ops.serving.python_models import {name} as TritonPythonModel  # noqa: F401
'''


@dataclasses.dataclass(frozen=True)
class Options:
    """What goes into a store.

    Attributes:
        model: An ONNX file that the engine can run; None for none.
        torchscript: A TorchScript file, float32 [N, 3, size, size] to [N, D]; None makes one of `model`, where PyTorch
            is installed and the model is one of this project's.
        folder: The gallery's pictures; None for no search.
        k: How many similar pictures a search returns.
        size: The side of the network's input, in pixels; None for the model's own.
        max_batch: The largest batch.
        delay_us: How long a request may wait for others, in microseconds; None for no batching by the server.
        prefix: What the names of the models begin with.
        threads: Of the native model; 0 for one a core of the machine that serves it.
        instances: How many batches the native model embeds at the same time, which share its threads; 0 for one a core
            of this machine.
    """

    model: Path | None = None
    torchscript: Path | None = None
    folder: Path | None = None
    k: int = 5
    size: int | None = None
    max_batch: int = 32
    delay_us: int | None = 1000
    prefix: str = "rrn"
    threads: int = 0
    instances: int = 0


@dataclasses.dataclass(frozen=True)
class Built:
    """A store that was made.

    Attributes:
        path: Its folder.
        models: The models in it, ensembles last.
        notes: What was left out and why, and files of the gallery that were skipped.
    """

    path: Path
    models: list[Model]
    notes: list[str]


# Writes what belongs into a model's folder beside config.pbtxt.
_Fill = Callable[[Path], object]


def build(store: Path, options: Options, *, force: bool = False, progress: rrn_native.Progress | None = None) -> Built:
    """Makes a store; it appears complete or not at all.

    Args:
        store: A folder that does not exist.
        options: What goes in.
        force: Replaces a store that is there.
        progress: For the gallery.

    Raises:
        ValueError: An option is wrong, or a description does not say what the model's file says.
        FileExistsError: There is something already.
        OSError: A file cannot be read or written.
        rrn_native.RrnError: The engine cannot run the model.
    """
    if options.model is None and options.torchscript is None:
        raise ValueError("a store needs a model or a TorchScript file")
    _check_options(options)
    # A link stays one: the folder that it points to is replaced.
    store = Path(os.path.realpath(store))
    if store.exists() and not force:
        raise FileExistsError(f"{store} is there already; --force replaces it")
    if store.exists() and not is_store(store):
        raise FileExistsError(f"{store} is no model store, so it is not replaced")
    parts = _Parts(options, progress)
    temporary = store.with_name(f".{store.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        for model, fill in parts.models:
            _write(model, fill, temporary / model.name)
        described = {model.name: model for model, _ in parts.models}
        for model in parts.ensembles():
            check_ensemble(model, described)
            _write(model, lambda folder: None, temporary / model.name)
            described[model.name] = model
        for name, content in container_files(list(described.values())).items():
            (temporary / name).write_text(content)
            (temporary / name).chmod(0o755 if name.endswith(".sh") else 0o644)
        if store.exists():
            for wheel in store.glob("*.whl"):
                shutil.copy2(wheel, temporary)
            old = temporary.with_suffix(".old")
            store.rename(old)
            temporary.rename(store)
            shutil.rmtree(old)
        else:
            temporary.rename(store)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Built(store, list(described.values()), parts.notes)


def _check_options(options: Options) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", options.prefix):
        raise ValueError(f"prefix is {options.prefix!r}, expected letters, digits, '_', '-' and '.'")
    ranges = {"max_batch": (1, 1024), "k": (1, 1 << 20), "threads": (0, 1024), "instances": (0, 1024)}
    if options.delay_us is not None:
        ranges["delay_us"] = (0, 1 << 31)
    for name, (low, high) in ranges.items():
        if not low <= getattr(options, name) <= high:
            raise ValueError(f"{name} is {getattr(options, name)}, expected {low} to {high}")


def is_store(folder: Path) -> bool:
    """Whether all that a folder holds is models, what `build` adds to them, and wheels for the container."""
    if not folder.is_dir():
        return False
    entries = list(folder.iterdir())
    known = container_files([])
    return any(each.is_dir() for each in entries) and all(
        (each / "config.pbtxt").is_file() or each.name in known or each.suffix == ".whl" for each in entries
    )


def check_zip(store: Path, target: Path) -> None:
    """Checks, before long work, that a ZIP file can be written.

    Raises:
        ValueError: It would be in the store, or there is no such folder.
    """
    parent = target.absolute().parent
    if not parent.is_dir():
        raise ValueError(f"--zip {target}: no such folder to write to")
    if parent.resolve().is_relative_to(store.resolve()):
        raise ValueError(f"--zip {target}: is in the store itself")


def zip_store(store: Path, target: Path) -> None:
    """Writes a store as one ZIP file; the same store gives the same bytes.

    Raises:
        OSError: A file cannot be read or written.
    """

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in store.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(str(path.relative_to(store)), (2020, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (path.stat().st_mode & 0o777) << 16
                archive.writestr(entry, path.read_bytes())

    replace_file(target, write)


def _write(model: Model, fill: _Fill, folder: Path) -> None:
    (folder / "1").mkdir(parents=True)
    fill(folder)
    if model.warm_up:
        picture = doctor.png(doctor.test_picture())
        (folder / "warmup").mkdir()
        # As the server keeps a string: its length, then its bytes.
        (folder / "warmup" / model.warm_up).write_bytes(struct.pack("<I", len(picture)) + picture)
    (folder / "config.pbtxt").write_text(to_pbtxt(model))


class _Parts:
    """The models of a store without the ensembles, each with what fills its folder."""

    def __init__(self, options: Options, progress: rrn_native.Progress | None) -> None:
        self.options = options
        self.notes: list[str] = []
        self.models: list[tuple[Model, _Fill]] = []
        self.embedder = rrn_native.Embedder(options.model, options.size) if options.model is not None else None
        self.size = self.embedder.size if self.embedder is not None else options.size or DEFAULT_SIZE
        # As for the models of this project, unless the model says something else.
        self.described = onnx_file.parsed_input("")
        self.source = options.model or Path()
        self.dim = self.embedder.dim if self.embedder is not None else 0
        self.pixels = Tensor("images", "FP32", (3, self.size, self.size))
        if self.embedder is not None:
            self._add_native()
            self._add_onnx()
        self._add_torchscript()
        self._add_preprocess()
        if options.folder is not None:
            self._add_nearest(options.folder, progress)

    def ensembles(self) -> Iterator[Model]:
        """Yields the ensembles, whose steps are the models."""
        names = {model.name for model, _ in self.models}
        prefix = self.options.prefix
        for kind, suffix in (("onnx", ""), ("torchscript", "_torchscript")):
            if f"{prefix}_{kind}" in names:
                yield self._ensemble(f"{prefix}_embed{suffix}", f"{prefix}_{kind}", search=False)
        if f"{prefix}_nearest" in names:
            first = "onnx" if f"{prefix}_onnx" in names else "torchscript"
            yield self._ensemble(f"{prefix}_similar", f"{prefix}_{first}", search=True)

    def _ensemble(self, name: str, network: str, *, search: bool) -> Model:
        parts = {model.name: model for model, _ in self.models}
        model = parts[network]
        steps = [
            Step(f"{self.options.prefix}_preprocess", {"image": "image"}, {"pixels": "pixels", "error": "error"}),
            Step(network, {model.inputs[0].name: "pixels"}, {model.outputs[0].name: _EMBEDDING}),
        ]
        outputs: tuple[Tensor, ...] = (Tensor(_EMBEDDING, "FP32", model.outputs[0].dims), _ERROR)
        if search:
            nearest = parts[f"{self.options.prefix}_nearest"]
            steps.append(
                Step(nearest.name, {_EMBEDDING: _EMBEDDING}, {each.name: each.name for each in nearest.outputs})
            )
            outputs = (*nearest.outputs, _ERROR)
        return self._model(name, "ensemble", (_IMAGE,), outputs, steps=tuple(steps), delay_us=None)

    def _model(
        self, name: str, runs_on: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], **more: Any
    ) -> Model:
        common = {"max_batch": self.options.max_batch, "delay_us": self.options.delay_us}
        return Model(name, runs_on, inputs, outputs, **(common | more))

    def _add_native(self) -> None:
        parameters = {
            "size": str(self.size),
            "threads": str(self.options.threads),
            "low_latency": "1",
            "op_library": "libreduction_op.so",
            "max_bytes": str(MAX_BYTES),
            "max_pixels": str(DEFAULT_MAX_PIXELS),
        }
        outputs = (Tensor(_EMBEDDING, "FP32", (self.dim,)), _ERROR)
        file = "model.int8.onnx" if self.source.name.endswith(".int8.onnx") else "model.onnx"
        model = self._model(
            self.options.prefix,
            "rrn",
            (_IMAGE,),
            outputs,
            parameters=parameters,
            file=file,
            warm_up="picture",
            instances=self.options.instances or os.cpu_count() or 1,
        )
        self.models.append((model, lambda folder: self._copy_onnx(folder, file)))

    def _add_onnx(self) -> None:
        outputs = (Tensor(_EMBEDDING, "FP32", (self.dim,)),)
        name = f"{self.options.prefix}_onnx"
        more = {"op_libraries": ("libreduction_op.so",), "file": "model.onnx"}
        model = self._model(name, "onnxruntime_onnx", (self.pixels,), outputs, **more)
        self.described = onnx_file.parsed_input(checks.check_onnx(model, self.source).get("rrn.preprocessing", ""))
        self.models.append((model, lambda folder: self._copy_onnx(folder, "model.onnx")))

    def _copy_onnx(self, folder: Path, file: str) -> None:
        shutil.copyfile(self.source, folder / "1" / file)
        for name in onnx_file.external_files(self.source):
            (folder / "1" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.source.parent / name, folder / "1" / name)
        shutil.copyfile(rrn_native.custom_op_library(), folder / "libreduction_op.so")

    def _add_torchscript(self) -> None:
        given = self.options.torchscript
        fill: Callable[[Path], object]
        if given is not None:
            dim, fill = checks.torchscript_output(given, self.pixels.dims), partial(shutil.copyfile, given)
        else:
            try:
                dim, fill = self._traced()
            except (ImportError, ValueError, RuntimeError) as error:
                self.notes.append(f"no TorchScript model: {error}")
                return
        # The names that Triton's backend wants where the file has none of its own.
        inputs = (Tensor("INPUT__0", "FP32", self.pixels.dims),)
        outputs = (Tensor("OUTPUT__0", "FP32", (dim,)),)
        name = f"{self.options.prefix}_torchscript"
        model = self._model(name, "pytorch_libtorch", inputs, outputs, file="model.pt")
        self.models.append((model, lambda folder: fill(folder / "1" / "model.pt")))

    def _traced(self) -> tuple[int, Callable[[Path], object]]:
        """The network of the ONNX file as TorchScript: the length of an embedding, and what writes the file."""
        from rrn_native.model import runtimes

        module = runtimes.traced(self.source, self.size)
        return self.dim, lambda path: module.save(str(path))

    def _add_preprocess(self) -> None:
        parameters = {
            "size": str(self.size),
            "mean": json.dumps(list(self.described["mean"])),
            "std": json.dumps(list(self.described["std"])),
            "divisor": str(self.described["divisor"]),
            "channels": str(self.described["channels"]),
            "max_bytes": str(MAX_BYTES),
            "max_pixels": str(DEFAULT_MAX_PIXELS),
        }
        outputs = (dataclasses.replace(self.pixels, name="pixels"), _ERROR)
        name = f"{self.options.prefix}_preprocess"
        model = self._model(
            name, "python", (_IMAGE,), outputs, parameters=parameters, file="model.py", warm_up="picture"
        )
        text = _PYTHON_MODEL.format(summary="Contents of picture files to a network's input.", name="Preprocess")
        self.models.append((model, lambda folder: (folder / "1" / "model.py").write_text(text)))

    def _add_nearest(self, folder: Path, progress: rrn_native.Progress | None) -> None:
        if self.embedder is None:
            raise ValueError("the gallery is embedded by the engine, which needs an ONNX model")
        made = gallery.make(folder, self.embedder, progress)
        self.notes += [f"gallery: {line}" for line in made.skipped]
        k = min(self.options.k, len(made.names))
        inputs = (Tensor(_EMBEDDING, "FP32", (self.dim,)),)
        outputs = (Tensor("names", "BYTES", (k,)), Tensor("similarity", "FP32", (k,)))
        name = f"{self.options.prefix}_nearest"
        model = self._model(name, "python", inputs, outputs, parameters={"k": str(k)}, file="model.py")
        text = _PYTHON_MODEL.format(summary="Embeddings to the most similar pictures of a gallery.", name="Nearest")

        def fill(target: Path) -> None:
            (target / "1" / "model.py").write_text(text)
            made.save(target / "gallery.npz")

        self.models.append((model, fill))
