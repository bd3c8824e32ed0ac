"""The benchmarks' machinery on tiny inputs: what is written, not how fast anything is."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.benchmarks import bench, planted, report
from research.common import photos, results
from research.common.places import CACHE, PROGRAM, ROOT


def test_planted_copies_and_what_a_tool_finds(tmp_path: Path) -> None:
    folder = planted.plant(photos.originals(3, drawn=True), tmp_path, (160, 120), 3, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(folder.families) == [name for name in names if not name.startswith("again")]
    assert folder.files == len(names) == 2 * len(folder.families)
    # Two of the three have five copies: 6 * 5 / 2 pairs each.
    truth = folder.truth()
    assert len(truth) == 30
    assert ("0000_cropped.jpg", "0000_original.jpg") in truth
    some = [["0000_original.jpg", "0000_cropped.jpg"], ["0000_cropped.jpg", "0000_original.jpg"]]
    assert planted.precision_recall([*some, ["again1_0000_original.jpg", "0001_original.jpg"]], folder) == (1.0, 1 / 30)
    assert planted.precision_recall([*some, ["0000_original.jpg", "0001_original.jpg"]], folder) == (0.5, 1 / 30)
    assert planted.precision_recall([], folder) == (None, 0.0)
    with Image.open(tmp_path / "0000_mirrored.jpg") as mirrored, Image.open(tmp_path / "0000_original.jpg") as original:
        turned = np.asarray(mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT), np.int16)
        assert np.abs(turned - np.asarray(original, np.int16)).mean() < 5


def test_enlarged_pictures_fill_the_size() -> None:
    picture = photos.draw(1, 100, 40)
    large = planted.enlarge(picture, (300, 300), 0)
    assert large.size == (300, 300)
    # The middle of the picture, not all of it squeezed.
    middle = picture.crop((30, 0, 70, 40)).resize((300, 300))
    assert np.abs(np.asarray(large, np.int16) - np.asarray(middle, np.int16)).mean() < 12


def test_parts_are_named_in_their_order() -> None:
    assert bench.parts("operator,decode") == ["decode", "operator"]
    for wrong in ("", "decode,speed"):
        with pytest.raises(argparse.ArgumentTypeError):
            bench.parts(wrong)


def test_quick_run_writes_well_formed_results(tmp_path: Path) -> None:
    python = CACHE / "bench-venv" / "bin" / "python"
    if not python.is_file():
        pytest.skip("scripts/bench.sh has not made its environment, which has OpenCV")
    _check_quick_run([str(python), "-m", "research.benchmarks.bench"], ["decode", "operator"], tmp_path)


def test_quick_run_of_what_needs_no_extra_package(tmp_path: Path) -> None:
    _check_quick_run([sys.executable, "-m", "research.benchmarks.bench"], ["operator"], tmp_path)


def _check_quick_run(command: list[str], names: list[str], output: Path) -> None:
    run = subprocess.run(
        [*command, "--quick", "--part", ",".join(names), "--output", str(output)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "MPLCONFIGDIR": str(output), "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for name in names:
        measured = results.read(output / "results" / f"bench_{name}.json")
        assert measured["part"] == name
        assert measured["quick"] is True
        assert measured["command"].startswith("scripts/bench.sh --quick --part ")
        assert measured["machine"]["cores"] >= 1
        assert {"python", "rrn", "numpy", "onnxruntime"} <= measured["versions"].keys()
        rows = measured["result"]["rows"]
        assert rows
        for row in rows:
            assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"]
        with Image.open(output / f"benchmarks_{name}.png") as chart:
            assert min(chart.size) > 150
    page = (output / "benchmarks.md").read_text()
    assert "the numbers mean nothing" in page
    assert all(report.TITLES[name] in page for name in names)
    assert str(ROOT) not in page


def test_a_part_that_fails_does_not_cost_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from research.benchmarks import reduction_operator

    def fail(quick: bool) -> dict[str, object]:
        raise RuntimeError("no")

    monkeypatch.setattr(reduction_operator, "measure", fail)
    monkeypatch.setitem(bench.PARTS, "start", "easy_part")
    monkeypatch.setitem(sys.modules, "easy_part", SimpleNamespace(measure=lambda quick: {"rows": []}))  # type: ignore[arg-type]
    assert bench.main(["--quick", "--part", "start,operator", "--output", str(tmp_path)]) == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["bench_start.json"]


def test_found_only_keeps_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another model, only what rrn finds is measured again."""
    place = tmp_path / "results" / "bench_end_to_end.json"
    place.parent.mkdir()
    head = {"part": "end_to_end", "quick": False, "machine": {}, "versions": {}, "commit": "old", "took_s": 7}
    place.write_text(json.dumps(head | {"result": {"rows": [{"tool": "rrn", "median_s": 1.5, "recall": 0.5}]}}))

    def measure_found(before: dict[str, Any], model: Path | None) -> dict[str, Any]:
        return before | {"rows": [row | {"recall": 1.0} for row in before["rows"]], "found_by": str(model)}

    monkeypatch.setitem(bench.PARTS, "end_to_end", "found_part")
    monkeypatch.setitem(sys.modules, "found_part", SimpleNamespace(measure_found=measure_found))  # type: ignore[arg-type]
    monkeypatch.setattr(bench.report, "write", lambda *_: [])
    assert bench.main(["--found-only", "--model", "m.onnx", "--output", str(tmp_path)]) == 0
    written = json.loads(place.read_text())
    assert written["result"] == {"rows": [{"tool": "rrn", "median_s": 1.5, "recall": 1.0}], "found_by": "m.onnx"}
    assert {key: written[key] for key in head} == head
    with pytest.raises(SystemExit):
        bench.main(["--found-only", "--part", "operator"])


