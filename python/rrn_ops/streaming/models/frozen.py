"""Reads a frozen graph of TensorFlow 1: a GraphDef message whose variables have become constants.

The wire format is protobuf's (https://protobuf.dev/programming-guides/encoding/), the messages are those of
``tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto``. Only the fields that a network for
inference has are read; all others are skipped.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from rrn_ops.streaming.models.contract import DetectorError
from rrn_ops.streaming.models.graph import Array, Graph, Node, data_inputs

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# TensorFlow's numbers of types: the type, the TensorProto's field of values, and how that field is packed.
_TYPES: dict[int, tuple[Any, int, int]] = {
    1: (np.float32, 5, _FIXED32),
    2: (np.float64, 6, _FIXED64),
    3: (np.int32, 7, _VARINT),
    4: (np.uint8, 7, _VARINT),
    6: (np.int8, 7, _VARINT),
    9: (np.int64, 10, _VARINT),
    10: (np.bool_, 11, _VARINT),
}
_MOST_ELEMENTS = 1 << 28

Field = tuple[int, int, int | memoryview]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise DetectorError("the GraphDef is damaged: a number does not end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: memoryview) -> Iterator[Field]:
    """Yields the fields of a message: number, wire type, and an int or the bytes.

    Raises:
        DetectorError: The message is damaged or uses groups.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise DetectorError(f"the GraphDef is damaged: wire type {wire} in field {number}")
        if at + length > len(data):
            raise DetectorError(f"the GraphDef is damaged: field {number} ends after the message")
        yield number, wire, data[at : at + length]
        at += length


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _message(number: int, value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise DetectorError(f"the GraphDef is damaged: field {number} is a number, expected a message")
    return value


def _number(number: int, value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise DetectorError(f"the GraphDef is damaged: field {number} is a message, expected a number")
    return value


def _string(number: int, value: int | memoryview) -> str:
    return bytes(_message(number, value)).decode("utf-8", "replace")


def _numbers(number: int, value: int | memoryview, packing: int) -> list[float]:
    """The values of a repeated field, which may be packed."""
    if isinstance(value, int):
        return [_signed(value)]
    if packing == _VARINT:
        found: list[float] = []
        at = 0
        while at < len(value):
            each, at = _varint(value, at)
            found.append(_signed(each))
        return found
    kind, size = ("f", 4) if packing == _FIXED32 else ("d", 8)
    if len(value) % size:
        raise DetectorError(f"the GraphDef is damaged: field {number} has {len(value)} bytes")
    return list(struct.unpack(f"<{len(value) // size}{kind}", value))


def _shape(data: memoryview) -> list[int]:
    sides = []
    for number, _, value in fields(data):
        if number == 2:
            sizes = [_signed(_number(1, each)) for inner, _, each in fields(_message(number, value)) if inner == 1]
            sides.append(sizes[0] if sizes else 0)
    return sides


def _tensor(data: memoryview) -> Array | None:
    """A TensorProto; None for text and other types that no network computes with."""
    kind, shape, content = 0, list[int](), memoryview(b"")
    values: dict[int, list[float]] = {}
    for number, _, value in fields(data):
        if number == 1:
            kind = _number(number, value)
        elif number == 2:
            shape = _shape(_message(number, value))
        elif number == 4:
            content = _message(number, value)
        elif number in (5, 6, 7, 10, 11):
            packing = {5: _FIXED32, 6: _FIXED64}.get(number, _VARINT)
            values.setdefault(number, []).extend(_numbers(number, value, packing))
    if kind not in _TYPES:
        return None
    dtype, field, _ = _TYPES[kind]
    count = math.prod(shape)
    if any(side < 0 for side in shape) or count > _MOST_ELEMENTS:
        raise DetectorError(f"the GraphDef is damaged: a constant has the shape {shape}")
    if len(content):
        stored = np.dtype(dtype).newbyteorder("<")
        if len(content) != count * stored.itemsize:
            raise DetectorError(f"the GraphDef is damaged: a constant of shape {shape} has {len(content)} bytes")
        return np.frombuffer(content, stored).reshape(shape).astype(dtype)
    listed = values.get(field, [])
    if len(listed) > count:
        raise DetectorError(f"the GraphDef is damaged: a constant of shape {shape} has {len(listed)} values")
    # The last value stands for all that follow; no value at all for zeros.
    listed = listed + [listed[-1] if listed else 0] * (count - len(listed))
    return np.array(listed, dtype).reshape(shape)


def _list(data: memoryview) -> list[Any]:
    found: list[Any] = []
    for number, _, value in fields(data):
        if number == 2:
            found.append(_string(number, value))
        elif number == 3:
            found.extend(_numbers(number, value, _VARINT))
        elif number == 4:
            found.extend(_numbers(number, value, _FIXED32))
        elif number == 5:
            found.extend(bool(each) for each in _numbers(number, value, _VARINT))
    return found


def _attribute(data: memoryview) -> Any:
    """An AttrValue: text, a number, a truth value, a list of them, or an array; None for all else."""
    for number, _, value in fields(data):
        if number == 1:
            return _list(_message(number, value))
        if number == 2:
            return _string(number, value)
        if number == 3:
            return _signed(_number(number, value))
        if number == 4:
            return _numbers(number, value, _FIXED32)[0]
        if number == 5:
            return bool(value)
        if number == 8:
            return _tensor(_message(number, value))
    return None


def read(content: bytes) -> Graph:
    """Reads a serialised GraphDef.

    Raises:
        DetectorError: It is damaged, or no GraphDef.
    """
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    for number, _, value in fields(memoryview(content)):
        if number != 1:
            continue
        name = op = ""
        inputs: list[str] = []
        attributes: dict[str, Any] = {}
        for inner, _, each in fields(_message(number, value)):
            if inner == 1:
                name = _string(inner, each)
            elif inner == 2:
                op = _string(inner, each)
            elif inner == 3:
                inputs.append(_string(inner, each))
            elif inner == 5:
                entry = {key: item for key, _, item in fields(_message(inner, each))}
                attributes[_string(1, entry.get(1, memoryview(b"")))] = _attribute(
                    _message(2, entry.get(2, memoryview(b"")))
                )
        if not name or not op:
            raise DetectorError("the GraphDef is damaged: a node has no name or no operation")
        if op != "Const":
            nodes.append(Node(name, op, data_inputs(inputs), attributes))
        elif isinstance(attributes.get("value"), np.ndarray):
            constants[name] = attributes["value"]
    if not nodes:
        raise DetectorError("the file is no GraphDef: it has no nodes")
    return Graph(tuple(nodes), constants)
