"""The simulation against cases with known answers, the plan against its results, and the benchmark on a few files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="the extra 'scale' is not installed")

from rrn_ops.scale import plan

from research.common import results
from research.common.places import PROGRAM, RESULTS, ROOT
from research.scale import report, run, simulation, throughput
from research.scale.simulation import Fleet

# ---- The simulation -------------------------------------------------------------------------------------------------


def test_without_trouble_the_machines_share_the_work() -> None:
    found = simulation.run([2.0] * 12, Fleet(4), 0)
    assert (found.time, found.busy, found.lost, found.failures) == (6, 24, 0, 0)
    assert simulation.run([5.0, 1, 1, 1], Fleet(2), 0).time == 5
    # One of two machines takes twice as long: of 9 tasks it does 3.
    assert simulation.run([1.0] * 9, Fleet(2, slow_share=0.5, slow_factor=2), 0).time == 6


def test_failures_cost_what_theory_says() -> None:
    """A task of length t on a machine with mean time m takes m (exp(t / m) - 1) on average, without repair."""
    length, mean = 1.0, 2.0
    found = simulation.run([length] * 20_000, Fleet(1, mean), 1)
    assert found.busy / 20_000 == pytest.approx(mean * (np.exp(length / mean) - 1), rel=0.02)
    assert found.time == pytest.approx(found.busy)
    repaired = simulation.run([length] * 20_000, Fleet(1, mean, repair=3.0), 1)
    assert repaired.time == pytest.approx(found.busy + 3 * repaired.failures)
    assert simulation.run([length] * 50, Fleet(3, mean), 4) == simulation.run([length] * 50, Fleet(3, mean), 4)


def test_sizes_of_cells() -> None:
    assert simulation.skew(np.ones(5)) == 1
    assert simulation.skew(np.array([1.0, 3.0])) == 5 / 4
    sizes = simulation.cell_sizes(200_000, 1.0, 0)
    assert sizes.mean() == pytest.approx(1)
    assert simulation.skew(sizes) == pytest.approx(np.e, rel=0.1), "of a log-normal: exp(variance)"
    assert np.ptp(simulation.cell_sizes(10, 0.0, 0)) == 0


def test_chunks_are_the_same_work() -> None:
    sizes = simulation.cell_sizes(50, 1.0, 0)
    whole, chunks = (simulation.cell_tasks(sizes, most) for most in (np.inf, 0.5))
    assert whole.sum() == pytest.approx(chunks.sum())
    assert len(whole) == 50
    assert chunks.max() <= 2 * 0.5**2
    assert simulation.run(chunks, Fleet(8), 0).time < simulation.run(whole, Fleet(8), 0).time


@pytest.mark.parametrize(("tasks", "machines"), [([], 1), ([1.0], 0)])
def test_nothing_to_simulate_is_refused(tasks: list[float], machines: int) -> None:
    with pytest.raises(ValueError, match="expected at least one of each"):
        simulation.run(tasks, Fleet(machines), 0)


# ---- Plan and page ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured() -> results.Json:
    return run.measure(run.Effort(2), RESULTS)


def test_the_default_rates_are_those_of_the_results() -> None:
    assert json.loads(run.RATES.read_text()) == plan.to_json(plan.rates(RESULTS)), "research.scale.run --rates"


def test_the_result_holds_the_plan_of_the_present_rates(measured: results.Json) -> None:
    value = results.read(RESULTS / "scale_plan.json")
    assert value["plans"] == json.loads(json.dumps(measured["plans"])), "run research.scale.run"
    assert set(value) >= {"command", "machine", "versions", "commit", *measured}


def test_the_page_says_what_the_result_says(measured: results.Json) -> None:
    value = results.read(RESULTS / "scale_plan.json")
    text = report.markdown(value, None)
    for each in value["plans"][-1]["figures"]:
        assert f"| {each['words']} | {plan.shown(each['value'], each['unit'])} |" in text
    for row in value["failures"]:
        assert f"| {row['partition_min']} | {row['failure_h']} | {row['time']['value']:.2f} (" in text
    assert "Not measured" in text


def test_no_digit_of_the_documentation_is_typed() -> None:
    """The page shows sections of findings/scale_plan.md; nothing else on it is a number."""
    text = (ROOT / "python" / "docs" / "pages" / "scale-plan.md").read_text(encoding="utf-8")
    shown = re.findall(r"\{\{ section: findings/scale_plan\.md # (.*?) \}\}", text)
    page = report.markdown(results.read(RESULTS / "scale_plan.json"), None)
    assert len(shown) >= 4
    assert [title for title in shown if f"\n## {title}\n" not in page] == []
    prose = re.sub(r"\{\{.*?\}\}|```.*?```", "", text, flags=re.S)
    assert re.findall(r"\d+", prose) == []


# ---- The benchmark ---------------------------------------------------------------------------------------------------


def test_files_are_made_once_and_differ(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    made = throughput.make_files(throughput.originals(tmp_path), tmp_path / "files", 3)
    contents = [path.read_bytes() for path in made]
    assert len(set(contents)) == 3
    with Image.open(made[0]) as opened:
        assert opened.size == (throughput.WIDTH, throughput.HEIGHT)
    before = made[0].stat().st_mtime_ns
    made[1].unlink()
    assert throughput.make_files([tmp_path / "a.png"], tmp_path / "files", 3) == made
    assert [path.read_bytes() for path in made] == contents
    assert made[0].stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="no JPEG or PNG"):
        throughput.originals(tmp_path / "nothing")


def test_ways_are_timed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not PROGRAM.is_file():
        pytest.skip(f"{PROGRAM} is missing: run scripts/build.sh")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    words = ["--photos", str(tmp_path), "--files", "4", "--rounds", "2", "--workers", "1", "--ways", "build/similarity"]
    words += ["processes", "--folder", str(tmp_path / "work"), "--output", str(tmp_path / "r.json")]
    assert throughput.main(words) == 0
    assert capsys.readouterr().out.count("images/s") == 4
    value = results.read(tmp_path / "r.json")
    assert [row["way"] for row in value["rows"]] == ["build/similarity", "processes"]
    assert value["rows"][0]["ratio"]["median"] == 1
    assert value["rows"][1]["ratio"]["median"] > 0
    assert throughput.main(words) == 0
    assert "images/s" not in capsys.readouterr().out, "what was timed is not timed again"
    text = report.markdown(results.read(RESULTS / "scale_plan.json"), value)
    assert "| processes |" in text
