"""Loads ONNX Runtime's library, then the native module, and explains a failure."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rrn_native import _native as native

__all__ = ["load", "native", "onnxruntime_library", "openvino_plugin", "package_folder"]

_PACKAGE = Path(__file__).resolve().parent
_PLUGIN = "libonnxruntime_providers_openvino_plugin.so"

# Releases from 1.31 on report their use over the network, and keep a device id, unless told before they start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def package_folder(name: str) -> Path | None:
    """Returns the folder of an installed package, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def onnxruntime_library() -> Path | None:
    """Returns the shared library inside the installed onnxruntime wheel, without importing onnxruntime."""
    folder = package_folder("onnxruntime")
    libraries = sorted((folder / "capi").glob("libonnxruntime.so*")) if folder else []
    return libraries[0] if libraries else None


def openvino_plugin() -> Path | None:
    """Returns the library of the installed onnxruntime-ep-openvino, None if it is not there."""
    folder = package_folder("onnxruntime_ep_openvino")
    plugin = folder / _PLUGIN if folder else None
    return plugin if plugin is not None and plugin.is_file() else None


def __getattr__(name: str) -> Any:
    """``_load.native`` is the native module, loaded when it is first used.

    So the package can be imported, and ``rrn doctor`` can run, where something that the module needs is missing.
    """
    if name == "native":
        return load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def load() -> ModuleType:
    """Returns ``rrn_native._native``; takes no time after the first call.

    The module needs ``libonnxruntime.so.1`` in the process. The wheel's file has that SONAME, so loading it first
    satisfies the dynamic linker whatever the release.

    Raises:
        ImportError: With the likely causes.
    """
    library = onnxruntime_library()
    try:
        if library is not None:
            ctypes.CDLL(str(library))
        module = importlib.import_module("rrn_native._native")
    except (ImportError, OSError) as error:
        raise ImportError(_explain(error, library)) from error
    plugin = openvino_plugin()
    # The engine looks beside the onnxruntime package by itself. With --user or PYTHONPATH the two may be apart.
    if plugin is not None and library is not None and plugin.parents[1] != library.parents[2]:
        os.environ.setdefault("RRN_OPENVINO_EP", str(plugin))
    return module


def _explain(error: Exception, library: Path | None) -> str:
    built = ", ".join(sorted(path.name for path in _PACKAGE.glob("_native*.so")))
    installed = not (_PACKAGE.parents[1] / "CMakeLists.txt").is_file()
    again = "install rrn's wheel again" if installed else "run scripts/build.sh"
    python = "the Python that it was installed for" if installed else "the one in .venv"
    return (
        f"rrn_native's native module could not be loaded ({error}). Likely causes: (1) onnxruntime is missing from "
        f"this environment (found: {library or 'nothing'}): pip install onnxruntime; (2) the module is not there "
        f"(found: {built or 'nothing'}): {again}; (3) it is for another Python: use {python}; (4) this system's C or "
        "C++ library is older than the one it was built with: build rrn on this machine."
    )
