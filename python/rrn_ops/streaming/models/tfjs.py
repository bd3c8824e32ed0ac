"""Reads a graph model of TensorFlow.js: ``model.json`` and the files with its weights.

The format is that of tensorflowjs_converter's "graph model": ``modelTopology`` is a GraphDef in protobuf's JSON, and
``weightsManifest`` lists which tensors the concatenated files hold, one after the other without gaps. Attributes that
are text come as base64 in newer files and as lists of byte values in older ones; 64-bit integers come as text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rrn_ops.streaming.models.contract import DetectorError
from rrn_ops.streaming.models.graph import Array, Graph, Node, data_inputs

_TYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_, "uint8": np.uint8, "float16": np.float16}
_QUANTISED = {"uint8": np.uint8, "uint16": np.uint16, "float16": np.float16}
# TensorFlow's types of constants that come without data, by number and by name.
_EMPTY_TYPES = {1: np.float32, "DT_FLOAT": np.float32, 3: np.int32, "DT_INT32": np.int32, 9: np.int64}
MOST_NODES = 100_000


def read(model: bytes, files: Mapping[str, bytes]) -> Graph:
    """Reads a graph model.

    Args:
        model: The contents of ``model.json``.
        files: The contents of the weights' files by the names that ``model.json`` gives them.

    Returns:
        The graph; weights that were quantised are float32 again.

    Raises:
        DetectorError: The files are damaged or of another kind; it says which part.
    """
    try:
        document = json.loads(model)
        nodes = document["modelTopology"]["node"]
        groups = document["weightsManifest"]
    except (ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"model.json is no graph model of TensorFlow.js: {error!r}") from error
    if len(nodes) > MOST_NODES:
        raise DetectorError(f"model.json has {len(nodes)} nodes, expected at most {MOST_NODES}")
    constants: dict[str, Array] = {}
    for group in groups:
        missing = [path for path in group["paths"] if path not in files]
        if missing:
            raise DetectorError(f"the weights' file {missing[0]!r} is missing")
        constants |= _weights(group["weights"], b"".join(files[path] for path in group["paths"]))
    made = []
    for entry in nodes:
        attributes = {name: _attribute(value) for name, value in entry.get("attr", {}).items()}
        if entry["op"] != "Const":
            made.append(Node(entry["name"], entry["op"], data_inputs(entry.get("input") or ()), attributes))
        elif entry["name"] not in constants:
            # A tensor without elements has no place among the weights.
            constants[entry["name"]] = _empty(entry)
    return Graph(tuple(made), constants)


def _weights(entries: list[dict[str, Any]], content: bytes) -> dict[str, Array]:
    found: dict[str, Array] = {}
    at = 0
    for entry in entries:
        name, shape = entry["name"], [int(side) for side in entry["shape"]]
        if any(side < 0 for side in shape):
            raise DetectorError(f"the weight {name!r} has the shape {shape}")
        quantisation = entry.get("quantization")
        stored = (quantisation or entry)["dtype"]
        types = _QUANTISED if quantisation else _TYPES
        if stored not in types:
            raise DetectorError(f"the weight {name!r} is {stored}, expected one of {', '.join(types)}")
        kind = np.dtype(types[stored]).newbyteorder("<")
        count = math.prod(shape)
        if at + count * kind.itemsize > len(content):
            raise DetectorError(f"the weights end within {name!r}: {len(content)} bytes")
        values = np.frombuffer(content, kind, count, at).reshape(shape)
        at += count * kind.itemsize
        found[name] = _dequantised(values, quantisation) if quantisation else values.astype(types[stored])
    if at != len(content):
        raise DetectorError(f"the weights have {len(content)} bytes, expected {at}")
    return found


def _dequantised(values: Array, quantisation: Mapping[str, Any]) -> Array:
    if values.dtype == np.float16:
        return values.astype(np.float32)
    # In float64, then rounded once.
    plain = values.astype(np.float64) * float(quantisation["scale"]) + float(quantisation["min"])
    if quantisation.get("original_dtype", "float32") == "int32":
        return np.rint(plain).astype(np.int32)
    return plain.astype(np.float32)


def _empty(entry: Mapping[str, Any]) -> Array:
    try:
        tensor = entry["attr"]["value"]["tensor"]
        shape = [int(side.get("size", 0)) for side in tensor["tensorShape"].get("dim", ())]
    except (KeyError, TypeError) as error:
        raise DetectorError(f"the constant {entry.get('name')!r} has no value") from error
    if math.prod(shape) != 0:
        raise DetectorError(f"the constant {entry['name']!r} of shape {shape} is not among the weights")
    return np.empty(shape, _EMPTY_TYPES.get(tensor.get("dtype"), np.int64))


def _text(value: str | list[int]) -> str:
    try:
        content = bytes(value) if isinstance(value, list) else base64.b64decode(value, validate=True)
        return content.decode("utf-8")
    except (ValueError, binascii.Error) as error:
        raise DetectorError(f"an attribute is no text: {value!r}") from error


def _attribute(value: Mapping[str, Any]) -> Any:
    """The value of an AttrValue in JSON; None for kinds that no operation here has."""
    if "s" in value:
        return _text(value["s"])
    if "i" in value:
        return int(value["i"])
    if "f" in value:
        return float(value["f"])
    if "b" in value:
        return bool(value["b"])
    listed = value.get("list")
    if listed is None:
        return None
    for kind, convert in (("i", int), ("f", float), ("s", _text), ("b", bool)):
        if listed.get(kind):
            return [convert(each) for each in listed[kind]]
    return []
