"""What results begin with, how they are written, and how times are taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from research.common import charts, machine, pages, results, tables, timing
from research.common.places import ROOT


def test_every_round_runs_every_case_and_starts_with_another() -> None:
    order: list[str] = []
    cases = {name: lambda name=name: order.append(name) for name in "abc"}
    times = timing.interleaved(cases, 3, warmup=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: found.runs for name, found in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_what_takes_long_is_not_repeated() -> None:
    values = iter([1.0, 9.0, 2.0, 3.0])
    found = timing.collect({"short": lambda: next(values), "long": lambda: next(values)}, 3, limit=5)
    assert found == {"short": [1.0, 2.0, 3.0], "long": [9.0]}


def test_spread() -> None:
    found = timing.spread([0.003, 0.001, 0.0021234])
    assert found.to_json("ms", 1e3) == {"median_ms": 2.123, "low_ms": 1.0, "high_ms": 3.0, "runs": 3}


def test_results_begin_with_command_machine_versions_and_commit() -> None:
    found = machine.head("scripts/bench.sh --quick")
    assert list(found) == ["command", "machine", "versions", "commit"]
    assert found["machine"]["cores"] >= 1
    assert {"processor", "vendor", "class", "instructions", "memory_gib"} <= found["machine"].keys()
    assert {"python", "rrn", "numpy"} <= found["versions"].keys()
    assert json.loads(results.text(found)) == found


@pytest.mark.parametrize(
    ("flags", "vendor", "expected"),
    [
        ("sse avx2 avx512f avx512_vnni amx_bf16 amx_int8", "GenuineIntel", ("Intel", "AMX")),
        ("sse avx2 avx512f", "AuthenticAMD", ("AMD", "AVX-512")),
        ("sse avx2", "AuthenticAMD", ("AMD", "AVX2")),
        ("sse", "Other", ("other", "none of those")),
    ],
)
def test_class_of_a_machine(
    flags: str, vendor: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"flags": flags, "vendor_id": vendor, "model name": "some processor"}
    monkeypatch.setattr(machine, "_cpuinfo", lambda key: told.get(key, ""))
    found = machine.machine()
    assert (found["vendor"], found["class"]) == expected
    assert found["processor"] == "some processor"


def test_no_path_of_the_machine_is_written() -> None:
    given = ["--photos", "/home/someone/my photos", "--model", f"new={ROOT}/models/a.onnx", "--weights", "b=../c.pth"]
    command = machine.command_line("scripts/evaluate.sh", [*given, "--size", "64"])
    assert command == "scripts/evaluate.sh --photos 'my photos' --model new=models/a.onnx --weights b=c.pth --size 64"
    assert machine.command_line("python -m research.some.study", []) == "python -m research.some.study"


def test_foot_of_a_table() -> None:
    result = {"versions": {"rrn": "1", "numpy": "2"}, "commit": "abc"}
    made_on = {"processor": "P", "cores": 2, "memory_gib": 7.8, "load_before": 0.1}
    assert machine.words({"machine": made_on, **result}) == (
        "P, 2 cores, 7.8 GiB, load before 0.1; rrn 1, numpy 2; commit abc"
    )
    assert machine.words({"machine": "x86_64", **result}) == "x86_64; rrn 1, numpy 2; commit abc"


def test_lists_of_numbers_stay_on_one_line() -> None:
    value = {"numbers": [1, -2.5, 1e-7], "text": "[\n 1,\n 2\n]", "mixed": [1, "a"], "empty": [], "é": None}
    text = results.text(value)
    assert json.loads(text) == value
    assert '"numbers": [1, -2.5, 1e-07],\n' in text
    assert '"é"' in text


def test_a_result_is_complete_or_untouched(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "result.json"
    results.write(path, {"a": 1})
    with pytest.raises(TypeError):
        results.write(path, {"a": object()})
    assert results.read(path) == {"a": 1}
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]
    path.write_text("[1]")
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        results.read(path)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert results.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_table() -> None:
    assert tables.table(["a", "b"], [["x|y", "1"]]) == ["| a | b |", "| --- | ---: |", "| x/y | 1 |", ""]
    assert tables.table(["a"], [], [True]) == ["| a |", "| ---: |", ""]


def test_bars_are_where_there_is_a_value(tmp_path: Path) -> None:
    heights = {("p", "one"): 2.0, ("q", "one"): 4.0, ("q", "two"): 1.0}
    figure, axes = charts.pyplot.subplots()
    spread = {key: (height - 1, height + 2) for key, height in heights.items()}
    charts.grouped_bars(axes, "pq", ["one", "two"], lambda *key: heights.get(key), lambda *key: spread[key])
    assert [bar.get_height() for bar in axes.patches] == [2, 4, 1]
    assert [round(bar.get_x() + bar.get_width() / 2, 6) for bar in axes.patches] == [-0.2, 0.8, 1.2]
    whiskers = [path.vertices[:, 1].tolist() for path in axes.collections[0].get_paths()]
    assert whiskers == [[1, 4], [3, 6]]
    for name in ("a.png", "b.png"):
        charts.save(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_figures_of_a_readme_are_replaced_and_nothing_else() -> None:
    readme = f"# Title\n\n{pages.BEGIN}\nold\n{pages.END}\n\nEnd.\n"
    made = pages.with_figures(readme, ["| a |", r"\1"])
    assert made == f"# Title\n\n{pages.BEGIN}\n| a |\n\\1\n{pages.END}\n\nEnd.\n"
    with pytest.raises(ValueError, match="once each"):
        pages.with_figures("# Title\n", ["a"])
