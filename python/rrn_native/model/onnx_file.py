"""The ONNX files that rrn writes: names, metadata, bytes, and the manifest beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import onnx

from rrn_native import _load, arrays
from rrn_native._onnx import external_files as external_files
from rrn_native._onnx import properties
from rrn_native.files import sha256_of_bytes, write_file

INPUT_NAME = "images"
OUTPUT_NAME = "embedding"
# Of ReductionResNet-18: the channels of its last stage.
EMBEDDING_DIM = 512
DEFAULT_SIZE = arrays.DEFAULT_SIZE
MEAN = arrays.IMAGENET_MEAN
STDDEV = arrays.IMAGENET_STD


def preprocessing(size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """Describes how an image becomes the network's input, as stored in the model's metadata `rrn.preprocessing`."""
    return {
        "resize": "bilinear antialiased, aspect ratio not kept",
        "size": size,
        "channels": "RGB",
        "layout": "NCHW",
        "scale": "1/255",
        "mean": list(MEAN),
        "std": list(STDDEV),
    }


def recorded_input(proto: onnx.ModelProto) -> dict[str, Any]:
    """Returns how a model wants its input, as the engine reads it from the metadata `rrn.preprocessing`.

    Returns:
        `size`; `channels`, "RGB" or "BGR"; `divisor`, `mean` and `std`: (pixel / divisor - mean) / std is the input.

    Raises:
        rrn_native.RrnError: The engine cannot do what is recorded.
    """
    return parsed_input(properties(proto).get("rrn.preprocessing", ""))


def parsed_input(text: str) -> dict[str, Any]:
    """The same for the text of that metadata."""
    return _load.native.parse_model_input(text)


def to_bytes(proto: onnx.ModelProto) -> bytes:
    """Serialises a model; equal models give equal bytes."""
    serialized: bytes = proto.SerializeToString(deterministic=True)
    return serialized


def manifest(model_bytes: bytes, file_name: str) -> dict[str, Any]:
    """Describes a model file for people and scripts that do not want to parse ONNX.

    Args:
        model_bytes: The ONNX file.
        file_name: Its name, without a folder.
    """
    proto = onnx.load_model_from_string(model_bytes)
    found = properties(proto)
    return {
        "file": file_name,
        "bytes": len(model_bytes),
        "sha256": sha256_of_bytes(model_bytes),
        "origin": found["rrn.weights.origin"],
        "weights_sha256": found["rrn.weights.sha256"],
        "rrn_version": found["rrn.version"],
        "opset": next(entry.version for entry in proto.opset_import if entry.domain == ""),
        "ir_version": proto.ir_version,
        "input": {"name": INPUT_NAME, "type": "float32", "shape": ["batch", 3, "height", "width"]},
        "output": {"name": OUTPUT_NAME, "type": "float32", "shape": ["batch", EMBEDDING_DIM]},
        "preprocessing": json.loads(found["rrn.preprocessing"]),
    }


def write(proto: onnx.ModelProto, output: Path, more: dict[str, Any] | None = None) -> None:
    """Writes the model to `output` and its manifest beside it (.json); either file is complete or untouched.

    The manifest also gets `files_fingerprint`, by which `rrn doctor` tells whether the file is still the same.

    Args:
        proto: The model.
        output: The ONNX file.
        more: Further entries of the manifest.

    Raises:
        OSError: The folder does not exist or cannot be written.
    """
    model_bytes = to_bytes(proto)
    write_file(output, model_bytes)
    fields = manifest(model_bytes, output.name)
    fields["files_fingerprint"] = _load.native.files_fingerprint(os.fsencode(output))
    write_file(output.with_suffix(".json"), (json.dumps(fields | (more or {}), indent=2) + "\n").encode())
