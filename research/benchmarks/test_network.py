"""The parts of the network's measurement that need no measuring."""

from __future__ import annotations

from pathlib import Path

import pytest
import rrn_native

from research.benchmarks import network
from research.common.photos import draw


def test_multiplications_of_resnet_18() -> None:
    # He et al., "Deep residual learning for image recognition", 2016: 1.8 billion with the classifier's 512,000.
    assert network.multiply_adds(Path(rrn_native.default_model()), 224) == 1_813_561_344
    assert network.multiply_adds(Path(rrn_native.default_model()), 448) == 4 * 1_813_561_344


def test_cases_take_turns_and_repeat_short_work() -> None:
    calls: list[str] = []
    cases = [network.Case({}, lambda name=name: calls.append(name), 2, 4.0) for name in "ab"]  # type: ignore[misc]
    times = network.time_cases(cases, 3, 0.0)
    assert [len(values) for values in times] == [3, 3]
    # Each on two threads: once to warm up, once to choose the number of runs, and three rounds of one run.
    assert calls.count("a") == calls.count("b") == 2 * 5
    assert calls[8:] == list("aabb" + "bbaa" + "aabb")


def test_summary() -> None:
    assert network.summary([0.004, 0.001, 0.002, 0.003], 1e3) == {
        "median": 2.5,
        "low": 1.75,
        "high": 3.25,
        "least": 1.0,
    }
    assert network.summary([0.5], 1) == {"median": 0.5, "low": 0.5, "high": 0.5, "least": 0.5}


def test_sessions_compute_as_the_engine_does() -> None:
    model = Path(rrn_native.default_model())
    assert network.check_session(network.open_session(model, "cpu", "fp32", 1), model, "cpu", "fp32")
    with pytest.raises(LookupError, match=r"other\.int8\.onnx is missing"):
        network.open_session(Path("other.onnx"), "cpu", "int8", 1)


def test_results_are_compared_with_those_in_fp32(tmp_path: Path) -> None:
    lines = ["file,group"]
    for seed in range(3):
        draw(seed, 96).save(tmp_path / f"{seed}.png")
        draw(seed, 96).resize((80, 80)).save(tmp_path / f"{seed}_small.png")
        lines += [f"{seed}.png,{seed}", f"{seed}_small.png,{seed}"]
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    first, second = network.compare_results(Path(rrn_native.default_model()), tmp_path, ["cpu/fp32", "cpu/int8"])
    assert (first["pairs"], first["max_difference"], first["changed_sides"]) == (15, 0, 0)
    assert 0 < second["mean_difference"] <= second["max_difference"] < 0.1
