"""Writes an 8-bit copy of an ONNX model, calibrated on your own photos.

    rrn quantize --images photos/ --model my.onnx
    rrn quantize --images photos/ --model my.onnx --validate other/ --groups other/groups.csv

Static quantisation after training: int8 weights with a scale for each output channel, unsigned 8-bit activations,
written as QuantizeLinear and DequantizeLinear around the standard operators, so that any ONNX runtime reads it. The
averages over the stages and the reduction stay in float32, and the reduction stays one node with its function.

What decides is the range of each activation. A cosine treats every picture alike, however strong its activations are.
So the range that is chosen minimises the mean, over the pictures, of the error *relative to the picture's own
activations*; with squared error or with minimum and maximum a few loud pictures would spend the 256 levels. Parts that
stay too coarse all the same are found by measuring, and kept in float32 (see `--target`).

The same model, images and versions give the same bytes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import copy
import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native._lazy import LazyImport
from rrn_native._session import cpu_session
from rrn_native.analysis import calibrate, metrics
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, fail
from rrn_native.model import export, weights

if TYPE_CHECKING:
    import onnx
    import onnxruntime
else:
    onnx = LazyImport("onnx")
    onnxruntime = LazyImport("onnxruntime")

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]

METHODS = ("relative", "minmax")
DEFAULT_COUNT = 256
DEFAULT_TARGET = 0.008
THRESHOLD = 0.75
# Pictures by which the parts of the network are judged; all pairs of them are compared.
PROBE = 64
# More pictures than this are not compared with each other by `compare`.
MAX_COMPARED = 2000
# The operators that get 8 bits. Averages, Flatten and the reduction are not among them: they are the embedding itself.
_QUANTIZED = ("Conv", "Relu", "MaxPool", "Add")
_LEVELS = 255
# Numbers are counted by the upper half of their bits: sign, exponent and 7 bits of the fraction, fine at every scale.
_POSITIVE_BINS = 0x7F80  # those of the finite positive numbers
_SIGN = 0x8000
# Candidates for the ends of a range and for its step, from 1e-6 to 1e6.
_PER_OCTAVE = 6
_GRID = np.exp2(np.arange(-20 * _PER_OCTAVE, 20 * _PER_OCTAVE + 1) / _PER_OCTAVE)
# No range is cut to less than this share of what was seen.
_SMALLEST_SHARE = 1 / 512


class QuantizeError(RuntimeError):
    """The model cannot be quantised; the message is one line that says why."""


@dataclasses.dataclass(frozen=True)
class Activation:
    """What rounding and clipping would do to one activation of n pictures; k is the length of the grid.

    Errors are squared and relative to the picture's own sum of squares.

    Attributes:
        lowest: The smallest value seen, or 0.
        highest: The largest value seen, or 0.
        above: float32 [n, k], the error by clipping at the grid's values.
        below: float32 [n, k], the same at their negatives.
        rounding: float32 [n, k], the error by rounding to multiples of the grid's values.
    """

    lowest: float
    highest: float
    above: Floats
    below: Floats
    rounding: Floats


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far the cosines of two models are apart.

    Attributes:
        images: Pictures that both read.
        pairs: Pairs of them.
        mean: The mean absolute difference of the pairs' cosines.
        maximum: The largest.
        f1_before: F1 at 0.75 of the first model; None without labels.
        f1_after: F1 at 0.75 of the second model.
    """

    images: int
    pairs: int
    mean: float
    maximum: float
    f1_before: float | None = None
    f1_after: float | None = None

    def text(self) -> str:
        """Says it in a line or two."""
        lines = [
            f"{self.images} images, {self.pairs} pairs: cosines differ by {self.mean:.5f} on average, "
            f"at most {self.maximum:.4f}"
        ]
        if self.f1_before is not None and self.f1_after is not None:
            lines.append(
                f"F1 at {THRESHOLD}: {self.f1_before:.4f} in float32, {self.f1_after:.4f} in 8 bits "
                f"({self.f1_after - self.f1_before:+.4f})"
            )
        return "\n".join(lines)


def _workers() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1))


