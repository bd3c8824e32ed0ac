"""Scores, matching and following: against the library, against numbers worked out by hand, and on drawn people."""

from __future__ import annotations

import json
import runpy
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rrn_native import Detections, Detector

from research.common import results
from research.common.places import RESULTS, ROOT

pytest.importorskip("av", reason="what rrn watch needs is missing")
pytest.importorskip("trackers", reason="what rrn watch needs is missing")
pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is missing")

from research.watch import accuracy, accuracy_report, data, scoring
from research.watch.scoring import Truth, plain_truth

SIZE = (320, 240)


@pytest.fixture(scope="module")
def blob() -> Any:
    """The detector without weights that the tests of the package have: its functions."""
    return types.SimpleNamespace(**runpy.run_path(str(ROOT / "python" / "tests" / "blob_detector.py")))


def boxes(random: Any, count: int, most: float = 160) -> Any:
    corners = random.uniform(0, 120, (count, 2))
    return np.concatenate([corners, corners + random.uniform(8, most, (count, 2))], axis=1)


def drawn_pictures(seed: int, pictures: int = 12, *, crowd: float = 0.15) -> tuple[list[Detections], list[Truth]]:
    """People, and boxes near some of them, with scores of which many are equal."""
    random = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(pictures):
        people = boxes(random, int(random.integers(0, 6)))
        areas = np.prod(people[:, 2:] - people[:, :2], axis=1) * random.uniform(0.4, 1, len(people))
        truths.append(Truth(people, areas, random.uniform(size=len(people)) < crowd, SIZE))
        near = people[random.uniform(size=len(people)) < 0.8]
        near = near + random.normal(0, 6, near.shape) if len(near) else near
        all_boxes = np.concatenate([near, boxes(random, 3)])
        all_boxes[:, 2:] = np.maximum(all_boxes[:, 2:], all_boxes[:, :2] + 1)
        found.append(Detections(all_boxes, random.choice([0.2, 0.5, 0.7, 0.9], len(all_boxes)), SIZE))
    return found, truths


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("name", "areas", "levels"),
    [("ap", scoring.ALL, slice(None)), ("ap50", scoring.ALL, slice(1)), ("ap_large", scoring.LARGE, slice(None))],
)
def test_average_precision_is_that_of_the_library(
    seed: int, name: str, areas: tuple[float, float], levels: slice
) -> None:
    found, truths = drawn_pictures(seed)
    mine = scoring.CocoMatches(found, truths, areas).average_precision(levels=levels)
    assert mine == pytest.approx(scoring.coco_scores(found, truths)[name], abs=1e-9)


def test_a_picture_that_is_drawn_twice_counts_twice() -> None:
    found, truths = drawn_pictures(3, crowd=0)
    # Scores that differ, so that the order of copies is the same in both ways.
    found = [Detections(one.boxes, np.linspace(0.9, 0.1, len(one)) - 0.001 * k, SIZE) for k, one in enumerate(found)]
    counts = np.array([2, 0, 1, 3, 1, 1, 0, 0, 2, 1, 1, 0], np.float64)
    twice = [k for k, count in enumerate(counts.astype(int)) for _ in range(count)]
    copies = scoring.CocoMatches([found[k] for k in twice], [truths[k] for k in twice])
    mine = scoring.CocoMatches(found, truths).average_precision(counts)
    assert mine == pytest.approx(copies.average_precision(), abs=1e-9)


def test_without_people_there_is_no_average_precision() -> None:
    truth = plain_truth(np.zeros((0, 4)), SIZE)
    one = Detections(np.array([[0, 0, 9, 9]]), np.array([0.5]), SIZE)
    assert np.isnan(scoring.CocoMatches([one], [truth]).average_precision())


def test_each_true_box_is_found_once() -> None:
    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float64)
    found = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], np.float64)
    pairs = scoring.pair(found, truth)
    assert pairs.found.tolist() == [True, False]
    assert pairs.right.tolist() == [True, False, False]


def test_rates_by_height_add_up() -> None:
    truth = plain_truth(np.array([[0, 0, 10, 20], [40, 0, 60, 50], [80, 0, 120, 100]], np.float64), SIZE)
    found = Detections(
        np.array([[0, 0, 10, 20], [80, 0, 120, 100], [200, 0, 220, 30]]), np.array([0.9, 0.3, 0.8]), SIZE
    )
    value = accuracy.rates([found], [truth], 0.5, [0, 32, 64])
    assert value["recall"] == pytest.approx(1 / 3, abs=1e-4)
    assert value["precision"] == 0.5
    assert [(group["people"], group["found"]) for group in value["heights"]] == [(1, 1), (1, 0), (1, 0)]


