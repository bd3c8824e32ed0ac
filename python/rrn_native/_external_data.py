"""Which other files an ONNX file keeps its weights in, found without the onnx package."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# The messages of onnx.proto that can hold a tensor: field number -> kind of the message in it.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_files(model: Path) -> list[Path]:
    """Returns the files that a model's tensors lie in, besides the model's own: sorted, each once.

    Args:
        model: An ONNX file. Its tensors' bytes are skipped, so a large one takes no longer.

    Returns:
        The places, relative to the model's folder as in the file; they need not exist.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no ONNX file, or damaged.
    """
    with model.open("rb") as file:
        if file.seek(0, 2) == 0:
            raise ValueError(f"{model}: empty, expected an ONNX file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                names = {location.decode() for location in _locations(data, 0, len(data), "model")}
            except (IndexError, RecursionError, UnicodeDecodeError) as error:
                raise ValueError(f"{model}: not an ONNX file, or damaged") from error
    return [model.parent / name for name in sorted(names)]


def _locations(data: mmap.mmap, begin: int, end: int, kind: str) -> Iterator[bytes]:
    fields = _FIELDS[kind]
    for number, first, last in _messages(data, begin, end):
        inner = fields.get(number)
        if inner == "entry":
            entry = {key: data[start:stop] for key, start, stop in _messages(data, first, last)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"")
        elif inner is not None:
            yield from _locations(data, first, last, inner)


def _messages(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of one message that have a length: (number, begin, end)."""
    while begin < end:
        tag, begin = _varint(data, begin)
        kind = tag & 7
        if kind == _VARINT:
            _, begin = _varint(data, begin)
        elif kind in (_FIXED64, _FIXED32):
            begin += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, begin = _varint(data, begin)
            if begin + size > end:
                raise IndexError("a field is longer than what holds it")
            yield tag >> 3, begin, begin + size
            begin += size
        else:
            raise IndexError(f"unknown wire type {kind}")


def _varint(data: mmap.mmap, begin: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[begin]
        begin += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, begin
        shift += 7
