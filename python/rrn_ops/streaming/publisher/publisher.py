"""Publishes what a source shows, frame by frame."""

from __future__ import annotations

import dataclasses
import json
import secrets
import time

import rrn_native
from rrn_native import PixelArray
from rrn_native.files import sha256_of_bytes

from rrn_ops.streaming.clock import clock_name
from rrn_ops.streaming.connection import Broker, check_prefix
from rrn_ops.streaming.grabber import Grabber, GrabCounts
from rrn_ops.streaming.message import SCHEMA, Counters, FrameMessage, Latency, Model, Person, Picture, encode
from rrn_ops.streaming.publisher.link import Link
from rrn_ops.streaming.publisher.topics import OFFLINE, ONLINE, Topics, home_assistant
from rrn_ops.streaming.sources import DEFAULT_SIZE, Frame
from rrn_ops.streaming.watcher import Watched, Watcher
from rrn_ops.streaming.windows import Rate, Stages

# This many seconds after the last frame there is nobody; where frames come seldom, this many of their intervals.
SILENT_SECONDS = 0.8
_SILENT_FRAMES = 2.5
STATS_SECONDS = 2.0
# How long to wait for a frame before looking after the states.
_LOOK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class PublishOptions:
    """What is published, and where.

    Attributes:
        broker: Where to.
        camera: The camera's name in topics and messages.
        size: Width and height of the published picture and of the boxes, in pixels.
        fps: The most frames a second; 0: as many as there are.
        quality: Of the JPEG picture, 1 ... 100; 0: no picture is published.
        discovery: Home Assistant's discovery prefix; empty: no discovery.
        most_bytes: The most bytes that may be on their way to the broker.
    """

    broker: Broker
    camera: str = "camera"
    size: tuple[int, int] = DEFAULT_SIZE
    fps: float = 0.0
    quality: int = 75
    discovery: str = ""
    most_bytes: int = 128 * 1024

    def __post_init__(self) -> None:
        if not 0 <= self.fps <= 1000:
            raise ValueError(f"fps is {self.fps}, expected 0 ... 1000")
        if not 0 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}, expected 0 ... 100")
        if self.discovery:
            check_prefix("--home-assistant-prefix", self.discovery)


@dataclasses.dataclass
class _Sent:
    """Frames that were taken from the grabber, and where they went."""

    published: int = 0
    not_sent: int = 0
    rate_limited: int = 0

    @property
    def processed(self) -> int:
        return self.published + self.not_sent + self.rate_limited


