"""Metrics by hand and by law, and the calibration's command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rrn_native.analysis import calibrate, metrics
from rrn_native.cli import calibrate as cli_calibrate

SCORES = [0.9, 0.8, 0.7, 0.6, 0.1]
LABELS = [True, False, True, True, False]


def test_metrics_by_hand() -> None:
    assert metrics.average_precision(SCORES, LABELS) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert metrics.precision_recall_f1(SCORES, LABELS, 0.65) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert metrics.precision_recall_f1(SCORES, LABELS, 0.9) == (1.0, 0.0, 0.0), "above is strict"
    best, threshold = metrics.best_f1(SCORES, LABELS)
    assert best == pytest.approx(6 / 7)
    assert threshold == pytest.approx(0.35)
    assert metrics.threshold_for_precision(SCORES, LABELS, 0.7) == pytest.approx(0.35)
    assert metrics.threshold_for_precision(SCORES, LABELS, 1.0) == pytest.approx(0.85)
    assert metrics.threshold_for_precision([1, 0], [False, True], 0.9) is None


def test_equal_scores_are_one_step() -> None:
    for labels in ([True, False], [False, True]):
        assert metrics.average_precision([0.5, 0.5], labels) == 0.5


def test_pairs_of_groups() -> None:
    i, j, same = metrics.pairs_of_groups(["a", "b", "a"])
    assert (i.tolist(), j.tolist(), same.tolist()) == ([0, 0, 1], [1, 2, 2], [False, True, False])
    assert len(metrics.pairs_of_groups(["a"])[0]) == 0


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60).filter(
        lambda pairs: any(label for _, label in pairs)
    ),
    st.randoms(),
)
@settings(deadline=None)
def test_laws(pairs: list[tuple[int, bool]], random: object) -> None:
    scores = [score / 20 for score, _ in pairs]
    labels = [label for _, label in pairs]
    curve = metrics.precision_recall_curve(scores, labels)
    assert curve.recall[-1] == 1
    assert (np.diff(curve.recall) >= 0).all()
    assert (np.diff(curve.thresholds) < 0).all()
    for threshold, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
        assert metrics.precision_recall_f1(scores, labels, threshold)[:2] == pytest.approx((precision, recall))
    best, threshold = metrics.best_f1(scores, labels)
    assert metrics.precision_recall_f1(scores, labels, threshold)[2] == pytest.approx(best)
    assert best == pytest.approx(max(metrics.precision_recall_f1(scores, labels, t)[2] for t in curve.thresholds))
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = metrics.average_precision(np.array(scores)[order], np.array(labels)[order])
    assert shuffled == pytest.approx(metrics.average_precision(scores, labels))


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([], [], "at least one pair"),
        ([1.0], [False], "no pair is labelled"),
        ([float("nan")], [True], "finite"),
        ([1.0, 2.0], [True], "one length"),
    ],
)
def test_bad_input(scores: list[float], labels: list[bool], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.average_precision(scores, labels)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three things, each seen as a PNG, a small PNG and a strongly compressed JPEG; and a broken file."""
    rows = []
    for thing in range(3):
        picture = make_picture(thing)
        picture.save(tmp_path / f"{thing}.png")
        picture.resize((48, 36)).save(tmp_path / f"{thing}_small.png")
        picture.save(tmp_path / f"{thing}.jpg", quality=60)
        rows += [(f"{thing}.png", thing), (f"{thing}_small.png", thing), (f"{thing}.jpg", thing)]
    (tmp_path / "broken.png").write_bytes(b"no")
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "group"), *rows, ("broken.png", 0)])
    (tmp_path / "pairs.csv").write_text(
        "first,second,similar\n0.png,0_small.png,1\n0.png,1.png,no\n2.png,2.jpg,TRUE\n1.jpg,2.jpg,0\n"
    )
    return tmp_path


