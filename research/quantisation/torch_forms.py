"""The forms that PyTorch itself has: as it is, compiled, in bfloat16, and with linear layers quantised dynamically."""

from __future__ import annotations

import collections
import io
import warnings
from typing import Any

import torch
from torch import nn

from research.quantisation.networks import NETWORKS
from research.quantisation.task import BATCHES, Floats, Json, Task, some

_LAYERS = (nn.Conv2d, nn.Linear)


class Module:
    """A module of PyTorch.

    Args:
        module: In eval mode.
        task: What it belongs to.
        more: What `ran` adds.
        autocast: Runs it in bfloat16 where PyTorch thinks that fit.
    """

    def __init__(self, module: Any, task: Task, more: Json | None = None, *, autocast: bool = False) -> None:
        self._module = module
        self._task = task
        self._more = more or {}
        self._autocast = autocast

    def run(self, images: Floats) -> Floats:
        """See Built."""
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            outputs: Floats = self._module(torch.from_numpy(images)).float().numpy()
        return outputs

    def ran(self) -> Json:
        """See Built: "outputs" has the layers by the type of what they give; "capability" is PyTorch's."""
        kinds: collections.Counter[str] = collections.Counter()

        def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
            kinds[f"{type(module).__name__} {str(output.dtype).removeprefix('torch.')}"] += 1

        hooks = [module.register_forward_hook(note) for module in self._module.modules() if isinstance(module, _LAYERS)]
        # A compiled module does not call hooks, so its types are not read.
        if "graphs" not in self._more:
            self.run(some(self._task, 1))
        for hook in hooks:
            hook.remove()
        capability = torch.backends.cpu.get_cpu_capability()
        return {"capability": capability, "outputs": dict(sorted(kinds.items()))} | self._more

    def size(self) -> int:
        """See Built: the state dict as PyTorch saves it."""
        buffer = io.BytesIO()
        torch.save(self._module.state_dict(), buffer)
        return buffer.tell()


def _module(task: Task) -> nn.Module:
    torch.set_num_threads(task.threads)
    return NETWORKS[task.network].build(task.weights)


def eager(task: Task) -> Module:
    """The network as it is, in float32."""
    return Module(_module(task), task)


def bfloat16(task: Task) -> Module:
    """The network under autocast to bfloat16."""
    return Module(_module(task), task, autocast=True)


def _compiled(module: Any, task: Task, more: Json) -> Module:
    from torch._dynamo.utils import counters

    made = Module(torch.compile(module, dynamic=False), task, more | {"graphs": 0})
    counters.clear()
    for batch in BATCHES:
        made.run(some(task, batch))
    graphs, breaks = counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
    return Module(made._module, task, more | {"graphs": graphs, "graph_breaks": breaks})


def compiled(task: Task) -> Module:
    """The network by torch.compile, once for each size of batch."""
    return _compiled(_module(task), task, {})


def _counts(module: nn.Module) -> dict[str, int]:
    return {kind.__name__: sum(type(each) is kind for each in module.modules()) for kind in _LAYERS}


def dynamic(task: Task) -> Module:
    """The network by torch.ao's quantize_dynamic, which is asked for linear layers and convolutions."""
    module = _module(task)
    before = _counts(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        made = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            module, set(_LAYERS), torch.qint8
        )
    after = _counts(made)
    replaced = {kind: [count - after[kind], count] for kind, count in before.items()}
    return Module(made, task, {"replaced": replaced})


def _torchao(task: Task) -> tuple[nn.Module, Json]:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    module = _module(task)
    counts = _counts(module)
    quantize_(module, Int8DynamicActivationInt8WeightConfig())
    changed = {
        kind.__name__: sum(
            isinstance(each, kind) and type(each.weight.data) is not torch.Tensor for each in module.modules()
        )
        for kind in _LAYERS
    }
    return module, {"replaced": {kind: [changed[kind], count] for kind, count in counts.items()}}


def torchao(task: Task) -> Module:
    """The network by torchao: int8 weights, int8 activations whose range is found while running; linear layers only."""
    module, more = _torchao(task)
    return Module(module, task, more)


def torchao_compiled(task: Task) -> Module:
    """The same by torch.compile, which torchao is made for."""
    module, more = _torchao(task)
    return _compiled(module, task, more)
