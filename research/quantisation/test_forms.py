"""Forms of a tiny network: each computes what float32 does, says what ran, and runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

for _name in ("torch", "onnx", "onnxruntime", "sklearn"):
    pytest.importorskip(_name, reason=f"{_name} is missing")

import torch  # noqa: E402
from torch import nn  # noqa: E402

from research.quantisation import labelled, networks, onnx_forms, torch_forms, worker  # noqa: E402
from research.quantisation.networks import Network  # noqa: E402
from research.quantisation.task import BATCHES, Task  # noqa: E402
from research.quantisation.variants import VARIANTS, of_network  # noqa: E402
from research.quantisation.worker import FormError, Worker  # noqa: E402

SIDE = 16


def tiny(weights: Path | None) -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 32),
    )
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tmp_path = tmp_path_factory.mktemp("tiny")
    network = Network("a tiny network", SIDE, (0.5,) * 3, (0.25,) * 3, tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "tiny", network)
        _fill(tmp_path)
        yield tmp_path


def _fill(tmp_path: Path) -> None:
    networks.export("tiny", tiny(None), tmp_path / "float.onnx")
    random = np.random.default_rng(0)
    images = random.normal(0, 1, (20, 3, SIDE, SIDE)).astype(np.float32)
    np.save(tmp_path / "calibration.npy", images)
    with torch.inference_mode():
        outputs = tiny(None)(torch.from_numpy(images)).numpy()
    labels = outputs.argmax(axis=1)
    np.savez(tmp_path / "validation.npz", inputs=images, outputs=outputs, labels=labels)
    labelled.own_head(np.arange(32), 32).save(tmp_path / "head.npz")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, 3, SIDE, SIDE)).astype(np.float32)


def expected(given: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(tiny(None)(torch.from_numpy(given)).numpy())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[pytest.mark.nightly] if "compile" in each else [])
        for each in VARIANTS
        if not each.startswith("rrn")
    ],
)
def test_every_form_computes_what_float32_does(name: str, folder: Path) -> None:
    variant = VARIANTS[name]
    if variant.package:
        pytest.importorskip(variant.package, reason=f"{variant.package} is missing")
    built = variant.build(Task("tiny", name, folder, 1))
    for batch in BATCHES:
        given = images(batch)
        found, before = built.run(given), expected(given)
        assert found.shape == before.shape
        assert found.dtype == np.float32
        cosine = (found * before).sum(axis=1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(before, axis=1))
        assert cosine.min() > (0.999 if variant.precision.startswith("fp") else 0.98)
    assert built.size() > 1000
    assert built.ran()


def test_what_ran_says_which_layers_are_in_8_bits(folder: Path) -> None:
    ran = {name: VARIANTS[name].build(Task("tiny", name, folder, 1)).ran() for name in ("onnx", "onnx_static")}
    assert ran["onnx"]["convolutions"] == {"float": 2}
    assert ran["onnx_static"]["convolutions"] == {"uint8": 2}


def test_dynamic_quantisation_in_pytorch_leaves_convolutions(folder: Path) -> None:
    ran = torch_forms.dynamic(Task("tiny", "torch_dynamic", folder, 1)).ran()
    assert ran["replaced"] == {"Conv2d": [0, 2], "Linear": [1, 1]}


def test_dynamic_quantisation_in_onnx_runtime_does_not(folder: Path) -> None:
    ran = onnx_forms.dynamic(Task("tiny", "onnx_dynamic", folder, 1)).ran()
    assert ran["replaced"]["Conv"] == [2, 2]


def test_autocast_is_seen_in_the_layers_outputs(folder: Path) -> None:
    float32, bfloat16 = (build(Task("tiny", "torch", folder, 1)) for build in (torch_forms.eager, torch_forms.bfloat16))
    assert float32.ran()["outputs"] == {"Conv2d float32": 2, "Linear float32": 1}
    assert bfloat16.ran()["outputs"] == {"Conv2d bfloat16": 2, "Linear bfloat16": 1}


def test_pictures_are_run_in_the_two_sizes_that_forms_are_built_for() -> None:
    sizes = []

    def run(given: np.ndarray) -> np.ndarray:
        sizes.append(len(given))
        return given[:, 0, 0]

    found = worker.in_batches(run, images(19))
    assert sizes == [8, 8, 1, 1, 1]
    np.testing.assert_array_equal(found, images(19)[:, 0, 0])


def test_a_process_runs_a_form_and_says_why_it_cannot(tmp_path: Path) -> None:
    import rrn_native

    # A spawned process knows the real networks only.
    side = 224
    np.save(tmp_path / "calibration.npy", np.zeros((1, 3, side, side), np.float32))
    with Worker(Task("resnet18", "rrn", tmp_path, 1)) as running:
        assert running.bytes == Path(rrn_native.default_model()).stat().st_size
        assert len(running.time(1, 3)) == 3
        assert running.outputs(np.zeros((2, 3, side, side), np.float32)).shape == (2, 512)
        assert running.ran()["convolutions"] == {"float": 20}
        with pytest.raises(FormError, match="resnet18, rrn: "):
            running.outputs(np.zeros((1, 3), np.float32))
        assert len(running.time(8, 1)) == 1
    with pytest.raises(FormError, match=r"resnet18, onnx: .*float\.onnx"):
        Worker(Task("resnet18", "onnx", tmp_path / "nothing", 1))


def test_the_base_is_the_first_form_of_every_network() -> None:
    for name in networks.NETWORKS:
        assert of_network(name)[0] == "torch"
    assert "rrn" not in of_network("lite0")
