"""What predicts in rrn eval, and whether a change of its code or of a metric's is seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rrn_native
from conftest import make_picture
from rrn_native.files import remove_left_over, replace_file
from rrn_ops.evaluation import files, predictors, sources
from rrn_ops.evaluation.interface import EvaluationError

OWN = """
import numpy as np
from rrn_ops.evaluation.interface import Description

class Brightness:
    def __init__(self, factor):
        self.factor = float(factor or 1)

    def describe(self):
        return Description("v1", input_shape=(1, 32, 32), outputs=1)

    def predict(self, batch):
        return self.factor * batch.mean(axis=(1, 2, 3))[:, None]

def make(factor=""):
    return Brightness(factor)

def nothing():
    return object()
"""


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        make_picture(seed).save(path)
    return paths


def batch_of(pictures: list[Path]) -> Any:
    return np.stack([rrn_native.preprocess(path) for path in pictures])


def test_three_runtimes_predict_the_same(pictures: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    model = rrn_native.default_model()
    engine = predictors.make("engine", tmp_path)
    expected = engine.predict(pictures)
    assert engine.describe().takes == "paths"
    for kind in ("onnx", "torch"):
        made = predictors.make(f"{kind}:{model}", tmp_path)
        assert made.describe().takes == "arrays"
        np.testing.assert_allclose(made.predict(batch_of(pictures)), expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_the_network_that_was_saved(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    torch.jit.trace(network, torch.zeros(1, 3, 2, 2)).save(str(tmp_path / "m.pt"))
    made = predictors.make("m.pt", tmp_path)
    rows = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(made.predict(rows), network(torch.from_numpy(rows)).detach().numpy(), rtol=1e-6)
    # TorchScript does not say how large its input is.
    assert made.describe().input_shape is None


def test_own_predictors_get_their_argument(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    rows = np.full((2, 1, 32, 32), 0.25, np.float32)
    assert predictors.make("own.py:make", tmp_path).predict(rows).tolist() == [[0.25], [0.25]]
    assert predictors.make("own.py:make:4", tmp_path).predict(rows).tolist() == [[1.0], [1.0]]


def test_the_fingerprint_of_an_own_predictor_covers_code_and_argument(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    found = [predictors.make(spec, tmp_path).describe().fingerprint for spec in ("own.py:make", "own.py:make:4")]
    (tmp_path / "own.py").write_text(OWN + "\n# changed\n")
    found.append(predictors.make("own.py:make", tmp_path).describe().fingerprint)
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("model.bin", ValueError, "expected .onnx"),
        ("onnx:nothing.onnx", FileNotFoundError, "nothing.onnx"),
        ("own.py:nothing", ValueError, "no describe"),
        ("own.py:absent", ValueError, "no function 'absent'"),
        ("own.py:a b", ValueError, "expected package.module:function"),
        ("broken.onnx", EvaluationError, "cannot be loaded"),
        ("triton:http://127.0.0.1", ValueError, "expected triton:http"),
    ],
)
def test_wrong_models_are_named(spec: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(error, match=message):
        predictors.make(spec, tmp_path)


def test_code_that_a_metric_imports_counts(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("import shared_parts\n\ndef score(data):\n    return shared_parts.VALUE\n")
    (tmp_path / "shared_parts.py").write_text("VALUE = 1\n")
    (tmp_path / "unrelated.py").write_text("VALUE = 1\n")
    before = sources.digest_of_spec("score.py:score", tmp_path)
    (tmp_path / "unrelated.py").write_text("VALUE = 2\n")
    assert sources.digest_of_spec("score.py:score", tmp_path) == before
    (tmp_path / "shared_parts.py").write_text("VALUE = 2\n")
    sys.modules.pop("shared_parts")
    assert sources.digest_of_spec("score.py:score", tmp_path) != before
    sys.modules.pop("shared_parts")


@pytest.mark.parametrize(
    ("step", "module"),
    [
        ("measure", "bootstrap"),
        ("measure", "classification"),
        ("measure", "embeddings"),
        ("predict", "predictors"),
        ("gate", "files"),
        ("report", "documents"),
        ("report", "figures"),
        ("ingest", "tables"),
    ],
)
def test_each_step_knows_its_modules(step: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed module changes the fingerprint of the step that uses it."""
    before = sources.digest_of_module(f"rrn_ops.evaluation.{step}")
    real = files.digest_of_file
    monkeypatch.setattr(files, "digest_of_file", lambda path: "changed" if path.stem == module else real(path))
    assert sources.digest_of_module(f"rrn_ops.evaluation.{step}") != before


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    def killed(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        # What is left when no handler runs: the file under its temporary name.
        temporary.rename(temporary.with_name(temporary.name.replace(".prepared", ".prepared2")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "prepared.npy", killed)
    (tmp_path / ".lock").touch()
    (tmp_path / "prepared.npy").touch()
    assert len(list(tmp_path.iterdir())) == 3
    remove_left_over(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "prepared.npy"]
