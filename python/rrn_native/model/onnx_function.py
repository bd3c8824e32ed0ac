"""The reduction operator as an ONNX function: domain `rrn`, name `Reduction`, made of standard operators.

A model that carries this function runs in every ONNX runtime. Runtimes that know the operator, ONNX Runtime with
`libreduction_op.so`, run their own kernel instead; all others replace the node by the function's body.
"""

from __future__ import annotations

import onnx
from onnx import helper

DOMAIN = "rrn"
OP_TYPE = "Reduction"
DOMAIN_VERSION = 1


def reduction_function(inputs: int, opset: int) -> onnx.FunctionProto:
    """Makes the function for a fixed number of inputs (ONNX functions cannot be variadic).

    The function takes tensors [C_k] or [B, C_k] of one floating-point type and the integer attribute `channels`, which
    every C_k divides, and returns [channels] or [B, channels]. Like the kernels it adds in float32, in the order of the
    inputs, and divides once at the end, so the result is the same to the bit. Feature maps are not taken: a model
    pools them with GlobalAveragePool before.

    Args:
        inputs: The number of inputs, at least 1.
        opset: The version of the standard operators, at least 18.

    Raises:
        ValueError: `inputs` or `opset` is too small.
    """
    if inputs < 1 or opset < 18:
        raise ValueError(f"a reduction function needs inputs >= 1 and opset >= 18; got {inputs} and {opset}")
    names = [f"X{k}" for k in range(1, inputs + 1)]
    nodes = [
        _constant("channels_scalar", reference="channels"),
        _constant("one_dim", ints=[1]),
        _constant("last", ints=[-1]),
        helper.make_node("Reshape", ["channels_scalar", "one_dim"], ["channels_dim"]),
    ]
    for name in names:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Shape", [name], [f"{name}_leading"], start=0, end=-1),
            helper.make_node("Shape", [name], [f"{name}_channels"], start=-1),
            helper.make_node("Div", ["channels_dim", f"{name}_channels"], [f"{name}_repeats"]),
            # [B, C] -> [B, C, 1] -> [B, C, repeats] -> [B, channels]; Expand broadcasts over the leading dimensions.
            helper.make_node("Unsqueeze", [f"{name}_float", "last"], [f"{name}_column"]),
            helper.make_node("Expand", [f"{name}_column", f"{name}_repeats"], [f"{name}_expanded"]),
            helper.make_node("Concat", [f"{name}_leading", "channels_dim"], [f"{name}_output_shape"], axis=0),
            # allowzero: B may be 0.
            helper.make_node(
                "Reshape", [f"{name}_expanded", f"{name}_output_shape"], [f"{name}_repeated"], allowzero=1
            ),
        ]
    total = f"{names[0]}_repeated"
    for name in names[1:]:
        nodes.append(helper.make_node("Add", [total, f"{name}_repeated"], [f"{name}_sum"]))
        total = f"{name}_sum"
    nodes += [
        helper.make_node("Constant", [], ["count"], value_float=float(inputs)),
        helper.make_node("Div", [total, "count"], ["mean"]),
        helper.make_node("CastLike", ["mean", names[0]], ["Y"]),
    ]
    return helper.make_function(
        DOMAIN,
        OP_TYPE,
        inputs=names,
        outputs=["Y"],
        nodes=nodes,
        opset_imports=[helper.make_opsetid("", opset)],
        attributes=["channels"],
        doc_string="Repeats every channel of each input channels / C times in a row and averages the inputs.",
    )


def _constant(output: str, *, reference: str | None = None, ints: list[int] | None = None) -> onnx.NodeProto:
    """A Constant node: 1-D int64 values, or the scalar value of the function's integer attribute `reference`."""
    node = helper.make_node("Constant", [], [output])
    if ints is not None:
        node.attribute.append(helper.make_attribute("value_ints", ints))
    if reference is not None:
        node.attribute.append(
            onnx.AttributeProto(name="value_int", type=onnx.AttributeProto.INT, ref_attr_name=reference)
        )
    return node
