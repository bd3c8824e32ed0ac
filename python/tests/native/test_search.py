"""The nearest rows, against a plain loop over cosines of the engine's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import rrn_native
from hypothesis import given, settings
from hypothesis import strategies as st


def by_loop(
    rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32] | None, k: int, threshold: float | None
) -> list[list[tuple[int, float]]]:
    """For each row (index, cosine) of the k nearest columns, as the documentation of `nearest` says."""
    others = rows if columns is None else columns
    lists = []
    for i, row in enumerate(rows):
        cosines = [rrn_native.cosine_similarity(row, other) for other in others]
        found = [
            (j, cosine)
            for j, cosine in enumerate(cosines)
            if not np.isnan(cosine) and (threshold is None or cosine > threshold) and not (columns is None and i == j)
        ]
        lists.append(sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k])
    return lists


@given(data=st.data(), threshold=st.none() | st.floats(-1, 1, width=32))
@settings(deadline=None, max_examples=60)
def test_nearest_equals_the_loop(data: st.DataObject, threshold: float | None) -> None:
    count, others = data.draw(st.integers(0, 8)), data.draw(st.none() | st.integers(0, 40))
    dim = data.draw(st.integers(1, 70))
    k = data.draw(st.integers(1, 50))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = random.normal(size=(count, dim)).astype(np.float32)
    columns = None if others is None else random.normal(size=(others, dim)).astype(np.float32)
    if columns is not None and others and count:
        columns[:: data.draw(st.integers(1, 3))] = rows[0]  # equal similarities
        columns[-1, 0] = data.draw(st.sampled_from([0, np.nan, np.inf]))
    index, similarity = rrn_native.nearest(
        rows,
        columns,
        k,
        threshold=threshold,
        threads=data.draw(st.integers(1, 3)),
        target=data.draw(st.sampled_from([None, *rrn_native.search_targets()])),
    )
    width = min(k, max(count - 1, 0) if others is None else others)
    assert (index.dtype, similarity.dtype) == (np.int64, np.float32)
    assert index.shape == similarity.shape == (count, width)
    for expected, found, cosines in zip(by_loop(rows, columns, k, threshold), index, similarity, strict=True):
        assert found.tolist() == [j for j, _ in expected] + [-1] * (width - len(expected))
        assert cosines[: len(expected)].tolist() == [cosine for _, cosine in expected], "the same bits"
        assert np.isnan(cosines[len(expected) :]).all()


def test_nearest_are_the_same_for_any_threads_and_target() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(700, 65)).astype(np.float32)
    columns = random.normal(size=(9000, 65)).astype(np.float32)
    before = columns.copy()
    expected = rrn_native.nearest(rows, columns, 5, threads=1, target="portable")
    assert (expected[0] >= 0).all()
    for target in rrn_native.search_targets():
        found = rrn_native.nearest(rows, columns, 5, threads=3, target=target)
        assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in zip(found, expected, strict=True))
    assert np.array_equal(columns, before), "arguments are left as they are"


def test_nearest_agrees_with_the_pairs() -> None:
    rows = np.random.default_rng(4).standard_normal((50, 512), dtype=np.float32)
    first, second, similarity = rrn_native.similar_pairs(rows, -0.99)
    assert len(similarity) == 50 * 49 // 2
    whole = np.ones((50, 50), np.float32)
    index, cosines = rrn_native.nearest(rows, k=49)
    np.put_along_axis(whole, index, cosines, axis=1)
    assert (whole[first, second] == similarity).all(), "the same bits"
    assert (whole == whole.T).all()


def test_nearest_refuses_and_cancels() -> None:
    rows = np.ones((200, 5), np.float32)
    for arguments, words in (
        ({"columns": rows[:, :4]}, "one length, got 5 and 4"),
        ({"columns": rows[0]}, r"\[n, dim\]"),
        ({"k": 0}, "k is 0"),
        ({"threshold": float("nan")}, "not a number"),
        ({"target": "none"}, r"'none'; this machine has .*portable"),
    ):
        with pytest.raises(ValueError, match=words):
            rrn_native.nearest(rows, **arguments)  # type: ignore[arg-type]
    with pytest.raises(rrn_native.CancelledError):
        rrn_native.nearest(rows, progress=lambda done, total: False)
    with pytest.raises(ZeroDivisionError):
        rrn_native.nearest(rows, progress=lambda done, total: bool(done / 0))