class Publisher:
    """Takes the newest frame of a grabber, finds the people and publishes both, until it is stopped.

    Args:
        grabber: Started by the caller.
        watcher: Who finds the people.
        model: What the messages say of the detector.
        options: The rest.
    """

    def __init__(self, grabber: Grabber, watcher: Watcher, model: Model, options: PublishOptions) -> None:
        self._grabber, self._watcher, self._model, self._options = grabber, watcher, model, options
        self._topics = Topics(options.broker.prefix, options.camera)
        self._session = secrets.token_hex(8)
        self._sent = _Sent()
        self._stages = Stages()
        self._rate = Rate()
        self._main: dict[str, object] = {"present": False, "id": None, "since": time.time()}
        self._interval = 0.0
        self._captured_ns = 0
        self._next_frame = 0.0
        self._next_stats = 0.0
        # A flag, because an Event must not be set in a signal handler that another signal may interrupt.
        self._stopping = False
        self._link = Link(
            options.broker, will=(self._topics.status, OFFLINE), greet=self._greet, most_bytes=options.most_bytes
        )

    def stop(self) -> None:
        """Asks :meth:`run` to end; may be called from a signal handler."""
        self._stopping = True

    def run(self) -> Counters:
        """Publishes until :meth:`stop` or the end of the source; returns the counters.

        Raises:
            RrnError: The model failed.
        """
        self._link.start()
        try:
            while not self._stopping and not self._grabber.ended:
                taken = self._grabber.take(_LOOK_SECONDS)
                if taken is not None:
                    self._frame(*taken)
                elif self._grabber.silent_seconds() > max(SILENT_SECONDS, _SILENT_FRAMES * self._interval):
                    self._state_main(None)
                self._state_stats()
        finally:
            self._state_main(None)
            self._next_stats = 0.0
            self._state_stats()
            self._link.stop((self._topics.status, OFFLINE))
        return self._counters(self._grabber.counts)

    def _frame(self, frame: Frame, counts: GrabCounts) -> None:
        now = time.monotonic()
        if self._captured_ns:
            self._interval += 0.2 * ((frame.captured_ns - self._captured_ns) / 1e9 - self._interval)
        self._captured_ns = frame.captured_ns
        if self._options.fps and now < self._next_frame:
            self._sent.rate_limited += 1
            return
        if self._options.fps:
            step = 1 / self._options.fps
            self._next_frame = max(self._next_frame + step, now)
        waited = (time.monotonic_ns() - frame.captured_ns) / 1e6 - frame.grab_ms - frame.decode_ms
        begin = time.perf_counter()
        pixels = frame.pixels(self._options.size)
        converted = (time.perf_counter() - begin) * 1000
        watched = self._watcher.watch(pixels, frame.captured_ns / 1e9)
        picture, encoding = self._encode(pixels)
        latency = Latency(
            grab=frame.grab_ms,
            decode=frame.decode_ms + converted,
            wait=max(waited, 0.0),
            preprocess=watched.preprocess_ms,
            detect=watched.detect_ms,
            track=watched.track_ms,
            encode=encoding,
        )
        self._publish(frame, watched, latency, picture, counts)
        self._state_main(watched)
        for stage in latency.__struct_fields__:
            self._stages.add(stage, getattr(latency, stage), now)

    def _encode(self, pixels: PixelArray) -> tuple[bytes, float]:
        if not self._options.quality:
            return b"", 0.0
        begin = time.perf_counter()
        picture = rrn_native.encode_jpeg(pixels, self._options.quality, optimize=False)
        return picture, (time.perf_counter() - begin) * 1000

    def _publish(self, frame: Frame, watched: Watched, latency: Latency, picture: bytes, counts: GrabCounts) -> None:
        # The message has about 150 bytes for each person.
        if not self._link.may_send(len(picture) + 1500 + 150 * len(watched.tracks.people)):
            self._sent.not_sent += 1
            return
        self._sent.published += 1
        self._rate.add(time.monotonic())
        people = watched.tracks.people
        width, height = self._options.size
        message = FrameMessage(
            schema=SCHEMA,
            camera=self._options.camera,
            session=self._session,
            frame=frame.number,
            sequence=self._sent.published,
            captured_at=frame.captured_at,
            captured_ns=frame.captured_ns,
            sent_ns=time.monotonic_ns(),
            clock=clock_name(),
            width=width,
            height=height,
            model=self._model,
            source=watched.source,
            people=[
                Person(id=number, box=tuple(box), score=score, age=age)
                for number, box, score, age in zip(
                    people.ids.tolist(),
                    people.boxes.round(2).tolist(),
                    people.scores.tolist(),
                    watched.tracks.ages.tolist(),
                    strict=True,
                )
            ],
            main=watched.main.id if watched.main else None,
            main_since=watched.main.since if watched.main else None,
            latency=latency,
            counters=self._counters(counts),
            picture=Picture(len(picture), sha256_of_bytes(picture)) if picture else None,
        )
        if picture:
            of_frame = {"session": self._session, "frame": str(frame.number)}
            self._link.frame(self._topics.picture, picture, content_type="image/jpeg", properties=of_frame)
        self._link.frame(self._topics.frame, encode(message), content_type="application/json", properties={})

    def _counters(self, counts: GrabCounts) -> Counters:
        """Counters that add up: `counts` are of the moment when the newest frame was taken."""
        return Counters(
            captured=counts.captured,
            corrupt=counts.corrupt,
            replaced=counts.replaced,
            waiting=counts.waiting,
            processed=self._sent.processed,
            published=self._sent.published,
            not_sent=self._sent.not_sent,
            rate_limited=self._sent.rate_limited,
        )

    def _state_main(self, watched: Watched | None) -> None:
        """Publishes who the main person is, where that has changed."""
        main = watched.main.id if watched is not None and watched.main is not None else None
        if self._main["id"] != main:
            self._main = {"present": main is not None, "id": main, "since": time.time()}
            self._link.state(self._topics.main, json.dumps(self._main).encode())

    def _state_stats(self) -> None:
        now = time.monotonic()
        if now < self._next_stats:
            return
        self._next_stats = now + STATS_SECONDS
        stats = {
            "published_fps": round(self._rate.value(now), 1),
            "every": self._watcher.every,
            "source": self._grabber.error or "ok",
            "silent_seconds": round(self._grabber.silent_seconds(), 1),
            "latency_ms": {
                stage: {"p50": round(found.p50, 2), "p95": round(found.p95, 2), "p99": round(found.p99, 2)}
                for stage, found in self._stages.percentiles(now).items()
            },
            "broker": self._link.check() or "ok",
        }
        self._link.state(self._topics.stats, json.dumps(stats).encode())

    def _greet(self) -> None:
        """Publishes what is retained, after each connection: the broker may have lost it."""
        self._link.state(self._topics.status, ONLINE)
        self._link.state(self._topics.main, json.dumps(self._main).encode())
        if self._options.discovery:
            for topic, payload in home_assistant(self._topics, self._options.discovery).items():
                self._link.state(topic, payload)
