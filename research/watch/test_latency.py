"""The latency study: its numbers, its page, and a short run of both ways where a broker is."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.common import results
from research.common.places import RESULTS, ROOT

pytest.importorskip("av", reason="what rrn watch needs is missing")
pytest.importorskip("trackers", reason="what rrn watch needs is missing")

from research.watch import latency, latency_report
from research.watch.latency import Case, Taken

STAGES = {stage: [1.0, 2.0] for stage in latency_report.STAGES}


def taken(age: float, cpu: float) -> Taken:
    stages = {stage: list(values) for stage, values in STAGES.items()}
    return Taken([age, age + 1], [age - 20, age - 19], stages, cpu, 2.0, 2)


def value_of(*cases: dict[str, Any]) -> dict[str, Any]:
    found = list(cases)
    return {
        **results.read(RESULTS / "serving.json"),
        "detector": "fast",
        "cases": found,
        "plain_over_rrn": latency.compare(found),
    }


def test_records_and_ratios() -> None:
    ours = latency.record(Case("rrn", (427, 240), 10), taken(30, 0.1))
    plain = latency.record(Case("plain", (427, 240), 10), taken(120, 0.4))
    assert ours["age_ms"]["p50"] == 30.5
    assert ours["cpu_ms_per_frame"] == 50
    assert ours["fps"] == 1
    (ratio,) = latency.compare([ours, plain])
    assert ratio["age_p50_ratio"] == pytest.approx(120.5 / 30.5, rel=0.01)
    assert ratio["cpu_per_frame_ratio"] == 4
    assert latency.compare([ours]) == []


def test_rounds_are_added_up() -> None:
    whole = Taken()
    whole.extend(taken(30, 0.1))
    whole.extend(taken(40, 0.3))
    assert whole.age == [30, 31, 40, 41]
    assert (whole.cpu_seconds, whole.seconds, whole.detected) == (pytest.approx(0.4), 4, 4)
    assert len(whole.stages["detect"]) == 4


def test_cpu_time_of_processes_that_are_gone_is_nothing() -> None:
    assert latency.cpu_seconds([2**22 + 1]) == 0


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    ours = latency.record(Case("rrn", (427, 240), 10), taken(30, 0.1))
    slow = latency.record(Case("rrn", (1280, 720), 30), taken(60, 0.2))
    plain = latency.record(Case("plain", (427, 240), 10), taken(120, 0.4))
    value = value_of(ours, plain, slow)
    results.write(tmp_path / "watch_latency.json", value)
    page, picture = latency_report.write(tmp_path, tmp_path)
    text = page.read_text()
    assert "the aim of 15 ms is reached at 427x240, 10 fps." in text
    assert "falls behind at 427x240, 10 fps: frames queue" in text
    value["plain_over_rrn"][0]["plain_keeps_up"] = True
    results.write(tmp_path / "watch_latency.json", value)
    ratio = value["plain_over_rrn"][0]["age_p50_ratio"]
    assert f"{ratio:.3g} (427x240, 10 fps)" in latency_report.write(tmp_path, tmp_path)[0].read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| plain ")]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:5] == [
        "427x240",
        "10",
        "1.0",
        latency_report.three(plain["age_ms"]),
    ]
    assert picture.stat().st_size > 1000


@pytest.mark.skipif(
    not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()), reason="apt-get install mosquitto"
)
def test_a_short_run(tmp_path: Path) -> None:
    blob = runpy.run_path(str(ROOT / "python" / "tests" / "blob_detector.py"))
    model = blob["blob_model"](tmp_path / "blob.onnx")
    from rrn_ops.streaming.drawing import VideoWriter

    with VideoWriter(tmp_path / "walk.mp4", (160, 120), 25) as writer:
        for k in range(20):
            writer.add(blob["scene"]((160, 120), (8 + k, 30, 28 + k, 90)))
    cases = [Case("rrn", (427, 240), 30)]
    (found,) = latency.measure(tmp_path / "walk.mp4", cases, 1, 1.0, ["--model", str(model)])
    assert found["frames"] > 5
    assert found["age_ms"]["p50"] > found["beyond_detection_ms"]["p50"] > 0
    steps = sum(np.array([found["stages_ms"][stage]["p50"] for stage in latency_report.STAGES]))
    assert 0 < steps < 3 * found["age_ms"]["p95"]
