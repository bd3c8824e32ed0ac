"""Reads Qt's binary resource files (.rcc), in which GCompris keeps its photos.

The format is that of Qt's `rcc --binary`: a header, a tree of nodes, UTF-16 names and length-prefixed contents.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_COMPRESSED_ZLIB = 1
_DIRECTORY = 2


def entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of every file; files in a compression other than zlib are left out.

    Raises:
        ValueError: This is no resource file.
    """
    if data[:4] != b"qres":
        raise ValueError("not a Qt resource file")
    version, tree, contents, names = struct.unpack_from(">IIII", data, 4)
    node_size = 14 if version == 1 else 22

    def name_at(offset: int) -> str:
        (length,) = struct.unpack_from(">H", data, names + offset)
        start = names + offset + 6
        return data[start : start + 2 * length].decode("utf-16-be")

    def walk(node: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        start = tree + node * node_size
        name_offset, flags = struct.unpack_from(">IH", data, start)
        path = f"{prefix}/{name_at(name_offset)}" if node else ""
        if flags & _DIRECTORY:
            count, first = struct.unpack_from(">II", data, start + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
            return
        (offset,) = struct.unpack_from(">I", data, start + 10)
        (length,) = struct.unpack_from(">I", data, contents + offset)
        content = data[contents + offset + 4 : contents + offset + 4 + length]
        if flags & _COMPRESSED_ZLIB:
            # qCompress puts the uncompressed size in front.
            yield path.lstrip("/"), zlib.decompress(content[4:])
        elif flags in (0, 1):
            yield path.lstrip("/"), content

    yield from walk(0, "")
