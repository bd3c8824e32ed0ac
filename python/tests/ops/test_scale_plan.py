"""rrn scale plan: every figure follows from its formula, names what it comes from, and refuses what is no number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT
from rrn_ops.scale import command, plan

GIVEN = ["images_per_s=100", "pairs_per_s=1e9", "image_bytes=500000", "skew=2", "machine_price_h=1", "row_bytes=100"]


def figure(made: plan.Json, stage: str, words: str) -> plan.Json:
    (found,) = [each for each in made["figures"] if (each["stage"], each["words"]) == (stage, words)]
    return found


def test_figures_by_hand() -> None:
    made = plan.make(1e9, plan.assumptions(None, GIVEN))
    hours = {
        ("read", "machine time of the transfer"): 1e9 * 5e5 / 1.25e8 / 3600,
        ("embed", "machine time"): 1e7 / 3600,
        ("pairs, exact", "machine time"): 5e17 / 1e9 / 3600,
        ("pairs, cells", "machine time to find each image's cells"): 1e12 / 1e9 / 3600,
        # Each of 1000 cells: half a square of a million, and a million with two millions that visit; times the skew.
        ("pairs, cells", "machine time in the cells"): 1000 * (0.5e12 + 2e12) * 2 / 1e9 / 3600,
        ("pairs, cells", "machine time to measure the recall"): 1e12 / 1e9 / 3600,
    }
    for (stage, words), value in hours.items():
        found = figure(made, stage, words)
        assert found["value"] == pytest.approx(value)
        assert (found["low"], found["high"]) == (found["value"] / 2, found["value"] * 2)
        assert found.get("cost") == (None if stage == "read" else pytest.approx(value))
        assert found["machines"] == -(-value // 72)
    sizes = {"embeddings in float32": 2148e9, "embeddings in float16": 1124e9, "product-quantised embeddings": 164e9}
    for words, value in sizes.items():
        assert figure(made, "store", words)["value"] == pytest.approx(value)
    assert figure(made, "pairs, cells", "cells")["value"] == 1000
    cost = sum(value for (stage, _), value in hours.items() if stage not in ("pairs, exact", "read"))
    assert made["cost"]["value"] == pytest.approx(cost + 1124 * 0.02)


def test_few_images_are_one_cell() -> None:
    made = plan.make(1000, plan.assumptions(None, GIVEN))
    cells, exact = (
        figure(made, stage, words)["value"]
        for stage, words in (("pairs, cells", "machine time in the cells"), ("pairs, exact", "machine time"))
    )
    assert cells == exact


def test_figures_say_what_they_come_from() -> None:
    made = plan.make(1e9, plan.assumptions(None))
    assert figure(made, "embed", "machine time")["from"] == ["images_per_s"]
    assert set(figure(made, "pairs, cells", "machine time in the cells")["from"]) == {
        *("pairs_per_s", "cell_rows", "probes", "skew")
    }
    for each in made["figures"]:
        assert each["from"]
        written = each["formula"].replace("cells", "cells cell_rows")
        assert [name for name in each["from"] if name not in written] == []


def test_rates_are_read_from_results() -> None:
    folder = ROOT / "findings" / "results"
    values = plan.assumptions(folder)
    ends = json.loads((folder / "bench_end_to_end.json").read_text())["result"]
    (row,) = [each for each in ends["rows"] if (each["size"], each["tool"]) == ("2 MP", "rrn")]
    assert values["images_per_s"].value == row["images_per_s"]
    assert [name for name, value in values.items() if value.measured] == ["images_per_s", "image_bytes", "pairs_per_s"]
    given = plan.assumptions(folder, ["images_per_s=7"])["images_per_s"]
    assert (given.value, given.measured) == (7, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "expected at least 1"),
        (["--images", "nan"], "expected at least 1"),
        (["--images", "1e6", "--set", "speed=3"], "expected one of images_per_s"),
        (["--images", "1e6", "--set", "probes=0"], "expected a number above 0"),
        (["--images", "1e6", "--set", "probes=many"], "'many' is no number"),
        (["--images", "1e6", "--set", "machine_price_h=-1"], "expected a number of 0 or more"),
        (["--images", "1e6", "--results", "nowhere"], "bench_end_to_end.json"),
    ],
)
def test_what_is_no_number_is_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(["plan", *words]) == 2
    assert message in capfd.readouterr().err


def test_the_text_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["plan", "--images", "1e9"]) == 0
    text = capsys.readouterr().out
    made = plan.make(1e9, plan.assumptions(None))
    for each in made["figures"]:
        assert f"{each['words']}: {plan.shown(each['value'], each['unit'])}" in text
    for name in made["values"]:
        assert f"  {name} " in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.024e12, "bytes", "1.0 TB"),
        (64e9, "bytes", "64 GB"),
        (440e12, "bytes", "440 TB"),
        (0.05, "hours", "3.0 minutes"),
        (30, "hours", "30 hours"),
        (8760 * 4, "hours", "4.0 years"),
        (1000, "cells", "1,000 cells"),
    ],
)
def test_numbers_for_reading(value: float, unit: str, text: str) -> None:
    assert plan.shown(value, unit) == text
