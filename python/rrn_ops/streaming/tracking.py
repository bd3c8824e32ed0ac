"""Who is who from frame to frame: ByteTrack of the library ``trackers``, driven by seconds.

Frames of a camera come at uneven times, and the detector may skip some; everything here therefore takes the time of a
frame and never counts frames. ByteTrack (Zhang et al., ECCV 2022) also uses boxes of low score to follow people that it
already knows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import supervision
from rrn_native import Detections
from trackers import ByteTrackTracker
from trackers.core.bytetrack.tracklet import ByteTrackTracklet

# A longer gap, or time that runs backwards, is a new start: nobody is predicted across it.
_MAX_GAP = 5.0
# trackers counts how long people are kept in frames of this rate, also where it is given times.
_LIBRARY_RATE = 30.0
# Velocities are averaged over about two detections, and a box moves on for at most this many seconds.
_FOLLOW = 0.5
_MOVES = 0.4
# A predicted box that covers a found one this much (IoU) is the same person twice.
_SAME = 0.5


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The people that are known at a moment.

    Attributes:
        people: Boxes with ids: those just found, and predicted ones of people that were found a short time ago.
        ages: float64 [n]: seconds since each was found; 0 for those just found.
        detected: Whether the detector looked; otherwise all boxes are predicted.
    """

    people: Detections
    ages: npt.NDArray[np.float64]
    detected: bool = True


@dataclasses.dataclass
class _Person:
    """What is known of one of the library's tracklets."""

    # Held, so that no other one gets its identity.
    tracklet: ByteTrackTracklet
    id: int
    score: float
    found_at: float
    box: npt.NDArray[np.float64]
    # Of its corners, in pixels a second.
    velocity: npt.NDArray[np.float64]

    def box_at(self, now: float) -> npt.NDArray[np.float64]:
        """Returns where the box is at a time after it was found."""
        return self.box + self.velocity * min(now - self.found_at, _MOVES)


