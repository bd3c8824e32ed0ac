"""rrn eval as a whole: what runs again and what does not, a kill in the middle, the gate, the report."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("snakemake", reason="snakemake is missing: scripts/build.sh --tests --torch")
pytest.importorskip("onnx")

from rrn_ops.evaluation import command, example

STEPS = ("ingest", "preprocess", "predict", "measure", "gate", "report")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval") / "example"
    example.make(folder, None)
    return folder


@pytest.fixture
def faces(made: Path, tmp_path: Path) -> Path:
    """The example's folder, to change."""
    shutil.copytree(made, tmp_path / "example")
    return tmp_path / "example"


def words(faces: Path, *more: str) -> list[str]:
    tables = ["--inputs", str(faces / "inputs.csv"), "--outputs", str(faces / "outputs.csv")]
    model = ["--model", str(faces / "faces.onnx"), "--classes", str(faces / "classes.txt"), "--resamples", "50"]
    metric = ["--metric", f"{faces / 'my_metrics.py'}:polarity", "--work", str(faces / "work"), "--worst", "3"]
    return ["run", *tables, *model, *metric, *more]


def ran(faces: Path, *more: str, code: int = 0) -> list[str]:
    """Runs it; the names of the steps that were not there already."""
    assert command.main(words(faces, "--json", str(faces / "result.json"), *more)) == code
    steps = json.loads((faces / "result.json").read_text())["steps"]
    return [step for step in STEPS if steps.get(step) is not None]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_only_what_changed_runs_again(faces: Path) -> None:
    assert ran(faces) == list(STEPS)
    result = json.loads((faces / "result.json").read_text())
    assert 0.5 < result["metrics"]["accuracy"]["value"] < 1
    assert {"macro_f1", "calibration_error", "agreement_class", "right_mood"} <= result["metrics"].keys()
    assert ran(faces) == []
    os.utime(faces / "outputs.csv")
    os.utime(faces / "faces.onnx")
    assert ran(faces) == [], "a new time is no change"
    for _ in range(6):
        replace(faces / "outputs.csv", ",anger,", ",joy,")
    assert ran(faces) == ["ingest", "measure", "gate", "report"]
    again = json.loads((faces / "result.json").read_text())
    assert again["metrics"]["accuracy"]["value"] < result["metrics"]["accuracy"]["value"]
    replace(faces / "my_metrics.py", '{"joy", "surprise"}', '{"joy"}')
    assert ran(faces) == ["measure", "gate", "report"]
    assert ran(faces, "--seed", "1") == ["measure", "gate", "report"]
    assert ran(faces, "--seed", "1", "--batch", "5") == [], "results do not depend on it"


def test_a_change_is_seen_without_the_notes_of_snakemake(faces: Path) -> None:
    """Without its notes Snakemake takes each result for good, and a gate would pass on results of another table."""
    ran(faces, "--until", "measure")
    shutil.rmtree(faces / "work" / ".snakemake")
    replace(faces / "outputs.csv", ",anger,", ",joy,")
    assert ran(faces, "--until", "measure") == ["ingest", "measure"]
    labels = json.loads((faces / "work" / "labels.json").read_text())["labels"]
    assert labels.count("joy") == 21


def test_another_model_and_another_picture(faces: Path) -> None:
    ran(faces, "--until", "measure")
    example.write_onnx(example.train(seed=5, epochs=2), faces / "faces.onnx")
    assert ran(faces, "--until", "measure") == ["predict", "measure"]
    first, second = sorted((faces / "faces").glob("joy_*.png"))[:2]
    first.write_bytes(second.read_bytes() + b"\0")
    assert ran(faces, "--until", "measure") == ["ingest", "preprocess", "predict", "measure"]


