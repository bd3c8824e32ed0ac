"""The evaluation of embeddings: metrics by hand, copies, and the report made from JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rrn_native
from PIL import Image

from research.common import charts, copies
from research.common.photos import draw
from research.common.places import ROOT
from research.common.results import text
from research.evaluation import evaluate, measure, report, rows


def similarity_of(points: list[list[float]]) -> Any:
    return measure.cosines(np.array(points, np.float32))


def angles(*degrees: float) -> Any:
    """Unit vectors in the plane: their cosines are those of the angles between them."""
    turn = np.radians(degrees)
    return measure.cosines(np.stack([np.cos(turn), np.sin(turn)], axis=1))


def test_cosines_of_zero_and_of_scaled_vectors() -> None:
    similarity = similarity_of([[1, 0], [5, 0], [0, 2], [0, 0]])
    np.testing.assert_allclose(similarity[0], [1, 1, 0, 0], atol=1e-12)
    assert similarity[3, 3] == 0


def test_hash_similarity_is_the_share_of_equal_bits() -> None:
    bits = np.zeros((3, 64), np.float32)
    bits[1, :16] = 1
    bits[2] = 1
    np.testing.assert_allclose(measure.hash_similarities(bits), [[1, 0.75, 0], [0.75, 1, 0.25], [0, 0.25, 1]])


def test_ns_score_by_hand() -> None:
    # Two groups of four, 0 ... 3 and 100 ... 103 degrees: everything is found.
    perfect = angles(0, 1, 2, 3, 100, 101, 102, 103)
    assert measure.ns_score(perfect, list("aaaabbbb")) == (4.0, 4.0)
    # Alternating labels: at 0 degrees the top four are 0, 1, 2, 3, of which 0 and 2 are of its group; so for all.
    assert measure.ns_score(perfect, list("abababab")) == (2.0, 4.0)
    # One photo of a lies beyond b, at 110 degrees: it finds itself only, and the three others of a find each other and
    # a stranger, b's nearest. Those of b find all of b.
    stray = angles(0, 1, 2, 110, 100, 101, 102, 103)
    assert measure.ns_score(stray, list("aaaabbbb"))[0] == (3 + 3 + 3 + 1 + 4 + 4 + 4 + 4) / 8


def test_ns_score_shares_places_of_equals() -> None:
    # Everything is equally similar: besides itself, a photo meets 3 of the 7 others, 3 of which are of its group.
    score, limit = measure.ns_score(np.ones((8, 8)), list("aaaabbbb"))
    assert score == pytest.approx(1 + 3 * 3 / 7)
    assert limit == 4
    # Groups of two can fill two places only.
    assert measure.ns_score(np.eye(4) + np.kron(np.eye(2), np.ones((2, 2))), list("aabb")) == (2.0, 2.0)


def test_whitened_columns_have_equal_variance() -> None:
    random = np.random.default_rng(0)
    whitened = measure.whiten(random.normal(size=(50, 8)) * [9, 5, 3, 2, 1, 1, 1, 1], 4)
    assert whitened.shape == (50, 4)
    np.testing.assert_allclose(whitened.T @ whitened / 50, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-9)


def test_group_numbers_by_hand() -> None:
    # Pairs: aa cos 20 = 0.940, bb cos 50 = 0.643; across: 80, 130, 60 and 110 degrees, none above 0.75.
    numbers = measure.group_numbers(angles(0, 20, 80, 130), list("aabb"))
    assert numbers["pairs"] == {"same": 2, "different": 4}
    assert numbers["average_precision"] == 1
    assert numbers["at_threshold"] == {"threshold": 0.75, "precision": 1, "recall": 0.5, "f1": pytest.approx(0.6667)}
    assert numbers["best_f1"]["f1"] == 1
    assert np.cos(np.radians(60)) <= numbers["best_f1"]["threshold"] < np.cos(np.radians(50))
    assert numbers["different_above_threshold"] == 0
    assert numbers["quantiles"]["same"][-1] == pytest.approx(np.cos(np.radians(20)), abs=1e-4)
    assert sum(numbers["histograms"]["same"]) == 2
    assert sum(numbers["histograms"]["different"]) == 4


def test_nothing_above_the_threshold_has_no_precision() -> None:
    numbers = measure.group_numbers(angles(0, 50, 140, 190), list("aabb"))
    assert numbers["at_threshold"]["precision"] is None
    assert numbers["at_threshold"]["recall"] == 0


def test_labels_of_one_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two groups"):
        measure.group_numbers(angles(0, 1), list("aa"))
    with pytest.raises(ValueError, match="at least two groups"):
        measure.group_numbers(angles(0, 1), list("ab"))


def test_copy_numbers_by_hand() -> None:
    # Two photos at 0 and 90 degrees. "near" turns by 10 degrees; "far" turns the first by 46, the second by -90.
    similarity = angles(0, 10, 46, 90, 100, 0)
    numbers = measure.copy_numbers(similarity, ["near", "far"])
    # Degrees between a photo and its own copies: 10, 46 (cosine 0.69), 10, 90; and the other's: 100, 0, 80, 44 (0.72).
    assert numbers["pairs"] == {"same": 4, "different": 4}
    assert numbers["at_threshold"]["precision"] == pytest.approx(2 / 3, abs=1e-4)
    assert numbers["at_threshold"]["recall"] == 0.5
    assert numbers["different_above_threshold"] == 0.25
    # The second photo's "far" copy is the best score of all, and wrong: no threshold is precise.
    assert numbers["at_precision"]["recall"] == 0
    assert numbers["transforms"]["near"]["recall_at_threshold"] == 1
    assert numbers["transforms"]["near"]["nearest_is_original"] == 1
    assert numbers["transforms"]["far"] == {
        "recall_at_threshold": 0,
        "recall_at_precision": 0,
        # At 46 degrees the second photo, 44 away, is nearer than the first.
        "nearest_is_original": 0,
        "median": pytest.approx(np.cos(np.radians(46)) / 2, abs=1e-4),
    }
    assert numbers["every_pair"]["pairs"] == {"same": 6, "different": 9}


def results_of(table: list[rows.Row], photos: list[Image.Image]) -> dict[str, Any]:
    """A result as `evaluate.evaluate` makes it, of three photos and, as a group each, of their mirrored copies."""
    pictures = [np.asarray(picture) for photo in photos for picture in (photo, copies.make_copy(photo, "mirror", 1))]
    lines: list[dict[str, Any]] = []
    for row in table:
        assert row.describe is not None
        similarity = row.similarity(row.describe(pictures))
        groups = [str(index // 2) for index in range(len(pictures))]
        lines.append(
            {
                "name": row.name,
                "detail": row.detail,
                "groups": measure.group_numbers(similarity, groups),
                "copies": measure.copy_numbers(similarity, ["mirror"]),
            }
        )
    return {
        "commit": "abc1234",
        "machine": "test",
        "versions": {"rrn": "0"},
        "settings": {"size": 224, "threshold": 0.75},
        "datasets": {
            "groups": {"name": "Mirrors", "photos": len(pictures), "groups": len(photos)},
            "copies": {"name": "Three", "photos": len(photos), "copies": 1, "seed": 1},
        },
        "missing": ["official ImageNet ResNet-18: its file was not at hand"],
        "rows": lines,
    }


def colours(pictures: Any) -> Any:
    """The mean colour: mirrors are equal by it."""
    return np.stack([picture.mean(axis=(0, 1)) - 127.5 for picture in pictures])


@pytest.fixture
def results() -> dict[str, Any]:
    photos = [draw(seed) for seed in (1, 2, 3)]
    return results_of([rows.Row("mean colour", "for this test", colours)], photos)


def test_json_becomes_a_page(results: dict[str, Any]) -> None:
    page = report.markdown(json.loads(text(results)))
    groups = next(line for line in page.splitlines() if line.startswith("| mean colour"))
    assert groups.startswith("| mean colour | 2.000 | 1.000 |")
    assert "Mirrors, 6 photos" in page
    assert "Three, 3 photos" in page
    assert "| mirror | 1.000 |" in page
    assert "- not measured: official ImageNet ResNet-18" in page
    assert "nan" not in page.lower()


def test_page_without_labelled_photos(results: dict[str, Any]) -> None:
    del results["datasets"]["groups"], results["rows"][0]["groups"]
    page = report.markdown(results)
    assert "not at hand" in page
    assert "Three, 3 photos" in page
    assert report.summary(results).startswith("mean colour  copies: AP 1.000")


def test_plots_are_drawn_from_the_json(results: dict[str, Any], tmp_path: Path) -> None:
    written = report.plots(json.loads(text(results)), tmp_path)
    assert [path.name for path in written] == [
        "evaluation_precision_recall.png",
        "evaluation_histograms.png",
        "evaluation_transforms.png",
    ]
    for path in written:
        with Image.open(path) as image:
            image.verify()


def test_curves_and_marks_are_at_the_measured_values(results: dict[str, Any]) -> None:
    curves, histograms, marks = (
        draw_figure(results) for draw_figure in (report._draw_curves, report._draw_histograms, report._draw_transforms)
    )
    row = results["rows"][0]
    for axes, key in zip(curves.axes, ("groups", "copies"), strict=True):
        assert axes.lines[0].get_xydata().tolist() == [
            list(point) for point in zip(row[key]["curve"]["recall"], row[key]["curve"]["precision"], strict=True)
        ]
    for axes in histograms.axes:
        heights = [patch.get_data().values.sum() for patch in axes.patches]
        assert heights == pytest.approx([100, 100]), "shares of either kind of pairs, in percent"
        assert list(axes.lines[0].get_xdata()) == [0.75, 0.75]
    for axes, key in zip(marks.axes, ("recall_at_threshold", "recall_at_precision"), strict=True):
        assert axes.lines[0].get_xdata().tolist() == [row["copies"]["transforms"]["mirror"][key]]
    for figure in (curves, histograms, marks):
        charts.pyplot.close(figure)


def test_hash_rows_know_recompressed_copies() -> None:
    photos = [draw(seed, 200, 150) for seed in (1, 2)]
    pictures = [np.asarray(picture) for photo in photos for picture in (photo, copies.make_copy(photo, "JPEG", 1))]
    for row in rows.hash_rows():
        assert row.describe is not None
        bits = row.describe(pictures)
        assert bits.shape == (4, 64)
        assert set(np.unique(bits)) <= {0, 1}
        similarity = row.similarity(bits)
        assert similarity[0, 0] == 1
        assert similarity[0, 1] > 0.8
        assert similarity[0, 2] < 0.75


def test_model_is_named_by_its_manifest(tmp_path: Path) -> None:
    model = tmp_path / "some.onnx"
    assert rows.model_name(model) == "some"
    model.with_suffix(".json").write_text(json.dumps({"origin": "distilled: from a teacher; more"}))
    assert rows.model_name(model) == "distilled"


def test_engine_rows_describe_arrays() -> None:
    row = rows.onnx_row("ours", Path(rrn_native.default_model()), 64, 1)
    assert row.describe is not None
    described = row.describe([np.asarray(draw(1)), np.asarray(draw(1)), np.asarray(draw(2))])
    assert described.shape == (3, 512)
    assert row.similarity(described)[0, 1] == pytest.approx(1)
    assert len(row.identity) == 64


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--no-copies", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: nothing to measure: --no-copies needs --photos DIR\n"
    assert evaluate.main(["--photos", str(tmp_path / "none"), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_script_explains_itself() -> None:
    run = subprocess.run([ROOT / "scripts" / "evaluate.sh", "--help"], capture_output=True, text=True, check=True)
    options = {
        action.option_strings[-1] for action in evaluate._parser()._actions if action.option_strings[-1] != "--help"
    }
    assert [option for option in options if option not in run.stdout] == []
