"""Tracker and main person: ids that stay, nobody within a second, no stuck state, and the rules of the main person."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rrn_native import Detections

pytest.importorskip("trackers", reason="the extra 'watch' is not installed")

from rrn_ops.streaming.main_person import LargestRule, MainPerson, SteadyRule, importances
from rrn_ops.streaming.tracking import PersonTracker, Tracks

SIZE = (427, 240)


def boxes(*values: tuple[float, float, float, float], scores: list[float] | None = None) -> Detections:
    array = np.array(values, np.float32).reshape(-1, 4)
    return Detections(array, np.array(scores or [0.9] * len(array), np.float32), SIZE)


def walking(at: float, left: float = 20) -> tuple[float, float, float, float]:
    x = left + 40 * at
    return (x, 60, x + 40, 160)


def times(fps: float, seconds: float) -> Iterator[float]:
    return (100 + k / fps for k in range(round(fps * seconds)))


@pytest.mark.parametrize("fps", [4, 10, 30, 60])
def test_the_id_stays_whatever_the_rate(fps: float) -> None:
    tracker = PersonTracker()
    ids = {tuple(tracker.detected(boxes(walking(at - 100)), at).people.ids.tolist()) for at in times(fps, 4)}
    assert ids == {(1,)}


def test_the_first_frame_has_an_id_already() -> None:
    tracks = PersonTracker().detected(boxes(walking(0)), 5.0)
    assert tracks.people.ids.tolist() == [1]
    assert tracks.ages.tolist() == [0]


def test_two_people_cross() -> None:
    tracker = PersonTracker()
    seen = []
    for at in times(25, 4):
        other = walking(100 - at, left=220)
        tracks = tracker.detected(boxes(walking(at - 100), (other[0], 80, other[2], 180)), at)
        seen.append(sorted(tracks.people.ids.tolist()))
    assert {tuple(ids) for ids in seen} == {(1, 2)}


def test_between_detections_people_go_on() -> None:
    tracker = PersonTracker()
    for at in times(25, 1):
        tracker.detected(boxes(walking(at - 100)), at)
    tracks = tracker.predicted(SIZE, 101.2)
    assert tracks.people.ids.tolist() == [1]
    assert tracks.ages.tolist() == [pytest.approx(1.2 - 0.96)]
    np.testing.assert_allclose(tracks.people.boxes[0], walking(1.2), atol=4)


@pytest.mark.parametrize("fps", [5, 25])
@pytest.mark.parametrize("detect", [True, False])
def test_somebody_who_left_is_gone_within_a_second(fps: float, detect: bool) -> None:
    tracker, rule = PersonTracker(), SteadyRule()
    for at in times(fps, 2):
        main = rule.choose(tracker.detected(boxes(walking(at - 100)), at), at)
    assert main is not None
    left = 102.0
    for k in itertools.count():
        at = left + k / fps
        tracks = tracker.detected(Detections.empty(SIZE), at) if detect else tracker.predicted(SIZE, at)
        if rule.choose(tracks, at) is None:
            break
    assert at - left < 1
    assert len(tracks.people) == 0


def test_boxes_of_low_score_follow_people_and_start_nobody() -> None:
    tracker = PersonTracker(score=0.5)
    assert len(tracker.detected(boxes(walking(0), scores=[0.3]), 1.0).people) == 0
    tracker.detected(boxes(walking(0), scores=[0.8]), 1.04)
    tracks = tracker.detected(boxes(walking(0.04), scores=[0.3]), 1.08)
    assert tracks.people.ids.tolist() == [1]
    assert tracks.ages.tolist() == [0]


def test_time_that_jumps_makes_new_people_with_new_ids() -> None:
    tracker = PersonTracker()
    tracker.detected(boxes(walking(0)), 50.0)
    for at in (49.0, 48.9, 60.0, 59.0):
        tracks = tracker.detected(boxes(walking(0)), at)
        assert len(tracks.people) == 1
    assert tracks.people.ids.tolist() == [5]


frames = st.lists(
    st.tuples(
        st.floats(-1, 6),
        st.booleans(),
        st.lists(
            st.tuples(st.floats(0, 380), st.floats(0, 180), st.floats(1, 100), st.floats(1, 100), st.floats(0, 1)),
            max_size=4,
        ),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(frames, st.sampled_from(["steady", "largest"]))
def test_whatever_comes_the_main_person_is_one_of_the_people(
    frames_of: list[tuple[float, bool, list[tuple[float, ...]]]], rule_name: str
) -> None:
    tracker, rule = PersonTracker(), SteadyRule() if rule_name == "steady" else LargestRule()
    now = 10.0
    used: dict[int, float] = {}
    for step, detect, values in frames_of:
        now += step
        found = Detections(
            np.array([[x, y, x + w, y + h] for x, y, w, h, _ in values], np.float32).reshape(-1, 4),
            np.array([score for *_, score in values], np.float32),
            SIZE,
        )
        tracks = tracker.detected(found, now) if detect else tracker.predicted(SIZE, now)
        ids = tracks.people.ids.tolist()
        assert len(set(ids)) == len(ids)
        assert (tracks.ages >= 0).all()
        assert (tracks.ages <= 0.6 + 1e-6).all()
        main = rule.choose(tracks, now)
        if main is not None:
            assert main.id in ids
            assert main.since >= 0
        used.update(dict.fromkeys(ids, now))


def tracks_of(*people: tuple[int, tuple[float, float, float, float], float]) -> Tracks:
    found = Detections(
        np.array([box for _, box, _ in people], np.float32).reshape(-1, 4),
        np.array([score for *_, score in people], np.float32),
        SIZE,
        np.array([number for number, *_ in people], np.int64),
    )
    return Tracks(found, np.zeros(len(found)))


MIDDLE, CORNER = (190.0, 80.0, 230.0, 160.0), (0.0, 0.0, 40.0, 80.0)


def test_importance_is_score_times_size_times_centrality() -> None:
    whole = tracks_of((1, (0, 0, 427, 240), 0.5))
    assert importances(whole).tolist() == [pytest.approx(0.5)]
    quarter = tracks_of((1, (427 / 4, 60, 427 * 3 / 4, 180), 1.0))
    assert importances(quarter).tolist() == [pytest.approx(0.5)]
    point = tracks_of((1, (426, 239, 427, 240), 1.0))
    assert importances(point)[0] == pytest.approx(0.5 * (1 / (427 * 240)) ** 0.5, rel=0.01)


def run(rule: SteadyRule, scene: Tracks, begin: float, seconds: float) -> list[MainPerson | None]:
    return [rule.choose(scene, begin + k / 25) for k in range(round(25 * seconds))]


def test_nobody_is_main_before_the_dwell_time() -> None:
    answers = run(SteadyRule(dwell=0.2), tracks_of((1, MIDDLE, 0.9)), 0.0, 1.0)
    assert [answer is None for answer in answers] == [True] * 5 + [False] * 20
    assert answers[-1] == MainPerson(1, pytest.approx(0.76))


def test_somebody_more_important_takes_over_after_a_while_only() -> None:
    rule = SteadyRule(margin=1.25, patience=0.5)
    run(rule, tracks_of((1, CORNER, 0.9)), 0.0, 1.0)
    answers = run(rule, tracks_of((1, CORNER, 0.9), (2, MIDDLE, 0.9)), 1.0, 2.0)
    ids = [answer.id for answer in answers if answer is not None]
    assert len(ids) == 50
    assert ids.index(2) >= 12
    assert set(ids[ids.index(2) :]) == {2}


def test_somebody_a_little_more_important_does_not() -> None:
    rule = SteadyRule(margin=1.25)
    run(rule, tracks_of((1, MIDDLE, 0.8)), 0.0, 1.0)
    answers = run(rule, tracks_of((1, MIDDLE, 0.8), (2, MIDDLE, 0.9)), 1.0, 5.0)
    assert {answer.id for answer in answers if answer is not None} == {1}


def test_a_flicker_of_importance_does_not() -> None:
    rule = SteadyRule(patience=0.5)
    run(rule, tracks_of((1, CORNER, 0.9)), 0.0, 1.0)
    ids = set()
    for k in range(100):
        two = [(2, MIDDLE, 0.9)] if k % 10 < 5 else []
        answer = rule.choose(tracks_of((1, CORNER, 0.9), *two), 1.0 + k / 25)
        assert answer is not None
        ids.add(answer.id)
    assert ids == {1}


def test_the_plain_rule() -> None:
    rule = LargestRule()
    small, large = (1, (0.0, 0.0, 10.0, 10.0), 0.95), (2, (50.0, 50.0, 90.0, 150.0), 0.92)
    assert rule.choose(tracks_of(small, large), 0.0) == MainPerson(2, 0.0)
    assert rule.choose(tracks_of(small, large), 2.0) == MainPerson(2, 2.0)
    assert rule.choose(tracks_of(small, (2, large[1], 0.89)), 3.0) == MainPerson(1, 0.0)
    predicted = dataclasses.replace(tracks_of(small), detected=False, ages=np.array([0.1]))
    assert rule.choose(predicted, 3.1) == MainPerson(1, pytest.approx(0.1))
    assert rule.choose(tracks_of((2, large[1], 0.89)), 4.0) is None


@pytest.mark.parametrize("forget", [0, -1, 6])
def test_wrong_arguments(forget: float) -> None:
    with pytest.raises(ValueError, match="forget"):
        PersonTracker(forget=forget)
