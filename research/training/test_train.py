"""The program that trains."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from research.training import train
from research.training.config import config_digest
from research.training.tiny import small_bank, small_config, small_teacher
from research.training.trainer import Trainer


def test_the_program_trains_stops_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (data / "index.json").write_text("{}")
    monkeypatch.setattr(train, "load_bank", lambda folder, split, device, **_: small_bank())
    monkeypatch.setattr(train, "load_teacher", lambda spec, device: small_teacher)
    config = small_config()
    monkeypatch.setattr(train, "load_config", lambda *_, **__: config)
    command = ["--data", str(data), "--output", str(output), "--device", "cpu"]
    assert train.main(command) == 2
    assert "--minutes or --steps" in capsys.readouterr().err
    assert train.main([*command, "--steps", "2"]) == 0
    assert train.main([*command, "--steps", "3"]) == 2
    assert train.main([*command, "--steps", "3", "--resume"]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["steps"] == 3 and metrics["crops"] == 36
    assert metrics["config_sha256"] == config_digest(config)
    weights = torch.load(output / "weights.pth", weights_only=True)
    assert weights["layer4.1.bn2.running_var"].dtype == torch.float16
    assert len((output / "log.jsonl").read_text().splitlines()) >= 4


def test_a_signal_ends_training_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.json").write_text("{}")
    monkeypatch.setattr(train, "load_bank", lambda folder, split, device, **_: small_bank())
    monkeypatch.setattr(train, "load_teacher", lambda spec, device: small_teacher)
    config = small_config()
    monkeypatch.setattr(train, "load_config", lambda *_, **__: config)
    whole_step = Trainer.step

    def step(self: Trainer, progress: float, clock: dict[str, float] | None = None) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return whole_step(self, progress, clock)

    monkeypatch.setattr(Trainer, "step", step)
    before = signal.getsignal(signal.SIGTERM)
    assert (
        train.main(["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--minutes", "9", "--device", "cpu"])
        == 0
    )
    assert signal.getsignal(signal.SIGTERM) == before
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 1
    assert (tmp_path / "run" / "checkpoint.pt").is_file()
