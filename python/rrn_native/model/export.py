"""Writes the embedding network as one ONNX file, with the reduction operator as one node of the domain `rrn`.

    rrn export --weights resnet18.pth --output models/reduction_resnet18.onnx

The file holds everything: the weights, the operator as a function of standard operators for runtimes that do not know
it, and, as metadata, how images become the network's input. Beside it a manifest (.json) with checksums is written. The
same weights give the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rrn_native
from rrn_native._lazy import LazyImport
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, fail
from rrn_native.model import weights

if TYPE_CHECKING:
    import onnx
    import torch
    from onnxscript import values

    from rrn_native.model import network, onnx_function, torch_op
    from rrn_native.model.network import ReductionResNet18
else:
    onnx = LazyImport("onnx")
    torch = LazyImport("torch")
    values = LazyImport("onnxscript.values")
    network = LazyImport("rrn_native.model.network")
    onnx_function = LazyImport("rrn_native.model.onnx_function")
    torch_op = LazyImport("rrn_native.model.torch_op")

OPSET = 18
# The oldest format that has functions: more runtimes read it than newer ones.
IR_VERSION = 8
INPUT_NAME = "images"
OUTPUT_NAME = "embedding"
DEFAULT_SIZE = 224
MEAN = (0.485, 0.456, 0.406)
STDDEV = (0.229, 0.224, 0.225)


def preprocessing(size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """Describes how an image becomes the network's input, as stored in the model's metadata `rrn.preprocessing`."""
    return {
        "resize": "bilinear antialiased, aspect ratio not kept",
        "size": size,
        "channels": "RGB",
        "layout": "NCHW",
        "scale": "1/255",
        "mean": list(MEAN),
        "std": list(STDDEV),
    }


def recorded_input(proto: onnx.ModelProto) -> dict[str, Any]:
    """Returns how a model wants its input, as the engine reads it from the metadata `rrn.preprocessing`.

    Returns:
        `size`; `channels`, "RGB" or "BGR"; `divisor`, `mean` and `std`: (pixel / divisor - mean) / std is the input.

    Raises:
        rrn_native.RrnError: The engine cannot do what is recorded.
    """
    from rrn_native import _native

    text = next((entry.value for entry in proto.metadata_props if entry.key == "rrn.preprocessing"), "")
    return _native.parse_model_input(text)


def random_weights(seed: int) -> weights.Weights:
    """Makes untrained weights, for tests and for timing; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state_dict = network.ReductionResNet18().state_dict()
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return weights.Weights(state_dict, f"random, seed {seed}: not trained", digest.hexdigest())


