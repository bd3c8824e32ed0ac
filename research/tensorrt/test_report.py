"""The page and the figures: with a GPU and without one, and what is committed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from research.common import pages, results
from research.common.places import RESULTS, ROOT
from research.tensorrt import build_engine, forms, report


def view(*, accepted: bool, relus: int) -> dict[str, Any]:
    rows = [
        {"operator": "Relu", "nodes": relus, "types": ["FP32"], "supported": True},
        {"operator": "QuantizeLinear", "nodes": 2, "types": ["FP32"], "supported": accepted},
    ]
    finding = {"operator": "QuantizeLinear", "what": "uint8", "refused": True, "nodes": 2, "first": "q1"}
    return {"accepted": accepted, "nodes": relus + 2, "operators": rows, "findings": [] if accepted else [finding]}


def made() -> dict[str, Any]:
    """A result as a machine without GPU, headers and NVIDIA's libraries writes it."""
    models = {"fp32": view(accepted=True, relus=5), "int8": view(accepted=True, relus=5)}
    models["shipped int8"] = view(accepted=False, relus=2)
    missing = {"name": "TensorRT", "precision": "fp16", "reason": "no GPU"}
    row = {"form": "int8", "min_cosine": 0.98, "mean_change_of_similarity": 0.01, "largest_change_of_similarity": 0.1}
    shipped = row | {"form": "shipped int8", "min_cosine": 0.99, "largest_change_of_similarity": 0.2}
    return {
        "command": "research.tensorrt.run",
        "machine": {"processor": "P", "cores": 2, "memory_gib": 1.0, "load_before": 0.0},
        "versions": {"python": "3.11"},
        "commit": "c",
        "forms": dict(forms.NAMES),
        "inlining": {"nodes_before": 7, "nodes_after": 9, "largest_difference": {"dynamic": {"1": 0.5}, "static": {}}},
        "published": {"release": "10.15", "source": "S", "opsets": [9, 24], "models": models},
        "parser": {"library": None, "reason": "no library", "models": {}},
        "agreement": {"pictures": 3, "origin": "O", "pairs": 3, "rows": [row, shipped]},
        "plugin": {
            "test": None,
            "build": None,
            "registered": None,
            "missing": ["no headers"],
            "failed": "",
            "headers_note": "",
        },
        "commands": {
            form: {**{f"build_{each}": f"trtexec {each}" for each in build_engine.RELEASES}, "measure": "trtexec run"}
            for form in forms.NAMES
        },
        "bench": {
            "command": "do it",
            "tensorrt": None,
            "tensorrt_missing": "no TensorRT",
            "gpu": None,
            "reason": "no GPU",
            "rows": [],
            "not_measured": [missing],
        },
    }


def measured() -> dict[str, Any]:
    """The same from a machine that has everything but one candidate."""
    value = copy.deepcopy(made())
    parsed = {"accepted": True, "error": "", "layers": {"CAST": 2}, "outputs": []}
    refused = parsed | {"accepted": False, "error": "bad type In node.cpp", "layers": {}, "engine_mb": None}
    value["parser"] = {
        "library": "TensorRT 11.4.0",
        "reason": "",
        "models": {
            "fp32": parsed | {"engine_mb": 46.0, "build_seconds": 9.5},
            "shipped int8": refused | {"build_seconds": None},
        },
    }
    value["plugin"] = {
        "test": {"headers": "11.4.0", "compiler": "g++", "failed": 0},
        "build": {"bytes": 1_700_000},
        "registered": {"by": "TensorRT 11.4.0"},
        "missing": [],
        "failed": "",
        "headers_note": "",
    }
    rows = [
        {
            "name": name,
            "precision": "fp16",
            "batch": batch,
            "device_ms": {"p50": time, "p95": 1.5 * time, "runs": 20},
            "wall_ms": {"p50": 2 * time, "p95": 3 * time, "runs": 20},
            "images_per_s": 1000 * batch / time,
            "min_cosine": 0.99,
        }
        for name, time in (("PyTorch, eager", 2.0), ("TensorRT", 0.5))
        for batch in (1, 8)
    ]
    ran = [{"name": "TensorRT", "precision": "fp16", "library": "TensorRT 11.4.0", "layers": {"FP16": 30}}]
    value["bench"] |= {"gpu": {"name": "NVIDIA H200"}, "reason": "", "rows": rows, "ran": ran}
    return value


