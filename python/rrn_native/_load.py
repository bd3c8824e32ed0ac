"""Loads ONNX Runtime's library, then the native module, and explains a failure."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType


def _onnxruntime_library() -> Path | None:
    """Returns the shared library inside the installed onnxruntime wheel, without importing onnxruntime."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    libraries = sorted((Path(spec.submodule_search_locations[0]) / "capi").glob("libonnxruntime.so*"))
    return libraries[0] if libraries else None


def load() -> ModuleType:
    """Imports ``rrn_native._native``.

    The module needs ``libonnxruntime.so.1`` in the process. The wheel's file has that SONAME, so loading it first
    satisfies the dynamic linker whatever the release.

    Raises:
        ImportError: With the likely causes.
    """
    # Releases from 1.31 on report their use over the network, and keep a device id, unless told before they start.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    library = _onnxruntime_library()
    if library is not None:
        ctypes.CDLL(str(library))
    try:
        return importlib.import_module("rrn_native._native")
    except ImportError as error:
        raise ImportError(
            f"rrn_native's native module could not be loaded ({error}). Likely causes: (1) it is not built: run "
            "scripts/build.sh; (2) it is built for another Python: use the one in .venv; (3) onnxruntime is missing "
            f"from this environment (found: {library or 'nothing'}): pip install onnxruntime."
        ) from error
