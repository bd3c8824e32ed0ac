"""Which form to ship, why the others lost, and where the answer changes; from the rows of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

# A classifier's form loses nothing that matters while the whole interval of its difference in accuracy is above the
# first; an embedding's, while no output is further from float32's than the second, because cosines are what its users
# compare.
LEAST_DIFFERENCE = -0.03
LEAST_COSINE = 0.99
# A form that takes this many times as long as float32 in PyTorch is timed once, and compared on a few pictures.
SLOW = 4.0
# Times that are nearer than this are equal.
_EQUAL = 0.05
_BF16 = {"avx512_bf16", "amx_bf16"}
_PRODUCTS_OF_BYTES = {"avx512_vnni", "amx_int8", "asimddp"}


def built(network: Json) -> list[Json]:
    """Returns the rows of a network that could be built and run."""
    return [row for row in network["rows"] if not row["error"]]


def title(row: Json) -> str:
    """Returns the name of a form that a person can say: "int8 static, per channel, ONNX Runtime"."""
    return f"{row['words']}, {row['runtime']}"


def quality(row: Json) -> float:
    """Returns what a form is worth beside its time: a classifier's accuracy, an embedding's least cosine."""
    return float(row["accuracy"]["value"] if row["judged_by"] == "accuracy" else row["agreement"]["least_cosine"])


def is_harmless(row: Json) -> bool:
    """Returns whether a form is known to lose nothing that matters."""
    if row["slow"]:
        return False
    if row["judged_by"] == "accuracy":
        return bool(row["difference"]["low"] >= LEAST_DIFFERENCE)
    return bool(row["agreement"]["least_cosine"] >= LEAST_COSINE)


def to_ship(network: Json) -> Json:
    """Returns the row to ship: the fastest of those that lose nothing that matters."""
    row: Json = min((row for row in built(network) if is_harmless(row)), key=lambda row: row["p50_ms"])
    return row


def reason(row: Json, best: Json, base: Json, instructions: Sequence[str]) -> str:
    """Returns why a form is not the one to ship.

    Args:
        row: The form.
        best: The one to ship.
        base: fp32 in PyTorch.
        instructions: Of the processor.
    """
    if row["variant"] == best["variant"]:
        return "**ship this**"
    if row["slow"]:
        return f"{row['p50_ms'] / base['p50_ms']:.0f} times as slow as fp32{_why(row, instructions)}"
    if not is_harmless(row):
        lost = row["difference"]
        if row["judged_by"] != "accuracy":
            return f"a cosine of {row['agreement']['least_cosine']:.3f} to fp32's"
        return f"loses {-lost['value']:.1%}" if lost["high"] < 0 else "may lose more than 3 %"
    if row["p50_ms"] <= best["p50_ms"] * (1 + _EQUAL):
        return "as fast, within 5 %"
    changed = row["ran"].get("replaced", {})
    if row["runtime"] == "PyTorch" and changed and not sum(pair[0] for pair in changed.values()):
        return "nothing was replaced: it knows linear layers only"
    if row["variant"] == base["variant"]:
        return "the base of all ratios"
    times = f"{row['p50_ms'] / best['p50_ms']:.1f} times the time of the best"
    return times + (_why(row, instructions) if row["speedup"]["value"] < 1 or row["precision"] != "int8" else "")


def _why(row: Json, instructions: Sequence[str]) -> str:
    """Returns ": " and what in the processor explains a slow form; nothing where that is not known."""
    has = set(instructions)
    if row["precision"] == "bf16" and not has & _BF16:
        return ": this processor has no bf16"
    if row["precision"] == "fp16" and "avx512_fp16" not in has:
        return ": this processor has no fp16"
    if row["precision"] == "int8" and not has & _PRODUCTS_OF_BYTES:
        return ": this processor has no VNNI"
    return ""


def sentences(value: Json) -> list[str]:
    """Returns the two sentences: what to ship here, and on which hardware the answer changes."""
    parts = []
    for name, network in value["networks"].items():
        row = to_ship(network)
        gain = row["speedup"]
        parts.append(
            f"`{name}` as {title(row)} ({gain['value']:.2f} times as fast as PyTorch in fp32, "
            f"{gain['low']:.2f} to {gain['high']:.2f}, at {row['megabytes']:.0f} MB)"
        )
    first = f"On this processor ({value['machine']['class']}) ship {'; '.join(parts)}."
    return [first, elsewhere(value["machine"]["instructions"])]


def elsewhere(instructions: Sequence[str]) -> str:
    """Returns on which hardware the answer changes, from what this processor has."""
    has = set(instructions)
    words = []
    if not has & _PRODUCTS_OF_BYTES:
        words.append("with VNNI or AMX, where int8 rows gain most, because four products of bytes are one instruction")
    if not has & _BF16:
        words.append("with AVX-512 BF16 or AMX, where the bf16 rows compute in what they ask for (see what ran)")
    if not words:
        words.append("without VNNI and AMX, where int8 and bf16 lose their instructions")
    return f"The answer may change on processors {', and '.join(words)}; no GPU was measured."
