"""Which layer expects what: against PyTorch, over random stacks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
nn = torch.nn

from research.tensor_mechanics import evidence  # noqa: E402
from research.tensor_mechanics.layers import check_stack, expected  # noqa: E402

CHANNELS = (4, 8, 12, 16)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[evidence.Spec], tuple[int, int, int]]:
    """Layers of which some expect other channels or features than they get, and a picture's shape."""
    picture = (draw(st.sampled_from((1, 3, 4))), draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    specs: list[evidence.Spec] = []
    channels = picture[0]
    for _ in range(draw(st.integers(1, 3))):
        gets = draw(st.sampled_from((channels, channels, *CHANNELS)))
        arguments: dict[str, Any] = {
            "in_channels": gets,
            "out_channels": draw(st.sampled_from(CHANNELS)),
            "kernel_size": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            "stride": draw(st.integers(1, 2)),
            "padding": draw(st.integers(0, 2)),
            "dilation": draw(st.integers(1, 2)),
            "groups": draw(st.sampled_from((1, 2, 4))) if channels % 4 == gets % 4 == 0 else 1,
        }
        specs.append((nn.Conv2d, arguments))
        channels = arguments["out_channels"]
        if draw(st.booleans()):
            specs.append((nn.BatchNorm2d, {"num_features": draw(st.sampled_from((channels, channels, 20)))}))
        if draw(st.booleans()):
            specs.append((nn.MaxPool2d, {"kernel_size": 2, "ceil_mode": draw(st.booleans())}))
    if draw(st.booleans()):
        if draw(st.booleans()):
            specs.append((nn.AdaptiveAvgPool2d, {"output_size": draw(st.integers(1, 2))}))
        if draw(st.booleans()):
            specs.append((nn.Flatten, {}))
        features = draw(st.sampled_from((channels, channels * 4, 2)))
        specs.append((nn.Linear, {"in_features": features, "out_features": 3}))
    return specs, picture


@settings(deadline=None)
@given(stacks())
def test_the_layer_that_pytorch_refuses_is_the_first_one_blamed(
    given_stack: tuple[list[evidence.Spec], tuple[int, int, int]],
) -> None:
    specs, picture = given_stack
    layers = evidence.made(specs)
    rows = check_stack(layers, picture)
    blamed, refused, same = evidence.agreement(layers, picture, rows)
    assert blamed == refused
    assert same


@settings(deadline=None)
@given(stacks())
def test_a_stack_that_expects_what_it_gets_runs(
    given_stack: tuple[list[evidence.Spec], tuple[int, int, int]],
) -> None:
    specs, picture = given_stack
    rows = check_stack(evidence.made(specs), picture)
    if rows[-1].gives is None:
        return  # a picture smaller than a kernel has no numbers that mend it
    right = evidence.made(evidence.mended(specs, rows))
    assert [row.fault for row in check_stack(right, picture)] == [None] * len(specs)
    assert list(evidence.outputs(right, picture)) == [row.gives for row in check_stack(right, picture)]


def test_every_fault_is_found_in_one_call() -> None:
    layers = [nn.Conv2d(3, 16, 3), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3), nn.Conv2d(4, 8, 1)]
    rows = check_stack(nn.Sequential(*layers), (3, 32, 32))
    assert [row.fault for row in rows] == [
        None,
        "expects 32 channels, gets 16",
        None,
        None,
        "expects 4 channels, gets 8",
    ]
    assert rows[1].weights == (64, 32, 3, 3)
    assert rows[1].gives == (64, 28, 28)
    assert rows[1].text.endswith("weights (64, 32, 3, 3): gets (16, 30, 30), expects 32 channels, gets 16")
    assert rows[2].text == "2 ReLU(): gets (64, 28, 28), gives (64, 28, 28)"


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_the_weights_of_groups_say_in_by_groups(groups: int) -> None:
    layer = nn.Conv2d(16, 24, 3, groups=groups)
    assert layer.weight.shape[1] == 16 // groups
    assert expected(layer) == (-3, 16)


def test_a_linear_layer_fits_one_size_of_picture() -> None:
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(8 * 16 * 16, 10)]
    assert check_stack(layers, (3, 32, 32))[-1].fault is None
    row = check_stack(layers, (3, 28, 28))[-1]
    assert row.fault == "expects 2048 features, gets 1568"
    assert (row.expects, row.gets, row.gives) == (2048, (8 * 14 * 14,), (10,))
    layers[1:1] = [nn.AdaptiveAvgPool2d(16)]
    assert check_stack(layers, (3, 28, 28))[-1].fault is None


def test_a_kernel_larger_than_the_picture_ends_the_check() -> None:
    rows = check_stack([nn.Conv2d(4, 8, 5), nn.ReLU()], (3, 4, 4))
    assert len(rows) == 1
    assert rows[0].gives is None
    assert rows[0].fault is not None
    assert rows[0].fault.startswith("expects 4 channels, gets 3 and ")
    assert "Kernel size can't be greater than actual input size" in rows[0].fault


def test_a_layer_is_left_as_it_was() -> None:
    layer = nn.BatchNorm2d(3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    check_stack([layer], (3, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert layer.weight.device.type == "cpu"