def test_steadiness_counts_switches_over_gaps() -> None:
    value = accuracy.steadiness([None, 1, 1, None, 1, 2, None, 3, 3, 3], 0.5)
    assert value == {
        "switches_per_minute": 4.0,
        "interruptions_per_minute": 4.0,
        "share_with_main": 0.7,
        "main_people": 3,
    }


@pytest.mark.parametrize("every", [1, 3])
def test_a_recorded_person_is_followed(blob: Any, tmp_path: Path, every: int) -> None:
    detector = Detector(blob.blob_model(tmp_path / "blob.onnx"), "cpu", threads=1)
    recorded = accuracy.Recorded([], [])
    for step in range(20):
        recorded.found.append(detector.detect(blob.scene((128, 128), (20 + step, 30, 42 + step, 110))))
        recorded.seconds.append(step / 25)
    assert all(len(one) == 1 for one in recorded.found)
    value, people = accuracy.follow(detector.info, recorded, every)
    assert value["people"] == 1
    assert value["share_seen"] == pytest.approx(np.ceil(20 / every) / 20)
    assert value["rules"]["steady"]["switches_per_minute"] == 0
    assert value["rules"]["steady"]["main_people"] == 1
    assert [len(one) for one in people] == [1] * 20


def test_a_perfect_detector_scores_one(blob: Any, tmp_path: Path) -> None:
    folder = tmp_path / "coco_val128" / "images"
    folder.mkdir(parents=True)
    from PIL import Image

    annotations, images = [], []
    for number in range(3):
        left = 8 + 4 * number
        Image.fromarray(blob.scene((128, 128), (left, 16, left + 32, 112))).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 128})
        annotations.append({"image_id": number, "category_id": 7, "bbox": [left, 16, 32, 96], "area": 3072})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "person"}]}
    (tmp_path / "coco_val128" / "instances.json").write_text(json.dumps(content))
    detector = Detector(blob.blob_model(tmp_path / "blob.onnx"), "cpu", threads=1)
    pictures = data.coco(tmp_path)
    value = accuracy.measure_coco(detector, pictures)
    assert value["ap50"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert value["ap_large"] is None
    assert (value["recall"], value["precision"]) == (1, 1)


def test_true_boxes_of_vtest_are_read_in_pixels_of_the_frame(tmp_path: Path) -> None:
    folder = tmp_path / "person_video"
    folder.mkdir()
    (folder / "vtest_gt_sampled.csv").write_text(
        "frame,track,x,y,w,h\n1,9,240,180,48,36\n1,3,0,0,480,360\n7,1,0,0,1,1\n"
    )
    truth = data.vtest_truth(tmp_path, (240, 240))
    assert list(truth) == [1, 7]
    np.testing.assert_allclose(truth[1].boxes, [[120, 120, 144, 144], [0, 0, 240, 240]])


def test_missing_data_is_said_in_one_line(tmp_path: Path, blob: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = blob.blob_model(tmp_path / "blob.onnx")
    assert accuracy.main(["--data", str(tmp_path), "--models", str(model)]) == 1
    assert "instances.json" in capsys.readouterr().err


def test_what_is_committed_is_complete() -> None:
    value = results.read(RESULTS / "watch_accuracy.json")
    assert {"fast", "accurate"} <= set(value["coco"])
    for each in value["coco"].values():
        assert each["people"] == sum(group["people"] for group in each["heights"])
        assert each["ap"]["low"] < each["ap"]["value"] < each["ap"]["high"]
    for videos in value["videos"].values():
        assert {every for each in videos.values() for every in each["every"]} == {"1", "2", "3"}


def test_the_page_has_a_row_for_each_detector(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    value = results.read(RESULTS / "watch_accuracy.json")
    results.write(tmp_path / "watch_accuracy.json", value)
    page, picture = accuracy_report.write(tmp_path, tmp_path)
    text = page.read_text()
    ap = value["coco"]["fast"]["ap"]["value"]
    assert f"| fast | {ap:.3f} (" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_sentences_follow_the_numbers() -> None:
    value = results.read(RESULTS / "watch_accuracy.json")
    value["coco"]["fast"]["ap"]["value"] = 0.99
    assert "`fast` has the highest average precision on COCO's people (0.990" in accuracy_report.sentences(value)