def page(value: dict[str, Any], folder: Path) -> str:
    results.write(folder / "tensorrt.json", value)
    text, picture = report.write(folder, folder)
    assert picture.read_bytes().startswith(b"\x89PNG")
    return text.read_text()


def test_without_a_gpu_the_page_has_no_time(tmp_path: Path) -> None:
    text = page(made(), tmp_path)
    assert "**No time was measured**: no GPU; no TensorRT. On a machine with a GPU and TensorRT: `do it`." in text
    assert "Not measured: TensorRT, fp16." in text
    assert "images/s" not in text
    assert "NVIDIA's parser was not asked: no library." in text
    assert "The plugin was not compiled: no headers." in text
    assert "operators of each form" in text


def test_with_a_gpu_the_page_has_all_times(tmp_path: Path) -> None:
    text = page(measured(), tmp_path)
    assert "Measured on NVIDIA H200: 4 rows; not measured: TensorRT, fp16 (no GPU)." in text
    assert "| TensorRT, fp16 | 8 | 0.5 | 0.75 | 1.0 | 1.5 | 16000 | 0.99000 |" in text
    assert "| TensorRT, fp16 | library TensorRT 11.4.0; layers {'FP16': 30} |" in text
    assert "latency by candidate" in text
    assert "TensorRT 11.4.0 accepts fp32, and refuses int8 as shipped (bad type); it built engines of fp32" in text
    assert "none of its test's expectations failed; with the CUDA kernel it has 1.7 MB" in text


def test_the_sentences_follow_the_numbers() -> None:
    text = "\n".join(report.sentences(made()))
    assert "turns 7 nodes into 9" in text
    assert "differ by at most 5.0e-01" in text
    assert "accepts fp32; int8 (symmetric), and refuses int8 as shipped." in text
    assert "3 of the 5 Relu nodes" in text


def test_failed_expectations_are_told() -> None:
    value = measured()
    value["plugin"]["test"]["failed"] = 2
    assert "; 2 of its test's expectations failed" in "\n".join(report.sentences(value))


def test_a_failure_of_the_plugin_is_told() -> None:
    value = made()
    value["plugin"] |= {"missing": [], "failed": "it does not compile"}
    assert "- **The plugin failed**: it does not compile." in report.sentences(value)
    value = measured()
    value["plugin"] |= {"build": None, "registered": None, "failed": "it is not built"}
    assert "expectations failed. **It failed after that**: it is not built." in "\n".join(report.sentences(value))


def test_headers_that_are_not_nvidias_are_told_with_their_release(tmp_path: Path) -> None:
    value = measured()
    assert "compiles against headers of TensorRT 11.4.0 with" in "\n".join(report.sentences(value))
    value["plugin"]["headers_note"] = "transcribed"
    words = "compiles against declarations of TensorRT, release inferred as 11.4.0 (transcribed) with"
    assert words in "\n".join(report.figures(value))
    assert words in page(value, tmp_path)


def test_the_8_bit_forms_are_compared_by_all_their_numbers() -> None:
    value = made()
    ours, shipped = value["agreement"]["rows"]
    assert "1.0e-01 at most, with a least cosine of 0.98000, the 8-bit form as shipped by" in report.sentences(value)[3]
    assert ": it is worse by least cosine of these three." in report.sentences(value)[3]
    shipped |= {"min_cosine": 0.97, "mean_change_of_similarity": 0.001}
    assert ": it is worse by mean of these three." in report.sentences(value)[3]
    ours |= {"mean_change_of_similarity": 0.001}
    assert ": it is worse by no measure of these three." in report.sentences(value)[3]


def test_what_is_refused_has_a_row(tmp_path: Path) -> None:
    assert "| int8 as shipped | QuantizeLinear | uint8 | 2 | q1 |" in page(made(), tmp_path)


def test_what_is_committed_is_complete() -> None:
    value = results.read(RESULTS / "tensorrt.json")
    assert value["inlining"]["custom_domains_after"] == []
    assert {name for name, each in value["published"]["models"].items() if each["accepted"]} == {"fp32", "fp16", "int8"}
    assert set(value["commands"]) == set(forms.NAMES)
    bench = value["bench"]
    assert (bench["gpu"] is None) == (bench["rows"] == [])
    assert (bench["gpu"] is None) == bool(bench["reason"])


def test_the_figures_of_the_readme_are_those_of_the_result() -> None:
    readme = (ROOT / "research" / "tensorrt" / "README.md").read_text()
    assert pages.with_figures(readme, report.figures(results.read(RESULTS / "tensorrt.json"))) == readme
