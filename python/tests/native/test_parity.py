"""One name and one default: the engine's options, the Python parameters, and both command lines."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import rrn_native
from conftest import ROOT, RunSimilarity
from rrn_native import _load, arrays, cli
from rrn_native.cli import calibrate as cli_calibrate
from rrn_native.cli import explain as cli_explain
from rrn_native.cli import index as cli_index
from rrn_native.cli import query as cli_query
from rrn_native.cli import report as cli_report
from rrn_native.cli import watch_folder as cli_watch_folder

# Names in the engine that the other side lacks, and why.
ONLY_IN_THE_ENGINE = {
    "search_threads": "find_similar's own `threads`",
    "pairs_threshold": "similar_pairs' own `threshold`",
    "target": "of similar_pairs, for measurements and tests",
    "short_rows": "the same",
}
NOT_OF_AN_EMBEDDER = {"threshold", "recursive", "search", "neighbours", "effort", "keep", "skip", "against"}
# Parameters that are no options: what is worked on, where it is kept, and who is told.
WORK = {"self", "directory", "store", "progress"}


def engine() -> dict[str, Any]:
    return dict(_load.native.default_options())


def parameters(function: Callable[..., object]) -> dict[str, Any]:
    found = inspect.signature(function).parameters
    return {name: each.default for name, each in found.items() if name not in WORK}


def as_python(name: str, value: Any) -> Any:
    """An engine's default in Python's words: 0 or nothing means "left to the engine", which is None."""
    if name in ("size", "threads", "search_threads") and value == 0:
        return None
    if name in ("model", "op_library", "against", "target") and value == "":
        return None
    return tuple(value) if isinstance(value, list) else value


def assert_same(found: dict[str, Any]) -> None:
    defaults = engine()
    for name, value in found.items():
        assert name in defaults, f"{name} has another name in the engine"
        expected = as_python(name, defaults[name])
        # The engine's floats are float32.
        assert value == (pytest.approx(expected) if isinstance(expected, float) else expected), name


def test_the_embedder() -> None:
    found = parameters(rrn_native.Embedder)
    assert_same(found)
    assert found.keys() == engine().keys() - NOT_OF_AN_EMBEDDER - ONLY_IN_THE_ENGINE.keys()


def test_the_detector() -> None:
    found = parameters(rrn_native.Detector)
    defaults = dict(_load.native.default_detector_options())
    assert found.keys() == defaults.keys()
    assert found.pop("model") is inspect.Parameter.empty
    # Negative means the model's own, which is None in Python.
    defaults.update({name: None for name in ("score", "iou") if defaults[name] < 0})
    assert found == {name: as_python(name, defaults[name]) for name in found}


def test_find_similar() -> None:
    found = parameters(rrn_native.Embedder.find_similar)
    assert_same(found)
    assert engine()["search_threads"] == engine()["threads"]
    assert engine()["pairs_threshold"] == engine()["threshold"]
    # An approximate search of a folder takes the engine's neighbours and effort.
    assert found.keys() == NOT_OF_AN_EMBEDDER - {"neighbours", "effort"} | {"threads"}
    whole = parameters(rrn_native.find_similar)
    assert_same(whole)
    # The others are for those who make an Embedder.
    assert whole.keys() == found.keys() | {"model", "size", "provider", "precision", "batch"}


def test_pairs() -> None:
    for function in (rrn_native.similar_pairs, rrn_native.similar_pairs_approximate):
        found = parameters(function)
        del found["embeddings"]
        found.pop("columns", None)  # the other side of the pairs
        assert_same(found)
    assert_same({"max_pixels": parameters(rrn_native.decode)["max_pixels"]})
    assert pytest.approx(engine()["threshold"]) == rrn_native.DEFAULT_THRESHOLD
    assert engine()["max_pixels"] == rrn_native.DEFAULT_MAX_PIXELS


def verb_of_index(name: str) -> Any:
    """The parser of rrn index NAME."""
    (actions,) = [action for action in cli_index.parser()._actions if action.dest == "what"]
    return dict(actions.choices or {})[name]  # type: ignore[call-overload]


@pytest.mark.parametrize("verb", ["add", "update", "query", "export"])
def test_the_verbs_of_index(verb: str) -> None:
    assert_engine_options(verb_of_index(verb))


@pytest.mark.parametrize("verb", [cli_calibrate, cli_query, cli_report, cli_watch_folder])
def test_verbs_that_run_the_engine(verb: Any) -> None:
    values = assert_engine_options(verb.parser())
    if verb in (cli_report, cli_watch_folder):
        assert values["threshold"] == pytest.approx(engine()["threshold"])


def assert_engine_options(parser: Any) -> dict[str, Any]:
    defaults = engine()
    values = {action.dest: action.default for action in parser._actions}
    assert values.pop("max_megapixels") * 1_000_000 == defaults["max_pixels"]
    assert (not values.pop("no_cache")) == defaults["cache"]
    for name in ("model", "size", "batch", "provider", "precision", "full_decode"):
        assert values[name] == as_python(name, defaults[name]), name
    assert values["threads"] == defaults["threads"]
    return values


def test_verbs_that_take_the_models_own_size() -> None:
    from rrn_native.cli import quantize, validate

    for verb in (cli_explain, quantize, validate):
        values = {action.dest: action.default for action in verb.parser()._actions}
        assert values["size"] is None
        assert values["model"] is None


def test_sizes_are_those_of_the_engine() -> None:
    text = (ROOT / "include" / "rrn" / "embedder.h").read_text()
    found = dict(re.findall(r"constexpr int k(Min|Max)ImageSize = (\d+);", text))
    assert found == {"Min": str(arrays.MIN_SIZE), "Max": str(arrays.MAX_SIZE)}


@pytest.mark.parametrize("text", ["31", "-1", "4097", "wide"])
def test_sizes_out_of_range_are_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (cli_explain, cli_report):
        with pytest.raises(SystemExit) as ended:
            verb.parser().parse_args(["x", f"--size={text}"])
        assert ended.value.code == 2
        assert "expected 32 to 4096, or 0 for the model's own" in capsys.readouterr().err
    assert cli_explain.parser().parse_args(["a", "b", "--output", "c", "--size=0"]).size is None


def test_defaults_of_the_verbs_are_those_of_the_library() -> None:
    """The parsers do not import what needs torch or matplotlib, so the numbers stand there a second time."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from rrn_native.analysis import projection, report
    from rrn_native.cli import export as cli_export
    from rrn_native.cli import quantize as cli_quantize
    from rrn_native.model import activations, quantize

    def action(parser: Any, dest: str) -> Any:
        return next(each for each in parser._actions if each.dest == dest)

    made = cli_quantize.parser()
    assert action(made, "count").default == quantize.DEFAULT_COUNT
    assert action(made, "method").choices == activations.METHODS
    assert action(made, "method").default == inspect.signature(quantize.quantize).parameters["method"].default
    assert action(made, "target").default == quantize.DEFAULT_TARGET
    assert action(cli_export.parser(), "size").default is None
    made = cli_report.parser()
    written = inspect.signature(report.write_report).parameters
    assert action(made, "map").choices == projection.METHODS
    assert action(made, "map").default == written["method"].default
    assert action(made, "pages").default == written["pages"].default
    asked = inspect.signature(rrn_native.query.query).parameters
    searched = inspect.signature(rrn_native.Store.search).parameters
    for name in ("k", "threshold"):
        assert action(cli_query.parser(), name).default == asked[name].default
        assert action(verb_of_index("query"), name).default == searched[name].default
    opened = inspect.signature(rrn_native.Store).parameters
    assert action(verb_of_index("add"), "floats").default == opened["floats"].default


