"""The GPU check on a machine without one: its schedule, its results, and what it says where there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from research.gpu import check  # noqa: E402


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


def test_skipped_parts_are_no_failures() -> None:
    device = FakeDevice(1, {"a": GOOD})
    results = check.run_parts([*parts("a"), *parts("b", needs=1000)], 100, device, device.clock, lambda line: None)
    assert check.exit_status(results) == 0


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": [\n1,\n2]}\n', {"a": [1, 2]}),
        ('text\n{"a": 1}\n{"b": 2}\nmore', {"b": 2}),
        ("[1]\nnothing", None),
        ("", None),
    ],
)
def test_parse_json(output: str, expected: object) -> None:
    assert check.parse_json(output) == expected


def test_write_json_leaves_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / check.file_name("NVIDIA H100 80GB HBM3")
    check.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        check.write_json(path, {"a": object()})
    assert [file.name for file in path.parent.iterdir()] == ["nvidia-h100-80gb-hbm3.json"]
    assert json.loads(path.read_text()) == {"a": 1}


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


def test_command_line() -> None:
    script = str(ROOT / "scripts" / "gpu_check.sh")
    text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("--build-only", "--budget", "--output", "Exit status"):
        assert word in text
    assert subprocess.run([script, "--wrong"], capture_output=True, check=False).returncode == 2
