"""Loading and fetching weights, without the network."""

from __future__ import annotations

import hashlib
import io
import shutil
import urllib.error
from pathlib import Path
from typing import BinaryIO

import pytest

pytest.importorskip("torch")

import torch
from conftest import ROOT
from rrn_native.model import weights
from rrn_native.model.network import ReductionResNet18, fold_batch_norm, unfold_batch_norm


@pytest.fixture(scope="module")
def state_dict() -> dict[str, torch.Tensor]:
    """Random weights whose batch normalisations do something."""
    torch.manual_seed(1)
    state = ReductionResNet18().state_dict()
    for name, value in state.items():
        if name.endswith("running_mean") or (name.endswith(".bias") and value.dim() == 1):
            value.normal_(0, 0.1)
        elif value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return state


class Server:
    """Stands for the internet: hands out bytes and counts how often it is asked."""

    def __init__(self, content: bytes | Exception) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, url: str) -> BinaryIO:
        self.asked.append(url)
        if isinstance(self.content, Exception):
            raise self.content
        return io.BytesIO(self.content)


@pytest.fixture
def official(
    state_dict: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[bytes, Path]:
    """Lets a small file of our own pass for the official one; returns its bytes and the cache folder."""
    buffer = io.BytesIO()
    torch.save({"conv1.weight": state_dict["conv1.weight"]}, buffer)
    content = buffer.getvalue()
    monkeypatch.setattr(weights, "IMAGENET_SHA256_PREFIX", hashlib.sha256(content).hexdigest()[:8])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return content, tmp_path / "cache" / "rrn"


def test_file(state_dict: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(state_dict, path)
    loaded = weights.load_weights(str(path))
    assert loaded.origin == "file mine.pth"
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(loaded.state_dict["conv1.weight"], state_dict["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("text.onnx", "text.onnx is not an ONNX file"), ("int8.onnx", "is quantised to 8 bits")],
)
def test_an_onnx_file_without_weights_in_float32_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"not a model")
    shutil.copyfile(ROOT / "models" / "reduction_resnet18.int8.onnx", tmp_path / "int8.onnx")
    for load in (weights.load_weights, lambda path: weights.state_dict_from_onnx(Path(path))):
        with pytest.raises(weights.WeightsError, match=message) as error:
            load(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(weights.WeightsError, match=r"^no weights file .*absent\.pth$"):
        weights.load_weights(str(tmp_path / "absent.pth"))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04broken"], ids=["empty", "text", "zip"])
def test_damaged_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(weights.WeightsError, match="cannot be read as PyTorch weights") as error:
        weights.load_weights(str(path))
    assert "\n" not in str(error.value)


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"conv1.weight": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(weights.WeightsError):
        weights.load_weights(str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "ran").exists()


def test_file_with_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(weights.WeightsError, match="holds a list, not a state dict"):
        weights.load_weights(str(tmp_path / "list.pth"))


def test_imagenet_is_fetched_once(official: tuple[bytes, Path]) -> None:
    content, cache = official
    server = Server(content)
    for _ in range(2):
        loaded = weights.load_weights("imagenet", server)
        assert loaded.origin.startswith("torchvision ResNet18_Weights.IMAGENET1K_V1")
        assert loaded.sha256 == hashlib.sha256(content).hexdigest()
    assert server.asked == [weights.IMAGENET_URL]
    assert [path.name for path in cache.iterdir()] == [weights.IMAGENET_FILE]


def test_imagenet_from_a_file_url(
    official: tuple[bytes, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served.pth").write_bytes(official[0])
    monkeypatch.setattr(weights, "IMAGENET_URL", (tmp_path / "served.pth").as_uri())
    assert "conv1.weight" in weights.load_weights("imagenet").state_dict


def test_damaged_cache_is_fetched_again(official: tuple[bytes, Path]) -> None:
    content, cache = official
    cache.mkdir(parents=True)
    (cache / weights.IMAGENET_FILE).write_bytes(content[:-1])
    server = Server(content)
    weights.load_weights("imagenet", server)
    assert len(server.asked) == 1


def test_wrong_file_is_refused_and_not_kept(official: tuple[bytes, Path]) -> None:
    with pytest.raises(weights.WeightsError, match=r"--weights FILE$"):
        weights.load_weights("imagenet", Server(b"<html>log in</html>"))
    assert list(official[1].iterdir()) == []


def test_without_internet_one_line_says_what_to_do(official: tuple[bytes, Path]) -> None:
    offline = Server(urllib.error.URLError("Name or service not known"))
    with pytest.raises(weights.WeightsError, match=r"^cannot fetch https://.*--weights FILE$") as error:
        weights.load_weights("imagenet", offline)
    assert "\n" not in str(error.value)
    assert list(official[1].iterdir()) == []


def test_half_precision_and_classifier_are_taken(state_dict: dict[str, torch.Tensor]) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state_dict.items()}
    half |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    model = ReductionResNet18.from_state_dict(half)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.conv1.weight, half["conv1.weight"].float())


def test_wrong_names_and_shapes_are_listed(state_dict: dict[str, torch.Tensor]) -> None:
    wrong = dict(state_dict)
    del wrong["layer2.0.conv1.weight"]
    wrong["layer5.0.conv1.weight"] = torch.zeros(1)
    wrong["bn1.weight"] = torch.zeros(3)
    with pytest.raises(ValueError, match="ResNet-18") as error:
        ReductionResNet18.from_state_dict(wrong)
    message = str(error.value)
    assert "missing: layer2.0.conv1.weight" in message
    assert "unexpected: layer5.0.conv1.weight" in message
    assert "bn1.weight [3] instead of [64]" in message
    assert "\n" not in message


def test_folding_changes_nothing(state_dict: dict[str, torch.Tensor]) -> None:
    model = ReductionResNet18.from_state_dict(state_dict).eval()
    images = torch.randn(2, 3, 70, 50, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)
        torch.testing.assert_close(fold_batch_norm(model)(images), expected, rtol=1e-5, atol=1e-5)


def test_unfolding_gives_the_same_network_and_the_same_folded_weights(state_dict: dict[str, torch.Tensor]) -> None:
    folded = fold_batch_norm(ReductionResNet18.from_state_dict(state_dict))
    unfolded = ReductionResNet18.from_state_dict(unfold_batch_norm(folded.state_dict())).eval()
    images = torch.randn(2, 3, 70, 50, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(unfolded(images), folded(images), rtol=1e-5, atol=1e-5)
    again = fold_batch_norm(unfolded).state_dict()
    assert again.keys() == folded.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in folded.state_dict().items())