def to_onnx(
    model: ReductionResNet18,
    *,
    size: int = DEFAULT_SIZE,
    origin: str = "unknown",
    weights_sha256: str = "",
) -> onnx.ModelProto:
    """Converts the network.

    Args:
        model: The network; its batch normalisations are folded into the convolutions.
        size: The input size to recommend; the network itself takes any.
        origin: Where the weights come from, for the metadata.
        weights_sha256: The SHA-256 of the weights file, for the metadata.

    Returns:
        A checked model: input `images` float32 [batch, 3, height, width] of any size, output `embedding` float32
        [batch, 512], one node of the domain `rrn` and the function that defines it.

    Raises:
        RuntimeError: PyTorch's exporter or the checker failed.
    """
    proto = _export(network.fold_batch_norm(model))
    _rename(proto)
    _strip(proto)
    proto.functions.append(onnx_function.reduction_function(inputs=4, opset=OPSET))
    proto.ir_version = IR_VERSION
    proto.producer_name = "rrn"
    proto.producer_version = rrn_native.__version__
    proto.graph.name = "reduction_resnet18"
    del proto.opset_import[:]
    proto.opset_import.extend(
        [
            onnx.helper.make_opsetid("", OPSET),
            onnx.helper.make_opsetid(onnx_function.DOMAIN, onnx_function.DOMAIN_VERSION),
        ]
    )
    onnx.helper.set_model_props(
        proto,
        {
            "rrn.version": rrn_native.__version__,
            "rrn.embedding_dim": str(weights.EMBEDDING_DIM),
            "rrn.preprocessing": json.dumps(preprocessing(size)),
            "rrn.weights.origin": origin,
            "rrn.weights.sha256": weights_sha256,
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _export(model: ReductionResNet18) -> onnx.ModelProto:
    """Runs PyTorch's exporter, quietly."""
    opset = _reduction_opset()
    standard = _standard_opset()

    # Their parameters carry the names of PyTorch's schema. The exporter runs these functions to build the graph.
    def reduction(layerOne: Any, layerTwo: Any, layerThree: Any, layerFour: Any) -> Any:  # noqa: N803
        return opset.Reduction(layerOne, layerTwo, layerThree, layerFour, channels=weights.EMBEDDING_DIM)

    # Without this the exporter writes ReduceMean, which ONNX Runtime cannot keep in its blocked layout.
    def global_average_pool(self: Any, output_size: Any) -> Any:
        del output_size  # Always 1 x 1 in this network.
        return standard.GlobalAveragePool(self)

    # Without this it writes a Reshape to a constant shape, which an empty batch would break. The network's only views
    # are its flatten(1).
    def flatten(self: Any, size: Any) -> Any:
        del size
        return standard.Flatten(self, axis=1)

    table: dict[Callable[..., Any], Callable[..., Any]] = {
        torch.ops.rrn.reduction.default: reduction,
        torch.ops.aten.adaptive_avg_pool2d.default: global_average_pool,
        torch.ops.aten.view.default: flatten,
    }
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                model,
                # Unequal sides, or the exporter might take height and width for one dimension.
                (torch.zeros(2, 3, 96, 128),),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes={"images": {0: "batch", 2: "height", 3: "width"}},
                opset_version=OPSET,
                custom_translation_table=table,
                external_data=False,
                optimize=False,
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    return program.model_proto


def _reduction_opset() -> Any:
    """The domain `rrn` for onnxscript, which wants the operator's schema registered with onnx."""
    schema = onnx.defs.OpSchema
    if not onnx.defs.has(onnx_function.OP_TYPE, onnx_function.DOMAIN):
        variadic = schema.FormalParameterOption.Variadic
        types = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
        onnx.defs.register_schema(
            schema(
                onnx_function.OP_TYPE,
                onnx_function.DOMAIN,
                onnx_function.DOMAIN_VERSION,
                inputs=[schema.FormalParameter("X", "T", param_option=variadic)],
                outputs=[schema.FormalParameter("Y", "T")],
                type_constraints=[("T", types, "All inputs and the output have one type.")],
                attributes=[
                    schema.Attribute("channels", onnx.helper.make_attribute("channels", weights.EMBEDDING_DIM))
                ],
            )
        )
    return values.Opset(onnx_function.DOMAIN, onnx_function.DOMAIN_VERSION)


def _standard_opset() -> Any:
    """The standard operators for onnxscript."""
    return values.Opset("", OPSET)


def _rename(proto: onnx.ModelProto) -> None:
    """Gives nodes and tensors the names of the network's modules, which the exporter left in the nodes' metadata."""
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    kept = {value.name for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer)}
    for node in proto.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "['', '']")
        module = ast.literal_eval(scopes)[-2]
        if node.op_type == "Flatten":
            name = f"{renamed[node.input[0]]}.flatten"
        elif node.op_type == "Add":
            name = f"{module}.add"
        else:
            name = module or node.op_type.lower()
        if name in taken:
            raise RuntimeError(f"two nodes of the exported graph would be named {name}")
        taken.add(name)
        node.name = name
        for index, output in enumerate(node.output):
            if output not in kept:
                renamed[output] = name
                node.output[index] = name
    for node in proto.graph.node:
        for index, source in enumerate(node.input):
            node.input[index] = renamed.get(source, source)
    shapes = [value for value in proto.graph.value_info if value.name in renamed]
    for value in shapes:
        value.name = renamed[value.name]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(shapes)


def _strip(proto: onnx.ModelProto) -> None:
    """Removes metadata and doc strings: they name files of the machine that exported the model."""
    graph = proto.graph
    holders: Iterable[Any] = (
        proto,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.initializer,
        *graph.value_info,
    )
    for holder in holders:
        del holder.metadata_props[:]
        holder.doc_string = ""


def to_bytes(proto: onnx.ModelProto) -> bytes:
    """Serialises a model; equal models give equal bytes."""
    serialized: bytes = proto.SerializeToString(deterministic=True)
    return serialized


