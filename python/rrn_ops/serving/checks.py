"""Does a description say what the model's own file says?"""

from __future__ import annotations

from pathlib import Path

import rrn_native
from rrn_native.session import cpu_session

from rrn_ops.serving.description import Model, Tensor


def check_onnx(model: Model, path: Path) -> dict[str, str]:
    """Compares names, types, ranks and the batch axis with what ONNX Runtime says of the file.

    Returns:
        The file's metadata.

    Raises:
        ValueError: They differ, or ONNX Runtime refuses the file; says what was expected and what was found.
    """
    try:
        session = cpu_session(str(path), rrn_native.custom_op_library())
    except Exception as error:  # ONNX Runtime's exceptions have no common class but this
        raise ValueError(f"{path}: ONNX Runtime refuses it ({error})") from error
    for described, found in ((model.inputs, session.get_inputs()), (model.outputs, session.get_outputs())):
        tensors = {each.name: each for each in found}
        if [tensor.name for tensor in described] != [each.name for each in found]:
            names = ", ".join(each.name for each in found)
            raise ValueError(f"{path}: has {names}, described are {', '.join(tensor.name for tensor in described)}")
        for tensor in described:
            _compare(path, tensor, tensors[tensor.name].type, tensors[tensor.name].shape)
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return metadata


def _compare(path: Path, tensor: Tensor, datatype: str, shape: list[int | str | None]) -> None:
    if datatype != "tensor(float)":
        raise ValueError(f"{path}: {tensor.name} is {datatype}, expected tensor(float)")
    if len(shape) != len(tensor.dims) + 1:
        raise ValueError(f"{path}: {tensor.name} has rank {len(shape)}, expected {len(tensor.dims) + 1}")
    if isinstance(shape[0], int):
        raise ValueError(f"{path}: the batch of {tensor.name} is fixed at {shape[0]}; export with a free batch axis")
    for dim, found in zip(tensor.dims, shape[1:], strict=True):
        if isinstance(found, int) and found != dim:
            raise ValueError(f"{path}: {tensor.name} is {shape}, described is [batch, {list(tensor.dims)}]")


def torchscript_output(path: Path, dims: tuple[int, ...]) -> int:
    """Runs a TorchScript file on zeros, in batches of one and of two.

    Args:
        path: The file: one tensor float32 [N, *dims] in, one float32 [N, D] out.
        dims: The shape of one input.

    Returns:
        D.

    Raises:
        ValueError: It is no TorchScript file, or does not take or give that.
    """
    import torch

    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            outputs = [module(torch.zeros((count, *dims))) for count in (1, 2)]
    except RuntimeError as error:
        raise ValueError(f"{path}: {str(error).strip().splitlines()[-1]}") from error
    for count, output in zip((1, 2), outputs, strict=True):
        if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
            raise ValueError(f"{path}: gives {type(output).__name__}, expected one tensor of float32")
        if output.ndim != 2 or output.shape[0] != count:
            raise ValueError(f"{path}: gives {list(output.shape)} for a batch of {count}, expected [{count}, D]")
    return int(outputs[0].shape[1])
