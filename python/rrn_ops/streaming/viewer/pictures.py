"""The size of a JPEG picture by its header, without decoding it."""

from __future__ import annotations

# Markers of ITU-T T.81, table B.1: a frame header SOF0 ... SOF15, without DHT, JPG and DAC, which lie between them.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Without a length: TEM and RST0 ... RST7.
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# A file has a few markers before its frame header; the bound keeps a hostile one short.
_MOST_MARKERS = 256


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Returns width and height in pixels as a JPEG file's frame header has them; None for anything else.

    A browser takes memory for what the header says, whatever follows it, so this is looked at before a file is passed
    on. Source: ITU-T T.81, annex B.
    """
    if content[:2] != b"\xff\xd8":
        return None
    at = 2
    for _ in range(_MOST_MARKERS):
        if content[at : at + 1] != b"\xff":
            return None
        while content[at : at + 1] == b"\xff":
            at += 1
        marker = content[at] if at < len(content) else 0
        at += 1
        if marker in _ALONE:
            continue
        length = int.from_bytes(content[at : at + 2], "big")
        if marker in (0x00, 0xD8, 0xD9, 0xDA) or length < 2 or at + length > len(content):
            return None
        if marker in _FRAME_HEADERS:
            if length < 8:
                return None
            height, width = (int.from_bytes(content[at + k : at + k + 2], "big") for k in (3, 5))
            return (width, height) if width and height else None
        at += length
    return None
