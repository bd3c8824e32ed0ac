"""The GPU check on a machine without one: its schedule, its results, and what it says where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from research.common.places import ROOT
from research.common.results import read
from research.gpu import check


class FakeDevice:
    """Takes `seconds` for every command, up to its limit, and answers by the command's first word."""

    def __init__(self, seconds: float, answers: dict[str, check.Finished]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.answers = answers
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str], limit: float) -> check.Finished:
        self.commands.append(command[0])
        self.now += min(self.seconds, limit)
        if self.seconds > limit:
            return check.Finished(None, "half a line", "")
        return self.answers[command[0]]

    def clock(self) -> float:
        return self.now


def parts(*names: str, needs: float = 5, limit: float = 60) -> list[check.Part]:
    return [check.Part(name, needs, limit, [name]) for name in names]


ROWS = [{"us": 1}, {"us": 2}]
GOOD = check.Finished(0, 'progress\n{"cases": 3}\n', "")


def test_one_failure_costs_no_other_part() -> None:
    broken = check.Finished(9, "", f"bad thing in {ROOT}/a.cu")
    device = FakeDevice(1, {"a": GOOD, "b": broken, "c": check.Finished(0, "no JSON", ""), "d": GOOD})
    results = check.run_parts(parts("a", "b", "c", "d"), 100, device, device.clock, lambda line: None)
    assert [results[name]["status"] for name in "abcd"] == ["ok", "failed", "failed", "ok"]
    assert results["a"]["result"] == {"cases": 3}
    assert results["b"]["note"] == "exit status 9; bad thing in ./a.cu"
    assert check.exit_status(results) == 1


def test_parts_end_within_the_budget() -> None:
    said: list[str] = []
    device = FakeDevice(40, dict.fromkeys("abcd", GOOD))
    results = check.run_parts(parts("a", "b", "c", "d", limit=39.5), 100, device, device.clock, said.append)
    assert device.now <= 100
    assert device.commands == ["a", "b", "c"]
    assert [results[name]["status"] for name in "abcd"] == ["timeout", "timeout", "timeout", "skipped"]
    assert results["d"]["note"] == "0 s left, 5 s needed"
    assert "d: skipped (0 s left, 5 s needed)" in said


def test_all_is_well_only_if_all_that_is_required_was_done() -> None:
    absent = check.Finished(127, "", "no such program")
    device = FakeDevice(1, {"a": GOOD, "c": absent})
    good, slow, missing = [*parts("a"), *parts("b", needs=1000), *parts("c")]

    def status(*chosen: check.Part) -> int:
        return check.exit_status(check.run_parts(chosen, 100, device, device.clock, lambda line: None))

    assert status(good, slow, missing) == 0
    assert status(good, replace(slow, required=True), missing) == check.INCOMPLETE
    assert status(good, slow, replace(missing, required=True)) == check.INCOMPLETE
    assert status(replace(good, required=True), slow, missing) == 0
    results = check.run_parts([missing], 100, device, device.clock, lambda line: None)
    assert (results["c"]["status"], results["c"]["note"]) == ("absent", "no such program")


def test_a_part_is_told_how_long_it_may_measure() -> None:
    told: list[tuple[Sequence[str], float]] = []

    def runner(command: Sequence[str], limit: float) -> check.Finished:
        told.append((command, limit))
        return GOOD

    part = check.Part("a", 5, 90, ["a", check.SECONDS])
    for budget in (500, 60, 9):
        check.run_parts([part], budget, runner, lambda: 0.0, lambda line: None)
    assert told == [(["a", "75"], 90), (["a", "45"], 60), (["a", "6"], 9)]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": [\n1,\n2]}\n', {"a": [1, 2]}),
        ('text\n{"a": 1}\n{"b": 2}\nmore', {"b": 2}),
        ('{"copy": 9}\n{"rows+": {"us": 1}}\n{"rows+": {"us": 2}}\n{"rows+": {"us"', {"copy": 9, "rows": ROWS}),
        ('{"copy": 9, "skipped": null}\n{"rows+": {"us": 1}}\n{"skipped": 0}\n', {"skipped": 0, "rows": ROWS[:1]}),
        ('{"rows+": {"us": 1}}', {"rows": ROWS[:1]}),
        ("[1]\nnothing", None),
        ("", None),
    ],
)
def test_parse_json(output: str, expected: object) -> None:
    assert check.parse_json(output) == expected


