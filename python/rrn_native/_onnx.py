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


def properties(proto: onnx.ModelProto) -> dict[str, str]:
    """Returns a model's metadata by key."""
    return {entry.key: entry.value for entry in proto.metadata_props}