def test_groups(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = labelled / "result.json"
    arguments = [
        "--groups",
        str(labelled / "groups.csv"),
        "--size",
        "64",
        "--json",
        str(output),
        "--min-precision",
        "1",
    ]
    assert cli_calibrate.main(arguments) == 0
    text = capsys.readouterr().out
    assert "images 9, skipped 1, pairs 36, of them similar 9" in text
    result = json.loads(output.read_text())
    assert result["best_f1"] == 1.0
    assert f"--threshold {result['suggested_threshold']:g}" in text
    assert result["threshold_for_precision"] == pytest.approx(result["suggested_threshold"], abs=1e-4)
    assert [row["threshold"] for row in result["rows"]] == sorted(row["threshold"] for row in result["rows"])


def test_pairs(labelled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # names in the CSV start from its own folder
    assert cli_calibrate.main(["--pairs", str(labelled / "pairs.csv"), "--size", "64"]) == 0
    assert "pairs 4, of them similar 2" in capsys.readouterr().out


def test_plot(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from rrn_native.analysis import plots

    drawn: list[tuple[calibrate.Calibration, Any]] = []
    draw = plots.calibration_figure

    def calibration_figure(calibration: calibrate.Calibration, title: str) -> Any:
        drawn.append((calibration, draw(calibration, title)))
        return drawn[-1][1]

    monkeypatch.setattr(plots, "calibration_figure", calibration_figure)
    picture = labelled / "curve.png"
    assert cli_calibrate.main(["--groups", str(labelled / "groups.csv"), "--size", "64", "--plot", str(picture)]) == 0
    ((calibration, figure),) = drawn
    scores, same = calibration.scores, calibration.labels
    assert (len(scores), same.sum()) == (36, 9)
    above, below = figure.axes
    curve = metrics.precision_recall_curve(scores, same)
    curves = {line.get_label(): line for line in above.get_lines()}
    for name, values in (("precision", curve.precision), ("recall", curve.recall), ("F1", curve.f1)):
        assert (curves[name].get_xdata() == curve.thresholds).all()
        assert (curves[name].get_ydata() == values).all(), name
    for axes in (above, below):
        assert axes.get_lines()[-1].get_xdata() == [calibration.suggested_threshold] * 2
    assert below.get_legend_handles_labels()[1] == ["similar pairs", "others"]
    for bars, chosen in zip(below.containers, (scores[same], scores[~same]), strict=True):
        heights, edges = np.histogram(chosen, np.linspace(min(scores.min(), 0), 1, len(bars) + 1), density=True)
        assert [bar.get_x() for bar in bars] == pytest.approx(edges[:-1].tolist(), abs=1e-9)
        assert [bar.get_height() for bar in bars] == pytest.approx(heights.tolist())
    with Image.open(picture) as opened:
        assert np.asarray(opened.convert("L")).std() > 10, "something is drawn"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,class\na,b\n", "expected the columns"),
        ("file,group\n", "no rows"),
        ("file,group\na\n", "line 2"),
        ("", "got nothing"),
        ("file,group\nbroken.png,1\n", "at least one pair"),
        ("file,group\n0.png,1\n1.png,2\n", "no pair is labelled"),
    ],
)
def test_bad_tables_are_one_line(labelled: Path, content: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = labelled / "bad.csv"
    table.write_text(content)
    assert cli_calibrate.main(["--groups", str(table), "--size", "64"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_table_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_calibrate.main(["--groups", str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err == f"rrn calibrate: {tmp_path / 'none.csv'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("scores", "similar", "precision", "rounded"),
    [
        ([0.9, 0.8, 0.5], [1, 0, 0], 1.0, True),
        ([0.9, 0.80001, 0.5], [1, 0, 0], 1.0, True),
        # Above 0.80003 are 2 of 3, above 0.8001 only 1 of 2.
        ([0.9, 0.89, 0.80005, 0.80001, 0.5], [1, 0, 1, 0, 0], 0.6, False),
    ],
)
def test_thresholds_keep_their_precision(
    scores: list[float], similar: list[int], precision: float, rounded: bool
) -> None:
    values, labels = np.asarray(scores, np.float32), np.asarray(similar, bool)
    result = calibrate.Calibration(2, 0, len(scores), int(labels.sum()), 1.0, 1.0, 0.5, [], values, labels)
    exact = metrics.threshold_for_precision(values, labels, precision)
    assert exact is not None
    text = calibrate.for_typing(result, exact, precision)
    assert (len(text) == len("0.1234")) == rounded
    assert exact <= float(text) < exact + 1e-4
    assert metrics.precision_recall_f1(values, labels, float(text))[0] >= precision


def test_bad_label(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = labelled / "bad.csv"
    table.write_text("first,second,similar\n0.png,1.png,maybe\n")
    assert cli_calibrate.main(["--pairs", str(table)]) == 2
    assert "line 2: similar is 'maybe'" in capsys.readouterr().err
