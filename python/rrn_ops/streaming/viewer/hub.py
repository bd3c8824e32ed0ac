"""The newest frame of each camera, and who gets it: pages by credit, streams as fast as they read.

Nothing queues. An outlet holds at most the newest frame that it has not sent; a newer one takes its place, and is
counted as skipped. A page may leave two frames unacknowledged, so that one is on its way while the other is painted;
without a credit it gets the newest frame when it acknowledges.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time

import msgspec

from rrn_ops.streaming.clock import clock_name
from rrn_ops.streaming.message import encode
from rrn_ops.streaming.viewer import clocks
from rrn_ops.streaming.viewer.cameras import Cameras, CameraState, Status
from rrn_ops.streaming.viewer.metrics import Metrics
from rrn_ops.streaming.viewer.options import Limits
from rrn_ops.streaming.viewer.pairing import Frame
from rrn_ops.streaming.viewer.protocol import Ack, Header, State, packet
from rrn_ops.streaming.viewer.statistics import BROWSER_STAGES, merged
from rrn_ops.streaming.windows import Percentiles, Stages

_STATES_SECONDS = 0.4

Key = tuple[str, str, int]


@dataclasses.dataclass(frozen=True)
class Shown:
    """A frame and what all its viewers get of it.

    Attributes:
        frame: It.
        text: Its message as JSON, encoded once for all.
        publish_ms: From the publisher to this process; None where it is unknown.
    """

    frame: Frame
    text: msgspec.Raw
    publish_ms: float | None


class FullError(Exception):
    """As many viewers as may be are connected."""


class Outlet:
    """One who gets frames. For the event loop alone.

    Attributes:
        camera: Whose; None for the first that has one.
        skipped: Frames that a newer one replaced before they were sent.
        ended: Whether the viewer stops.
        wake: Set when there may be something to send.
    """

    def __init__(self, camera: str | None) -> None:
        self.camera = camera
        self.skipped = 0
        self.ended = False
        self.wake = asyncio.Event()
        self._newest: Shown | None = None

    def put(self, shown: Shown) -> None:
        """Offers a frame of its camera."""
        self.skipped += self._newest is not None
        self._newest = shown
        self.wake.set()

    def take(self) -> Shown | None:
        """Returns the newest frame that was not sent; None where everything was."""
        taken, self._newest = self._newest, None
        return taken


class Page(Outlet):
    """A browser's page, which acknowledges what it gets. For the event loop alone.

    Args:
        limits: The credit.
        metrics: What measures its acknowledgements.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        super().__init__(None)
        self._limits, self._metrics = limits, metrics
        self._sent: dict[Key, tuple[Shown, bool, float]] = {}
        self._stages = Stages()
        # Frames that were there before the page asked for any: their age says nothing about the way.
        self._old: Key | None = None
        self.paused = False

    def put(self, shown: Shown) -> None:
        """Offers a frame of its camera; nothing where the page is paused."""
        if not self.paused:
            super().put(shown)

    def show_old(self, shown: Shown | None) -> None:
        """Offers the newest frame of a camera that the page turns to, whatever its age."""
        self._newest = None
        if shown is not None:
            self._old = shown.frame.key
            super().put(shown)

    def take(self) -> Shown | None:
        """Returns the newest frame where the page has a credit, and takes the credit; else None."""
        if self.paused or len(self._sent) >= self._limits.credit:
            return None
        shown = super().take()
        if shown is None or shown.frame.key in self._sent:
            return None
        key = shown.frame.key
        self._sent[key] = (shown, self.is_old(shown), time.monotonic())
        return shown

    def is_old(self, shown: Shown) -> bool:
        """Whether a frame was there before the page asked for any."""
        return shown.frame.key == self._old

    def acknowledge(self, ack: Ack) -> None:
        """Gives a credit back, and measures the frame's way.

        Raises:
            ValueError: The frame was not sent, or is acknowledged already.
        """
        sent = self._sent.pop((ack.camera, ack.session, ack.frame), None)
        if sent is None:
            raise ValueError("an acknowledgement of a frame that is not on its way")
        self.wake.set()
        shown, old, _ = sent
        if old:
            return
        frame, now = shown.frame, time.monotonic()
        found = clocks.way(
            frame.message, frame.received_ns, clock_name(), browser_ms=ack.received_ms, painted_ms=ack.painted_ms
        )
        for stage in BROWSER_STAGES:
            value = getattr(found, stage)
            self._stages.add(stage, value, now)
            self._metrics.observe(stage, value)

    def waits_seconds(self) -> float:
        """How long the oldest frame without an acknowledgement is on its way; 0 where all are acknowledged."""
        return max((time.monotonic() - sent for _, _, sent in self._sent.values()), default=0.0)

    def percentiles(self) -> dict[str, Percentiles]:
        """Returns those of the stages from this process to the screen."""
        return self._stages.percentiles(time.monotonic())


