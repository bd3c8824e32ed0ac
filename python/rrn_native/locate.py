"""Where the package's own files are: in the package itself when installed, in the source tree during development."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SOURCE_TREE = _PACKAGE.parent.parent


def _first_file(candidates: list[Path], what: str) -> str:
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    tried = ", ".join(str(candidate) for candidate in candidates)
    how = "Run scripts/build.sh, which makes it" if (_SOURCE_TREE / "CMakeLists.txt").is_file() else "Install rrn again"
    raise FileNotFoundError(f"{what} not found; looked for {tried}. {how}.")


def default_model() -> str:
    """Returns the path of the ONNX model that is used when none is named.

    Raises:
        FileNotFoundError: No such file; the message lists the places.
    """
    name = "models/reduction_resnet18.onnx"
    return _first_file([_PACKAGE / name, _SOURCE_TREE / name], "the default model")


def custom_op_library() -> str:
    """Returns the path of ``libreduction_op.so``.

    Any ONNX Runtime session runs the operator after ``SessionOptions.register_custom_ops_library(path)``.

    Raises:
        FileNotFoundError: No such file; the message lists the places.
    """
    name = "lib/libreduction_op.so"
    return _first_file([_PACKAGE / name, _SOURCE_TREE / name], "libreduction_op.so")
