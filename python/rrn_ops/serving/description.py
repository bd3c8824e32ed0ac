"""What a model of a store is, and its config.pbtxt.

The file is written by protobuf's own text format from the message that Triton defines
(https://github.com/triton-inference-server/common, model_config.proto), and read back before it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as proto

# The names of datatypes: NumPy and the protocol on the left, config.pbtxt on the right.
_TYPES = {"FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output without its batch axis.

    Attributes:
        name: As the model calls it.
        datatype: "FP32" or "BYTES".
        dims: The shape of one item.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """A model in an ensemble.

    Attributes:
        model: Its name.
        inputs: The step's tensors and which of the ensemble's they take.
        outputs: The same for what it gives.
    """

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of a store.

    Attributes:
        name: The name that clients use; the folder's as well.
        runs_on: Triton's platform ("onnxruntime_onnx", "pytorch_libtorch", "ensemble") or backend ("python", "rrn").
        inputs: What it takes.
        outputs: What it gives.
        max_batch: The largest batch, at least 1; the batch axis is in front of all dims.
        delay_us: How long a request may wait for others, in microseconds; None for no batching by the server.
        instances: How many run at once.
        file: The name of the model's file in its version folder; empty for an ensemble.
        parameters: What the backend is told.
        op_libraries: Operator libraries of ONNX Runtime, relative to the model's folder.
        steps: Of an ensemble.
        warm_up: The name of a file in `warmup/` with an item of each BYTES input; FP32 inputs are zeros. Empty for
            none.
        versions: How many of the newest versions are served.
    """

    name: str
    runs_on: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int = 32
    delay_us: int | None = 1000
    instances: int = 1
    file: str = ""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    op_libraries: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    warm_up: str = ""
    versions: int = 1

    @property
    def is_ensemble(self) -> bool:
        """Whether it only connects others."""
        return self.runs_on == "ensemble"


PLATFORMS = ("onnxruntime_onnx", "pytorch_libtorch", "ensemble")


def to_message(model: Model) -> Any:
    """Returns Triton's message (`ModelConfig`) for a description."""
    config = proto.ModelConfig(name=model.name, max_batch_size=model.max_batch)
    setattr(config, "platform" if model.runs_on in PLATFORMS else "backend", model.runs_on)
    for tensors, field in ((model.inputs, config.input), (model.outputs, config.output)):
        for tensor in tensors:
            field.add(name=tensor.name, data_type=_TYPES[tensor.datatype], dims=tensor.dims)
    config.version_policy.latest.num_versions = model.versions
    for step in model.steps:
        config.ensemble_scheduling.step.add(
            model_name=step.model, model_version=-1, input_map=dict(step.inputs), output_map=dict(step.outputs)
        )
    if model.is_ensemble:
        return config
    # The Python backend does not find a model that its own default is named for.
    if model.runs_on != "python":
        config.default_model_filename = model.file
    config.instance_group.add(count=model.instances, kind=proto.ModelInstanceGroup.KIND_CPU)
    if model.delay_us is not None:
        config.dynamic_batching.max_queue_delay_microseconds = model.delay_us
    for name, value in sorted(model.parameters.items()):
        config.parameters[name].string_value = value
    if model.op_libraries:
        config.model_operations.op_library_filename.extend(model.op_libraries)
    if model.warm_up:
        warm_up = config.model_warmup.add(name="one item", batch_size=1, count=1)
        for tensor in model.inputs:
            item = warm_up.inputs[tensor.name]
            item.data_type = proto.DataType.Value(_TYPES[tensor.datatype])
            item.dims.extend(tensor.dims)
            if tensor.datatype == "BYTES":
                item.input_data_file = model.warm_up
            else:
                item.zero_data = True
    return config


def to_pbtxt(model: Model) -> str:
    """Returns the text of config.pbtxt.

    Raises:
        ValueError: What was written does not read back as the same.
    """
    message = to_message(model)
    text: str = text_format.MessageToString(message)
    if text_format.Parse(text, proto.ModelConfig()) != message:
        raise ValueError(f"{model.name}: config.pbtxt does not read back as it was written")
    return text


def read_pbtxt(path: Path) -> Any:
    """Reads a config.pbtxt as Triton's message.

    Raises:
        ValueError: It is no such text; names the line.
        OSError: The file cannot be read.
    """
    try:
        return text_format.Parse(path.read_text(), proto.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def runs_on(config: Any) -> str:
    """Returns the platform or backend of a message."""
    return str(config.backend or config.platform)


def check_ensemble(model: Model, others: Mapping[str, Model]) -> None:
    """Checks that the steps of an ensemble exist and fit together.

    Raises:
        ValueError: Names the step and the tensor, with what was expected and found.
    """
    known = {tensor.name: tensor for tensor in model.inputs}
    for step in model.steps:
        if step.model not in others:
            raise ValueError(f"{model.name}: there is no model {step.model}")
        other = others[step.model]
        if other.max_batch < model.max_batch:
            raise ValueError(f"{model.name}: batches of {model.max_batch}, {step.model} takes {other.max_batch}")
        for mine, theirs, kind in ((step.inputs, other.inputs, "input"), (step.outputs, other.outputs, "output")):
            unknown = set(mine) - {tensor.name for tensor in theirs}
            if unknown:
                raise ValueError(f"{model.name}: {step.model} has no {kind} {', '.join(sorted(unknown))}")
        for tensor in other.inputs:
            source = step.inputs.get(tensor.name, "")
            if source not in known:
                raise ValueError(f"{model.name}: nothing gives {tensor.name} of {step.model}")
            found = known[source]
            if (found.datatype, found.dims) != (tensor.datatype, tensor.dims):
                raise ValueError(
                    f"{model.name}: {tensor.name} of {step.model} is {tensor.datatype} {list(tensor.dims)}, "
                    f"{source} is {found.datatype} {list(found.dims)}"
                )
        for tensor in other.outputs:
            if tensor.name in step.outputs:
                known[step.outputs[tensor.name]] = dataclasses.replace(tensor, name=step.outputs[tensor.name])
    for tensor in model.outputs:
        if known.get(tensor.name) != tensor:
            raise ValueError(f"{model.name}: no step gives {tensor.name} {tensor.datatype} {list(tensor.dims)}")
