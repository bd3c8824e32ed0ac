"""Records, the Pareto front, and the page: from rows whose numbers are known."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _name in ("torch", "onnx", "onnxruntime", "sklearn"):
    pytest.importorskip(_name, reason=f"{_name} is missing")

from research.common import results  # noqa: E402
from research.common.places import FINDINGS, RESULTS  # noqa: E402
from research.quantisation import choose, labelled, measure, report, run  # noqa: E402
from research.quantisation.measure import Row  # noqa: E402
from research.quantisation.worker import FormError  # noqa: E402

LABELS = np.arange(40) % 4


def row(variant: str, milliseconds: float, outputs: np.ndarray, *, rounds: int = 6) -> Row:
    seconds = {1: [[milliseconds / 1e3] * 3] * rounds, 8: [[milliseconds / 125]] * rounds}
    return Row(variant, "", 1.5, 2_000_000, seconds, outputs.astype(np.float32), {"outputs": {}})


def outputs(wrong: int = 0) -> np.ndarray:
    """Outputs whose largest one is the label, except for the first `wrong` pictures."""
    made = np.eye(4)[LABELS] + 0.1
    made[:wrong] = np.roll(made[:wrong], 1, axis=1)
    return made


HEAD = labelled.own_head(np.arange(4), 4)


def test_a_record_says_how_fast_and_how_right() -> None:
    base = row("torch", 10, outputs(4))
    found = measure.record(row("onnx_static", 4, outputs(10)), base, HEAD, LABELS, "accuracy")
    assert found["p50_ms"] == 4
    assert found["images_per_s"] == 250
    assert found["speedup"]["value"] == 2.5
    assert found["speedup_8"]["value"] == 2.5
    assert found["accuracy"]["value"] == 0.75
    assert found["difference"]["value"] == -0.15
    assert found["difference"]["low"] < -0.15 < found["difference"]["high"] < 0
    assert found["agreement"]["same_class"] == 0.85
    assert found["agreement"]["least_cosine"] < 0.5
    assert found["megabytes"] == 2


def test_a_slow_form_has_no_intervals_and_no_accuracy() -> None:
    slow = row("torch_bf16", 100, outputs()[:8], rounds=1)
    slow.slow = True
    found = measure.record(slow, row("torch", 10, outputs()), HEAD, LABELS, "accuracy")
    assert found["rounds"] == 1
    assert found["speedup"] == {"value": 0.1, "low": None, "high": None}
    assert found["p95_ms"] is None
    assert found["agreement"] == {"least_cosine": 1.0, "pictures": 8}
    assert found["accuracy"] is None


def test_untrained_weights_have_no_accuracy() -> None:
    base = row("torch", 10, outputs())
    found = measure.record(row("onnx", 5, outputs()), base, None, LABELS, "cosine")
    assert found["accuracy"] is None
    assert found["difference"] is None
    assert found["agreement"] == {"least_cosine": 1.0, "pictures": 40}


def test_the_front_has_what_nothing_beats() -> None:
    points = [(10.0, 0.9), (5.0, 0.9), (4.0, 0.8), (6.0, 0.85), (4.0, 0.7), (20.0, 0.95)]
    assert measure.frontier(points) == [False, True, True, False, False, True]


def value() -> dict[str, Any]:
    """A result with what the page has to say something about."""
    base = row("torch", 10, outputs(4))
    slow = row("torch_bf16", 50, outputs(4)[:8], rounds=1)
    slow.slow = True
    forms = [
        base,
        slow,
        row("onnx_static", 12, outputs(4)),
        row("openvino_int8", 4, outputs(30)),
        row("openvino", 6, outputs(4)),
        Row("torchao", "the package torchao is not installed"),
    ]
    rows = measure._records({each.variant: each for each in forms}, HEAD, LABELS, "accuracy")
    kinds = {"convolutions": {"float": 1, "uint8": 19}, "linear": {}, "products": {}, "casts": 0, "kernels": 9}
    for each in rows:
        if not each["error"] and each["runtime"] == "ONNX Runtime":
            each["ran"] = kinds
        elif not each["error"] and each["runtime"] == "OpenVINO":
            each["ran"] = {"asked": "f32", "compiled": "f32", "convolutions": {"f32": 20}}
        elif not each["error"]:
            each["ran"] = {"outputs": {"Conv2d float32": 20}}
    pictures = {
        "source": "drawn",
        "sha256": "",
        "classes": 4,
        "test": 40,
        "calibration": 8,
        "validation": 9,
        "probe": 7,
    }
    network = {
        "words": "a network",
        "trained": True,
        "judged_by": "accuracy",
        "export_s": 1,
        "pictures": pictures,
        "threads": 2,
        "rows": rows,
    }
    machine = {
        "processor": "a processor",
        "class": "AVX2",
        "instructions": ["avx2"],
        "cores": 2,
        "memory_gib": 4,
        "load_before": 0.1,
        "governor": "unknown",
    }
    made = {
        "command": "run",
        "machine": machine,
        "versions": {"python": "3"},
        "commit": "c",
        "full": False,
        "networks": {"tiny": network},
        "load_after": 0.2,
    }
    return made | {"conclusion": choose.sentences(made)}


def test_the_form_to_ship_is_the_fastest_harmless_one() -> None:
    found = value()
    assert choose.to_ship(found["networks"]["tiny"])["variant"] == "openvino"
    page = report.markdown(found)
    assert "ship `tiny` as fp32, OpenVINO (1.67 times as fast" in page
    assert "Not built: int8 dynamic, torchao, PyTorch: the package torchao is not installed." in page
    assert "19 of 20 convolutions in 8 bits" in page


def test_every_form_that_lost_has_a_reason() -> None:
    network = value()["networks"]["tiny"]
    best, base = choose.to_ship(network), network["rows"][0]
    reasons = {each["variant"]: choose.reason(each, best, base, ["avx2"]) for each in choose.built(network)}
    assert reasons == {
        "torch": "the base of all ratios",
        "torch_bf16": "5 times as slow as fp32: this processor has no bf16",
        "onnx_static": "2.0 times the time of the best: this processor has no VNNI",
        "openvino_int8": "loses 65.0%",
        "openvino": "**ship this**",
    }
    # What a processor has changes the reason.
    rows = {each["variant"]: each for each in network["rows"]}
    more = ["avx2", "avx512_vnni", "avx512_bf16"]
    assert choose.reason(rows["onnx_static"], best, base, more) == "2.0 times the time of the best"
    assert choose.reason(rows["torch_bf16"], best, base, more) == "5 times as slow as fp32"


def test_a_form_that_may_have_lost_something_is_not_shipped() -> None:
    network = value()["networks"]["tiny"]
    best = choose.to_ship(network)
    unsure = dict(best, variant="onnx", difference={"value": -0.01, "low": -0.05, "high": 0.02})
    assert not choose.is_harmless(unsure)
    assert choose.reason(unsure, best, network["rows"][0], []) == "may lose more than 3 %"
    # What an embedding's users compare are cosines.
    far = dict(best, variant="onnx", judged_by="cosine", agreement={"least_cosine": 0.951})
    assert not choose.is_harmless(far)
    assert choose.reason(far, best, network["rows"][0], []) == "a cosine of 0.951 to fp32's"


def test_slow_forms_are_not_on_the_front() -> None:
    front = {each["variant"]: each["frontier"] for each in value()["networks"]["tiny"]["rows"]}
    assert front == {
        "torch": False,
        "torch_bf16": False,
        "onnx_static": False,
        "openvino_int8": True,
        "openvino": True,
        "torchao": False,
    }


def test_where_the_answer_changes_depends_on_the_processor() -> None:
    assert "with VNNI or AMX" in choose.elsewhere(["avx2"])
    assert "without VNNI and AMX" in choose.elsewhere(["avx512_vnni", "amx_int8", "amx_bf16"])


class Running:
    """In the place of a process: a form that takes a fixed time, and may fail."""

    def __init__(self, seconds: list[float], *, fails: bool = False) -> None:
        self.seconds = iter(seconds + [seconds[-1]] * 1000)
        self.fails = fails

    def time(self, batch: int, runs: int, *, warm_up: bool = True) -> list[float]:
        if self.fails and batch == 8:
            raise FormError("no memory")
        return [next(self.seconds) for _ in range(runs)]


def test_one_disturbance_makes_no_form_slow_and_one_failure_stops_no_other() -> None:
    running = {
        "torch": Running([0.01]),
        "onnx": Running([0.2, 0.01]),
        "torch_bf16": Running([0.5]),
        "onnx_dynamic": Running([0.01], fails=True),
    }
    rows = {name: Row(name) for name in running}
    measure._time(running, rows, 0)  # type: ignore[arg-type]
    assert {name: each.slow for name, each in rows.items() if not each.error} == {
        "torch": False,
        "onnx": False,
        "torch_bf16": True,
    }
    assert rows["onnx_dynamic"].error == "no memory"
    assert set(running) == {"torch", "onnx", "torch_bf16"}
    assert len(rows["onnx"].seconds[1]) >= 5
    assert rows["torch_bf16"].seconds[1] == [[0.5]]


def test_untrained_weights_are_said_first() -> None:
    found = value()
    assert report.first_lines(found) == []
    network = found["networks"]["tiny"]
    network.update(trained=False, judged_by="cosine")
    for each in network["rows"]:
        if not each["error"]:
            each.update(accuracy=None, difference=None, judged_by="cosine")
    page = report.markdown(found)
    assert page.splitlines()[2].startswith("**a network: weights from a seed")
    assert run.first_lines(None, ["dinov2"], None) == [
        "DINOv2 has weights from a seed: its rows say times and agreement, and nothing about accuracy.",
        "No --data: accuracy is that of handwritten digits, which are easy.",
    ]
    assert run.first_lines(Path("data"), ["dinov2"], Path("weights.pth")) == []


def test_the_page_follows_the_result(tmp_path: Path) -> None:
    results.write(tmp_path / "quantisation.json", value())
    page, chart = report.write(tmp_path, tmp_path)
    first = chart.read_bytes()
    changed = copy.deepcopy(value())
    changed["networks"]["tiny"]["rows"][0]["p50_ms"] = 123.4
    results.write(tmp_path / "quantisation.json", changed)
    report.write(tmp_path, tmp_path)
    assert "123.4" in page.read_text()
    assert chart.read_bytes() != first


def test_the_committed_page_is_that_of_the_result() -> None:
    more = report.behind_a_server(results.read(RESULTS / "quantisation_served.json"))
    page = report.markdown(results.read(RESULTS / "quantisation.json"), more)
    assert (FINDINGS / "quantisation.md").read_text() == page


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(tmp_path), "--networks", "resnet18", "--output", str(tmp_path / "out.json")]
    assert run.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
