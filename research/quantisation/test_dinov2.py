"""DINOv2's architecture and weights: transformers' network against timm's, which is another implementation."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is missing")
pytest.importorskip("rrn_ops.conversion.libraries", reason="timm or transformers is missing")

import torch

from research.quantisation import dinov2

SIDE = 56


def hub_weights() -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    """Random weights under Torch Hub's names, which are timm's, and timm's network with them."""
    import timm

    torch.manual_seed(3)
    network = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=SIDE)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor.copy_(torch.randn_like(tensor) * (0.05 if tensor.dim() > 1 else 0.5))
            if name.endswith("gamma"):
                tensor.copy_(torch.rand_like(tensor))
    return dict(network.state_dict()), network.eval()


def test_weights_of_torch_hub_compute_the_same_in_both_implementations(tmp_path: Path) -> None:
    weights, network = hub_weights()
    path = tmp_path / "hub.pth"
    # Torch Hub's file has a mask token, too, which nothing uses here.
    torch.save(weights | {"mask_token": torch.zeros(1, dinov2.WIDTH)}, path)
    ours = dinov2.load(path, SIDE)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), network(images), rtol=1e-4, atol=1e-4)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    weights, network = hub_weights()
    weights["blocks.7.attn.qkv.weight"] = weights["blocks.7.attn.qkv.weight"].roll(dinov2.WIDTH, 0)
    torch.save(weights, tmp_path / "hub.pth")
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        difference = (dinov2.load(tmp_path / "hub.pth", SIDE)(images) - network(images)).abs().max()
    assert difference > 1e-2


def test_files_of_transformers_are_read_as_they_are(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is missing")
    first = dinov2.load(None, SIDE, seed=1)
    safetensors.save_file(first.network.state_dict(), tmp_path / "model.safetensors")
    second = dinov2.load(tmp_path / "model.safetensors", SIDE, seed=2)
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        assert torch.equal(first(images), second(images))


def test_a_seed_gives_one_network() -> None:
    first, second, other = (dinov2.load(None, SIDE, seed=seed).state_dict() for seed in (1, 1, 2))
    key = "network.encoder.layer.3.mlp.fc1.weight"
    assert torch.equal(first[key], second[key])
    assert not torch.equal(first[key], other[key])


def test_other_weights_and_sides_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: expected the tensors of DINOv2 ViT-S/14; \d+ are missing"):
        dinov2.load(tmp_path / "other.pth", SIDE)
    (tmp_path / "text.pth").write_text("no tensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("text.pth", "text.safetensors"):
        with pytest.raises(ValueError, match=f"{name}: expected a file with the tensors of a network"):
            dinov2.load(tmp_path / name, SIDE)
    weights, _ = hub_weights()
    wide = {name: torch.zeros([768 if side == 384 else side for side in each.shape]) for name, each in weights.items()}
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"wide.pth: expected the tensors of DINOv2 ViT-S/14"):
        dinov2.load(tmp_path / "wide.pth", SIDE)
    with pytest.raises(ValueError, match="multiple of 14, got 60"):
        dinov2.load(None, 60)


def test_positions_of_a_constant_grid_stay_constant() -> None:
    grid = torch.full((1, 1 + 37 * 37, 4), 2.0)
    grid[:, 0] = 5
    made = dinov2.positions(grid, 16)
    assert made.shape == (1, 1 + 16 * 16, 4)
    assert (made[:, 0] == 5).all()
    torch.testing.assert_close(made[:, 1:], torch.full_like(made[:, 1:], 2.0))


def test_a_download_is_checked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    found = dinov2.download(tmp_path, source.as_uri(), digest=hashlib.sha256(b"weights").hexdigest(), size=7)
    assert found.read_bytes() == b"weights"
    with pytest.raises(ValueError, match=r"dinov2_vits14_pretrain\.pth: expected SHA-256 b938"):
        dinov2.download(tmp_path)
