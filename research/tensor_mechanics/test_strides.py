"""When a view is possible: against PyTorch, over tensors that were turned, cut, stretched and set up by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from research.tensor_mechanics import evidence, strides  # noqa: E402
from research.tensor_mechanics.strides import can_view, facts, inferred, merged, shares_memory, view_stride  # noqa: E402

SIZES = st.integers(0, 4)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A tensor after a few of: a transposition, a slice with a step, an expansion, one more dimension of size 1."""
    tensor = torch.arange(math.prod(shape := draw(st.lists(SIZES, max_size=4)))).view(shape)
    for way in draw(st.lists(st.sampled_from(("turn", "cut", "stretch", "one", "select")), max_size=4)):
        dimension = draw(st.integers(0, max(tensor.dim() - 1, 0)))
        if way == "one":
            tensor = tensor.unsqueeze(dimension)
        elif tensor.dim() == 0:
            continue
        elif way == "turn":
            tensor = tensor.permute(draw(st.permutations(range(tensor.dim()))))
        elif way == "cut":
            start, step = draw(st.integers(0, 2)), draw(st.integers(1, 3))
            tensor = tensor[(*[slice(None)] * dimension, slice(start, None, step))]
        elif way == "select" and tensor.shape[dimension]:
            tensor = tensor.select(dimension, tensor.shape[dimension] - 1)
        elif way == "stretch" and tensor.shape[dimension] == 1:
            sizes = [draw(st.integers(0, 3)) if each == dimension else -1 for each in range(tensor.dim())]
            tensor = tensor.expand(sizes)
    return tensor


@st.composite
def placed(draw: st.DrawFn) -> Any:
    """A tensor with any sizes and strides, elements that share a place included."""
    shape = draw(st.lists(SIZES, max_size=4))
    stride = draw(st.lists(st.integers(0, 13), min_size=len(shape), max_size=len(shape)))
    return torch.arange(256).as_strided(shape, stride)


@st.composite
def new_shapes(draw: st.DrawFn, count: int) -> list[int]:
    """A shape, mostly of `count` elements; sometimes with a -1, sometimes with a number too many."""
    shape: list[int] = []
    left = count
    for _ in range(draw(st.integers(0, 4))):
        divisors = [size for size in range(1, left + 1) if left % size == 0] or [0, 1, 2, 3]
        shape.append(draw(st.sampled_from(divisors)))
        left = left // shape[-1] if shape[-1] else left
    shape += [left] if left != 1 else []
    for value in draw(st.lists(st.sampled_from((-1, -1, -2, 0, 2, 5)), max_size=2)) if draw(st.booleans()) else []:
        if shape:
            shape[draw(st.integers(0, len(shape) - 1))] = value
    return shape


def viewed(tensor: Any, shape: list[int]) -> Any:
    try:
        return tensor.view(shape)
    except RuntimeError:
        return None


@settings(deadline=None, max_examples=500)
@given(st.one_of(tensors(), placed()), st.data())
def test_a_view_is_possible_where_pytorch_gives_one(tensor: Any, data: st.DataObject) -> None:
    shape = data.draw(new_shapes(tensor.numel()))
    theirs = viewed(tensor, shape)
    event(f"possible: {theirs is not None}, contiguous: {tensor.is_contiguous()}")
    ours = view_stride(tuple(tensor.shape), tensor.stride(), shape)
    assert can_view(tuple(tensor.shape), tensor.stride(), shape) is (theirs is not None)
    if theirs is not None and ours is not None:
        assert evidence.same_steps(tuple(theirs.shape), ours, theirs.stride())


@settings(deadline=None)
@given(st.one_of(tensors(), placed()), st.data())
def test_the_strides_read_the_same_numbers_in_the_same_order(tensor: Any, data: st.DataObject) -> None:
    shape = data.draw(new_shapes(tensor.numel()))
    stride = view_stride(tuple(tensor.shape), tensor.stride(), shape)
    assume(stride is not None)
    target = inferred(tensor.numel(), shape)
    assert target is not None
    again = tensor.as_strided(target, stride, tensor.storage_offset())
    assert again.flatten().tolist() == tensor.flatten().tolist()


