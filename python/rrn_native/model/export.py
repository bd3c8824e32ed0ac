"""Writes the embedding network as one ONNX file, with the reduction operator as one node of the domain `rrn`.

    rrn export --weights resnet18.pth --output models/reduction_resnet18.onnx

The file holds everything: the weights, the operator as a function of standard operators for runtimes that do not know
it, and, as metadata, how images become the network's input. Beside it a manifest (.json) with checksums is written. The
same weights give the same bytes. Weights stored as float16 halve the file; the network computes in float32 all the same
(:mod:`rrn_native.model.storage`).
"""

from __future__ import annotations

import ast
import json
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import onnx
import torch
from onnxscript import values

import rrn_native
from rrn_native.arrays import checked_size
from rrn_native.files import sha256_of_bytes
from rrn_native.model import network, onnx_function, storage, weights
from rrn_native.model.network import ReductionResNet18
from rrn_native.model.onnx_file import DEFAULT_SIZE, EMBEDDING_DIM, INPUT_NAME, OUTPUT_NAME, parsed_input, preprocessing

OPSET = 18
# The oldest format that has functions: more runtimes read it than newer ones.
IR_VERSION = 8


def random_weights(seed: int) -> weights.Weights:
    """Makes untrained weights, for tests and for timing; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state_dict = network.ReductionResNet18().state_dict()
    parts = (part for name, value in sorted(state_dict.items()) for part in (name.encode(), value.numpy().tobytes()))
    return weights.Weights(state_dict, f"random, seed {seed}: not trained", sha256_of_bytes(*parts))


def to_onnx(
    model: ReductionResNet18,
    *,
    size: int = DEFAULT_SIZE,
    origin: str = "unknown",
    weights_sha256: str = "",
    store: str = "float32",
) -> onnx.ModelProto:
    """Converts the network.

    Args:
        model: The network; its batch normalisations are folded into the convolutions.
        size: The input size to recommend; the network itself takes any.
        origin: Where the weights come from, for the metadata.
        weights_sha256: The SHA-256 of the weights file, for the metadata.
        store: The type of the convolutions' weights in the file, one of `storage.TYPES`. float16 rounds them; see
            :func:`rrn_native.model.storage.to_float16`.

    Returns:
        A checked model: input `images` float32 [batch, 3, height, width] of any size, output `embedding` float32
        [batch, 512], one node of the domain `rrn` and the function that defines it.

    Raises:
        ValueError: `store` is not one of the types, or `size` is outside 32 ... 4096.
        RuntimeError: PyTorch's exporter or the checker failed.
    """
    if store not in storage.TYPES:
        raise ValueError(f"store is {store!r}, expected one of {', '.join(storage.TYPES)}")
    checked_size(size)
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
            "rrn.embedding_dim": str(EMBEDDING_DIM),
            "rrn.preprocessing": json.dumps(preprocessing(size)),
            "rrn.weights.origin": origin,
            "rrn.weights.sha256": weights_sha256,
        },
    )
    if store == "float16":
        proto = storage.to_float16(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _export(model: ReductionResNet18) -> onnx.ModelProto:
    """Runs PyTorch's exporter, quietly."""
    opset = _reduction_opset()
    standard = _standard_opset()

    # Their parameters carry the names of PyTorch's schema. The exporter runs these functions to build the graph.
    def reduction(layerOne: Any, layerTwo: Any, layerThree: Any, layerFour: Any) -> Any:  # noqa: N803
        return opset.Reduction(layerOne, layerTwo, layerThree, layerFour, channels=EMBEDDING_DIM)

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
                attributes=[schema.Attribute("channels", onnx.helper.make_attribute("channels", EMBEDDING_DIM))],
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


def parse_weights(spec: str) -> weights.Weights:
    """Returns the weights that ``rrn export --weights`` names, for a network with rrn's own input.

    Args:
        spec: A file or "imagenet", see :func:`rrn_native.model.weights.load_weights`, or "random[:SEED]".

    Raises:
        ValueError: The seed is no whole number, or an ONNX file wants another input than RGB with ImageNet's mean and
            deviation, which is what the exported file will record.
        rrn_native.model.weights.WeightsError: The weights cannot be read or downloaded.
    """
    if spec != "random" and not spec.startswith("random:"):
        source = weights.load_weights(spec)
        wanted = parsed_input(json.dumps(preprocessing()))
        for name, value in (source.recorded_input or {}).items():
            if name == "size":
                _check_recorded_size(spec, value)
            elif value != wanted[name]:
                raise ValueError(f"{spec} wants {name} {value} as its input, expected {wanted[name]} as rrn exports it")
        return source
    seed = spec.removeprefix("random").removeprefix(":") or "0"
    if not seed.isascii() or not seed.isdigit():
        raise ValueError(f"the seed in --weights {spec} is not a whole number")
    return random_weights(int(seed))


def _check_recorded_size(spec: str, size: int) -> None:
    try:
        checked_size(size or None)
    except ValueError as error:
        raise ValueError(f"{spec}: {error}") from error