def test_files_are_named_by_the_device() -> None:
    assert check.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3.json"


def test_device_reads_nvidia_smi() -> None:
    line = "NVIDIA H100 80GB HBM3, 580.1, 9.0, 81559 MiB, 345 MHz, 2619 MHz, 1980 MHz, 700.00 W\n"
    found = check.device(lambda command, limit: check.Finished(0, line, ""))
    assert found is not None
    assert (found["name"], found["compute_cap"], found["power.limit"]) == ("NVIDIA H100 80GB HBM3", "9.0", "700.00 W")
    assert check.device(lambda command, limit: check.Finished(127, "", "not found")) is None


def test_commands_that_are_missing_or_too_slow() -> None:
    assert check.run(["/no/such/program"], 5).status == 127
    slow = check.run([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"], 2)
    assert slow.status is None


def test_what_is_stopped_keeps_its_output_and_leaves_nothing_running(tmp_path: Path) -> None:
    # A child of the command would write the file long after its parent was stopped.
    late = tmp_path / "late"
    script = f"echo begun; (sleep 4; touch {late}) & wait"
    stopped = check.run(["bash", "-c", script], 2)
    assert (stopped.status, stopped.output) == (None, "begun\n")
    # The same, not stopped, does write it: by then the first one would have, too.
    assert check.run(["bash", "-c", script.replace(str(late), f"{late}-not-stopped")], 60).status == 0
    assert [file.name for file in tmp_path.iterdir()] == ["late-not-stopped"]


def test_what_must_be_right_comes_before_what_is_measured(tmp_path: Path) -> None:
    every = check.gpu_parts("nvcc", tmp_path, True, True)
    names = [part.name for part in every]
    required = [part.name for part in every if part.required]
    assert required == ["table", "torch_table", *check.SANITIZERS] == names[: len(required)]
    assert names[len(required) :] == ["bench", "torch_bench", "network", "onnxruntime", "tensorrt"]
    assert [part.name for part in every if check.SECONDS in part.command] == names[len(required) :]
    assert [part.name for part in check.gpu_parts("nvcc", tmp_path, False, False)] == [
        "table",
        *check.SANITIZERS,
        "bench",
    ]
    readme = (ROOT / "research" / "gpu" / "README.md").read_text()
    rows = [line.split("|")[1].strip() for line in readme.splitlines() if line.startswith("| ")]
    assert [name for row in rows[1:] for name in row.split(", ")] == ["build", "torch_build", *names]


def test_the_operator_for_pytorch_is_built_apart(tmp_path: Path) -> None:
    kernels, operator = check.build_parts("/opt/nvcc", "90-real", tmp_path, True)
    assert (kernels.name, kernels.required, operator.name, operator.required) == ("build", True, "torch_build", False)
    assert "RRN_WITH_TORCH=OFF" in kernels.command and "RRN_WITH_TORCH=ON" in operator.command
    for part in (kernels, operator):
        assert "RRN_WITH_WERROR=OFF" in part.command and "CMAKE_CUDA_COMPILER=/opt/nvcc" in part.command
    assert str(tmp_path) in kernels.command and str(tmp_path) not in operator.command
    assert [part.name for part in check.build_parts("/opt/nvcc", "90-real", tmp_path, False)] == ["build"]


def test_compute_sanitizer_is_looked_for_beside_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / "cuda" / "bin").mkdir(parents=True)
    tool = tmp_path / "cuda" / "bin" / "compute-sanitizer"
    tool.touch()
    (tmp_path / "cuda" / "bin" / "nvcc").touch()
    (tmp_path / "nvcc").symlink_to(tmp_path / "cuda" / "bin" / "nvcc")
    assert check.sanitizer(str(tmp_path / "cuda" / "bin" / "nvcc")) == str(tool)
    assert check.sanitizer(str(tmp_path / "nvcc")) == str(tool)


NAME = "NVIDIA H100 80GB HBM3"
SMI = f"{NAME}, 580.1, 9.0, 81559 MiB, 345 MHz, 2619 MHz, 1980 MHz, 700.00 W\n"


class FakeMachine:
    """Answers every command of the whole check; those that contain a word of `broken` fail, or are not there."""

    def __init__(self, broken: dict[str, int] | None = None) -> None:
        self.broken = broken or {}
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str], limit: float) -> check.Finished:
        line = " ".join(command)
        self.commands.append(line)
        for word, status in self.broken.items():
            if word in line:
                return check.Finished(status, "", f"{word} does not work")
        answers = {
            "nvidia-smi": SMI,
            "/opt/nvcc": "Cuda compilation tools, release 12.4, V12.4.1\n",
        }
        return check.Finished(0, answers.get(command[0], '{"cases": 3}\n'), "")