class PersonTracker:
    """Gives people ids that stay, and predicts where they are between detections. For one thread.

    Args:
        score: A person starts with a box of at least this score, 0 ... 1; boxes below it only continue people.
        forget: Seconds after which a person that is no longer found is gone (above 0, at most `remember`); predicted
            boxes are given until then.
        remember: Seconds within which a person that is found again has the same id (at most 5).
        overlap: Least IoU of a predicted box and a found one of the same person, 0 ... 1.
    """

    def __init__(self, *, score: float = 0.5, forget: float = 0.6, remember: float = 2.0, overlap: float = 0.1) -> None:
        if not 0 < forget <= remember <= _MAX_GAP:
            raise ValueError(
                f"forget is {forget} and remember {remember}, expected 0 < forget <= remember <= {_MAX_GAP:g} seconds"
            )
        self._score, self._forget = score, forget
        self._library = ByteTrackTracker(
            lost_track_buffer=max(1, round(remember * _LIBRARY_RATE)),
            frame_rate=_LIBRARY_RATE,
            track_activation_threshold=score,
            high_conf_det_threshold=score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=overlap,
        )
        # By the identity of the library's tracklets, which get ids of their own only when they are found again.
        self._people: dict[int, _Person] = {}
        self._next_id = 1
        self._now: float | None = None

    def detected(self, found: Detections, now: float) -> Tracks:
        """Takes what the detector found at `now`, in seconds of a clock; boxes that start or continue nobody go.

        A time that is not later than the one before, or much later, makes all people new ones.
        """
        self._let_pass(now)
        rows = supervision.Detections(
            xyxy=found.boxes.astype(np.float64),
            confidence=found.scores.astype(np.float64),
            data={"row": np.arange(len(found))},
        )
        tracked = self._library.update(rows, timestamp=now)
        by_id = {int(tracklet.tracker_id): tracklet for tracklet in self._library.tracks if tracklet.tracker_id != -1}
        fresh = [tracklet for tracklet in self._library.tracks if tracklet.tracker_id == -1]
        ids = np.full(len(found), -1, np.int64)
        if tracked.tracker_id is not None and len(tracked):
            for row, library_id in zip(tracked.data["row"], tracked.tracker_id, strict=True):
                tracklet = by_id.get(int(library_id))
                if tracklet is None and float(found.scores[row]) >= self._score:
                    tracklet = _take_of_box(fresh, found.boxes[row])
                if tracklet is not None:
                    ids[row] = self._found(tracklet, found, int(row), now)
        seen = Detections(found.boxes, found.scores, found.size, ids).select(ids >= 0)
        return self._with_predicted(seen, now)

    def predicted(self, size: tuple[int, int], now: float) -> Tracks:
        """Says where the people are at `now`, without the detector; `size`: width and height of the frame.

        The library takes a frame without boxes for one in which nobody was found, and forgets who is new; so it is not
        asked, and the boxes go on at their own velocity.
        """
        self._let_pass(now)
        return dataclasses.replace(self._with_predicted(Detections.empty(size), now), detected=False)

    def _let_pass(self, now: float) -> None:
        if self._now is not None and not 0 < now - self._now <= _MAX_GAP:
            self._library.reset()
            self._people.clear()
        self._now = now

    def _found(self, tracklet: ByteTrackTracklet, found: Detections, row: int, now: float) -> int:
        """Remembers that a box is that of a tracklet; returns the person's id."""
        box, score = found.boxes[row].astype(np.float64), float(found.scores[row])
        known = self._people.get(id(tracklet))
        if known is None:
            self._people[id(tracklet)] = _Person(tracklet, self._next_id, score, now, box, np.zeros(4))
            self._next_id += 1
            return self._next_id - 1
        measured = (box - known.box) / (now - known.found_at)
        velocity = known.velocity + _FOLLOW * (measured - known.velocity)
        self._people[id(tracklet)] = _Person(tracklet, known.id, score, now, box, velocity)
        return known.id

    def _with_predicted(self, seen: Detections, now: float) -> Tracks:
        """Adds the people that were not found just now."""
        alive = {id(tracklet) for tracklet in self._library.tracks}
        self._people = {key: person for key, person in self._people.items() if key in alive}
        width, height = seen.size
        boxes, scores, ids, ages = [], [], [], []
        for person in self._people.values():
            age = now - person.found_at
            box = np.clip(person.box_at(now), 0, [width, height, width, height]).astype(np.float32)
            inside = box[2] - box[0] >= 1 and box[3] - box[1] >= 1
            if 0 < age <= self._forget and inside and not (_overlaps(seen.boxes, box) > _SAME).any():
                boxes.append(box)
                scores.append(person.score)
                ids.append(person.id)
                ages.append(age)
        all_scores = np.concatenate([seen.scores, np.array(scores, np.float32)])
        people = Detections(
            np.concatenate([seen.boxes, np.array(boxes, np.float32).reshape(-1, 4)]),
            all_scores,
            seen.size,
            np.concatenate([seen.ids, np.array(ids, np.int64)]),
        )
        all_ages = np.concatenate([np.zeros(len(seen)), np.array(ages, np.float64)])
        return Tracks(people, all_ages[np.argsort(-all_scores, kind="stable")])


def _take_of_box(tracklets: list[ByteTrackTracklet], box: npt.NDArray[np.float32]) -> ByteTrackTracklet | None:
    """Takes the tracklet that has just been started with this box out of a list."""
    for k, tracklet in enumerate(tracklets):
        if np.allclose(tracklet.get_state_bbox(), box, atol=1e-3):
            return tracklets.pop(k)
    return None


def _overlaps(boxes: npt.NDArray[np.float32], box: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the IoU, float32 [n], of each box with one box."""
    common = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    both = np.prod(np.maximum(common, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(both / (areas + np.prod(box[2:] - box[:2]) - both), np.float32)
