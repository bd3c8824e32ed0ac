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
from conftest import ROOT, make_picture
from PIL import Image

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from research.benchmarks import bench, photos, report, timing


def test_every_round_runs_every_case_and_starts_with_another() -> None:
    order: list[str] = []
    cases = {name: lambda name=name: order.append(name) for name in "abc"}
    times = timing.interleaved(cases, 3, warmup=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: found.runs for name, found in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_spread() -> None:
    found = timing.spread([0.003, 0.001, 0.0021234])
    assert found.to_json("ms", 1e3) == {"median_ms": 2.123, "low_ms": 1.0, "high_ms": 3.0, "runs": 3}


def test_planted_copies_and_what_a_tool_finds(tmp_path: Path) -> None:
    planted = photos.plant(photos.originals(3, drawn=True), tmp_path, (160, 120), 3, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(planted.families) == [name for name in names if not name.startswith("again")]
    assert planted.files == len(names) == 2 * len(planted.families)
    # Two of the three have five copies: 6 * 5 / 2 pairs each.
    truth = planted.truth()
    assert len(truth) == 30
    assert ("0000_cropped.jpg", "0000_original.jpg") in truth
    some = [["0000_original.jpg", "0000_cropped.jpg"], ["0000_cropped.jpg", "0000_original.jpg"]]
    assert photos.precision_recall([*some, ["again1_0000_original.jpg", "0001_original.jpg"]], planted) == (1.0, 1 / 30)
    assert photos.precision_recall([*some, ["0000_original.jpg", "0001_original.jpg"]], planted) == (0.5, 1 / 30)
    assert photos.precision_recall([], planted) == (None, 0.0)
    with Image.open(tmp_path / "0000_mirrored.jpg") as mirrored, Image.open(tmp_path / "0000_original.jpg") as original:
        turned = np.asarray(mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT), np.int16)
        assert np.abs(turned - np.asarray(original, np.int16)).mean() < 5


def test_enlarged_pictures_fill_the_size() -> None:
    picture = make_picture(1, 100, 40)
    large = photos.enlarge(picture, (300, 300), 0)
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
    python = ROOT / ".cache" / "bench-venv" / "bin" / "python"
    if not python.is_file():
        pytest.skip("scripts/bench.sh has not made its environment, which has OpenCV")
    _check_quick_run([str(python), "-m", "research.benchmarks.bench"], ["decode", "operator"], tmp_path)


def test_quick_run_of_what_needs_no_extra_package(tmp_path: Path) -> None:
    _check_quick_run([sys.executable, "-m", "research.benchmarks.bench"], ["operator"], tmp_path)


def _check_quick_run(command: list[str], names: list[str], output: Path) -> None:
    path = f"{ROOT}:{ROOT / 'python'}"
    run = subprocess.run(
        [*command, "--quick", "--part", ",".join(names), "--output", str(output)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "MPLCONFIGDIR": str(output)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for name in names:
        measured = json.loads((output / "results" / f"bench_{name}.json").read_text())
        assert measured["part"] == name
        assert measured["quick"] is True
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


def test_a_part_that_is_not_in_the_tree_is_said_to_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.PARTS, "network", "research.no_such_thing.measure")
    assert bench.main(["--quick", "--part", "network", "--output", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "results" / "bench_network.json").read_text())
    assert measured["absent"] == "research/no_such_thing/measure.py is not in this tree"
    assert "Not measured: research/no_such_thing" in (tmp_path / "benchmarks.md").read_text()


def test_a_part_that_fails_does_not_cost_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from research.benchmarks import reduction_operator

    def fail(quick: bool) -> dict[str, object]:
        raise RuntimeError("no")

    monkeypatch.setattr(reduction_operator, "measure", fail)
    monkeypatch.setitem(bench.PARTS, "network", "research.no_such_thing.measure")
    assert bench.main(["--quick", "--part", "network,operator", "--output", str(tmp_path)]) == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["bench_network.json"]


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
    monkeypatch.setattr(bench.report, "write", lambda output, parts: [])
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
    monkeypatch.setattr(end_to_end.photos, "plant", lambda *_: None)
    monkeypatch.setattr(end_to_end, "_describe", lambda planted: folder)
    monkeypatch.setattr(end_to_end, "_quality", lambda pairs, planted: {"precision": 1.0, "recall": 0.9})
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