def activations(proto: onnx.ModelProto) -> list[str]:
    """Returns the tensors that may get 8 bits: the input and what the quantised operators compute."""
    return [
        proto.graph.input[0].name,
        *(node.output[0] for node in proto.graph.node if node.op_type in _QUANTIZED),
    ]


def collect(proto: onnx.ModelProto, pictures: Iterable[Floats]) -> dict[str, Activation]:
    """Runs pictures through the float32 network and measures every activation.

    A picture leaves some kilobytes for each activation behind; the activations themselves are not kept.

    Args:
        proto: The model.
        pictures: The network's inputs, float32 [3, H, W] each.

    Raises:
        QuantizeError: There is no picture, or an activation is not finite.
    """
    names = activations(proto)
    observed = copy.deepcopy(proto)
    present = {value.name for value in observed.graph.output}
    for name in names[1:]:
        if name not in present:
            observed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = cpu_session(observed.SerializeToString())

    def observe(picture: Floats) -> list[Activation]:
        values = [picture, *session.run(names[1:], {names[0]: picture[None]})]
        return [_observe(name, value) for name, value in zip(names, values, strict=True)]

    found: list[list[Activation]] = []
    workers = _workers()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        # In chunks, so that not all pictures are in memory at once.
        for chunk in _chunks(pictures, workers):
            found += pool.map(observe, chunk)
    if not found:
        raise QuantizeError("there is no image to calibrate on")
    return {name: _together(each) for name, each in zip(names, zip(*found, strict=True), strict=True)}


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _observe(name: str, value: Floats) -> Activation:
    """Measures one activation of one picture."""
    flat = np.ascontiguousarray(value, np.float32).reshape(-1)
    if not np.isfinite(flat).all():
        raise QuantizeError(f"{name} is not finite for one of the images")
    counts = np.bincount(flat.view(np.uint32) >> 16, minlength=2 * _SIGN).astype(np.float64)
    positive, negative = counts[:_POSITIVE_BINS], counts[_SIGN : _SIGN + _POSITIVE_BINS]
    size = _bin_values()
    both = positive + negative
    energy = max(float(np.dot(both, np.square(size))), 1e-30)
    # Rounding errors are spread evenly over a step, but what is nearer to zero than half a step becomes zero.
    small = np.searchsorted(size, _GRID / 2)
    lost = np.append(0, np.cumsum(both * np.square(size)))[small]
    rounded = (both.sum() - np.append(0, np.cumsum(both))[small]) * np.square(_GRID) / 12
    return Activation(
        min(0.0, float(flat.min(initial=0))),
        max(0.0, float(flat.max(initial=0))),
        *(
            (part / energy).astype(np.float32)[None]
            for part in (_clipped(positive), _clipped(negative), lost + rounded)
        ),
    )


@functools.cache
def _bin_values() -> npt.NDArray[np.float64]:
    """The middle of every bin of positive numbers."""
    bits = (np.arange(_POSITIVE_BINS, dtype=np.uint32) << 16) + np.uint32(1 << 15)
    return bits.view(np.float32).astype(np.float64)