def manifest(model_bytes: bytes, file_name: str) -> dict[str, Any]:
    """Describes a model file for people and scripts that do not want to parse ONNX.

    Args:
        model_bytes: The ONNX file.
        file_name: Its name, without a folder.
    """
    proto = onnx.load_model_from_string(model_bytes)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    return {
        "file": file_name,
        "bytes": len(model_bytes),
        "sha256": hashlib.sha256(model_bytes).hexdigest(),
        "origin": properties["rrn.weights.origin"],
        "weights_sha256": properties["rrn.weights.sha256"],
        "rrn_version": properties["rrn.version"],
        "opset": next(entry.version for entry in proto.opset_import if entry.domain == ""),
        "ir_version": proto.ir_version,
        "input": {"name": INPUT_NAME, "type": "float32", "shape": ["batch", 3, "height", "width"]},
        "output": {"name": OUTPUT_NAME, "type": "float32", "shape": ["batch", weights.EMBEDDING_DIM]},
        "preprocessing": json.loads(properties["rrn.preprocessing"]),
    }


def write(proto: onnx.ModelProto, output: Path) -> None:
    """Writes the model to `output` and its manifest beside it (.json); either file is complete or untouched.

    The manifest also gets `files_fingerprint`, by which `rrn doctor` tells whether the file is still the same.

    Raises:
        OSError: The folder does not exist or cannot be written.
    """
    from rrn_native import _native

    model_bytes = to_bytes(proto)
    fields = manifest(model_bytes, output.name)
    _write_file(output, model_bytes)
    fields["files_fingerprint"] = _native.files_fingerprint(os.fsencode(output))
    _write_file(output.with_suffix(".json"), (json.dumps(fields, indent=2) + "\n").encode())


def _write_file(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _parse_weights(spec: str) -> weights.Weights:
    if spec != "random" and not spec.startswith("random:"):
        return weights.load_weights(spec)
    seed = spec.removeprefix("random").removeprefix(":") or "0"
    if not seed.isascii() or not seed.isdigit():
        raise ValueError(f"the seed in --weights {spec} is not a whole number")
    return random_weights(int(seed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rrn export",
        description="Write ReductionResNet-18 as one ONNX file and a manifest (.json) beside it.",
        epilog="""examples:
  rrn export --weights my_resnet18.pth --output models/reduction_resnet18.onnx
  rrn export --weights imagenet --output models/imagenet.onnx   (fetches 45 MB once)
  rrn export --weights random:7 --output untrained.onnx         (for tests and timing)

The file runs in ONNX Runtime with libreduction_op.so (one custom node) and in any ONNX runtime without it (the node is
a function of standard operators).

Exit codes: 0 written, 2 wrong usage or weights, 4 the export or its output failed.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE|imagenet|random[:SEED]",
        help="a ResNet-18 state dict with torchvision's names (float32 or float16, with or without fc.*), "
        "torchvision's official ImageNet weights, or untrained weights",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.onnx", help="the file to write")
    parser.add_argument(
        "--size",
        type=int,
        default=DEFAULT_SIZE,
        metavar="PIXELS",
        help="side of the square to which images should be resized, recorded in the file (default %(default)s); the "
        "network itself takes any height and width",
    )
    parser.add_argument("--origin", metavar="TEXT", help="where the weights come from, recorded in the file")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.size < 1:
            raise ValueError(f"--size must be at least 1; got {arguments.size}")
        if arguments.output.suffix != ".onnx":
            raise ValueError(f"--output must end in .onnx; got {arguments.output}")
        torch_op.load_or_define()
        source = _parse_weights(arguments.weights)
        model = network.ReductionResNet18.from_state_dict(source.state_dict)
    except (ValueError, OSError, RuntimeError) as error:
        return fail("rrn export", error, USAGE)
    try:
        proto = to_onnx(
            model, size=arguments.size, origin=arguments.origin or source.origin, weights_sha256=source.sha256
        )
        write(proto, arguments.output)
    except (OSError, RuntimeError, onnx.checker.ValidationError) as error:
        return fail("rrn export", error, RUNTIME_ERROR)
    print(f"{arguments.output}: {proto.ByteSize() / 1e6:.1f} MB, weights: {arguments.origin or source.origin}")
    return 0
