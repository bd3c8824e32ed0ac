"""The network in PyTorch, ONNX Runtime and TensorRT on one GPU, all with their arrays in PyTorch's memory.

A bare machine may have PyTorch and nothing else, so every other package is imported by the candidate that needs it; one
that cannot run says why (`nvidia.MissingError`).
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from research.common.results import write_bytes
from research.tensorrt import nvidia
from research.tensorrt.nvidia import MissingError

if TYPE_CHECKING:
    import torch

Json = dict[str, Any]

# Of ReductionResNet-18.
CHANNELS = 512


class Candidate(Protocol):
    """The network in one runtime and precision. All work goes to PyTorch's current stream."""

    def device(self, images: torch.Tensor) -> torch.Tensor:
        """Enqueues float32 [n, 3, size, size] on the GPU, without waiting; returns float32 [n, 512] there."""

    def ran(self) -> Json:
        """Returns what really computes: precisions, devices, kernels, as the runtime itself says."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A candidate before it is made.

    Attributes:
        name: For people.
        precision: "fp32", "fp16" or "int8".
        make: Makes it; raises MissingError where something is missing.
    """

    name: str
    precision: str
    make: Callable[[Setup], Candidate]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all candidates share.

    Attributes:
        target: PyTorch's name of the device.
        batches: The smallest batch, the one that is tuned for, and the largest.
        size: Height and width of the pictures.
        engines: A folder for files and engines.
        plugin: The library of the operator's plugin; None where it is not built.
    """

    target: str
    batches: tuple[int, int, int]
    size: int
    engines: Path
    plugin: Path | None = None


def network_weights() -> tuple[Mapping[str, torch.Tensor] | None, str]:
    """Returns the default model's weights and their origin; None where onnx, which reads them, is not installed."""
    try:
        from rrn_native.model import weights

        from research.tensorrt.forms import MODEL
    except ImportError as error:
        return None, f"random, seed 0 ({error})"
    found = weights.load_weights(str(MODEL))
    return found.state_dict, "models/reduction_resnet18.onnx"


class TorchNetwork:
    """PyTorch, with the project's operator.

    Args:
        setup: Where it computes.
        half: In float16 instead of float32.
        compiled: By torch.compile, once for each shape.
    """

    def __init__(self, setup: Setup, *, half: bool, compiled: bool) -> None:
        import torch
        from rrn_native.model import network, torch_op

        torch_op.load_or_define()
        state, _ = network_weights()
        if state is None:
            torch.manual_seed(0)
            made = network.ReductionResNet18()
        else:
            made = network.ReductionResNet18.from_state_dict(state)
        self._half = half
        self._model: Any = network.fold_batch_norm(made).to(setup.target)
        self._model = self._model.half() if half else self._model
        if setup.target != "cpu":
            self._model = self._model.to(memory_format=torch.channels_last)
        self._compiled = compiled
        self._call: Any = torch.compile(self._model, dynamic=False) if compiled else self._model

    def device(self, images: torch.Tensor) -> torch.Tensor:
        """See Candidate."""
        import torch

        with torch.inference_mode():
            output: torch.Tensor = self._call(images.half() if self._half else images)
            return output.float()

    def ran(self) -> Json:
        """See Candidate."""
        import torch

        parameter = next(self._model.parameters())
        kinds = {str(each.dtype).removeprefix("torch.") for each in self._model.parameters()}
        return {
            "device": str(parameter.device),
            "parameters": sorted(kinds),
            "compiled": self._compiled,
            "tf32": torch.backends.cudnn.allow_tf32,
        }


class OrtNetwork:
    """ONNX Runtime's CUDA provider, with the operator's function inlined.

    Args:
        setup: Where it computes.
        form: One of `forms.NAMES`.
    """

    def __init__(self, setup: Setup, *, form: str) -> None:
        try:
            import onnxruntime
            import torch

            from research.tensorrt import forms
        except ImportError as error:
            raise MissingError(f"{error}: pip install onnxruntime-gpu onnx") from error
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise MissingError(
                f"onnxruntime {onnxruntime.__version__} has no CUDA provider: pip install onnxruntime-gpu"
            )
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        cuda = {"user_compute_stream": str(torch.cuda.current_stream().cuda_stream), "use_tf32": "0"}
        model = forms.make(form).SerializeToString()
        providers = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        self._run = onnxruntime.RunOptions()
        # Work is ordered by the stream; waiting is what is measured apart.
        self._run.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def device(self, images: torch.Tensor) -> torch.Tensor:
        """See Candidate."""
        output = images.new_empty((len(images), CHANNELS))
        binding = self._session.io_binding()
        for bind, value, tensor in (
            (binding.bind_input, self._session.get_inputs()[0], images),
            (binding.bind_output, self._session.get_outputs()[0], output),
        ):
            bind(value.name, "cuda", 0, _float32(), tuple(tensor.shape), tensor.data_ptr())
        self._session.run_with_iobinding(binding, self._run)
        return output

    def ran(self) -> Json:
        """See Candidate."""
        found: Json = {"providers": self._session.get_providers()}
        if hasattr(self._session, "get_provider_graph_assignment_info"):
            counts: collections.Counter[str] = collections.Counter()
            for part in self._session.get_provider_graph_assignment_info():
                counts[part.ep_name] += len(part.get_nodes())
            found["nodes"] = dict(counts)
        return found