@settings(deadline=None)
@given(st.one_of(tensors(), placed()), st.data())
def test_reshape_copies_where_no_view_is_possible(tensor: Any, data: st.DataObject) -> None:
    assume(tensor.numel() > 0)
    shape = data.draw(new_shapes(tensor.numel()))
    assume(inferred(tensor.numel(), shape) is not None)
    again = tensor.reshape(shape)
    assert shares_memory(again, tensor) is can_view(tuple(tensor.shape), tensor.stride(), shape)
    assert again.flatten().tolist() == tensor.flatten().tolist()


@settings(deadline=None)
@given(st.one_of(tensors(), placed()))
def test_contiguous_copies_where_it_has_to(tensor: Any) -> None:
    assume(tensor.numel() > 0)
    assert shares_memory(tensor.contiguous(), tensor) is tensor.is_contiguous()
    # One block that begins with steps of 1 is what contiguous means.
    blocks = merged(tuple(tensor.shape), tensor.stride())
    assert (not blocks or (len(blocks) == 1 and blocks[0][1] == 1)) is tensor.is_contiguous()


@settings(deadline=None)
@given(st.one_of(tensors(), placed()))
def test_places_are_where_the_numbers_are(tensor: Any) -> None:
    # Both strategies number the elements by their places in the storage.
    assert list(facts(tensor).places) == tensor.flatten().tolist()


@pytest.mark.parametrize(
    ("shape", "stride", "new_shape", "expected"),
    [
        ((3, 4), (4, 1), (12,), (1,)),
        ((4, 3), (1, 4), (12,), None),
        ((4, 3), (1, 4), (2, 2, 3), (2, 1, 4)),
        ((3, 2), (4, 2), (-1,), (2,)),
        ((3, 4), (1, 0), (12,), None),
        ((3, 4), (0, 0), (12,), (0,)),
        ((2, 1, 3), (3, 99, 1), (6,), (1,)),
        ((), (), (1, 1), (1, 1)),
        ((0, 3), (3, 1), (-1, 3), (1, 1)),
        ((0, 3), (3, 1), (-1, 0), None),
        ((2, 3), (3, 1), (-1, -1), None),
    ],
)
def test_the_rule_in_small(shape: Any, stride: Any, new_shape: Any, expected: Any) -> None:
    assert view_stride(shape, stride, new_shape) == expected


@pytest.mark.parametrize("planted", ["contiguous only", "stretched", "ones count"])
def test_a_wrong_rule_is_noticed(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(shape: Any, stride: Any) -> list[tuple[int, int]]:
        if planted == "contiguous only":
            return list(zip(shape, stride, strict=True))
        if planted == "stretched":
            return [block for block in merged(shape, stride) if block[1] != 0] or [(math.prod(shape), 1)]
        blocks: list[tuple[int, int]] = []
        for size, step in zip(shape, stride, strict=True):
            if blocks and blocks[-1][1] == step * size:
                blocks[-1] = (blocks[-1][0] * size, step)
            else:
                blocks.append((size, step))
        return [block for block in blocks if block[0] > 1]

    effort = evidence.Effort((1, 2, 3), (0, 1, 2, 3), 2, 0, 0, 0)
    assert (right := evidence.views(effort, lambda line: None))["agree"] == right["views"]
    monkeypatch.setattr(strides, "merged", wrong)
    try:
        found = evidence.views(effort, lambda line: None)
    except StopIteration:  # no block is left for a dimension
        return
    assert min(found["agree"] - found["views"], found["strides_agree"] - found["possible"]) < 0


def test_all_shapes_of_a_count() -> None:
    assert evidence.shapes(4, 2) == [(4,), (1, 4), (2, 2), (4, 1)]
    assert evidence.shapes(1, 1) == [(), (1,)]
    assert all(0 in shape for shape in evidence.shapes(0, 3))
    every = itertools.product(range(1, 13), repeat=3)
    assert set(evidence.shapes(12, 3)) >= {shape for shape in every if math.prod(shape) == 12}
