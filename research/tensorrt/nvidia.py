"""NVIDIA's libraries, where they are: TensorRT, or else TensorRT for RTX.

TensorRT's packages on PyPI hold Python bindings only, and their libraries come from https://pypi.nvidia.com. TensorRT
for RTX (package tensorrt-rtx) is complete on PyPI; it has no plugins, and its engines run on GPUs for desktops (compute
capability 7.5, 8.0, 8.6, 8.9, 12.0 and newer). It has the same parser for ONNX, and builds engines without a GPU.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research.common.results import write_bytes

# Packages, the fuller one first, with what they are called.
PRODUCTS: Mapping[str, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}
INSTALL = "pip install tensorrt --extra-index-url https://pypi.nvidia.com"
INSTALL_RTX = "pip install tensorrt-rtx"
MIB = 2**20


class MissingError(Exception):
    """A library or a device is not there; the message is one line with the reason and what to do."""


class BuildError(Exception):
    """The parser or the builder refused a model; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Library:
    """One of the products.

    Attributes:
        module: The Python module, as it was imported.
        package: Its name.
        version: As the module says.
    """

    module: Any
    package: str
    version: str

    @property
    def name(self) -> str:
        """The product and its version, for people."""
        return f"{PRODUCTS[self.package]} {self.version}"

    @property
    def has_plugins(self) -> bool:
        """Whether networks of this product can have plugins."""
        return hasattr(self.module.INetworkDefinition, "add_plugin_v3")

    @property
    def strongly_typed_flags(self) -> int:
        """The flags of a strongly typed network: asked for in releases up to 10, a matter of course from 11 on."""
        flags = self.module.NetworkDefinitionCreationFlag
        return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def find(packages: Sequence[str] = tuple(PRODUCTS)) -> Library:
    """Imports the first package that is there.

    Raises:
        MissingError: No package is there.
    """
    reasons = []
    for package in packages:
        try:
            module = importlib.import_module(package)
        # A package without its libraries fails by one of these, according to its release.
        except (ImportError, OSError) as error:
            reasons.append(f"{package}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        return Library(module, package, str(module.__version__))
    raise MissingError(f"no library of TensorRT ({'; '.join(reasons)}): {INSTALL}")


def product() -> str:
    """Returns the name of the product that `find` finds, without its version; "TensorRT" where neither is there."""
    try:
        return PRODUCTS[find().package]
    except MissingError:
        return PRODUCTS["tensorrt"]


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What a parser said.

    Attributes:
        accepted: Whether it made a network.
        error: Its first error, one line; "" without any.
        layers: How many layers of each kind the network has.
        outputs: Name, shape (-1: dynamic) and type of each output.
    """

    accepted: bool
    error: str
    layers: Mapping[str, int]
    outputs: Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an engine is built.

    Attributes:
        batches: The smallest batch, the one that is tuned for, and the largest.
        size: Height and width of the pictures.
        workspace: MiB that a layer may use beside its tensors.
        tf32: Whether float32 products may be rounded to TF32 (10 bits of mantissa) on the way.
        timing_cache: Measured times of kernels, read and written; None for none.
        plugins: Libraries of plugins.
    """

    batches: tuple[int, int, int] = (1, 8, 32)
    size: int = 224
    workspace: int = 1024
    tf32: bool = False
    timing_cache: Path | None = None
    plugins: tuple[Path, ...] = ()

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """Returns the network's input for a batch."""
        return (batch, 3, self.size, self.size)


@dataclasses.dataclass(frozen=True)
class Built:
    """An engine.

    Attributes:
        plan: The serialised engine.
        seconds: That building took.
    """

    plan: bytes
    seconds: float


class _Session:
    """A builder and all that must live as long as it."""

    def __init__(self, library: Library, plugins: Sequence[Path]) -> None:
        trt = library.module
        if plugins and not library.has_plugins:
            raise BuildError(f"{library.name} has no plugins: {INSTALL}")
        self.trt = trt
        self.logger = _collector(trt)
        try:
            self.builder = trt.Builder(self.logger)
        # pybind11's words for a null pointer: TensorRT has found no device.
        except TypeError as error:
            raise MissingError(f"{library.name} has no GPU to build for: run it on a machine with one") from error
        for path in plugins:
            if self.builder.get_plugin_registry().load_library(str(path)) is None:
                raise BuildError(f"{path}: expected a library of plugins, which {library.name} could not load")
        self.network = self.builder.create_network(library.strongly_typed_flags)
        self.parser = trt.OnnxParser(self.network, self.logger)

    def parse(self, model: bytes) -> str:
        """Fills the network; returns the first error, "" without any."""
        if self.parser.parse(model):
            return ""
        error = self.parser.get_error(0)
        node = f"{error.node_operator()} {error.node_name()}".strip()
        return ": ".join(filter(None, (node, first_line(error.desc()))))


def _collector(trt: Any) -> Any:
    """A logger that keeps the errors: the library tells its own what a return value does not say."""

    class Collector(trt.ILogger):  # type: ignore[misc]  # the module is not there when types are checked
        """Keeps errors.

        Attributes:
            errors: One message each.
        """

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Takes a message; TensorRT calls this."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(first_line(message))

    return Collector()


def first_line(text: str) -> str:
    """Returns the line of an error that says what is wrong: not that about a device, which the model has no part in."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and "catchCudaError" not in line and not line.startswith("Invalid Node")]
    return told[0] if told else text.strip()


def parse(library: Library, model: bytes, plugins: Sequence[Path] = ()) -> Parsed:
    """Gives a model to the parser.

    Args:
        library: Whose.
        model: A serialised ONNX model.
        plugins: Libraries for operators that the parser does not know.

    Raises:
        MissingError: The library wants a GPU for this.
        BuildError: A library of plugins cannot be loaded.
    """
    session = _Session(library, plugins)
    error = session.parse(model)
    if error:
        return Parsed(False, error, {}, [])
    network = session.network
    kinds = collections.Counter(_name(network.get_layer(at).type) for at in range(network.num_layers))
    outputs = [network.get_output(at) for at in range(network.num_outputs)]
    found = [{"name": each.name, "shape": list(each.shape), "type": _name(each.dtype)} for each in outputs]
    return Parsed(True, "", dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))), found)


def _name(value: Any) -> str:
    """The name of an enumeration's value, whatever enumeration it is."""
    return str(value).rpartition(".")[2]


def build(library: Library, model: bytes, settings: Settings) -> Built:
    """Builds an engine.

    Args:
        library: By which.
        model: A serialised ONNX model with one input, whose batch, height and width are dynamic.
        settings: How.

    Raises:
        MissingError: The library wants a GPU for this.
        BuildError: The parser or the builder refused.
        OSError: The timing cache cannot be read or written.
    """
    session = _Session(library, settings.plugins)
    error = session.parse(model)
    if error:
        raise BuildError(error)
    config = _configure(session, settings)
    started = time.perf_counter()
    plan = session.builder.build_serialized_network(session.network, config)
    seconds = time.perf_counter() - started
    if plan is None:
        reasons = [each for each in session.logger.errors if "cudaError" not in each]
        raise BuildError(f"{library.name} built no engine: {reasons[0] if reasons else 'and gave no reason'}")
    if settings.timing_cache is not None:
        cache = config.get_timing_cache()
        if cache is not None:
            write_bytes(settings.timing_cache, bytes(cache.serialize()))
    return Built(bytes(plan), seconds)


def _configure(session: _Session, settings: Settings) -> Any:
    trt = session.trt
    config = session.builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace * MIB)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.timing_cache is not None:
        known = settings.timing_cache.read_bytes() if settings.timing_cache.exists() else b""
        config.set_timing_cache(config.create_timing_cache(known), False)
    profile = session.builder.create_optimization_profile()
    profile.set_shape(session.network.get_input(0).name, *map(settings.shape, settings.batches))
    config.add_optimization_profile(profile)
    return config
