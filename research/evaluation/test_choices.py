"""The page of choices, from results made up here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from research.common import machine, results
from research.evaluation import choices


def numbers(precision: float | None, **more: Any) -> dict[str, Any]:
    return {
        "average_precision": 0.5,
        "at_threshold": {"threshold": 0.75, "precision": precision, "recall": 0.25, "f1": 0.125},
        "best_f1": {"f1": 0.875, "threshold": 0.625},
        "different_above_threshold": 0.00012,
        **more,
    }


def test_each_number_is_in_its_column(tmp_path: Path) -> None:
    row = {"labelled": numbers(0.75, ns=3.5), "copies": numbers(None)}
    head = machine.head("made up")
    judged = {**head, "rows": [{"name": "some weights", **row}]}
    shares = {**head, "usual_share": 0.002, "rows": [{"varies": "stage 2", "share": 0.3, **row}]}
    shares["rows"].append({"varies": "last stage alone", "share": 0.0, **row})
    sizes = {**head, "threads": 1, "sizes": [{"size": 96, "image": {"median_ms": 4.25}, **row}]}
    contents = {"weights_all": judged, "weights_report": judged, "stage_shares": shares, "sizes": sizes}
    for name, content in contents.items():
        results.write(tmp_path / f"{name}.json", content)
    written = choices.write(tmp_path, tmp_path)
    lines = written.read_text().splitlines()
    labelled = "0.500 | 3.50 | 0.750 | 0.250 | 0.125 | 0.875 (0.625) | 0.012 %"
    copied = "0.500 | - | 0.250 | 0.125 | 0.875 (0.625) | 0.012 %"
    assert lines.count(f"| some weights | {labelled} | {copied} |") == 2
    assert f"| stage 2: 0.3 | {labelled} | {copied} |" in lines
    assert f"| last stage alone | {labelled} | {copied} |" in lines
    assert f"| 96 px | {labelled} | {copied} | 4.2 |" in lines