class Hub:
    """Hands frames from the subscriber's thread to the outlets of an event loop.

    :meth:`offer`, :meth:`forget` and :meth:`end` are for any thread, the rest is for the event loop alone.

    Args:
        cameras: What is known of the cameras.
        limits: How many viewers there may be.
        metrics: What counts.
    """

    def __init__(self, cameras: Cameras, limits: Limits, metrics: Metrics) -> None:
        self._cameras, self._limits, self._metrics = cameras, limits, metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._box: dict[str, Frame] = {}
        self._newest: dict[str, Shown] = {}
        self._outlets: set[Outlet] = set()
        self._states: tuple[float, dict[str, CameraState]] = (0.0, {})

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Sets the event loop; None before it is closed."""
        with self._lock:
            self._loop = loop

    def offer(self, frame: Frame) -> None:
        """Takes a frame; where the event loop is late, a newer one of the same camera takes its place."""
        with self._lock:
            waits = bool(self._box)
            self._metrics.overtaken(frame.message.camera in self._box)
            self._box[frame.message.camera] = frame
            if not waits and self._loop is not None:
                self._loop.call_soon_threadsafe(self.deliver)

    def forget(self, camera: str) -> None:
        """Drops the newest frame of a camera."""
        with self._lock:
            self._box.pop(camera, None)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._newest.pop, camera, None)

    def end(self) -> None:
        """Tells all outlets that the viewer stops; for any thread."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for outlet in self._outlets:
            outlet.ended = True
            outlet.wake.set()

    def deliver(self) -> None:
        """Gives what was offered to the outlets."""
        with self._lock:
            frames, self._box = list(self._box.values()), {}
        for frame in frames:
            message = frame.message
            publish = clocks.publish_ms(message, frame.received_ns, clock_name())
            shown = Shown(frame, msgspec.Raw(encode(message)), publish)
            self._newest[message.camera] = shown
            self._metrics.shown(message, publish)
            for outlet in self._outlets:
                if outlet.camera is None:
                    outlet.camera = message.camera
                if outlet.camera == message.camera:
                    outlet.put(shown)

    def add(self, outlet: Outlet) -> None:
        """Lets one have frames from now on, beginning with the newest.

        Raises:
            FullError: As many as may be are connected.
        """
        if len(self._outlets) >= self._limits.viewers:
            raise FullError
        self._outlets.add(outlet)
        self.turn(outlet, outlet.camera or self.default())

    def remove(self, outlet: Outlet) -> None:
        """Lets one go."""
        self._outlets.discard(outlet)
        self._metrics.skipped(outlet.skipped)

    def turn(self, outlet: Outlet, camera: str | None) -> None:
        """Turns an outlet to a camera, of which it gets the newest frame at once."""
        outlet.camera = camera
        newest = self.newest(camera)
        if isinstance(outlet, Page):
            outlet.show_old(newest)
        elif newest is not None:
            outlet.put(newest)

    def default(self) -> str | None:
        """Returns the camera whose frame is the newest; None before the first."""
        return max(self._newest, key=lambda name: self._newest[name].frame.received_ns, default=None)

    def newest(self, camera: str | None) -> Shown | None:
        """Returns the newest frame of a camera; None where it has none."""
        return self._newest.get(camera) if camera is not None else None

    @property
    def viewers(self) -> int:
        """How many pages and streams are connected."""
        return len(self._outlets)

    def skipped(self) -> int:
        """How many frames the pages and streams that are connected did not get because they were behind."""
        return sum(outlet.skipped for outlet in self._outlets)

    def packet(self, page: Page, shown: Shown) -> bytes:
        """Returns the binary message of a frame for a page."""
        frame = shown.frame
        header = Header(
            frame=shown.text,
            server_ns=frame.received_ns,
            age_ms=round((time.monotonic_ns() - frame.received_ns) / 1e6, 3),
            old=page.is_old(shown),
            same_clock=frame.message.clock == clock_name(),
            publish_ms=shown.publish_ms,
            viewers=self.viewers,
            skipped=page.skipped,
            cameras=self._cameras.statuses(),
        )
        return packet(header, frame.jpeg)

    def signs(self) -> tuple[bool, dict[str, Status]]:
        """Returns what pages hear of at once: whether the broker is there, and what the cameras' publishers say."""
        return self._cameras.broker.connected, self._cameras.statuses()

    def state(self, page: Page) -> State:
        """Returns what a page gets about once a second; the cameras' part is computed once for all pages."""
        now = time.monotonic()
        if now - self._states[0] > _STATES_SECONDS or self._states[1].keys() != self._cameras.statuses().keys():
            self._states = (now, self._cameras.states())
        # The statuses are of now.
        statuses = self._cameras.statuses()
        states = {
            name: msgspec.structs.replace(state, status=statuses.get(name, state.status))
            for name, state in self._states[1].items()
        }
        own = states.get(page.camera) if page.camera is not None else None
        return State(
            broker=self._cameras.broker,
            camera=page.camera,
            cameras=states,
            viewers=self.viewers,
            skipped=page.skipped,
            invalid=self._cameras.refusals(),
            latency=merged([own.latency if own else {}, page.percentiles()]),
        )