def test_found_only_drops_what_cannot_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end_to_end = pytest.importorskip("research.benchmarks.end_to_end", reason="scripts/bench.sh installs OpenCV")
    folder = {"files": 2}
    rows = [{"size": "VGA", "tool": tool, "median_s": 1.0, "recall": 0.5} for tool in ("rrn", "rrn, int8", "peer")]
    model = tmp_path / "m.onnx"
    model.write_bytes(b"weights")
    tool = SimpleNamespace(name="rrn", run=lambda place, scratch: (None, []))
    monkeypatch.setattr(end_to_end, "ways", lambda model, peers: ([tool], {"rrn, int8": "no such model"}))
    monkeypatch.setattr(end_to_end.photos, "originals", lambda count, drawn: [])
    monkeypatch.setattr(end_to_end.planted, "plant", lambda *_: None)
    monkeypatch.setattr(end_to_end, "_describe", lambda made: folder)
    monkeypatch.setattr(end_to_end, "_quality", lambda pairs, made: {"precision": 1.0, "recall": 0.9})
    before = {"rows": rows, "folders": {"VGA": folder}, "missing": {"other": "why"}}
    after = end_to_end.measure_found(before, model)
    assert [row.get("recall") for row in after["rows"]] == [0.9, None, 0.5]
    assert after["missing"] == {"other": "why", "rrn, int8, with these weights": "no such model"}
    assert after["found_by"]["model"] == "m.onnx"
    with pytest.raises(RuntimeError, match="VGA: the folder is"):
        end_to_end.measure_found(before | {"folders": {"VGA": {"files": 3}}}, model)


def test_tables_of_any_result() -> None:
    page = report.markdown(
        {
            "pairs": {
                "quick": False,
                "machine": {"processor": "p", "cores": 1, "memory_gib": 1, "load_before": 0},
                "versions": {},
                "commit": "c",
                "took_s": 1,
                "result": {"rows": [{"n": 10, "way": "a|b"}, {"n": 20, "s": None}], "more": {"x": {"y": 1.5}}},
            }
        }
    )
    assert "| n | way | s |\n| ---: | --- | ---: |\n| 10 | a/b |  |\n| 20 |  | - |" in page
    assert "x: y: 1.5" in page
    assert "mean nothing" not in page


def test_the_script_explains_itself() -> None:
    run = subprocess.run([ROOT / "scripts" / "bench.sh", "--help"], capture_output=True, text=True, check=True)
    options = {action.option_strings[-1] for action in bench._parser()._actions} - {"--help"}
    assert [option for option in sorted(options) if option not in run.stdout] == []
    assert [name for name in bench.PARTS if name not in run.stdout] == []


def test_runs_with_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psutil")
    from research.benchmarks import rerun

    if not PROGRAM.is_file():
        pytest.skip("build/similarity is missing: run scripts/build.sh")
    monkeypatch.setattr(rerun, "_SIZE", (64, 48))
    measured = rerun.measure(quick=True)
    assert measured["files"] == 24
    assert [row["way"] for row in measured["rows"]] == [
        "first run",
        "again",
        "10 files touched",
        "10 files added",
        "without a store",
    ]
    assert measured["rows"][0]["share_of_first"] == 1
    assert all(row["median_s"] > 0 for row in measured["rows"])
