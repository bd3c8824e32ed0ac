"""Which of the people in a frame is the main person.

The rule, "steady": each person has an importance, score x size x centrality, where

- score is the detector's, 0 ... 1;
- size is the square root of the box's share of the frame, so that a person twice as near counts twice;
- centrality is 1 in the middle of the frame and falls to 0.5 in its corners.

It is averaged over about half a second. Somebody becomes the main person

- after `dwell` seconds in view, where nobody is, or
- where the importance has been more than `margin` times that of the main person for `patience` seconds.

A main person that the tracker no longer gives is gone at once; the tracker predicts people for its `forget` seconds, so
that "nobody" follows within a second. No state outlives that: what is known of a person goes with the person.

The plain rule, "largest": the largest box with a score of at least 0.9 in each frame, without memory; in a frame that
the detector did not see, the one of the frame before.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rrn_ops.streaming.tracking import Tracks

Rule = Literal["steady", "largest"]
RULES: tuple[Rule, ...] = ("steady", "largest")
LARGEST_SCORE = 0.9


@dataclasses.dataclass(frozen=True)
class MainPerson:
    """The main person of a frame.

    Attributes:
        id: The person's id.
        since: For how many seconds this has been the main person.
    """

    id: int
    since: float


@dataclasses.dataclass
class _Candidate:
    since: float
    seen: float
    importance: float
    better_since: float | None = None


def importances(tracks: Tracks) -> npt.NDArray[np.float64]:
    """Returns float64 [n]: score x size x centrality of each person, 0 ... 1."""
    people = tracks.people
    width, height = people.size
    size = np.sqrt(people.areas.astype(np.float64) / (width * height))
    middle = (people.boxes[:, :2] + people.boxes[:, 2:]).astype(np.float64) / 2
    off = (middle - [width / 2, height / 2]) / [width / 2, height / 2]
    centrality = 1 - 0.5 * np.minimum(np.hypot(off[:, 0], off[:, 1]) / math.sqrt(2), 1)
    return np.asarray(people.scores * size * centrality, np.float64)


class SteadyRule:
    """The rule "steady" (see the module). For one thread.

    Args:
        dwell: Seconds in view before somebody becomes the main person.
        margin: How many times as important somebody else must be, at least 1.
        patience: For how many seconds.
        average: Time constant of the average of the importance, in seconds.
    """

    def __init__(
        self, *, dwell: float = 0.2, margin: float = 1.25, patience: float = 0.5, average: float = 0.5
    ) -> None:
        self._dwell = dwell
        self._margin = margin
        self._patience = patience
        self._average = average
        self._candidates: dict[int, _Candidate] = {}
        self._main: int | None = None
        self._main_since = 0.0

    def choose(self, tracks: Tracks, now: float) -> MainPerson | None:
        """Returns the main person at `now`, in seconds of the tracker's clock; None for nobody."""
        self._update(tracks, now)
        if self._main not in self._candidates:
            self._main = None
        best = max(self._candidates, key=lambda key: (self._candidates[key].importance, -key), default=None)
        if best is None:
            return None
        if self._main is None:
            ready = [key for key, one in self._candidates.items() if now - one.since >= self._dwell]
            if not ready:
                return None
            self._take(max(ready, key=lambda key: (self._candidates[key].importance, -key)), now)
        else:
            self._challenge(now)
        assert self._main is not None
        return MainPerson(self._main, max(now - self._main_since, 0.0))

    def _update(self, tracks: Tracks, now: float) -> None:
        present: dict[int, _Candidate] = {}
        for person, importance in zip(tracks.people.ids.tolist(), importances(tracks).tolist(), strict=True):
            known = self._candidates.get(person)
            if known is None or now < known.seen:
                present[person] = _Candidate(now, now, importance)
                continue
            share = 1 - math.exp(-(now - known.seen) / self._average)
            known.importance += share * (importance - known.importance)
            known.seen = now
            present[person] = known
        self._candidates = present

    def _challenge(self, now: float) -> None:
        assert self._main is not None
        bar = self._candidates[self._main].importance * self._margin
        winners = []
        for person, one in self._candidates.items():
            if person == self._main or one.importance <= bar:
                one.better_since = None
                continue
            if one.better_since is None:
                one.better_since = now
            if now - one.better_since >= self._patience:
                winners.append(person)
        if winners:
            self._take(max(winners, key=lambda key: (self._candidates[key].importance, -key)), now)

    def _take(self, person: int, now: float) -> None:
        self._main = person
        self._main_since = now
        for one in self._candidates.values():
            one.better_since = None


class LargestRule:
    """The rule "largest" (see the module). For one thread."""

    def __init__(self) -> None:
        self._main: int | None = None
        self._main_since = 0.0

    def choose(self, tracks: Tracks, now: float) -> MainPerson | None:
        """Returns the main person at `now`, in seconds of the tracker's clock; None for nobody."""
        people = tracks.people
        if not tracks.detected and self._main is not None and self._main in people.ids and now >= self._main_since:
            return MainPerson(self._main, now - self._main_since)
        areas = np.where((people.scores >= LARGEST_SCORE) & (tracks.ages == 0), people.areas, 0)
        if not areas.any():
            self._main = None
            return None
        person = int(people.ids[int(np.argmax(areas))])
        if person != self._main or now < self._main_since:
            self._main, self._main_since = person, now
        return MainPerson(person, now - self._main_since)


def make_rule(name: Rule) -> SteadyRule | LargestRule:
    """Returns a rule by its name."""
    return SteadyRule() if name == "steady" else LargestRule()
