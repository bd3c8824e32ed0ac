"""ONNX files, read."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError


def load(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no ONNX file.
    """
    try:
        return onnx.load(path)
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file") from error


def external_files(path: Path) -> list[str]:
    """Returns the files that an ONNX file names as the place of its weights, relative to its folder, sorted.

    Raises:
        FileNotFoundError: No such file.
    """
    proto = onnx.load(path, load_external_data=False)
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def properties(proto: onnx.ModelProto) -> dict[str, str]:
    """Returns a model's metadata by key."""
    return {entry.key: entry.value for entry in proto.metadata_props}