def _clipped(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of (value - limit) ** 2 over the values above each limit of the grid."""
    size = _bin_values()
    above = [np.append(np.cumsum((counts * size**power)[::-1])[::-1], 0) for power in range(3)]
    first = np.searchsorted(size, _GRID)
    zeroth, linear, square = (sums[first] for sums in above)
    total: npt.NDArray[np.float64] = np.maximum(square - 2 * _GRID * linear + np.square(_GRID) * zeroth, 0)
    return total


def _together(each: Sequence[Activation]) -> Activation:
    return Activation(
        min(one.lowest for one in each),
        max(one.highest for one in each),
        np.concatenate([one.above for one in each]),
        np.concatenate([one.below for one in each]),
        np.concatenate([one.rounding for one in each]),
    )


def choose_range(activation: Activation, method: str) -> Range:
    """Chooses the range of real values that the 256 levels cover.

    Args:
        activation: What was measured.
        method: "relative" minimises the mean of the pictures' relative errors (the root of the squared error by
            rounding and clipping); "minmax" covers all that was seen.

    Returns:
        (lowest <= 0, highest >= 0).

    Raises:
        ValueError: Unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    low, high = activation.lowest, activation.highest
    if method == "minmax" or low == high:
        return low, high

    def ends(extreme: float, clipping: Floats) -> tuple[npt.NDArray[np.float64], Floats]:
        """The candidates for one end, the extreme itself last, and what each clips: [m] and [m, n]."""
        first, last = np.searchsorted(_GRID, [extreme * _SMALLEST_SHARE, extreme])
        nothing = np.zeros((1, len(clipping)), np.float32)
        return np.append(_GRID[first:last], extreme), np.concatenate([clipping[:, first:last].T, nothing])

    lows, below = ends(-low, activation.below)
    best, chosen = np.inf, (low, high)
    for highest, above in zip(*ends(high, activation.above), strict=True):
        steps = (highest + lows) / _LEVELS
        nearest = np.clip(np.rint(np.log2(steps / _GRID[0]) * _PER_OCTAVE).astype(int), 0, len(_GRID) - 1)
        rounding = activation.rounding.T[nearest] * np.square(steps / _GRID[nearest])[:, None]
        errors = np.sqrt(rounding + below + above).mean(axis=1)
        index = int(np.argmin(errors))
        if errors[index] < best:
            best, chosen = float(errors[index]), (-float(lows[index]), float(highest))
    return chosen


def units(proto: onnx.ModelProto) -> list[list[str]]:
    """Splits the network into the parts that are kept in float32 together, as names of nodes.

    An addition belongs to the convolutions whose results it adds, because each of these would be rounded before; every
    other convolution is a part of its own. The activation that follows belongs to it.
    """
    producer = {output: node for node in proto.graph.node for output in node.output}
    reader: dict[str, Any] = {}
    for node in proto.graph.node:
        for name in node.input:
            reader.setdefault(name, node)
    parts: list[list[Any]] = []
    taken: set[str] = set()
    for node in proto.graph.node:
        if node.op_type == "Add":
            sources = [producer[name] for name in node.input if name in producer]
            parts.append([*(source for source in sources if source.op_type == "Conv"), node])
            taken.update(member.name for member in parts[-1])
    parts += [[node] for node in proto.graph.node if node.op_type == "Conv" and node.name not in taken]
    for part in parts:
        following = reader.get(part[-1].output[0])
        if following is not None and following.op_type == "Relu":
            part.append(following)
    order = {node.name: position for position, node in enumerate(proto.graph.node)}
    return sorted(([member.name for member in part] for part in parts), key=lambda names: order[names[0]])


