"""Prepared rows, groups from pairs and short rows: the same bits as the plain functions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import rrn_native


def decaying_rows(count: int, dim: int, seed: int = 1) -> npt.NDArray[np.float32]:
    """Rows whose directions get weaker, as those of photos do; every third is a near-copy of the one before."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dim)) / (1 + 0.2 * np.arange(dim))
    rows[1::3] = rows[::3][: len(rows[1::3])] + 0.2 * rows[1::3]
    return rows.astype(np.float32)


def same(ours: tuple[npt.NDArray[np.generic], ...], theirs: tuple[npt.NDArray[np.generic], ...]) -> bool:
    return [column.tobytes() for column in ours] == [column.tobytes() for column in theirs]


@pytest.mark.parametrize("count", [0, 1, 700, 9000])
def test_an_index_finds_what_the_functions_find(count: int) -> None:
    columns = decaying_rows(count, 150)
    for target in rrn_native.search_targets():
        index = rrn_native.SearchIndex(columns, threads=2, target=target)
        assert (len(index), index.dim) == (count, 150)
        for asked in (0, 1, 7):
            rows = decaying_rows(asked, 150, seed=2)
            rows[: min(asked, count)] = columns[: min(asked, count)]
            assert same(index.nearest(rows, 5), rrn_native.nearest(rows, columns, 5))
            assert same(index.nearest(rows, 5, threshold=0.9), rrn_native.nearest(rows, columns, 5, threshold=0.9))
            both = rrn_native.similar_pairs(np.concatenate([rows, columns]), 0.8)
            across = (both[0] < asked) & (both[1] >= asked)
            expected = (both[0][across], both[1][across] - asked, both[2][across])
            assert same(index.range_search(rows, 0.8), expected)


def test_an_index_refuses() -> None:
    index = rrn_native.SearchIndex(np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="one length, got 5 and 4"):
        index.nearest(np.ones((1, 5), np.float32))
    with pytest.raises(ValueError, match="k is 0"):
        index.nearest(np.ones((1, 4), np.float32), 0)
    with pytest.raises(ValueError, match="not a number"):
        index.range_search(np.ones((1, 4), np.float32), float("nan"))
    with pytest.raises(ValueError, match="'warp'"):
        rrn_native.SearchIndex(np.ones((3, 4), np.float32), target="warp")
    with pytest.raises(ValueError, match="at least one number"):
        rrn_native.SearchIndex(np.ones((3, 0), np.float32))


def test_an_index_keeps_its_own_rows() -> None:
    rows = decaying_rows(50, 20)
    index = rrn_native.SearchIndex(rows)
    before = index.nearest(rows[:5], 3)
    asked = rows[:5].copy()
    rows[:] = 0
    assert same(index.nearest(asked, 3), before)


def test_short_rows_change_no_result() -> None:
    rows = decaying_rows(8200, 160)
    without = rrn_native.similar_pairs(rows, 0.9, short_rows=False)
    assert len(without[0]) > 1000
    for way in (None, True):
        assert same(rrn_native.similar_pairs(rows, 0.9, short_rows=way), without)


def by_rule(
    count: int, pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]
) -> list[int]:
    """The representative of each row, by the words of the documentation."""
    near: list[dict[int, float]] = [{} for _ in range(count)]
    for i, j, similarity in zip(*(column.tolist() for column in pairs), strict=True):
        near[i][j] = near[j][i] = similarity
    representatives: list[int] = []
    for row in sorted(range(count), key=lambda row: (-len(near[row]), row)):
        if not any(other in near[row] for other in representatives):
            representatives.append(row)
    return [
        row if row in representatives else min(representatives, key=lambda other: (-near[row].get(other, -2.0), other))
        for row in range(count)
    ]


def test_groups_of_pairs_follow_the_rule_in_any_order() -> None:
    rows = decaying_rows(90, 12)
    pairs = rrn_native.similar_pairs(rows, 0.6)
    assert len(pairs[0]) > 50
    representative, similarity, similar = rrn_native.group_pairs(90, pairs)
    assert representative.tolist() == by_rule(90, pairs)
    assert similar.tolist() == (np.bincount(pairs[0], minlength=90) + np.bincount(pairs[1], minlength=90)).tolist()
    for row in range(90):
        other = int(representative[row])
        assert similarity[row] == (1 if other == row else rrn_native.cosine_similarity(rows[row], rows[other]))
    order = np.random.default_rng(1).permutation(len(pairs[0]))
    shuffled = (pairs[0][order], pairs[1][order], pairs[2][order])
    assert same(rrn_native.group_pairs(90, shuffled), (representative, similarity, similar))


def test_groups_follow_the_rank() -> None:
    pairs = (np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.8]))
    assert rrn_native.group_pairs(3, pairs)[0].tolist() == [1, 1, 1]
    assert rrn_native.group_pairs(3, pairs, rank=np.array([0, 2, 1]))[0].tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (([1], [1], [0.5]), "first < second < 3"),
        (([0], [3], [0.5]), "first < second < 3"),
        (([0], [1], [2.0]), "from -1 to 1"),
        (([0, 0], [1, 1], [0.5, 0.5]), "twice"),
        (([0], [1, 2], [0.5]), "one length"),
        (([-1], [1], [0.5]), "from 0 to 4294967295"),
    ],
)
def test_other_pairs_are_refused(pairs: tuple[list[int], list[int], list[float]], words: str) -> None:
    first, second, similarity = (np.array(column) for column in pairs)
    with pytest.raises(ValueError, match=words):
        rrn_native.group_pairs(3, (first, second, similarity))


def test_other_ranks_are_refused() -> None:
    pairs = (np.array([0]), np.array([1]), np.array([0.5]))
    with pytest.raises(ValueError, match="expected 3 ranks"):
        rrn_native.group_pairs(3, pairs, rank=np.array([1]))