# The native program's flag for each of the engine's options that has one with a default of its own.
OPTIONS = {
    "batch": "batch",
    "threads": "threads",
    "provider": "provider",
    "precision": "precision",
    "threshold": "threshold",
    "search": "search",
    "neighbours": "search-neighbours",
    "effort": "search-effort",
    "keep": "keep",
    "size": "size",
    "full_decode": "full-decode",
    "recursive": "recursive",
    "cache": "cache",
}


def test_the_program(run_similarity: RunSimilarity) -> None:
    listed = json.loads(run_similarity("--generate", "json").stdout)["flags"]
    flags = {flag["name"]: flag["default"] for flag in listed}
    defaults = engine()
    for name, flag in OPTIONS.items():
        value = defaults[name]
        assert flags[flag] == (pytest.approx(value) if isinstance(value, float) else value), flag
    assert flags["max-megapixels"] * 1_000_000 == defaults["max_pixels"]


def test_options_of_the_verbs_are_options_of_the_program(run_similarity: RunSimilarity) -> None:
    text = run_similarity("--help").stdout.decode()
    for option in ("--model", "--size", "--threads", "--batch", "--provider", "--precision", "--max-megapixels",
                   "--full-decode", "--no-cache", "--no-recursive", "--threshold", "--json", "--quiet"):  # fmt: skip
        assert option in text, option
    taken = {text for action in cli_query.parser()._actions for text in action.option_strings}
    assert taken - {"-k", "--index", "-h"} <= set(re.findall(r"--[a-z-]+", text))


def test_calibrate_and_find_take_one_size(tmp_path: Any) -> None:
    """A model that names a size of its own gets it everywhere."""
    onnx = pytest.importorskip("onnx")
    model = tmp_path / "small.onnx"
    proto = onnx.load(rrn_native.default_model())
    for entry in proto.metadata_props:
        if entry.key == "rrn.preprocessing":
            entry.value = re.sub(r'"size": \d+', '"size": 96', entry.value)
    onnx.save(proto, model)
    from rrn_native.cli import parser

    for verb, words in (
        (cli_calibrate, ["--groups", "g.csv"]),
        (cli_query, ["a.jpg", "photos"]),
        (cli_report, ["photos", "--output", "out"]),
    ):
        arguments = verb.parser().parse_args([*words, "--model", str(model)])
        assert parser.make_embedder("rrn", arguments).size == 96
    assert rrn_native.Embedder(model).size == 96
    (tmp_path / "photos").mkdir()
    assert rrn_native.find_similar(tmp_path / "photos", model=model).model.size == 96
    assert set(cli.VERBS) >= {"calibrate", "find"}
