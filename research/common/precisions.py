"""Names of precisions, as runtimes call them and as pages do."""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = {
    **{"float": "fp32", "f32": "fp32", "float32": "fp32", "float16": "fp16", "f16": "fp16"},
    **{"bfloat16": "bf16", "uint8": "8 bits", "int8": "8 bits", "u8": "8 bits", "i8": "8 bits"},
}


def share(counts: Mapping[str, int], what: str) -> str:
    """Returns "76 of 88 convolutions in 8 bits".

    Args:
        counts: How many there are of each precision, by a runtime's name of it.
        what: They are, in words.
    """
    kinds: dict[str, int] = {}
    for kind, count in counts.items():
        kinds[_WORDS.get(kind, kind)] = kinds.get(_WORDS.get(kind, kind), 0) + count
    # Where there are as many of both, the lower precision is named.
    (most, count), *rest = sorted(kinds.items(), key=lambda item: (-item[1], item[0] == "fp32"))
    return f"{count} of {sum(kinds.values())} {what} in {most}" if rest else f"{count} {what} in {most}"
