"""The pair search's measurement on few rows."""

from __future__ import annotations

import pytest
import rrn_native

from research.benchmarks import pairs


def test_all_ways_find_the_same_pairs() -> None:
    available = rrn_native.search_targets()
    assert "portable" in available
    rows = pairs.measure_exact(300, 0.75, available, [1, 2], 1)
    assert [(row["path"], row["threads"]) for row in rows] == [
        (path, number) for path in available for number in (1, 2)
    ]
    # Every fiftieth row is a copy.
    assert {row["pairs"] for row in rows} == {6}
    assert pairs.with_numpy(pairs.make_rows(300), 0.75) == 6
    assert all(row["median_seconds"] == row["seconds"][0] > 0 for row in rows)


def test_different_results_stop_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter("ab")
    monkeypatch.setattr(pairs, "timed", lambda *_: (0.1, next(digests), 3))
    with pytest.raises(RuntimeError, match="gave another result"):
        pairs.measure_exact(10, 0.75, ["one", "two"], [1], 1)
