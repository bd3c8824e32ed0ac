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

import concurrent.futures
import copy
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

import rrn_native
from rrn_native import _onnx
from rrn_native.analysis.comparison import Comparison, pair_cosines, spread
from rrn_native.arrays import with_progress
from rrn_native.files import sha256_of, sha256_of_bytes
from rrn_native.model import onnx_file, storage
from rrn_native.model.activations import QUANTIZED, Floats, QuantizeError, Range, choose_range, collect, workers
from rrn_native.session import cpu_session

DEFAULT_COUNT = 256
DEFAULT_TARGET = 0.006
# Pictures by which the parts of the network are judged; all pairs of them are compared.
PROBE = 64


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
        list(QUANTIZED),
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

    with concurrent.futures.ThreadPoolExecutor(workers()) as pool:
        return np.stack(list(pool.map(run, pictures)))


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
    expected = pair_cosines(_embed(proto, probe))

    def difference(keep: Sequence[str]) -> float:
        quantized = apply_ranges(proto, ranges, keep_float=keep, seven_bits=seven_bits)
        return float(np.abs(pair_cosines(_embed(quantized, probe)) - expected).mean())

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
    progress: rrn_native.Progress | None = None,
) -> onnx.ModelProto:
    """Quantises a model.

    Args:
        model: An ONNX file with one input float32 [N, 3, H, W]; rrn's preprocessing, as recorded in it, is applied.
        images: Readable pictures to calibrate on; some hundred that look like those to be compared later.
        size: The input size; None for the model's own.
        method: How ranges are chosen; see `choose_range`.
        target: Keep parts in float32 until the cosines of 64 of the images change by less than this on average; None
            quantises everything.
        seven_bits: For other programs on processors without VNNI (before 2019), where products of 8 bits may overflow;
            rrn's do not.
        progress: Called with (done, total) images that the ranges are measured on; returning False cancels.

    Returns:
        The model, checked, with `rrn.quantization` (JSON) in its metadata.

    Raises:
        QuantizeError: The file is not such a model, has been quantised before, or there are too few images.
        OSError: A file cannot be read.
        rrn_native.RrnError: An image cannot be decoded.
        rrn_native.CancelledError: The progress callback returned False.
    """
    proto = _load(model)
    if len(images) < 2:
        raise QuantizeError(f"at least two images are needed to calibrate on, got {len(images)}")
    # The engine knows the recorded mean and deviation; its preprocessing is what the model will meet later.
    engine = rrn_native.Embedder(model, size, threads=1)
    measured = collect(proto, (engine.preprocess(path) for path in with_progress(images, progress)))
    ranges = {name: choose_range(activation, method) for name, activation in measured.items()}
    kept: list[str] = []
    if target is not None:
        probe = [engine.preprocess(path) for path in spread(images, PROBE)]
        kept, _ = choose_float_nodes(proto, ranges, probe, target, seven_bits=seven_bits)
    quantized = apply_ranges(proto, ranges, keep_float=kept, seven_bits=seven_bits)
    noted = {
        "method": f"static, {method} range",
        "weights": f"{'7-bit' if seven_bits else 'int8'}, per output channel",
        "activations": "uint8, per tensor",
        "images": len(images),
        "images_sha256": digest(images),
        "size": engine.size,
        "float_nodes": [node.name for node in proto.graph.node if node.name in set(kept)],
        "model_sha256": sha256_of(model),
        "onnxruntime": onnxruntime.__version__,
    }
    entry = quantized.metadata_props.add()
    entry.key, entry.value = "rrn.quantization", json.dumps(noted)
    onnx.checker.check_model(quantized)
    return quantized


def _load(model: Path) -> onnx.ModelProto:
    if not model.is_file():
        raise QuantizeError(f"no model {model}")
    try:
        proto = storage.to_float32(_onnx.load(model))
    except ValueError as error:
        raise QuantizeError(str(error)) from error
    if len(proto.graph.input) != 1 or not any(node.op_type == "Conv" for node in proto.graph.node):
        raise QuantizeError(f"{model} is not a network of convolutions with one input")
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        raise QuantizeError(f"{model} is quantised already; give the float32 model")
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"node{number}"
    return proto


def digest(images: Iterable[Path]) -> str:
    """Returns one SHA-256 for the contents of all images, in hexadecimal; neither names nor order matter."""
    return sha256_of_bytes("".join(sorted(sha256_of(path) for path in images)).encode())


def details(proto: onnx.ModelProto) -> dict[str, Any]:
    """Returns what :func:`quantize` noted in the model's metadata: method, images, what stayed in float32 ..."""
    found: dict[str, Any] = json.loads(_onnx.properties(proto)["rrn.quantization"])
    return found


def write(proto: onnx.ModelProto, output: Path, comparison: Comparison | None = None) -> None:
    """Writes the model and its manifest (.json); the manifest also tells how it was quantised and what that changed."""
    more = {"quantization": details(proto)}
    if comparison is not None:
        more["difference"] = dataclasses.asdict(comparison)
    onnx_file.write(proto, output, more)


def readable_images(folder: Path, count: int) -> tuple[list[Path], int]:
    """Returns at most `count` pictures that the engine can decode, evenly spread, and how many files it cannot."""
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