def apply_ranges(
    proto: onnx.ModelProto, ranges: dict[str, Range], *, keep_float: Iterable[str] = (), seven_bits: bool = False
) -> onnx.ModelProto:
    """Quantises the model with given ranges; the input is left as it is.

    Args:
        proto: The float32 model; every node has a name.
        ranges: Of all `activations`.
        keep_float: Names of nodes that stay in float32.
        seven_bits: Leave the highest bit of the weights unused.

    Returns:
        The quantised model, with the metadata and functions of the original.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data = {
        name: TensorData(lowest=np.float32(lowest), highest=np.float32(highest))
        for name, (lowest, highest) in ranges.items()
    }
    quantizer = QDQQuantizer(
        copy.deepcopy(proto),
        True,  # per channel
        seven_bits,
        QuantType.QInt8,
        QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, data),
        [],
        list(keep_float),
        list(_QUANTIZED),
        {},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    # onnxruntime's note to itself.
    kept = [entry for entry in quantized.metadata_props if entry.key.startswith("rrn.")]
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(kept)
    del quantized.graph.value_info[:]
    quantized.producer_name = proto.producer_name
    quantized.producer_version = proto.producer_version
    return quantized


def _embed(proto: onnx.ModelProto, pictures: Sequence[Floats]) -> Floats:
    session = cpu_session(proto.SerializeToString())
    name = proto.graph.input[0].name

    def run(picture: Floats) -> Floats:
        row: Floats = session.run(None, {name: picture[None]})[0][0]
        return row

    with concurrent.futures.ThreadPoolExecutor(_workers()) as pool:
        return np.stack(list(pool.map(run, pictures)))


def _cosines(embeddings: Floats) -> npt.NDArray[np.float64]:
    """All pairs i < j of rows, float64 [n (n - 1) / 2], sorted by (i, j)."""
    rows = embeddings.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    upper: npt.NDArray[np.float64] = (rows @ rows.T)[np.triu_indices(len(rows), k=1)]
    return upper


def choose_float_nodes(
    proto: onnx.ModelProto,
    ranges: dict[str, Range],
    probe: Sequence[Floats],
    target: float,
    *,
    seven_bits: bool = False,
) -> tuple[list[str], float]:
    """Finds which parts must stay in float32, so that the cosines of the probe's pairs change by less than the target.

    Each part is quantised alone and measured; the worst are left out, one after the other, until the whole
    is near enough.

    Args:
        proto: The float32 model.
        ranges: As for `apply_ranges`.
        probe: The network's inputs, at least two.
        target: The mean absolute difference of the cosines that is accepted.
        seven_bits: As for `apply_ranges`.

    Returns:
        The names of the nodes, in the order in which they were left out (none if all can be quantised), and the mean
        difference that remains on the probe.
    """
    expected = _cosines(_embed(proto, probe))

    def difference(keep: Sequence[str]) -> float:
        quantized = apply_ranges(proto, ranges, keep_float=keep, seven_bits=seven_bits)
        return float(np.abs(_cosines(_embed(quantized, probe)) - expected).mean())

    reached = difference([])
    if reached < target:
        return [], reached
    parts = units(proto)
    everything = [name for part in parts for name in part]
    alone = [difference([name for name in everything if name not in part]) for part in parts]
    kept: list[str] = []
    for index in sorted(range(len(parts)), key=lambda i: -alone[i]):
        kept += parts[index]
        reached = difference(kept)
        if reached < target:
            break
    return kept, reached


def quantize(
    model: Path,
    images: Sequence[Path],
    *,
    size: int | None = None,
    method: str = "relative",
    target: float | None = DEFAULT_TARGET,
    seven_bits: bool = False,
) -> onnx.ModelProto:
    """Quantises a model.

    Args:
        model: An ONNX file with one input float32 [N, 3, H, W]; rrn's preprocessing, as recorded in it, is applied.
        images: Readable pictures to calibrate on; some hundred that look like those to be compared later.
        size: The input size; None for the one recorded in the model.
        method: How ranges are chosen; see `choose_range`.
        target: Keep parts in float32 until the cosines of 64 of the images change by less than this on average; None
            quantises everything.
        seven_bits: For other programs on processors without VNNI (before 2019), where products of 8 bits may overflow;
            rrn's do not.

    Returns:
        The model, checked, with `rrn.quantization` (JSON) in its metadata.

    Raises:
        QuantizeError: The file is not such a model, has been quantised before, or there are too few images.
        OSError: A file cannot be read.
        rrn_native.RrnError: An image cannot be decoded.
    """
    proto = _load(model)
    if len(images) < 2:
        raise QuantizeError(f"at least two images are needed to calibrate on, got {len(images)}")
    side = size or export.recorded_input(proto)["size"]
    # The engine knows the recorded mean and deviation; its preprocessing is what the model will meet later.
    engine = rrn_native.Embedder(model, size=side, threads=1)
    measured = collect(proto, (engine.preprocess(path) for path in images))
    ranges = {name: choose_range(activation, method) for name, activation in measured.items()}
    kept: list[str] = []
    if target is not None:
        probe = [engine.preprocess(path) for path in spread(images, PROBE)]
        kept, _ = choose_float_nodes(proto, ranges, probe, target, seven_bits=seven_bits)
    quantized = apply_ranges(proto, ranges, keep_float=kept, seven_bits=seven_bits)
    details = {
        "method": f"static, {method} range",
        "weights": f"{'7-bit' if seven_bits else 'int8'}, per output channel",
        "activations": "uint8, per tensor",
        "images": len(images),
        "images_sha256": digest(images),
        "size": side,
        "float_nodes": [node.name for node in proto.graph.node if node.name in set(kept)],
        "model_sha256": weights.sha256_of(model),
        "onnxruntime": onnxruntime.__version__,
    }
    entry = quantized.metadata_props.add()
    entry.key, entry.value = "rrn.quantization", json.dumps(details)
    onnx.checker.check_model(quantized)
    return quantized


def _load(model: Path) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError

    if not model.is_file():
        raise QuantizeError(f"no model {model}")
    try:
        proto = onnx.load(model)
    except (DecodeError, ValueError) as error:
        raise QuantizeError(f"{model} is not an ONNX file") from error
    if len(proto.graph.input) != 1 or not any(node.op_type == "Conv" for node in proto.graph.node):
        raise QuantizeError(f"{model} is not a network of convolutions with one input")
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        raise QuantizeError(f"{model} is quantised already; give the float32 model")
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"node{number}"
    return proto


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """Returns at most `count` items, evenly spread over the sequence."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def digest(images: Iterable[Path]) -> str:
    """Returns one SHA-256 for the contents of all images, in hexadecimal; neither names nor order matter."""
    return hashlib.sha256("".join(sorted(weights.sha256_of(path) for path in images)).encode()).hexdigest()


