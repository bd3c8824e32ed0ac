"""The parts of the GPU check that need PyTorch; each prints one JSON object.

    python -m research.gpu.torch_parts table                 # the operator against its definition
    python -m research.gpu.torch_parts bench SECONDS         # against PyTorch's own operations
    python -m research.gpu.torch_parts network SECONDS       # ResNet-18 with and without the operator
    python -m research.gpu.torch_parts onnxruntime SECONDS   # the default model in ONNX Runtime's CUDA provider

Times of the operator and of the network are of CUDA graphs, between two CUDA events; the operator's inputs take turns,
and `turn_bytes` says how large they are together. All candidates of such a comparison are measured in turn, round by
round. The copy's and the matrix product's rates are of single calls, ONNX Runtime's times are taken by the CPU's clock.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from rrn_native.model import torch_op

from research.common.places import ROOT

Json = dict[str, Any]
Layers = list[torch.Tensor]
Call = Callable[[Layers], torch.Tensor]

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
EPSILON = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
ROUNDS = 15
# Sets of inputs that take turns: a graph of more calls takes longer to capture than it is worth.
MAX_SETS = 2048
# What a stream is kept waiting for, in cycles: 10 to 30 ms, far more than it takes to enqueue a few calls.
DELAY = 40_000_000


def make_layers(batch: int, size: int, dtype: torch.dtype, form: str) -> Layers:
    """Returns random feature maps of ResNet-18 at `size` pixels on the GPU; form "pooled" is [B, C] each."""
    layers = []
    for k in range(4):
        side = -(-size // 4 // 2**k)
        shape = [batch, 64 << k] if form == "pooled" else [batch, 64 << k, side, side]
        layer = torch.randn(shape, device="cuda").to(dtype)
        layers.append(layer if form == "pooled" else layer.to(memory_format=FORMATS[form]))
    return layers


def plain(layers: Layers) -> torch.Tensor:
    """The same in PyTorch's own operations."""
    pooled = [torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1) if x.dim() == 4 else x for x in layers]
    return torch.stack([x.repeat_interleave(512 // x.shape[1], dim=1) for x in pooled]).mean(0)


def operator(layers: Layers) -> torch.Tensor:
    """The operator."""
    result: torch.Tensor = torch.ops.rrn.reduce_layers(layers)
    return result


@contextmanager
def without_waiting() -> Iterator[None]:
    """Anything in here that makes the CPU wait for the GPU is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_another_stream(layers: Layers, call: Call) -> torch.Tensor:
    """Returns call(layers), from a stream whose inputs are zeros until a delay on that very stream has passed.

    A call that went to any other stream would not wait for the delay, and so would see zeros. Only this stream is
    waited for.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    inputs = [torch.zeros_like(layer) for layer in layers]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), without_waiting():
        torch.cuda._sleep(DELAY)  # type: ignore[no-untyped-call]
        for target, layer in zip(inputs, layers, strict=True):
            target.copy_(layer)
        result = call(inputs)
    side.synchronize()
    return result


def replayed(layers: Layers, call: Call) -> list[torch.Tensor]:
    """Returns what two replays of a CUDA graph of call(zeros) give once the zeros have become `layers`."""
    inputs = [torch.zeros_like(layer) for layer in layers]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call(inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call(inputs)
    for target, layer in zip(inputs, layers, strict=True):
        target.copy_(layer)
    results = []
    for _ in range(2):
        output.fill_(float("nan"))
        graph.replay()
        results.append(output.clone())
    torch.cuda.synchronize()
    return results


def graphed(calls: list[Callable[[], object]]) -> Callable[[], None]:
    """Returns something that runs all calls as one CUDA graph; raises where they cannot be captured."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls[:3]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph.replay


def elapsed(run: Callable[[], object]) -> float:
    """Returns microseconds between two events around one run."""
    begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    begin.record()
    run()
    end.record()
    end.synchronize()
    return 1000 * float(begin.elapsed_time(end))


def compare(candidates: dict[str, Callable[[], None]], calls: int, rounds: int = ROUNDS) -> Json:
    """Returns for each candidate the median and quartiles of microseconds a call; `calls` is how many one run makes."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 2):
        for name in candidates if number % 2 else reversed(candidates):
            value = elapsed(candidates[name]) / calls
            if number >= 2:
                times[name].append(value)
    return {
        name: {
            "us": round(statistics.median(values), 3),
            "us_quartiles": [round(v, 3) for v in statistics.quantiles(values, n=4)[::2]],
        }
        for name, values in times.items()
    }


def rate(row: Json, floor: float) -> None:
    """Adds "share": which part of `floor` microseconds' limit each candidate reaches."""
    for entry in row.values():
        entry["share"] = round(floor / entry["us"], 4)


def table(_seconds: float) -> Json:
    """The operator against its definition in float64: types, ranks, layouts, and what a CUDA operator must also do.

    That is: run on the current stream without waiting for the GPU, in CUDA graphs, under autograd and torch.compile,
    and pass PyTorch's own opcheck.
    """
    failures = []
    count = 0

    def check(name: str, right: bool) -> None:
        nonlocal count
        count += 1
        if not right:
            failures.append(name)
            print(f"FAILED {name}", file=sys.stderr)

    def call(layers: Layers, normalize: bool) -> torch.Tensor:
        result: torch.Tensor = torch.ops.rrn.reduce_layers(layers, 512, normalize)
        return result

    def misplaced(layers: Layers) -> torch.Tensor:
        with torch.cuda.stream(torch.cuda.default_stream()):
            return operator(layers)

    for type_name, dtype in TYPES.items():
        for form in ("pooled", "nchw", "nhwc"):
            layers = make_layers(3, 64, dtype, form)
            actual = operator(layers)  # and whatever is loaded on first use is loaded now
            torch.cuda.synchronize()
            name = f"{type_name} {form}"
            check(name + ": a wrong stream is noticed", not torch.equal(on_another_stream(layers, misplaced), actual))
            for batch, size in ((1, 224), (3, 64), (5, 100)):
                for normalize in (False, True):
                    layers = make_layers(batch, size, dtype, form)
                    once = partial(call, normalize=normalize)
                    with without_waiting():
                        again = once(layers)
                    actual = on_another_stream(layers, once)
                    wide = [layer.double() for layer in layers]
                    expected = torch_op.reference(wide, 512, normalize)
                    scale = torch_op.reference([x.abs() for x in wide], 512)
                    if normalize:
                        scale = scale / torch_op.reference(wide, 512).norm(dim=-1, keepdim=True)
                    # Lanes of a few dozen additions each, then trees: far fewer in a row than pixels.
                    bound = 200 * 2.0**-24 * scale + EPSILON[dtype] * expected.abs() + 2.0**-25
                    name = f"{type_name} {form} batch {batch} size {size} normalize {normalize}"
                    check(name, bool(((actual.double() - expected).abs() <= bound).all()))
                    check(name + ": twice the same", torch.equal(actual, again))
                    for number, result in enumerate(replayed(layers, once)):
                        check(name + f": replay {number} of a graph the same", torch.equal(actual, result))
                    alone = torch.ops.rrn.reduce_layers([x[-1:] for x in layers], 512, normalize)
                    check(name + ": alone the same", torch.equal(alone[0], actual[-1]))
    for normalize in (False, True):
        layers = [x.requires_grad_() for x in make_layers(2, 64, torch.float32, "nhwc")]
        wide = [x.detach().double().requires_grad_() for x in layers]
        # Weighted, because the length of a unit row is constant: a gradient of zeros must not pass.
        weight = torch.linspace(-1, 1, 512, device="cuda")
        narrow_loss = (call(layers, normalize).square() * weight).sum()
        wide_loss = (torch_op.reference(wide, 512, normalize).square() * weight.double()).sum()
        got = torch.autograd.grad(narrow_loss, layers)
        want = torch.autograd.grad(wide_loss, wide)
        check(f"gradient is not zero, normalize {normalize}", all(bool(w.abs().max() > 1e-6) for w in want))
        close = all(bool((g.double() - w).abs().max() <= 1e-4 * w.abs().max()) for g, w in zip(got, want, strict=True))
        check(f"gradient, normalize {normalize}", close)
        compiled = torch.compile(lambda xs, n=normalize: torch.ops.rrn.reduce_layers([x * 2 for x in xs], 512, n))
        doubled = torch.ops.rrn.reduce_layers([x * 2 for x in layers], 512, normalize)
        check(f"torch.compile, normalize {normalize}", torch.allclose(compiled(layers), doubled, rtol=1e-5, atol=1e-7))
        for form in ("pooled", "nchw", "nhwc"):
            tracked = [x.requires_grad_() for x in make_layers(2, 64, torch.float32, form)]
            try:
                torch.library.opcheck(torch.ops.rrn.reduce_layers.default, (tracked, 512, normalize))
            except Exception as error:
                print(error, file=sys.stderr)
                check(f"opcheck {form}, normalize {normalize}", False)
            else:
                check(f"opcheck {form}, normalize {normalize}", True)
    return {"torch": torch.__version__, "checks": count, "failed": failures}


def print_line(value: Json) -> None:
    """Prints a line that is kept even if this part is stopped; check.parse_json says what KEY+ means."""
    print(json.dumps(value), flush=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def copy_rate() -> float:
    """Returns GB/s of a copy of 1 GiB on the GPU; twice that many bytes move."""
    large = torch.randn(2**28, device="cuda")
    target = torch.empty_like(large)

    def copy() -> None:
        target.copy_(large)

    return 2 * large.nbytes / statistics.median(elapsed(copy) for _ in range(12)) / 1e3


def bench(seconds: float) -> Json:
    """The operator against PyTorch's own operations, eager and compiled."""
    start = time.monotonic()
    copy = copy_rate()
    print_line({"copy_gb_s": round(copy, 1)})
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    for batch in (8, 32, 128, 1):
        for size in (224, 416):
            for type_name, dtype in TYPES.items():
                for form in ("nchw", "nhwc", "pooled"):
                    name = f"{form} {type_name} batch {batch} size {size}"
                    if form == "pooled" and size != 224:
                        continue
                    if time.monotonic() - start > seconds:
                        print_line({"notes+": f"{name}: no time left"})
                        continue
                    inputs = sum(x.nbytes for x in make_layers(batch, size, dtype, form))
                    count = inputs + batch * 512 * dtype.itemsize
                    turns = max(2, min(4 * l2 // inputs + 1, MAX_SETS))
                    large = make_layers(turns * batch, size, dtype, form)
                    sets = [[x[i * batch : (i + 1) * batch] for x in large] for i in range(turns)]
                    candidates: dict[str, Call] = {"operator": operator, "eager": plain}
                    torch._dynamo.reset()
                    candidates["compiled"] = torch.compile(plain, dynamic=False)
                    runs = {}
                    for key, call in candidates.items():
                        try:
                            runs[key] = graphed([partial(call, layers) for layers in sets])
                        except Exception as error:
                            print_line({"notes+": f"{name}: {key}: {_first_line(error)}"})
                    row = compare(runs, len(sets))
                    rate(row, count / copy / 1e3)
                    head = {"form": form, "type": type_name, "batch": batch, "size": size, "bytes": count}
                    print_line({"rows+": {**head, "turn_bytes": turns * inputs, "candidates": row}})
                    print(name, {k: (v["us"], v["share"]) for k, v in row.items()}, file=sys.stderr, flush=True)
    return {"copy_gb_s": round(copy, 1)}


def network(seconds: float) -> Json:
    """ResNet-18 at 224 pixels in float16, batch 64: with the operator and without, by layout, eager and compiled."""
    from rrn_native.model.network import ReductionResNet18

    class Fused(torch.nn.Module):
        """Feature maps go to the operator as they are."""

        def __init__(self, model: ReductionResNet18, call: Call) -> None:
            super().__init__()
            self.model, self.call = model, call

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Returns the embeddings of [N, 3, 224, 224]."""
            m = self.model
            x = m.maxpool(m.relu(m.bn1(m.conv1(images))))
            maps = []
            for stage in (m.layer1, m.layer2, m.layer3, m.layer4):
                x = stage(x)
                maps.append(x)
            return self.call(maps)

    start = time.monotonic()
    batch = 64
    matrix = {}
    for type_name in ("float16", "bfloat16"):
        a, b = (torch.randn(8192, 8192, device="cuda").to(TYPES[type_name]) for _ in range(2))
        times = [elapsed(partial(torch.mm, a, b)) for _ in range(15)]
        matrix[type_name] = round(2 * 8192**3 / statistics.median(times[3:]) / 1e6, 1)
    print_line({"batch": batch, "matrix_tflop_s": matrix})
    torch.backends.cudnn.benchmark = True
    runs: dict[str, Callable[[], None]] = {}
    operations = 0
    for layout, memory_format in FORMATS.items():
        for tail, call in (("operator", operator), ("plain", plain)):
            model = Fused(ReductionResNet18().eval(), call).half().cuda()
            model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
            images = torch.randn(batch, 3, 224, 224, device="cuda").half().to(memory_format=memory_format)
            if operations == 0:
                operations = convolution_operations(model, images)
            for mode in ("eager", "compiled"):
                name = f"{layout} {tail} {mode}"
                if time.monotonic() - start > 0.7 * seconds:
                    print_line({"notes+": f"{name}: no time left"})
                    continue
                try:
                    with torch.no_grad():
                        function = model if mode == "eager" else torch.compile(model, dynamic=False)
                        runs[name] = graphed([partial(function, images)] * 3)
                except Exception as error:
                    print_line({"notes+": f"{name}: {_first_line(error)}"})
    rows = compare(runs, 3)
    for entry in rows.values():
        tflops = operations / entry["us"] / 1e6
        entry.update(
            images_per_s=round(batch / entry["us"] * 1e6), share_of_matrix_rate=round(tflops / matrix["float16"], 4)
        )
    return {"batch": batch, "matrix_tflop_s": matrix, "operations": operations, "rows": rows}


def convolution_operations(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Counts two operations for each multiplication of the convolutions of one pass."""
    total = 0

    def hook(module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, torch.nn.Conv2d)
        total += 2 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]

    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        model(images)
    for each in hooks:
        each.remove()
    return total


def onnxruntime(_seconds: float) -> Json:
    """The default model in ONNX Runtime's CUDA provider, with its own function for the operator."""
    import numpy as np
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return {"note": "this ONNX Runtime has no CUDA provider", "version": ort.__version__}
    session = ort.InferenceSession(
        str(ROOT / "models" / "reduction_resnet18.onnx"), providers=["CUDAExecutionProvider"]
    )
    batch = 64
    value = session.get_inputs()[0]
    images = np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(images, "cuda", 0))
    binding.bind_output(session.get_outputs()[0].name, "cuda")
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        times.append(1e6 * (time.perf_counter() - begin))
    us = statistics.median(times[5:])
    head = {"version": ort.__version__, "providers": session.get_providers(), "type": "float32", "batch": batch}
    return {**head, "us": round(us, 1), "images_per_s": round(batch / us * 1e6)}


def main(arguments: list[str]) -> int:
    """Runs one part and prints its result; returns 1 where a check failed."""
    parts = {"table": table, "bench": bench, "network": network, "onnxruntime": onnxruntime}
    torch.manual_seed(0)
    torch_op.load_library()
    result = parts[arguments[0]](float(arguments[1]) if len(arguments) > 1 else 0.0)
    print(json.dumps(result))
    return int(bool(result.get("failed")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
