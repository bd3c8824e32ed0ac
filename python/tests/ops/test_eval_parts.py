"""The parts of rrn eval: tables, metrics, bootstrap, gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import make_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from rrn_native.analysis import metrics as analysis
from rrn_ops.evaluation import bootstrap, classification, command, embeddings, gate, ingest, measure, plan
from rrn_ops.evaluation.interface import Data, Description
from rrn_ops.evaluation.tables import TableError

CLASSES = ("a", "b", "c")


def classified(seed: int, count: int = 60, classes: int = 3) -> Data:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    outputs = random.normal(size=(count, classes)).astype(np.float32)
    outputs[np.arange(count), labels] += 1
    names = tuple("abcdefg"[:classes])
    images = tuple(Path(f"{k}.png") for k in range(count))
    probabilities, _ = classification.probabilities_of(outputs)
    return Data("classification", outputs, labels, names, images, probabilities=probabilities)


def embedded(seed: int, groups: int = 8, views: int = 4) -> Data:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), views)
    outputs = (random.normal(size=(groups, 16))[labels] + random.normal(size=(len(labels), 16))).astype(np.float32)
    images = tuple(Path(f"{k}.png") for k in range(len(labels)))
    return Data("embeddings", outputs, labels, tuple(map(str, range(groups))), images)


def values(statistics: Sequence[bootstrap.Statistic], count: int, resamples: int = 50) -> dict[str, bootstrap.Measured]:
    found = {each.name: bootstrap.measure(each, np.ones(count, bool), resamples, 0) for each in statistics}
    return {name: each for name, each in found.items() if each is not None}


# ---- Metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_classification_is_scikit_learn_s(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    data = classified(seed)
    found = values(classification.statistics(data), len(data))
    assert found["accuracy"].value == pytest.approx(sklearn.accuracy_score(data.labels, data.predicted))
    assert found["macro_f1"].value == pytest.approx(sklearn.f1_score(data.labels, data.predicted, average="macro"))
    expected = sklearn.confusion_matrix(data.labels, data.predicted)
    np.testing.assert_array_equal(classification.confusion(data.labels, data.predicted, 3), expected)


def test_calibration_error_by_its_definition() -> None:
    data = classified(5, 400)
    assert data.probabilities is not None
    confidence, right = data.probabilities.max(axis=1), data.predicted == data.labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    expected = sum(
        abs(confidence[bins == k].mean() - right[bins == k].mean()) * (bins == k).mean() for k in np.unique(bins)
    )
    assert values(classification.statistics(data), 400)["calibration_error"].value == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_embeddings_by_their_definitions(seed: int) -> None:
    data = embedded(seed)
    unit = data.outputs / np.linalg.norm(data.outputs, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
    same = data.labels[order] == data.labels[:, None]
    found = values(embeddings.statistics(data, embeddings.rank(data)), len(data))
    assert found["recall@1"].value == pytest.approx(same[:, 0].mean())
    assert found["recall@5"].value == pytest.approx(same[:, :5].any(axis=1).mean())
    precision = np.cumsum(same, axis=1) / np.arange(1, same.shape[1] + 1)
    mean = ((precision * same).sum(axis=1) / same.sum(axis=1)).mean()
    assert found["mean_average_precision"].value == pytest.approx(mean)
    # Of four views, the query counts as found.
    assert found["n_s"].value == pytest.approx(1 + same[:, :3].sum(axis=1).mean())
    i, j = np.triu_indices(len(data), 1)
    pairs = (data.labels[i] == data.labels[j]).astype(bool)
    expected = analysis.average_precision(cosines[i, j], pairs)
    assert found["average_precision"].value == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 80))
def test_an_interval_has_its_value_s_neighbourhood_and_is_the_same_again(seed: int, count: int) -> None:
    data = classified(seed, count)
    first, again = (values(classification.statistics(data), count, 200) for _ in range(2))
    for name, found in first.items():
        assert (found.lower, found.upper) == (again[name].lower, again[name].upper)
        assert found.lower is not None and found.upper is not None and found.lower <= found.upper
    accuracy = first["accuracy"]
    assert accuracy.lower <= accuracy.value <= accuracy.upper  # type: ignore[operator]


def test_an_own_metric_may_return_a_number_or_one_for_each_image() -> None:
    data = classified(1)

    def each(found: Data) -> np.ndarray:
        return (found.predicted == found.labels).astype(float)

    def one(found: Data) -> float:
        return float((found.predicted == found.labels).mean())

    both = [measure.own_statistic(data, function, "spec") for function in (each, one)]
    results = [bootstrap.measure(statistic, np.ones(len(data), bool), 60, 3) for statistic in both]
    assert results[0] is not None and results[1] is not None
    assert results[0].value == pytest.approx(results[1].value)
    assert results[0].lower == pytest.approx(results[1].lower)


# ---- Tables --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    for k in range(4):
        make_picture(k).save(tmp_path / f"{k}.png")
    inputs, outputs = tmp_path / "inputs.csv", tmp_path / "outputs.csv"
    inputs.write_text("image,light\n" + "".join(f"{k}.png,{'dim' if k % 2 else 'bright'}\n" for k in range(4)))
    outputs.write_text("image,label\n" + "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in range(4)))
    return inputs, outputs


def problems(inputs: Path, outputs: Path, classes: Sequence[str] | None = None) -> list[str]:
    with pytest.raises(TableError) as caught:
        ingest.examine(inputs, outputs, classes)
    return [str(each).replace(f"{inputs.parent}/", "") for each in caught.value.problems]


def test_good_tables(tables: tuple[Path, Path]) -> None:
    found = ingest.examine(*tables, None).tables
    assert found.names == ["0.png", "1.png", "2.png", "3.png"]
    assert found.labels == ["a", "b", "a", "b"]
    assert found.slices == {"light": ["bright", "dim", "bright", "dim"]}


def test_every_problem_has_its_line(tables: tuple[Path, Path]) -> None:
    inputs, outputs = tables
    (inputs.parent / "2.png").write_bytes((inputs.parent / "2.png").read_bytes()[:100])
    (inputs.parent / "3.png").unlink()
    inputs.write_text(inputs.read_text() + "1.png,dim\nextra.png,dim\n")
    outputs.write_text(outputs.read_text().replace("0.png,a", "0.png,x"))
    found = problems(inputs, outputs, ["a", "b"])
    assert [line.partition(": ")[0] for line in found] == [
        "inputs.csv:4",
        "inputs.csv:5",
        "inputs.csv:6",
        "inputs.csv:7",
        "outputs.csv:2",
    ]
    for line, words in zip(
        found, ("unreadable", "missing file", "duplicate of line 3", "mismatched", "x"), strict=True
    ):
        assert words in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "inputs.csv:1"),
        ("picture\n0.png\n", "image"),
        ("image\n", "inputs.csv"),
        ("image,light\n0.png\n", "inputs.csv:2"),
    ],
)
def test_tables_that_are_none(text: str, words: str, tables: tuple[Path, Path]) -> None:
    tables[0].write_text(text)
    assert any(words in line for line in problems(*tables))


def test_the_same_picture_under_two_names_is_a_problem(tables: tuple[Path, Path]) -> None:
    (tables[0].parent / "3.png").write_bytes((tables[0].parent / "1.png").read_bytes())
    assert problems(*tables) == ["inputs.csv:5: 3.png: duplicate content, the same file as in line 3"]


def test_check_says_it_all(tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "--inputs", str(tables[0]), "--outputs", str(tables[1])]
    assert command.main(words) == 0
    assert capsys.readouterr().out.startswith("4 images, 2 labels: a 2, b 2\n")
    (tables[0].parent / "1.png").unlink()
    assert command.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("rrn eval check: 1 problems in the tables")


# ---- What is evaluated ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "classes", "model", "expected"),
    [
        (None, CLASSES, Description("f", outputs=3), ("classification", CLASSES)),
        (None, (), Description("f", outputs=2), ("classification", ("a", "b"))),
        (None, (), Description("f", outputs=512), ("embeddings", ())),
        (None, (), Description("f", outputs=2, embeds=True), ("embeddings", ())),
        ("classification", (), Description("f"), ("classification", ("a", "b"))),
    ],
)
def test_the_task_is_decided(task: object, classes: tuple[str, ...], model: Description, expected: object) -> None:
    found = plan.decide(task, classes, model, ["b", "a", "b"])  # type: ignore[arg-type]
    assert (found.task, found.classes) == expected


def test_outputs_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="7 outputs, but there are 3 classes"):
        plan.decide(None, CLASSES, Description("f", outputs=7), ["a"])


# ---- Gate ----------------------------------------------------------------------------------------------------------


def metric(value: float, direction: str = "higher", spread: float = 0.05) -> dict[str, object]:
    return {"value": value, "lower": value - spread, "upper": value + spread, "direction": direction}


def limits(path: Path, value: float, tolerance: float, direction: str = "higher") -> dict[str, gate.Limit]:
    path.write_text(json.dumps({"metrics": {"m": {"value": value, "tolerance": tolerance, "direction": direction}}}))
    return gate.read_baseline(path)


@pytest.mark.parametrize(
    ("now", "before", "direction", "passes"),
    [
        (0.90, 0.90, "higher", True),
        (0.89, 0.90, "higher", True),
        (0.88, 0.90, "higher", False),
        (0.99, 0.90, "higher", True),
        (0.12, 0.10, "lower", False),
        (0.01, 0.10, "lower", True),
    ],
)
def test_the_gate(now: float, before: float, direction: str, passes: bool, tmp_path: Path) -> None:
    (found,) = gate.compare({"m": metric(now, direction)}, limits(tmp_path / "b.json", before, 0.015, direction))
    assert found["passed"] is passes


def test_the_gate_says_how_far(tmp_path: Path) -> None:
    (far,) = gate.compare({"m": metric(0.7)}, limits(tmp_path / "b.json", 0.9, 0.01))
    assert (
        far["text"]
        == "m fell 0.900 -> 0.700 (by 0.200, tolerance 0.010; beyond the 95 % interval 0.650 ... 0.750: yes)"
    )
    (near,) = gate.compare({"m": metric(0.87)}, limits(tmp_path / "b.json", 0.9, 0.01))
    assert near["text"].endswith("0.820 ... 0.920: no)")
    (gone,) = gate.compare({}, limits(tmp_path / "b.json", 0.9, 0.01))
    assert gone["passed"] is False


@pytest.mark.parametrize("text", ["", "{}", '{"metrics": {"m": 3}}', '{"metrics": {"m": {"value": "x"}}}'])
def test_baselines_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(ValueError, match=r"b\.json"):
        gate.read_baseline(tmp_path / "b.json")
