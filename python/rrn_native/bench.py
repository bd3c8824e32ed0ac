"""Times this machine in under a minute, and says which options to take.

    print(bench.table(bench.measure()))

The pictures are drawn, with grain like a camera's, so decoding times are near those of photos but not the same. It is a
look at one machine, not a comparison with other programs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native import _load, _machine
from rrn_native.doctor import PRECISIONS, PROVIDERS, png, test_picture

Json = dict[str, Any]
Say = Callable[[str], None]

SIZES = {"12 MP": (4000, 3000), "2 MP": (1632, 1224), "VGA": (640, 480)}
ROWS = (10_000, 50_000)
_INPUT = 224
# Less is not worth other bits.
_WORTH = 1.3


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        sizes: Names in SIZES.
        rows: Numbers of embeddings whose pairs are searched.
        pictures: Given to the network in one call.
        seconds: After which a measurement takes no further round, if it has three.
        most: Rounds.
    """

    sizes: tuple[str, ...] = tuple(SIZES)
    rows: tuple[int, ...] = ROWS
    pictures: int = 32
    seconds: float = 1.0
    most: int = 9


QUICK = Effort(("VGA",), (2_000,), 4, 0.1, 3)


def timed(run: Callable[[], object], effort: Effort, scale: float = 1.0) -> Json:
    """Times a call after one that is not counted.

    Args:
        run: The call.
        effort: How often.
        scale: What each time is divided by, for example the pictures of one call.

    Returns:
        {"median_ms", "low_ms", "high_ms", "runs"}.
    """
    run()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < effort.most and (len(times) < 3 or time.perf_counter() - begin < effort.seconds):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000 / scale)
    values = {"median_ms": statistics.median(times), "low_ms": min(times), "high_ms": max(times)}
    return {name: float(f"{value:.4g}") for name, value in values.items()} | {"runs": len(times)}