def whole_check(machine: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Any]:
    monkeypatch.setenv("CUDACXX", "/opt/nvcc")
    monkeypatch.delenv("OUT", raising=False)
    monkeypatch.setattr(check.machine, "commit", lambda: "" if "git" in machine.broken else "abc1234")
    for function in (check.run_parts, check.device, check._importable, check.head):
        defaults = tuple(machine if value is check.run else value for value in function.__defaults__ or ())
        monkeypatch.setattr(function, "__defaults__", defaults)
    status = check.main(["--output", str(folder)])
    path = folder / check.file_name(NAME)
    return status, read(path) if path.exists() else None


def test_the_whole_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine()
    status, result = whole_check(machine, tmp_path, monkeypatch)
    assert status == 0
    assert (result["device"]["name"], result["nvcc"], result["commit"]) == (NAME, "12.4", "abc1234")
    assert result["command"] == f"scripts/gpu_check.sh --output {tmp_path.name}"
    assert result["machine"]["cores"] >= 1
    assert result["device_after"] == result["device"] and "commit_note" not in result
    expected = [part.name for part in check.gpu_parts("/opt/nvcc", tmp_path, True, True)]
    assert list(result["parts"]) == ["build", "torch_build", *expected]
    assert {entry["status"] for entry in result["parts"].values()} == {"ok"}


def test_a_pytorch_that_does_not_fit_costs_its_own_parts_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, result = whole_check(FakeMachine({"rrn_torch_op": 1, "git": 128}), tmp_path, monkeypatch)
    assert status == check.FAILED
    assert result["parts"]["torch_build"]["status"] == "failed"
    assert list(result["parts"])[2:] == [part.name for part in check.gpu_parts("/opt/nvcc", tmp_path, False, False)]
    assert result["commit"] is None and "no git" in result["commit_note"]


def test_without_compute_sanitizer_not_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = whole_check(FakeMachine({"compute-sanitizer": 127}), tmp_path, monkeypatch)
    assert status == check.INCOMPLETE
    assert {result["parts"][tool]["status"] for tool in check.SANITIZERS} == {"absent"}
    assert "not all was checked: no memcheck, racecheck, initcheck, synccheck" in capsys.readouterr().err


def test_kernels_that_do_not_build_leave_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, result = whole_check(FakeMachine({"reduction_check": 1}), tmp_path, monkeypatch)
    assert status == check.FAILED
    assert list(result["parts"]) == ["build", "torch_build"]


def test_without_a_gpu_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whole_check(FakeMachine({"nvidia-smi": 127}), tmp_path, monkeypatch) == (check.NO_GPU, None)


def test_command_line() -> None:
    script = str(ROOT / "scripts" / "gpu_check.sh")
    text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("--build-only", "--budget", "--output", "Exit status"):
        assert word in text
    assert subprocess.run([script, "--wrong"], capture_output=True, check=False).returncode == 2
