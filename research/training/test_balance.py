"""Balancing: the identity, for any factors; what a shift does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from research.training import balance, stages
from research.training.student import Student, save_state

CHANNELS = (4, 8, 8, 16)


def network(seed: int) -> Student:
    """A small network whose batch normalisations do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Student(CHANNELS).eval()
        for name, value in student.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.dim() == 1 and value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.2 if name.endswith("weight") else 0.2 * torch.randn_like(value))
    return student


def averages_of(state: balance.State, pictures: torch.Tensor) -> list[torch.Tensor]:
    """The stages' averages, taken from the embedding: with one stage alone above zero it is that stage's share."""
    student = Student(CHANNELS).eval()
    student.load_state_dict(state)
    averages = []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: averages.append(output.mean((2, 3))))
        for layer in (student.layer1, student.layer2, student.layer3, student.layer4)
    ]
    with torch.inference_mode():
        student(pictures)
    for hook in hooks:
        hook.remove()
    return averages


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), logarithm=st.floats(-3, 3))
def test_scaling_a_stage_scales_what_leaves_it_and_nothing_else(seed: int, logarithm: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = {name: value.double() for name, value in network(seed).state_dict().items()}
    pictures = torch.randn((2, 3, 65, 48), generator=generator)
    scales = [torch.exp(logarithm + torch.randn(count, generator=generator)) for count in CHANNELS]
    single = {name: value.float() for name, value in state.items()}
    before = averages_of(single, pictures)
    for change in (balance.scale_stages(state, scales), balance.even_inner(balance.scale_stages(state, scales))):
        after = averages_of({name: value.float() for name, value in change.items()}, pictures)
        for old, new, scale in zip(before, after, scales, strict=True):
            torch.testing.assert_close(new / scale, old, rtol=1e-4, atol=1e-5 * float(old.max()))


def test_a_shift_changes_the_last_stage_only() -> None:
    state = network(3).state_dict()
    pictures = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    before = averages_of(dict(state), pictures)
    after = averages_of(balance.shift_last(state, torch.full((CHANNELS[-1],), 0.5)), pictures)
    assert all(torch.equal(old, new) for old, new in zip(before[:3], after[:3], strict=True))
    # A mean of max(x - 0.5, 0) where it was one of max(x, 0).
    assert (after[3] <= before[3]).all()
    assert (after[3] >= before[3] - 0.5 - 1e-6).all()
    assert (after[3] < before[3]).any()


def test_inner_channels_reach_about_one() -> None:
    state = balance.even_inner(network(4).state_dict())
    for name in ("layer1.0.bn1", "layer4.1.bn1"):
        torch.testing.assert_close(
            (state[f"{name}.bias"] + 3 * state[f"{name}.weight"].abs()), torch.ones(len(state[f"{name}.bias"]))
        )


def test_factors_must_be_positive_and_one_for_each_channel() -> None:
    state = network(5).state_dict()
    good = [torch.ones(count) for count in CHANNELS]
    for wrong in (torch.ones(5), torch.zeros(8), torch.full((8,), float("inf"))):
        with pytest.raises(ValueError, match="stage 2: expected 8 positive factors"):
            balance.scale_stages(state, [good[0], wrong, *good[2:]])


def sample(student: Student, seed: int, shift: float = 0.0) -> stages.Sample:
    generator = torch.Generator().manual_seed(seed)
    return stages.look(student, [torch.randn((6, 3, 64, 64), generator=generator) + shift for _ in range(2)])


def test_a_sample_is_what_the_stages_give() -> None:
    student = network(6)
    pictures = torch.randn((3, 3, 64, 96), generator=torch.Generator().manual_seed(2))
    found = stages.look(student, pictures.split(2))
    wanted = averages_of(student.state_dict(), pictures)
    for own, stage in zip(found.averages, wanted, strict=False):
        torch.testing.assert_close(own, stage)
    torch.testing.assert_close(found.last.float().relu().mean((2, 3)), wanted[3], rtol=1e-2, atol=1e-2)


def test_the_embedding_of_a_sample_is_that_of_the_balanced_network() -> None:
    student = network(9)
    pictures = torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(4))
    samples = [sample(student, 1), stages.look(student, [pictures])]
    scales, shifts = balance.fit(samples, (0.1, 0.2, 0.3), cut=1.5, exponent=0.5)
    changed = Student(CHANNELS).eval()
    changed.load_state_dict(balance.balanced(student.state_dict(), scales, shifts))
    with torch.inference_mode():
        wanted = changed(pictures)[0]
    found = stages.embedding(stages.averages_of(samples[1], shifts / scales[-1]), scales)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


def test_stages_get_the_shares_that_were_asked_for() -> None:
    student = network(7)
    samples = [sample(student, 1, 0.5), sample(student, 2)]
    shares = (0.01, 0.1, 0.3)
    scales, shifts = balance.fit(samples, shares, cut=0.5, exponent=0.5)
    state = balance.balanced(student.state_dict(), scales, shifts)
    generator = torch.Generator().manual_seed(2)
    pictures = torch.cat([torch.randn((6, 3, 64, 64), generator=generator) for _ in range(2)])
    found = averages_of(state, pictures)
    length = found[3].norm(dim=1).mean()
    for stage, share in zip(found[:3], shares, strict=True):
        spread = stage.repeat_interleave(CHANNELS[-1] // stage.shape[1], 1)
        torch.testing.assert_close(spread.norm(dim=1).mean() / length, torch.tensor(share), rtol=2e-2, atol=0)


def test_a_cut_makes_unrelated_pictures_less_alike() -> None:
    student = network(8)
    samples = [sample(student, 1), sample(student, 3)]
    alike = []
    for cut in (0.0, 1.0, 2.0):
        _, shifts = balance.fit(samples, (0.01, 0.01, 0.01), cut, exponent=0.5)
        assert (shifts >= 0).all()
        pooled = stages.averages_of(samples[0], cut * samples[0].last.float().relu().mean((0, 2, 3)))[-1]
        unit = torch.nn.functional.normalize(pooled, dim=1)
        alike.append(float((unit @ unit.T).mean()))
    assert alike[0] > alike[1] > alike[2]


def test_wrong_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_state(tmp_path / "w.pth", Student().state_dict())
    words = [str(tmp_path / "w.pth"), "--data", str(tmp_path), "--scenes", str(tmp_path), "--output"]
    assert balance.main([*words, str(tmp_path / "o.pth")]) == 2
    assert capsys.readouterr().err == f"balance: {tmp_path} holds no JPEG file\n"