def drawn(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Returns a picture of smooth shapes with fine grain, uint8 [height, width, 3]; always the same one for a size."""
    x = np.linspace(0, 1, width, dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    random = np.random.default_rng(7)
    pixels = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        smooth = 128 + 55 * np.sin((5 + 3 * channel) * x + channel) + 45 * np.cos((9 - 2 * channel) * y)
        grain = random.integers(-10, 11, (height, width), dtype=np.int8)
        pixels[..., channel] = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    return pixels


def measure(effort: Effort | None = None, say: Say = lambda _: None) -> Json:
    """Measures everything.

    Args:
        effort: How much; None for the full measurement.
        say: Is told what is being measured.

    Returns:
        What ``--json`` writes: machine, versions, decode, network, pairs, operator, notes, advice.
    """
    effort = effort or Effort()
    notes: list[str] = []
    result: Json = {
        "version": 1,
        "machine": _machine.describe(),
        "versions": {
            "rrn": rrn_native.__version__,
            "onnxruntime": _load.native.onnxruntime_version(),
            "numpy": np.__version__,
        },
        "decode": _measure_decode(effort, say, notes),
        "network": _measure_network(effort, say),
        "pairs": _measure_pairs(effort, say),
        "operator": _measure_operator(effort, say),
        "notes": notes,
    }
    return result | {"advice": advise(result["network"], result["machine"]["instructions"])}


def _encoders(notes: list[str]) -> dict[str, Callable[[npt.NDArray[np.uint8]], bytes]]:
    """Ways to make a file of a picture, by format."""
    encoders: dict[str, Callable[[npt.NDArray[np.uint8]], bytes]] = {"PNG": lambda pixels: png(pixels, 1)}
    if importlib.util.find_spec("PIL") is None:
        notes.append("JPEG and WebP need Pillow to make the files: pip install pillow")
        return encoders
    from PIL import Image, features

    def encoder(name: str, **options: Any) -> Callable[[npt.NDArray[np.uint8]], bytes]:
        def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, name, **options)
            return file.getvalue()

        return encode

    encoders = {"JPEG": encoder("JPEG", quality=90)} | encoders
    if features.check("webp"):
        encoders["WebP"] = encoder("WebP", quality=85, method=0)
    return encoders


def _measure_decode(effort: Effort, say: Say, notes: list[str]) -> list[Json]:
    """Times a file's way to the network's input, on one thread."""
    rows: list[Json] = []
    encoders = _encoders(notes)
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as folder:
        file = Path(folder) / "picture"
        for size in effort.sizes:
            pixels = drawn(*SIZES[size])
            for name, encode in encoders.items():
                say(f"{name}, {size}")
                file.write_bytes(encode(pixels))
                times = timed(lambda: rrn_native.preprocess(file, _INPUT), effort)
                rows.append({"format": name, "size": size, "bytes": file.stat().st_size} | times)
    return rows


def _measure_network(effort: Effort, say: Say) -> list[Json]:
    """Times the default model on pixels, with all cores, by provider and precision; leaves out what does not run."""
    pictures = [np.roll(test_picture(_INPUT), 7 * i, axis=1) for i in range(effort.pictures)]
    rows: list[Json] = []
    reference: npt.NDArray[np.float32] | None = None
    for provider in PROVIDERS:
        for precision in PRECISIONS:
            say(f"network, {provider} {precision}")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    embedder = rrn_native.Embedder(provider=provider, precision=precision)
                embeddings = embedder.embed(pictures)
                times = timed(lambda embedder=embedder: embedder.embed(pictures), effort, len(pictures))  # type: ignore[misc]
            except (OSError, ValueError, RuntimeError):
                continue  # rrn doctor says why
            if reference is None:
                reference = embeddings
            cosine = min(map(rrn_native.cosine_similarity, reference, embeddings))
            rows.append({"provider": provider, "precision": precision} | times | {"lowest_cosine": round(cosine, 6)})
    return rows


def _measure_pairs(effort: Effort, say: Say) -> list[Json]:
    """Times the exact search for similar pairs among random embeddings, with all cores."""
    rows: list[Json] = []
    for count in effort.rows:
        say(f"pairs of {count:,} embeddings")
        embeddings = np.random.default_rng(5).standard_normal((count, 512), dtype=np.float32)
        times = timed(lambda embeddings=embeddings: rrn_native.similar_pairs(embeddings), effort)  # type: ignore[misc]
        rows.append({"rows": count, "target": rrn_native.search_targets()[0]} | times)
    return rows


def _measure_operator(effort: Effort, say: Say) -> Json:
    """Times the reduction operator on the feature maps of eight pictures, on one thread."""
    say("the operator")
    random = np.random.default_rng(3)
    shapes = [(8, channels, side, side) for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7))]
    layers = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
    size = sum(layer.nbytes for layer in layers)
    times = timed(lambda: rrn_native.reduction(*layers), effort)
    return {"bytes": size, "gigabytes_per_second": float(f"{size / times['median_ms'] / 1e6:.3g}")} | times


def advise(network: list[Json], instructions: list[str]) -> Json:
    """Says which options to take.

    Args:
        network: What the providers and precisions took.
        instructions: The processor's.

    Returns:
        {"options": for the command line, "speedup": over the default, "text": one line}.
    """
    default = next((row for row in network if (row["provider"], row["precision"]) == ("cpu", "fp32")), None)
    if default is None:
        return {"options": "", "speedup": 1.0, "text": "the default model does not run here; see rrn doctor"}
    best = min(network, key=lambda row: row["median_ms"])
    speedup = round(default["median_ms"] / best["median_ms"], 2)
    if speedup < _WORTH:
        text = "take the default (fp32 on the CPU): nothing that is installed here is much faster"
        if "avx512_bf16" in instructions and not any(row["provider"] == "openvino" for row in network):
            text += "; this processor is fast in bf16, for which pip install onnxruntime-ep-openvino is missing"
        return {"options": "", "speedup": 1.0, "text": text}
    options = f"--provider {best['provider']} --precision {best['precision']}"
    text = f"take {options}: {speedup:g} times the default's speed"
    if best["precision"] != "fp32":
        text += f"; similarities move a little (here an embedding keeps a cosine of {best['lowest_cosine']:.4f})"
    return {"options": options, "speedup": speedup, "text": text}


def table(result: Json) -> str:
    """Returns the result for people."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB", versions]

    def add(title: str, rows: list[tuple[str, Json, str]]) -> None:
        lines.extend(["", f"{title:<44}{'median':>10}{'low':>10}{'high':>10}"])
        for name, times, more in rows:
            numbers = "".join(f"{times[key]:>10.4g}" for key in ("median_ms", "low_ms", "high_ms"))
            lines.append(f"  {name:<42}{numbers}{more and '  ' + more}")

    decode = [(f"{row['format']}, {row['size']}", row, f"{row['bytes'] / 1e6:.1f} MB") for row in result["decode"]]
    add("File to network input, one thread (ms)", decode)
    network = [
        (f"{row['provider']} {row['precision']}", row, f"{1000 / row['median_ms']:.0f} pictures/s")
        for row in result["network"]
    ]
    add("Network, all cores (ms a picture)", network)
    pairs = [(f"{row['rows']:,} embeddings, {row['target']}", row, "") for row in result["pairs"]]
    add("All similar pairs, all cores (ms)", pairs)
    operator = result["operator"]
    add(
        "The operator, one thread (ms)",
        [("feature maps of 8 pictures", operator, f"{operator['gigabytes_per_second']:g} GB/s")],
    )
    lines += ["", *(f"note: {note}" for note in result["notes"]), result["advice"]["text"]]
    return "\n".join(lines)
