"""The PyTorch operator: values, derivatives, tracing, errors, and the build with setuptools."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rrn_native.model import torch_op

REPOSITORY = Path(__file__).resolve().parents[3]
CHANNELS = (64, 128, 256, 512)
# Half a unit in the last place of 1.0: the error of storing one result.
STORAGE_EPSILON = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
FLOAT_EPSILON = 2.0**-24


@pytest.fixture(autouse=True, scope="module")
def _library() -> None:
    torch_op.load_library()


def make_layers(shapes: list[list[int]], dtype: torch.dtype = torch.float32, seed: int = 0) -> list[torch.Tensor]:
    """Makes random tensors of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def resnet_shapes(rank: int, batch: int = 3) -> list[list[int]]:
    """Returns the shapes of ResNet-18's layers: vectors, batches of vectors, or maps."""
    if rank == 1:
        return [[c] for c in CHANNELS]
    if rank == 2:
        return [[batch, c] for c in CHANNELS]
    return [[batch, c, 512 // c + 1, 512 // c + 2] for c in CHANNELS]


def assert_equals_reference(actual: torch.Tensor, layers: list[torch.Tensor], channels: int) -> None:
    """Compares with the definition in float64, within a bound derived from the number of float32 additions."""
    wide = [layer.double() for layer in layers]
    expected = torch_op.reference(wide, channels)
    magnitude = torch_op.reference([layer.abs() for layer in wide], channels)
    pixels = max((layer.shape[2] * layer.shape[3] if layer.dim() == 4 else 0) for layer in layers)
    additions = len(layers) + 1 + pixels
    # 2^-25: half the spacing of float16 below its smallest normal number.
    bound = (
        additions * FLOAT_EPSILON * magnitude + STORAGE_EPSILON[layers[0].dtype] * expected.abs() + 2.0**-25
        if layers[0].dtype == torch.float16
        else additions * FLOAT_EPSILON * magnitude + STORAGE_EPSILON[layers[0].dtype] * expected.abs()
    )
    assert actual.shape == expected.shape
    assert actual.dtype == layers[0].dtype
    assert bool(((actual.double() - expected).abs() <= bound).all())


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[torch.Tensor], int]:
    """Any number of layers of one rank and type, contiguous or not, with channels that divide the output's."""
    channels = draw(st.sampled_from([1, 6, 30, 64, 512]))
    divisors = [c for c in range(1, channels + 1) if channels % c == 0]
    rank = draw(st.sampled_from([1, 2, 4]))
    batch = draw(st.integers(0, 4))
    shapes = []
    for _ in range(draw(st.integers(1, 6))):
        c = draw(st.sampled_from(divisors))
        height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
        shapes.append({1: [c], 2: [batch, c], 4: [batch, c, height, width]}[rank])
    layers = make_layers(shapes, draw(st.sampled_from(list(STORAGE_EPSILON))), draw(st.integers(0, 2**31)))
    if draw(st.booleans()):
        layers = [torch.stack([layer, layer], -1)[..., 0] for layer in layers]
    if rank == 4 and draw(st.booleans()):
        layers = [layer.to(memory_format=torch.channels_last) for layer in layers]
    return layers, channels


@settings(deadline=None, max_examples=150)
@given(cases())
def test_equals_reference(case: tuple[list[torch.Tensor], int]) -> None:
    layers, channels = case
    assert_equals_reference(torch.ops.rrn.reduce_layers(layers, channels), layers, channels)


@pytest.mark.parametrize("dtype", list(STORAGE_EPSILON), ids=str)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_four_layers(rank: int, dtype: torch.dtype) -> None:
    layers = make_layers(resnet_shapes(rank), dtype)
    actual = torch.ops.rrn.reduction(*layers)
    assert_equals_reference(actual, layers, 512)
    assert torch.equal(actual, torch.ops.rrn.reduce_layers(layers))


@pytest.mark.parametrize("shape", [[1], [64], [512], [0, 128], [5, 256]], ids=str)
def test_repeat_interleave(shape: list[int]) -> None:
    (values,) = make_layers([shape])
    expected = values.repeat_interleave(512 // shape[-1], dim=-1)
    assert torch.equal(torch.ops.rrn.repeatInterleave(values), expected)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_first_and_second_derivative(rank: int) -> None:
    layers = [layer.requires_grad_() for layer in make_layers(resnet_shapes(rank))]
    wide = [layer.detach().double().requires_grad_() for layer in layers]
    weight = torch.linspace(-1, 1, 512)

    def derivatives(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        loss = (output.square() * weight.to(output.dtype)).sum()
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), inputs)
        return [*first, *second]

    actual = derivatives(torch.ops.rrn.reduction(*layers), layers)
    expected = derivatives(torch_op.reference(wide), wide)
    for got, want in zip(actual, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-6)


def test_derivative_only_where_asked() -> None:
    layers = make_layers(resnet_shapes(2))
    layers[1].requires_grad_()
    torch.ops.rrn.reduction(*layers).sum().backward()
    # Every channel of the second layer goes to 4 outputs with the share 1/4.
    torch.testing.assert_close(layers[1].grad, torch.ones(3, 128))
    assert layers[0].grad is None


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_opcheck(rank: int) -> None:
    layers = [layer.requires_grad_() for layer in make_layers(resnet_shapes(rank))]
    torch.library.opcheck(torch.ops.rrn.reduction.default, tuple(layers))
    torch.library.opcheck(torch.ops.rrn.reduce_layers.default, (layers[:2], 256))
    torch.library.opcheck(torch.ops.rrn.reduce_layers.default, (layers, 512, True))
    if rank < 4:
        torch.library.opcheck(torch.ops.rrn.repeatInterleave.default, (layers[0],))


def test_compiles_without_graph_breaks_for_any_batch() -> None:
    def network(*maps: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.rrn.reduction(*[m.relu() for m in maps]) * 2
        return result

    compiled = torch.compile(network, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch in (2, 5):
        maps = [m.requires_grad_() for m in make_layers(resnet_shapes(4, batch))]
        torch.testing.assert_close(compiled(*maps), network(*maps))
        actual = torch.autograd.grad(compiled(*maps).sum(), maps)
        expected = torch.autograd.grad(network(*maps).sum(), maps)
        torch.testing.assert_close(actual, expected)


def test_exports_as_one_node_with_dynamic_batch() -> None:
    class Network(torch.nn.Module):
        def forward(self, layers: list[torch.Tensor]) -> torch.Tensor:
            result: torch.Tensor = torch.ops.rrn.reduction(*layers)
            return result

    dynamic = [{0: torch.export.Dim.DYNAMIC}] * 4
    program = torch.export.export(Network(), (make_layers(resnet_shapes(2)),), dynamic_shapes={"layers": dynamic})
    program = program.run_decompositions()
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert calls == [torch.ops.rrn.reduction.default]
    layers = make_layers(resnet_shapes(2, batch=7))
    assert torch.equal(program.module()(layers), torch.ops.rrn.reduction(*layers))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([[2, 64], [2, 100], [2, 256], [2, 512]], ["[2, 64]", "[2, 100]", "[2, 256]", "[2, 512]", "512"]),
        ([[2, 64], [3, 128], [2, 256], [2, 512]], ["[2, 64]", "[3, 128]", "[2, 256]", "[2, 512]"]),
        ([[64], [1, 128], [256], [512]], ["[64]", "[1, 128]", "[256]", "[512]"]),
        ([[2, 64, 1]] * 4, ["[2, 64, 1]"]),
        ([[2, 64, 0, 3]] * 4, ["[2, 64, 0, 3]"]),
        ([[1] * 9] * 4, ["[1, 1, 1, 1, 1, 1, 1, 1, 1]"]),
    ],
    ids=["not dividing", "batches", "ranks", "rank 3", "empty map", "rank 9"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_errors_name_all_shapes(shapes: list[list[int]], words: list[str], device: str) -> None:
    with pytest.raises(ValueError, match="rrn::reduction") as error:
        torch.ops.rrn.reduction(*[torch.zeros(shape, device=device) for shape in shapes])
    for word in words:
        assert word in str(error.value)


def test_errors_name_all_types_and_devices() -> None:
    with pytest.raises(TypeError, match=r"one type; got float32 \[64\] on cpu, float16 \[64\] on cpu"):
        torch.ops.rrn.reduce_layers([torch.zeros(64), torch.zeros(64, dtype=torch.float16)])
    with pytest.raises(TypeError, match=r"float32, float16 or bfloat16; got float64 \[64\] on cpu"):
        torch.ops.rrn.repeatInterleave(torch.zeros(64, dtype=torch.float64))
    with pytest.raises(TypeError, match="int64"):
        torch.ops.rrn.repeatInterleave(torch.zeros(64, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"one device; got float32 \[64\] on cpu, float32 \[64\] on meta"):
        torch.ops.rrn.reduce_layers([torch.zeros(64), torch.zeros(64, device="meta")])
    with pytest.raises(ValueError, match="at least one input"):
        torch.ops.rrn.reduce_layers([])
    with pytest.raises(ValueError, match="at most 32"):
        torch.ops.rrn.reduce_layers([torch.zeros(64)] * 33)
    with pytest.raises(ValueError, match=r"\[C\] or \[B, C\]; got \[1, 64, 2, 2\]"):
        torch.ops.rrn.repeatInterleave(torch.zeros(1, 64, 2, 2))


@pytest.mark.parametrize("dtype", list(STORAGE_EPSILON), ids=str)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_normalized_rows_have_length_one(rank: int, dtype: torch.dtype) -> None:
    layers = make_layers(resnet_shapes(rank), dtype)
    if rank > 1:
        for layer in layers:
            layer[1] = 0
    actual = torch.ops.rrn.reduce_layers(layers, normalize=True)
    expected = torch_op.reference([layer.double() for layer in layers], 512, normalize=True)
    assert actual.dtype == dtype
    # Rounding to storage, and a relative error of the length that is far below the storage's for 16-bit types.
    bound = (STORAGE_EPSILON[dtype] + 100 * FLOAT_EPSILON) * expected.abs() + 200 * FLOAT_EPSILON * expected.abs().max()
    assert bool(((actual.double() - expected).abs() <= bound + 2.0**-25).all())
    if rank > 1:
        assert torch.equal(actual[1], torch.zeros_like(actual[1]))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_first_and_second_derivative_of_normalized_rows(rank: int) -> None:
    layers = [layer.requires_grad_() for layer in make_layers(resnet_shapes(rank))]
    wide = [layer.detach().double().requires_grad_() for layer in layers]
    weight = torch.linspace(-1, 1, 512)

    def derivatives(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        loss = (output.square() * weight.to(output.dtype)).sum()
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), inputs)
        return [*first, *second]

    actual = derivatives(torch.ops.rrn.reduce_layers(layers, 512, True), layers)
    expected = derivatives(torch_op.reference(wide, 512, normalize=True), wide)
    for got, want in zip(actual, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-5 * float(want.detach().abs().max()))


def test_channels_last_is_read_as_it_is() -> None:
    layers = make_layers(resnet_shapes(4))
    last = [layer.to(memory_format=torch.channels_last) for layer in layers]
    assert_equals_reference(torch.ops.rrn.reduce_layers(last), layers, 512)
    with torch.profiler.profile() as profile:
        torch.ops.rrn.reduce_layers(last)
    names = {event.key for event in profile.key_averages()}
    assert "rrn::reduce_layers" in names
    assert not names & {"aten::copy_", "aten::clone", "aten::contiguous"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_cuda_graph_replays(normalize: bool, memory_format: torch.memory_format) -> None:
    layers = [layer.cuda().to(memory_format=memory_format) for layer in make_layers(resnet_shapes(4))]
    warm = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(warm):
        torch.ops.rrn.reduce_layers(layers, 512, normalize)
    warm.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = torch.ops.rrn.reduce_layers(layers, 512, normalize)
    for _ in range(3):
        for layer in layers:
            layer.normal_()
        graph.replay()  # type: ignore[no-untyped-call]
        assert torch.equal(output, torch.ops.rrn.reduce_layers(layers, 512, normalize))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", list(STORAGE_EPSILON), ids=str)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_cuda_equals_reference(rank: int, dtype: torch.dtype) -> None:
    layers = make_layers(resnet_shapes(rank), dtype)
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        actual = torch.ops.rrn.reduction(*[layer.cuda() for layer in layers]).cpu()
    assert_equals_reference(actual, layers, 512)


def test_reference_refuses_what_the_operator_refuses() -> None:
    with pytest.raises(ValueError, match=r"\[2, 100\]"):
        torch_op.reference([torch.zeros(2, 100)])
    with pytest.raises(ValueError, match="at least one"):
        torch_op.reference([])


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, in which no library is loaded yet."""
    python_path = os.pathsep.join([str(REPOSITORY / "python"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": python_path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


LOAD = "from rrn_native.model import torch_op; torch_op.load_library()"


def test_missing_library_lists_the_places_tried(tmp_path: Path) -> None:
    missing = str(tmp_path / "absent.so")
    result = run_python(LOAD, RRN_TORCH_OP_LIBRARY=missing)
    assert result.returncode != 0
    assert f"FileNotFoundError: no libreduction_torch.so at {missing}" in result.stderr


def test_broken_library_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "libreduction_torch.so"
    broken.write_bytes(b"not a library")
    result = run_python(LOAD, RRN_TORCH_OP_LIBRARY=str(broken))
    assert "does not load into PyTorch" in result.stderr


def test_setuptools_builds_the_library(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    script = REPOSITORY / "bindings" / "torch_extension" / "setup.py"
    arguments = ["build_ext", "--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "objects")]
    built = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "MAX_JOBS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    code = """
import torch
from rrn_native.model import torch_op
print(torch_op.load_library())
layers = [torch.randn(2, c) for c in (64, 128, 256, 512)]
torch.testing.assert_close(torch.ops.rrn.reduction(*layers), torch_op.reference(layers))
"""
    library = tmp_path / "lib" / "libreduction_torch.so"
    result = run_python(code, RRN_TORCH_OP_LIBRARY=str(library))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(library)
