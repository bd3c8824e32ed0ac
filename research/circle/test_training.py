"""Training: the same curve by any number of processes, and after any interruption; the ONNX file; the page."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from research.circle import evaluate, losses, processes, run, train  # noqa: E402
from research.circle.data import batch_indices, share  # noqa: E402
from research.circle.network import drawn  # noqa: E402
from research.circle.train import CHECKPOINT, Config, Place, State  # noqa: E402
from research.common import pages, results  # noqa: E402
from research.common.places import RESULTS, ROOT  # noqa: E402

TINY = Config(steps=6, batch=5, count=12, least=32, most=48, width=8, blocks=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def quiet(line: str) -> None:
    del line


def weights(state: State) -> list[torch.Tensor]:
    return list(state.model.state_dict().values())


# ---- One process ---------------------------------------------------------------------------------------------------


def test_a_training_is_the_same_again_and_after_an_interruption(tmp_path: Path) -> None:
    whole = train.train(TINY, tmp_path / "whole", report=quiet)
    again = train.train(TINY, tmp_path / "again", report=quiet)
    train.train(TINY, tmp_path / "parts", every=2, until=5, report=quiet)
    assert len(train.history(tmp_path / "parts")) == 4
    parts = train.train(TINY, tmp_path / "parts", every=2, report=quiet)
    for state in (again, parts):
        assert state.history == whole.history
        assert all(map(torch.equal, weights(state), weights(whole)))


def test_a_killed_training_continues(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=300)
    command = [sys.executable, "-m", "research.circle.train", *processes.words(config, tmp_path, 5)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / CHECKPOINT).is_file() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = train.history(tmp_path)
    assert 5 <= len(before) < 300
    longer = train.train(config, tmp_path, until=len(before) + 3, report=quiet).history
    assert longer[: len(before)] == before
    assert longer == train.train(config, tmp_path / "whole", until=len(before) + 3, report=quiet).history


def test_training_learns(tmp_path: Path) -> None:
    config = Config(steps=60, batch=8, count=64, least=32, most=48, width=16, blocks=1)
    curve = processes.curve(train.train(config, tmp_path, report=quiet).history, config)
    assert sum(curve[-10:]) < 0.5 * sum(curve[:10])


def test_other_settings_are_not_mixed_with_a_checkpoint(tmp_path: Path) -> None:
    train.train(TINY, tmp_path, report=quiet)
    with pytest.raises(ValueError, match=r"expected a training with \{'batch': 7\}, got one with \{'batch': 5\}"):
        train.train(dataclasses.replace(TINY, batch=7), tmp_path, report=quiet)


def test_the_rate_rises_and_falls() -> None:
    config = Config(steps=100)
    rates = [train.learning_rate(step, config) for step in range(100)]
    assert max(rates) == config.rate
    assert rates.index(max(rates)) == 4
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.01 * config.rate, rel=0.1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--batch", "0"], "batch: expected at least 1"),
        (["--rate", "-1"], "rate: expected more than 0"),
        (["--least", "4"], "sides: expected"),
        (["--every", "0"], "every: expected at least 1"),
    ],
)
def test_bad_options_are_said_in_one_line(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([str(tmp_path), *words]) == 1
    assert f"error: {text}" in capsys.readouterr().err


# ---- Several processes ---------------------------------------------------------------------------------------------


def gradients(config: Config, world: int) -> list[torch.Tensor]:
    """What DistributedDataParallel makes of the gradients of `world` processes: their mean."""
    parts = []
    for rank in range(world):
        model = State.new(config).model
        indices = share(batch_indices(0, config.batch, config.count, config.seed), rank, world)
        batch = drawn(config.spec(), indices.tolist())
        train.backward(model, batch, losses.measured_scales(config.spec()), config, Place(rank, world))
        parts.append([parameter.grad for parameter in model.parameters()])
    return [torch.stack(several).mean(0) for several in zip(*parts, strict=True)]


def relative(one: list[torch.Tensor], two: list[torch.Tensor]) -> float:
    flat = [torch.cat([each.flatten() for each in parts]) for parts in (one, two)]
    return float((flat[0] - flat[1]).norm() / flat[0].norm())


@pytest.mark.parametrize("world", [2, 3, 5])
def test_gradients_of_unequal_parts_are_those_of_the_whole(world: int) -> None:
    assert relative(gradients(TINY, 1), gradients(TINY, world)) < 1e-5


def test_a_mean_of_means_is_wrong_for_unequal_parts_and_right_for_equal_ones() -> None:
    wrong = dataclasses.replace(TINY, mean_of_means=True)
    assert relative(gradients(wrong, 1), gradients(wrong, 4)) > 0.01
    equal = dataclasses.replace(wrong, batch=6)
    assert relative(gradients(equal, 1), gradients(equal, 2)) < 1e-5


def test_a_batch_has_a_picture_for_every_process(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one picture for each of 6 processes, got 5"):
        train.train(TINY, tmp_path, Place(0, 6))


@pytest.mark.parametrize("module", ["train", "sharded"])
def test_two_processes_have_the_loss_curve_of_one(module: str, tmp_path: Path) -> None:
    one = train.train(TINY, tmp_path / "one", report=quiet)
    processes.launch(TINY, tmp_path / "two", module=module)
    curves = [processes.curve(found, TINY) for found in (one.history, train.history(tmp_path / "two"))]
    assert processes.difference(*curves) < 1e-5
    for found, expected in zip(train.trained(tmp_path / "two").parameters(), weights(one), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_processes_that_do_not_end_in_time_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_TIMEOUT", 0.1)
    with pytest.raises(TimeoutError, match=r"expected the training to end within 0\.1 s"):
        processes.launch(TINY, tmp_path)


def test_a_failure_of_a_process_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="expected status 0"):
        processes.launch(TINY, tmp_path / "file", processes=1)


# ---- ONNX, the command and the page --------------------------------------------------------------------------------


def test_the_engines_runtime_gives_the_same_answers(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("rrn_native")
    from research.circle import export

    model = train.train(TINY, tmp_path, report=quiet).model
    export.write(model, tmp_path / "circle.onnx")
    runtime = export.Runtime(tmp_path / "circle.onnx")
    for row in export.compared(model, runtime, (64, 99, 160), count=3):
        assert row["px"] < 1e-5 * row["sides"][-1]
        assert row["logits"] < 1e-4
    row = evaluate.size_row(runtime, 48, 3)
    assert row["pictures"] == 3


def test_a_bad_folder_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run.main(["--folder", str(tmp_path / "file"), "--output", str(tmp_path / "out.json")]) == 1
    assert "error: --folder: expected a folder" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_an_output_that_cannot_be_written_is_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("it began"))
    assert run.main(["--folder", str(tmp_path / "kept"), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_page_and_the_readme_say_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from research.circle import report

    value = results.read(RESULTS / "circle.json")
    results.write(tmp_path / "circle.json", value)
    written = report.write(tmp_path, tmp_path)
    assert {path.name for path in written} == {
        "circle.md",
        "circle.png",
        "circle_predictions.png",
        "circle_curves.png",
    }
    page = written[0].read_text()
    assert f"{value['sizes'][3]['centre_px']['value']:.4f}" in page
    for row in value["first_attempt"]["rows"]:
        assert f"| {row['bug']} |" in page
    readme = (ROOT / "research" / "circle" / "README.md").read_text(encoding="utf-8")
    assert readme == pages.with_figures(readme, report.figures(value))


def test_a_missed_aim_is_said() -> None:
    pytest.importorskip("matplotlib")
    from research.circle import report

    value = results.read(RESULTS / "circle.json")
    value["aims"]["colour_all"] = False
    assert "Not reached: at 100 pixels every colour is right." in report.figures(value)[0]


def test_the_committed_result_is_complete() -> None:
    value = results.read(RESULTS / "circle.json")
    assert [row["side"] for row in value["sizes"]] == list(evaluate.SIZES)
    assert set(value["processes"]["difference"]) == {"two processes", "two nodes", "sharded", "mean of means"}
    assert len(value["examples"]) == len(run.EXAMPLES)
    assert len(value["training"]["curve"]) == value["training"]["config"]["steps"]