def compare(
    before: Path,
    after: Path,
    files: Sequence[Path],
    *,
    groups: Path | None = None,
    folder: Path | None = None,
    size: int | None = None,
) -> Comparison:
    """Embeds pictures with two models in the engine and compares the cosines of all pairs.

    Args:
        before: The reference.
        after: The other model.
        files: Pictures; unreadable ones are left out. Not used with `groups`.
        groups: A CSV file with the columns file and group, for F1 at 0.75.
        folder: Where its file names start; None for its own folder.
        size: The input size; None for the one recorded in the reference.

    Raises:
        ValueError: Fewer than two readable pictures, or `groups` cannot be used.
    """
    side = size or export.recorded_input(_load(before))["size"]
    labels = None
    if groups is not None:
        labelled = calibrate.read_groups(groups, folder)
        files, labels = labelled.files, labelled.same
    else:
        files = spread(files, MAX_COMPARED)
    embedded = [rrn_native.Embedder(model, size=side).embed(files, on_error="nan") for model in (before, after)]
    readable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(np.hstack(embedded)).all(axis=1))
    if int(readable.sum()) < 2:
        raise ValueError("at least two readable images are needed to compare the models")
    first, second = (_cosines(rows[readable]) for rows in embedded)
    difference = np.abs(first - second)
    scores: list[float | None] = [None, None]
    if labels is not None:
        i, j = np.triu_indices(len(files), k=1)
        used = labels[readable[i] & readable[j]]
        scores = [metrics.precision_recall_f1(cosines, used, THRESHOLD)[2] for cosines in (first, second)]
    return Comparison(
        int(readable.sum()), len(difference), float(difference.mean()), float(difference.max()), scores[0], scores[1]
    )


def write(proto: onnx.ModelProto, output: Path, comparison: Comparison | None = None) -> None:
    """Writes the model and its manifest (.json); the manifest also tells how it was quantised and what that changed."""
    export.write(proto, output)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    place = output.with_suffix(".json")
    manifest = json.loads(place.read_text()) | {"quantization": json.loads(properties["rrn.quantization"])}
    if comparison is not None:
        manifest["difference"] = dataclasses.asdict(comparison)
    place.write_text(json.dumps(manifest, indent=2) + "\n")


