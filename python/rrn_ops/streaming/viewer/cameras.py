"""What is known of the cameras and the broker, for all threads: state, counters, statistics."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Literal

import msgspec

from rrn_ops.streaming.message import Counters, FrameMessage
from rrn_ops.streaming.viewer.pairing import Reason, RefusedError
from rrn_ops.streaming.viewer.statistics import CameraStatistics
from rrn_ops.streaming.windows import Percentiles

Status = Literal["online", "offline", "unknown"]

# A camera that was silent for so long makes room for another one.
_SILENT_SECONDS = 30.0
_MOST_DETAIL = 200


class CameraState(msgspec.Struct, frozen=True):
    """A camera at a moment, as pages and ``/api/state`` get it.

    Attributes:
        status: What its publisher, or the broker in its place, says.
        fps: Messages a second.
        age: Seconds since the newest message; None before the first.
        received, lost, unpaired, sessions: As of :class:`CameraStatistics`.
        counters: Of the newest message.
        latency: Percentiles of the stages up to this process, in milliseconds.
    """

    status: Status
    fps: float
    age: float | None
    received: int
    lost: int
    unpaired: int
    sessions: int
    counters: Counters | None
    latency: dict[str, Percentiles]


class BrokerState(msgspec.Struct, frozen=True):
    """The connection to the broker.

    Attributes:
        connected: Whether it is subscribed.
        connections: How often that was so, this time included.
        error: Why it is not connected; empty where it is.
    """

    connected: bool = False
    connections: int = 0
    error: str = ""


@dataclasses.dataclass
class _Camera:
    status: Status = "unknown"
    seen: float = 0.0
    newest: float | None = None
    statistics: CameraStatistics = dataclasses.field(default_factory=CameraStatistics)


class Cameras:
    """The cameras that are followed, and the connection to the broker. Thread-safe.

    Args:
        most: How many are followed at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._cameras: dict[str, _Camera] = {}
        self._refused: dict[Reason, int] = {}
        self._details: dict[Reason, str] = {}
        self._broker = BrokerState()

    def admit(self, name: str) -> str | None:
        """Makes room for a camera.

        Returns:
            The name of one that was silent for half a minute and is forgotten for it; None where there is room.

        Raises:
            RefusedError: As many as may be are followed, and none of them is silent.
        """
        now = time.monotonic()
        with self._lock:
            camera, forgotten = self._cameras.get(name), None
            if camera is None:
                forgotten = self._room(now)
                camera = self._cameras[name] = _Camera()
            camera.seen = now
        return forgotten

    def _room(self, now: float) -> str | None:
        if len(self._cameras) < self._most:
            return None
        name, camera = min(self._cameras.items(), key=lambda item: item[1].seen)
        if now - camera.seen < _SILENT_SECONDS:
            raise RefusedError("cameras")
        del self._cameras[name]
        return name

    def status(self, name: str, status: Status) -> None:
        """Notes what a publisher says of itself; :meth:`admit` was called."""
        with self._lock:
            self._cameras[name].status = status

    def arrived(self, message: FrameMessage, publish: float | None, *, unpaired: bool) -> None:
        """Counts a message; :meth:`admit` was called.

        Args:
            message: Of the frame.
            publish: The time from its publisher to here, in milliseconds; None where it is unknown.
            unpaired: Whether the message before it is dropped, because its picture did not arrive.
        """
        now = time.monotonic()
        with self._lock:
            camera = self._cameras[message.camera]
            camera.newest = now
            camera.statistics.arrived(message, publish, now)
            camera.statistics.unpaired += unpaired

    def refused(self, reason: Reason, detail: str) -> None:
        """Counts a message that was not taken; the last detail of each reason is kept."""
        with self._lock:
            self._refused[reason] = self._refused.get(reason, 0) + 1
            self._details[reason] = detail[:_MOST_DETAIL]

    def connected(self) -> None:
        """Notes that the broker sends messages from now on."""
        with self._lock:
            self._broker = BrokerState(True, self._broker.connections + 1)

    def disconnected(self, error: str) -> None:
        """Notes that the broker is away, and why."""
        with self._lock:
            self._broker = BrokerState(False, self._broker.connections, error[:_MOST_DETAIL])

    @property
    def broker(self) -> BrokerState:
        """The connection to the broker."""
        with self._lock:
            return self._broker

    def names(self) -> list[str]:
        """The names of all cameras, sorted."""
        with self._lock:
            return sorted(self._cameras)

    def statuses(self) -> dict[str, Status]:
        """What each publisher says of itself, by name."""
        with self._lock:
            return {name: self._cameras[name].status for name in sorted(self._cameras)}

    def refusals(self) -> dict[Reason, int]:
        """How many messages were not taken, by reason."""
        with self._lock:
            return dict(self._refused)

    def details(self) -> dict[Reason, str]:
        """What was wrong with the last message that was not taken, by reason."""
        with self._lock:
            return dict(self._details)

    def age(self) -> float | None:
        """Seconds since the newest message of any camera; None before the first."""
        with self._lock:
            newest = [camera.newest for camera in self._cameras.values() if camera.newest is not None]
        return time.monotonic() - max(newest) if newest else None

    def states(self) -> dict[str, CameraState]:
        """All that is known of each camera, by name."""
        now = time.monotonic()
        with self._lock:
            return {name: self._state(self._cameras[name], now) for name in sorted(self._cameras)}

    def _state(self, camera: _Camera, now: float) -> CameraState:
        counted = camera.statistics
        return CameraState(
            status=camera.status,
            fps=round(counted.fps(now), 2),
            age=None if camera.newest is None else round(now - camera.newest, 3),
            received=counted.received,
            lost=counted.lost,
            unpaired=counted.unpaired,
            sessions=counted.sessions,
            counters=counted.counters,
            latency=counted.percentiles(now),
        )