def _float32() -> Any:
    import numpy as np

    return np.float32


class TrtNetwork:
    """TensorRT, with an engine that is built here.

    Args:
        setup: Where it computes.
        form: One of `forms.NAMES`; one for the plugin needs `setup.plugin`.
    """

    def __init__(self, setup: Setup, *, form: str) -> None:
        library = nvidia.find()
        try:
            from research.tensorrt import build_engine, forms
        except ImportError as error:
            raise MissingError(f"{error}: pip install onnx onnxruntime") from error
        plugins: tuple[Path, ...] = ()
        if form.endswith("-plugin"):
            if setup.plugin is None:
                raise MissingError("the plugin is not built: see research/tensorrt/README.md, then --plugin FILE")
            plugins = (setup.plugin,)
        settings = nvidia.Settings(
            setup.batches, setup.size, timing_cache=setup.engines / "timing.cache", plugins=plugins
        )
        try:
            built = nvidia.build(library, forms.make(form).SerializeToString(), settings)
        except nvidia.BuildError as error:
            raise MissingError(str(error)) from error
        write_bytes(build_engine.engine_file(setup.engines, form), built.plan)
        trt = library.module
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        for path in plugins:
            self._runtime.get_plugin_registry().load_library(str(path))
        self._engine = self._runtime.deserialize_cuda_engine(built.plan)
        if self._engine is None:
            raise MissingError(f"{library.name} does not run its own engine on this GPU")
        self._context = self._engine.create_execution_context()
        self._library = library
        self._built = built

    def device(self, images: torch.Tensor) -> torch.Tensor:
        """See Candidate."""
        output = images.new_empty((len(images), CHANNELS))
        source, target = (self._engine.get_tensor_name(at) for at in range(2))
        self._context.set_input_shape(source, tuple(images.shape))
        self._context.set_tensor_address(source, images.data_ptr())
        self._context.set_tensor_address(target, output.data_ptr())
        import torch

        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError(f"{self._library.name} did not run a batch of {len(images)}")
        return output

    def ran(self) -> Json:
        """See Candidate."""
        text = self._engine.create_engine_inspector().get_engine_information(
            self._library.module.LayerInformationFormat.JSON
        )
        return {
            "library": self._library.name,
            "layers": layer_types(json.loads(text)),
            "engine_mb": round(len(self._built.plan) / 1e6, 1),
            "build_seconds": round(self._built.seconds, 1),
        }


def layer_types(information: Json) -> dict[str, int]:
    """Returns how many layers of an engine write each element type.

    Args:
        information: What the engine's inspector says as JSON, built with detailed verbosity. Releases up to 10 name
            type and format of a tensor together ("Format/Datatype"), from 11 on they stand apart ("DataType").

    Returns:
        Counts by type, in words of the inspector ("FP16"); "?" for layers that do not say it.
    """
    counts: collections.Counter[str] = collections.Counter()
    for layer in information.get("Layers", []):
        outputs = layer.get("Outputs", []) if isinstance(layer, dict) else []
        first = outputs[0] if outputs else {}
        counts[_type_in(str(first.get("DataType") or first.get("Format/Datatype") or ""))] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _type_in(words: str) -> str:
    """FP16 of "Half", and of "Channel major FP16 format where channel % 8 == 0"."""
    names = {"Float": "FP32", "Half": "FP16", "BFloat16": "BF16", "Int8": "INT8", "Int32": "INT32", "Int64": "INT64"}
    known = ("FP32", "FP16", "BF16", "FP8", "INT8", "INT32", "INT64", "BOOL")
    return names.get(words) or next((kind for kind in known if kind in words.upper()), "?")


def named(product: str) -> tuple[Named, ...]:
    """Returns all candidates.

    Args:
        product: Which of NVIDIA's products TrtNetwork uses, as `nvidia.product` says.
    """
    return (
        Named("PyTorch, eager", "fp32", lambda setup: TorchNetwork(setup, half=False, compiled=False)),
        Named("PyTorch, eager", "fp16", lambda setup: TorchNetwork(setup, half=True, compiled=False)),
        Named("torch.compile", "fp32", lambda setup: TorchNetwork(setup, half=False, compiled=True)),
        Named("torch.compile", "fp16", lambda setup: TorchNetwork(setup, half=True, compiled=True)),
        Named("ONNX Runtime, CUDA", "fp32", lambda setup: OrtNetwork(setup, form="fp32")),
        Named("ONNX Runtime, CUDA", "fp16", lambda setup: OrtNetwork(setup, form="fp16")),
        Named(product, "fp32", lambda setup: TrtNetwork(setup, form="fp32")),
        Named(product, "fp16", lambda setup: TrtNetwork(setup, form="fp16")),
        Named(product, "int8", lambda setup: TrtNetwork(setup, form="int8")),
        Named(f"{product}, plugin", "fp32", lambda setup: TrtNetwork(setup, form="fp32-plugin")),
        Named(f"{product}, plugin", "fp16", lambda setup: TrtNetwork(setup, form="fp16-plugin")),
    )
