"""timm's ViT as Hugging Face's: every tensor accounted for, equal logits, other networks refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

libraries = pytest.importorskip("rrn_ops.conversion.libraries", reason="timm or transformers is missing")

from repository import ROOT  # noqa: E402
from rrn_ops.conversion import command, export, key_map, proof, vit  # noqa: E402

SHAPE = vit.Shape(image=48, patch=16, channels=3, width=48, depth=3, heads=4, hidden=96, classes=7, qkv_bias=True)
LABELS = "anger,contempt,disgust,fear,joy,sadness,surprise"


OTHER_MAJOR = ROOT / ".deps" / "transformers-4"


@pytest.mark.skipif(not OTHER_MAJOR.is_dir(), reason="scripts/test.sh fetches transformers 4")
def test_the_major_before_passes_as_well() -> None:
    path = os.pathsep.join([str(OTHER_MAJOR), str(ROOT / "python")])
    chosen = "(any_size or to_the_bit or command or refused) and not major"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, __file__]
    run = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    assert "passed" in run.stdout and "skipped" not in run.stdout


def timm_state(shape: vit.Shape = SHAPE, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of timm's own network, none of them at the constant that it starts with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = proof.untrained(shape)
        return {name: value + 0.1 * torch.randn_like(value) for name, value in network.state_dict().items()}


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@settings(max_examples=8, deadline=None)
@given(
    patch=st.sampled_from([4, 8, 14]),
    side=st.integers(1, 4),
    heads=st.sampled_from([1, 2, 3]),
    depth=st.integers(1, 3),
    classes=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    qkv_bias=st.booleans(),
)
def test_any_size_is_equal(
    *, patch: int, side: int, heads: int, depth: int, classes: int, channels: int, qkv_bias: bool
) -> None:
    shape = vit.Shape(patch * side, patch, channels, 12 * heads, depth, heads, 24 * heads, classes, qkv_bias)
    state = timm_state(shape, seed=depth)
    network, entries = vit.convert(state, heads)
    assert vit.shape_of(state, heads) == shape
    assert {entry.source for entry in entries} == state.keys()
    assert [entry.target for entry in entries] == list(network.state_dict())
    found = proof.difference(proof.timm_network(state, shape), network, proof.random_inputs(shape, 3), "random")
    # Small matrices may be multiplied by other instructions, fused or not, so the last bits may differ.
    assert found.largest <= 1e-5


def test_the_logits_of_a_published_width_are_equal_to_the_bit() -> None:
    shape = vit.Shape(image=32, patch=16, channels=3, width=192, depth=2, heads=3, hidden=768, classes=7, qkv_bias=True)
    state = timm_state(shape)
    network, _ = vit.convert(state)
    found = proof.difference(proof.timm_network(state, shape), network, proof.random_inputs(shape, 4), "random")
    assert found.largest == 0
    assert found.same_class == found.inputs == 4


@pytest.mark.parametrize("part", ["norm1", "norm2", "attn.proj", "mlp.fc2", "qkv"])
def test_a_wrong_map_is_seen_in_the_logits(part: str) -> None:
    """The proof is no proof if it cannot fail: one tensor that is changed moves the logits."""
    state = timm_state()
    network, entries = vit.convert(state, SHAPE.heads)
    entry = next(entry for entry in entries if f"blocks.1.{part}" in entry.source.replace("attn.qkv", "qkv"))
    filled = network.state_dict()
    filled[entry.target] = filled[entry.target].flip(0)
    network.load_state_dict(filled)
    found = proof.difference(proof.timm_network(state, SHAPE), network, proof.random_inputs(SHAPE, 2), "random")
    assert found.largest > 1e-3


def test_names_of_both_majors_are_understood() -> None:
    """Release 4 and release 5 of transformers name the same tensors differently."""
    source = shapes_of(timm_state())
    width, hidden = SHAPE.width, SHAPE.hidden

    def target(layer: str, names: dict[str, str]) -> dict[str, tuple[int, ...]]:
        wanted: dict[str, tuple[int, ...]] = {
            "vit.embeddings.cls_token": (1, 1, width),
            "vit.embeddings.position_embeddings": (1, 10, width),
            "vit.embeddings.patch_embeddings.projection.weight": (width, 3, 16, 16),
            "vit.embeddings.patch_embeddings.projection.bias": (width,),
            "vit.layernorm.weight": (width,),
            "vit.layernorm.bias": (width,),
            "classifier.weight": (7, width),
            "classifier.bias": (7,),
        }
        for number in range(SHAPE.depth):
            for name, kind in names.items():
                rows, columns = {"up": (hidden, width), "down": (width, hidden), "norm": (width, 0)}.get(
                    kind, (width, width)
                )
                wanted[f"{layer.format(number)}.{name}.weight"] = (rows, columns) if columns else (rows,)
                wanted[f"{layer.format(number)}.{name}.bias"] = (rows,)
        return wanted

    norms = {"layernorm_before": "norm", "layernorm_after": "norm"}
    four = {f"attention.attention.{name}": "" for name in ("query", "key", "value")}
    four |= {"attention.output.dense": "", "intermediate.dense": "up", "output.dense": "down", **norms}
    five = {f"attention.{name}_proj": "" for name in "qkvo"} | {"mlp.fc1": "up", "mlp.fc2": "down", **norms}
    maps = [
        key_map.key_map(source, target("vit.encoder.layer.{}", four)),
        key_map.key_map(source, target("vit.layers.{}", five)),
    ]
    first, second = ({(entry.role, entry.source, entry.part) for entry in entries} for entries in maps)
    assert first == second and len(first) == 8 + 16 * SHAPE.depth


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("blocks.1.norm2.bias"), "layer 1 second norm bias\\): nothing in the weights"),
        (lambda state: state.update({"blocks.0.extra.weight": torch.ones(2)}), "blocks.0.extra.weight.*not a part"),
        (
            lambda state: state.update({"blocks.2.mlp.fc2.bias": torch.ones(5)}),
            r"shape \[5\] from blocks.2.mlp.fc2.bias",
        ),
        (lambda state: state.update({"pos_embed": torch.ones(1, 11, 48)}), "11 positions"),
        (lambda state: state.update({"fc_norm.weight": torch.ones(48)}), "average pooling"),
        (lambda state: state.update({"blocks.0.ls1.gamma": torch.ones(48)}), "layer scale"),
        (lambda state: state.update({"head_dist.weight": torch.ones(7, 48)}), "distilled"),
        (lambda state: state.pop("head.weight"), "head.weight is not in the weights"),
        (lambda state: state.pop("cls_token"), "cls_token is not in the weights"),
        (lambda state: state.update({"patch_embed.proj.weight": torch.ones(48, 3, 16, 8)}), "16 x 8 pixels"),
        (lambda state: [state.pop(name) for name in list(state) if "blocks.0." in name], "numbers \\[1, 2\\]"),
    ],
)
def test_other_networks_are_refused_with_the_reason(
    change: Callable[[dict[str, torch.Tensor]], Any], complaint: str
) -> None:
    state = timm_state()
    change(state)
    with pytest.raises(ValueError, match=complaint):
        vit.convert(state, SHAPE.heads)


def test_heads_are_asked_for_where_no_published_size_says_them() -> None:
    with pytest.raises(ValueError, match="width 48 is no published size"):
        vit.convert(timm_state())
    with pytest.raises(ValueError, match="5 heads do not divide a width of 48"):
        vit.convert(timm_state(), heads=5)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": timm_state()}, tmp_path / "timm.pth")
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(1)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    output = tmp_path / "out"
    words = [
        "vit",
        "--weights",
        str(tmp_path / "timm.pth"),
        "--output",
        str(output),
        "--heads",
        "4",
        "--labels",
        LABELS,
    ]
    more = ["--images", str(tmp_path / "photos"), "--torchscript", "--onnx", "--tolerance", "1e-5"]
    assert command.main([*words, *more, "--json", str(tmp_path / "said.json")]) == 0
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["equal"] and said["tensors"] == 8 + 16 * SHAPE.depth
    assert [each["inputs"] for each in said["comparisons"]] == [4, 2]
    assert said["exports"].keys() == {"model.torchscript.pt", "model.onnx"}
    assert "none missing, none unused" in capsys.readouterr().out
    config = json.loads((output / "config.json").read_text())
    assert list(config["id2label"].values()) == LABELS.split(",")
    processor = json.loads((output / "preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 48, "width": 48} and processor["image_mean"] == [0.5, 0.5, 0.5]
    again = libraries.ViTForImageClassification.from_pretrained(output).eval()
    converted, _ = vit.convert(timm_state(), 4)
    inputs = proof.random_inputs(SHAPE, 2)
    with torch.inference_mode():
        assert torch.equal(again(inputs).logits, converted(inputs).logits)


def test_a_difference_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(timm_state(), tmp_path / "timm.pth")
    monkeypatch.setattr(proof, "timm_network", lambda state, shape: proof.untrained(shape).eval())
    words = ["vit", "--weights", str(tmp_path / "timm.pth"), "--output", str(tmp_path / "out"), "--heads", "4"]
    assert command.main(words) == 1
    assert "NOT equal within 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"no tensors", "not a file of tensors"), (None, "No such file")],
)
def test_wrong_files_are_one_line(
    content: bytes | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("w.pth", "w.safetensors"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert command.main(["vit", "--weights", str(tmp_path / name), "--output", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("rrn convert: ")
        if name == "w.pth":
            assert complaint in error
    assert not (tmp_path / "out").exists()


def test_an_export_that_differs_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    for other in (torch.tensor([1.0]), torch.tensor([float("nan")])):
        path.touch()
        with pytest.raises(ValueError, match="logits differ by"):
            export._checked(other, torch.tensor([0.0]), path)
        assert not path.exists()