def test_the_gate_says_what_fell(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = ["--baseline", str(faces / "own.json")]
    ran(faces)
    assert command.main(["baseline", "--work", str(faces / "work"), "--output", baseline[1]]) == 0
    assert ran(faces, *baseline) == ["gate", "report"]
    found = json.loads((faces / "own.json").read_text())
    found["metrics"]["accuracy"]["value"] = 1.0
    (faces / "own.json").write_text(json.dumps(found))
    capsys.readouterr()
    assert ran(faces, *baseline, code=3) == ["gate", "report"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("REGRESSION")]
    assert len(lines) == 1
    assert re.match(
        r"REGRESSION: accuracy fell 1\.000 -> 0\.\d+ \(by 0\.\d+, tolerance 0\.010; beyond the 95 %", lines[0]
    )
    page = (faces / "work" / "report" / "report.html").read_text()
    assert "accuracy fell 1.000" in page


def test_the_report_needs_nothing_else(faces: Path) -> None:
    ran(faces)
    page = (faces / "work" / "report" / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)
    assert not re.findall(r"url\((?!data:)", page)
    assert "<script" not in page
    assert page.count("data:image/") >= 3 + 3, "figures and the worst pictures"
    text = (faces / "work" / "report" / "report.md").read_text()
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (faces / "work" / "report" / name).is_file()
    assert "accuracy" in text


@pytest.mark.parametrize(("end_it", "number"), [(os.killpg, signal.SIGKILL), (os.kill, signal.SIGTERM)])
def test_a_run_that_was_ended_continues(end_it: Callable[[int, int], None], number: int, faces: Path) -> None:
    """Killed with all that it has started, and asked to end, when it is to end that itself."""
    (faces / "slow.py").write_text(
        "import time\n"
        "import numpy as np\n"
        "from rrn_ops.evaluation.interface import Description\n"
        "class Slow:\n"
        "    def describe(self):\n"
        "        return Description('slow', input_shape=(1, 32, 32), outputs=7)\n"
        "    def predict(self, batch):\n"
        "        time.sleep(0.1)\n"
        "        return np.tile(batch.mean((1, 2, 3))[:, None], (1, 7)) * np.arange(7, dtype=np.float32)\n"
        "def make():\n"
        "    return Slow()\n"
    )
    slow = words(faces, "--until", "predict", "--part", "4", "--batch", "4")
    slow[slow.index("--model") + 1] = f"{faces / 'slow.py'}:make"
    process = subprocess.Popen([sys.executable, "-m", "rrn_native", "eval", *slow], start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and len(list((faces / "work").rglob("*.npy"))) < 3:
        time.sleep(0.02)
    end_it(process.pid, number)
    process.wait()
    assert not (faces / "work" / "predictions.npy").exists()
    run = subprocess.run(
        [sys.executable, "-m", "rrn_native", "eval", *slow], capture_output=True, text=True, check=False, timeout=100
    )
    assert run.returncode == 0, run.stderr
    found = re.search(r"predict +ran in .*; (\d+) predictions were left by an earlier run", run.stdout)
    assert found is not None, run.stdout
    assert int(found[1]) >= 4


def test_a_step_alone(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(faces, "--until", "gate")
    capsys.readouterr()
    assert command.main(["step", "measure", "--work", str(faces / "work")]) == 0
    assert capsys.readouterr().out.startswith("measure ran in ")


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--model", "nothing.onnx"], 2, "nothing.onnx"),
        (["--metric", "nothing:at_all"], 2, "nothing"),
        (["--baseline", "nothing.json"], 2, "nothing.json"),
        (["--batch", "0"], 2, "--batch 0"),
        (["--classes", "a,b"], 2, "problems in the tables"),
        (["--model", "triton:http://127.0.0.1:1/rrn"], 4, "127.0.0.1:1"),
    ],
)
def test_wrong_usage_is_said_before_anything_runs(
    change: list[str], code: int, message: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = made / "nothing"
    assert command.main([*words(made), *change, "--work", str(work)]) == code
    error = capsys.readouterr().err
    assert message in error
    assert all(line.startswith("rrn eval run: ") for line in error.splitlines())
    assert not (work / "config.json").exists()


def test_a_metric_that_fails_is_said(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (faces / "my_metrics.py").write_text("def polarity(data):\n    raise KeyError('no such column')\n")
    assert command.main(words(faces)) == 4
    error = capsys.readouterr().err
    assert "measure: " in error
    assert "no such column" in error
    assert error.count("\n") == 1


def test_photo_groups_through_the_engine(made: Path, tmp_path: Path) -> None:
    tables = ["--inputs", str(made / "photo_inputs.csv"), "--outputs", str(made / "photo_outputs.csv")]
    output = ["--work", str(tmp_path / "work"), "--json", str(tmp_path / "result.json")]
    assert command.main(["run", *tables, "--model", "engine", "--resamples", "20", *output]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["task"] == "embeddings"
    assert {"recall@1", "mean_average_precision", "n_s", "average_precision"} <= result["metrics"].keys()