def _readable(folder: Path, count: int) -> tuple[list[Path], int]:
    """At most `count` pictures of a folder that the engine can decode, evenly spread, and how many files it cannot."""
    if not folder.is_dir():
        raise ValueError(f"no such folder: {folder}")
    files = [Path(path) for path in rrn_native.find_images(folder)]
    # The spread first, then the others in its place where a file cannot be read.
    wanted = spread(files, count)
    taken = set(wanted)
    chosen: list[Path] = []
    refused = 0
    for path in [*wanted, *(file for file in files if file not in taken)]:
        if len(chosen) == count:
            break
        try:
            rrn_native.decode(path)
        except (OSError, rrn_native.RrnError):
            refused += 1
        else:
            chosen.append(path)
    return chosen, refused


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rrn quantize",
        description="Write an 8-bit copy of a model, calibrated on your own photos; several times as fast on "
        "processors with VNNI or AMX. rrn's own model has one already. Says afterwards how far the similarities moved.",
        epilog="""examples:
  rrn quantize --images photos/ --model my.onnx        (writes my.int8.onnx)
  rrn quantize --images photos/ --output other.int8.onnx   (of rrn's own model, for photos of a special kind)
  rrn quantize --images photos/ --model my.onnx --validate other/ --groups other/groups.csv
  rrn find photos --model my.onnx --precision int8

The labelled photos are only measured, never calibrated on. Exit codes: 0 written, 2 wrong usage or
files, 4 model, runtime or output failed.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="photos to calibrate on")
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.onnx",
        help="default: beside the model, with .int8 in its name; to be named for the model that comes with rrn",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=DEFAULT_COUNT,
        metavar="N",
        help="use at most N of the photos, evenly spread over the sorted names (default %(default)s)",
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="input size (default: the one recorded in the model)"
    )
    parser.add_argument(
        "--method", choices=METHODS, default="relative", help="how ranges are chosen (default %(default)s)"
    )
    parser.add_argument(
        "--target",
        type=float,
        default=DEFAULT_TARGET,
        metavar="D",
        help="keep the worst parts in float32 until the cosines of 64 of the photos change by less than this on "
        "average (default %(default)s; 0 quantises everything)",
    )
    parser.add_argument(
        "--seven-bits",
        action="store_true",
        help="for other programs on processors without VNNI, whose 8-bit products may overflow there",
    )
    parser.add_argument(
        "--validate", type=Path, metavar="DIR", help="compare the models on these photos (default: those of --images)"
    )
    parser.add_argument(
        "--groups", type=Path, metavar="CSV", help=f"labels (columns file, group) for F1 at {THRESHOLD}"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        model = arguments.model or Path(rrn_native.default_model())
        if arguments.model is None and arguments.output is None:
            raise ValueError("the model that comes with rrn has its int8 copy already; name a --model, or an --output")
        output = arguments.output or model.with_name(f"{model.stem}.int8.onnx")
        if output.resolve() == model.resolve():
            raise ValueError("--output would overwrite the model")
        # The name is how the engine tells that a model is one of 8 bits.
        if not output.name.endswith(".int8.onnx"):
            raise ValueError(f"--output must end in .int8.onnx; got {output}")
        if arguments.count < 2:
            raise ValueError(f"--count must be at least 2; got {arguments.count}")
        images, refused = _readable(arguments.images, arguments.count)
        proto = quantize(
            model,
            images,
            size=arguments.size,
            method=arguments.method,
            target=arguments.target or None,
            seven_bits=arguments.seven_bits,
        )
        write(proto, output)
        files = images if arguments.validate is None else list(map(Path, rrn_native.find_images(arguments.validate)))
        comparison = compare(
            model, output, files, groups=arguments.groups, folder=arguments.validate, size=arguments.size
        )
        write(proto, output, comparison)
    except (ValueError, FileNotFoundError, QuantizeError) as error:
        return fail("rrn quantize", error, USAGE)
    except (OSError, rrn_native.RrnError, onnx.checker.ValidationError) as error:
        return fail("rrn quantize", error, RUNTIME_ERROR)
    details = json.loads({entry.key: entry.value for entry in proto.metadata_props}["rrn.quantization"])
    skipped = f", {refused} files were not readable" if refused else ""
    print(f"{output}: {proto.ByteSize() / 1e6:.1f} MB, calibrated on {len(images)} images{skipped}")
    if details["float_nodes"]:
        print("in float32: " + ", ".join(details["float_nodes"]))
    print(comparison.text())
    return 0
