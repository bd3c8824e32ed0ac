"""The whole run: what is missing is noted, what is wrong ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from research.tensorrt import forms, nvidia, pictures, plugin_build, run
from research.tensorrt.nvidia import BuildError, MissingError

Made = Callable[[str], onnx.ModelProto]


def missing(*_: object) -> None:
    raise MissingError("it is not here")


def test_without_nvidias_library_the_reason_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "find", missing)
    assert run.parsers({}, nvidia.Settings()) == {"library": None, "reason": "it is not here", "models": {}}


def test_without_headers_the_plugin_is_noted_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_build, "headers", missing)
    found = run.plugin(run.Effort(), "")
    assert found["missing"] == ["it is not here"]
    assert (found["test"], found["build"], found["registered"]) == (None, None, None)


def test_what_was_done_before_something_is_missing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = {"headers": "10.7.0", "compiler": "g++", "failed": 0}
    monkeypatch.setattr(plugin_build, "headers", lambda: Path("include"))
    monkeypatch.setattr(plugin_build, "test", lambda folder: tested)
    monkeypatch.setattr(plugin_build, "build", missing)
    found = run.plugin(run.Effort(), "note")
    assert (found["test"], found["build"], found["headers_note"]) == (tested, None, "note")


def test_a_plugin_that_does_not_compile_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise BuildError("it does not compile")

    monkeypatch.setattr(plugin_build, "headers", lambda: Path("include"))
    monkeypatch.setattr(plugin_build, "test", broken)
    found = run.plugin(run.Effort(), "")
    assert (found["test"], found["missing"], found["failed"]) == (None, [], "it does not compile")


def test_the_release_is_printed_with_what_the_headers_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugin_build, "headers", lambda: Path("include"))
    monkeypatch.setattr(plugin_build, "test", lambda folder: {"headers": "10.7.0", "failed": 0})
    monkeypatch.setattr(plugin_build, "build", missing)
    run.plugin(run.Effort(), "transcribed")
    assert "declarations of TensorRT, release inferred as 10.7.0 (transcribed): 0 failed" in capsys.readouterr().out


def test_an_output_that_cannot_be_written_is_noticed_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "everything", lambda *_, **__: pytest.fail("it began"))
    assert run.main(["--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_other_outputs_after_inlining_end_the_run(made: Made) -> None:
    effort = run.Effort(batches=(1,), size=64)
    shipped = onnx.load(forms.MODEL)
    assert run.inlining(shipped, made("fp32"), effort)["nodes_after"] == 96
    with pytest.raises(BuildError, match="expected the outputs of the shipped model"):
        run.inlining(shipped, made("int8"), effort)


def test_agreement_is_with_the_shipped_model(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "photos", lambda count, size: (pictures.noise(count, size), "noise"))
    models = {run.SHIPPED: onnx.load(forms.MODEL), "fp32": made("fp32"), "int8": made("int8")}
    found = run.agreement(models, run.Effort(pictures=3, size=64))
    same, other = found["rows"]
    assert (found["pictures"], found["pairs"]) == (3, 3)
    assert same["min_cosine"] == pytest.approx(1, abs=1e-6)
    assert same["largest_change_of_similarity"] < 1e-5
    assert other["min_cosine"] < 0.9999
    assert other["largest_change_of_similarity"] > 1e-4


def test_commands_name_the_plugin_where_it_is_needed() -> None:
    found = run.commands(nvidia.Settings())
    assert set(found) == set(forms.NAMES)
    with_plugin = {form for form, texts in found.items() if "--dynamicPlugins=" in texts["build_11"]}
    assert with_plugin == {"fp32-plugin", "fp16-plugin"}


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--plugin", "no/such/file.so"]) == 1
    assert capsys.readouterr().err.startswith("error: --plugin no/such/file.so: expected a file")
