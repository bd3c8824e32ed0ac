"""The page of serving: numbers from the result, and what the sentences say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from research.common import results
from research.common.places import RESULTS
from research.serving import report


def made(native: float, ensemble: float) -> dict[str, Any]:
    def case(kind: str, batching: str, count: int) -> dict[str, Any]:
        rate = (native if kind == "native" else ensemble) * (2 if batching == "on" and count == 32 else 1)
        names = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "queue_ms", "compute_ms", "batch")
        record = dict.fromkeys(names, 1000 * count / rate)
        return {"kind": kind, "batching": batching, "concurrency": count, "per_second": rate, "rounds": 3} | record

    cases = [case(kind, batching, count) for kind, batching in report._NAMES for count in (1, 32)]
    value = results.read(RESULTS / "serving.json")
    return value | {"cases": cases}


def test_sentences_say_what_was_measured() -> None:
    text = report.sentences(made(50, 25))
    assert "answers 100 pictures a second, 2.00 times as many as the ensemble of Python models (50)" in text
    assert "2.00 times as many as without batching" in text
    assert "takes 20.0 ms (median) instead of 40.0 ms" in text


def test_the_page_has_a_row_for_each_case(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    value = made(50, 25)
    results.write(tmp_path / "serving.json", value)
    page, picture = report.write(tmp_path, tmp_path)
    assert page.read_text().count("\n| ") == len(value["cases"]) + 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_committed_is_complete() -> None:
    value = results.read(RESULTS / "serving.json")
    assert {(each["kind"], each["batching"]) for each in value["cases"]} == set(report._NAMES)
    assert {each["concurrency"] for each in value["cases"]} == {1, 2, 4, 8, 16, 32}
    assert value["difference_to_engine"]["native"] == 0
    for each in value["cases"]:
        low, high = each["per_second_low_high"]
        assert 0 < low <= each["per_second"] <= high
        assert each["p50_ms"] <= each["p90_ms"] <= each["p95_ms"] <= each["p99_ms"]
