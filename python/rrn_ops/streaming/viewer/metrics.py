"""What Prometheus reads, in a registry of the viewer's own: several viewers of a process do not mix."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from rrn_ops.streaming.message import FrameMessage
from rrn_ops.streaming.viewer.cameras import Cameras
from rrn_ops.streaming.viewer.pairing import REASONS
from rrn_ops.streaming.viewer.protocol import CLOSED
from rrn_ops.streaming.viewer.statistics import MESSAGE_STAGES, STAGES

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_OUTCOMES = ("captured", "corrupt", "replaced", "processed", "published", "not_sent", "rate_limited")


class Metrics:
    """Counts and measures. Thread-safe, except where a method says so.

    Args:
        cameras: What is known of the cameras and the broker.
    """

    def __init__(self, cameras: Cameras) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "rrn_view_latency_seconds",
            "Time of a stage; publish ends in this process, paint on a screen, end_to_end goes from grab to screen",
            ["stage"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._overtaken = Counter(
            "rrn_view_overtaken", "Frames that a newer one replaced before any viewer got them", registry=self._registry
        )
        self._skipped = Counter(
            "rrn_view_gone_viewers_skipped", "Frames that viewers which are gone did not get", registry=self._registry
        )
        self._closed = Counter(
            "rrn_view_closed", "Viewers that were closed, by reason", ["reason"], registry=self._registry
        )
        for stage in STAGES:
            self._latency.labels(stage)
        for reason in CLOSED.values():
            self._closed.labels(reason)
        self._state = _StateCollector(cameras)
        self._registry.register(self._state)

    def watch(self, viewers: Callable[[], int], skipped: Callable[[], int]) -> None:
        """Sets what says how many viewers are connected, and how many frames they did not get; called in the loop."""
        self._state.viewers, self._state.skipped = viewers, skipped

    def shown(self, message: FrameMessage, publish_ms: float | None) -> None:
        """Measures the stages of a frame up to this process."""
        for stage in MESSAGE_STAGES:
            self.observe(stage, getattr(message.latency, stage))
        self.observe("publish", publish_ms)

    def observe(self, stage: str, milliseconds: float | None) -> None:
        """Measures a stage; None, which stands for unknown, is left out."""
        if milliseconds is not None:
            self._latency.labels(stage).observe(milliseconds / 1e3)

    def overtaken(self, replaced: bool) -> None:
        """Counts a frame that no viewer got, where it is one."""
        if replaced:
            self._overtaken.inc()

    def skipped(self, count: int) -> None:
        """Counts the frames that a viewer which goes did not get."""
        self._skipped.inc(count)

    def closed(self, reason: str) -> None:
        """Counts a viewer that was closed; `reason` is one of a fixed set."""
        self._closed.labels(reason).inc()

    def text(self) -> bytes:
        """Returns everything in Prometheus's text format; for the event loop alone."""
        return generate_latest(self._registry)


class _StateCollector(Collector):
    """Reads, when it is asked, what is counted elsewhere; a camera that is forgotten is gone from here too."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras
        self.viewers: Callable[[], int] = lambda: 0
        self.skipped: Callable[[], int] = lambda: 0

    def describe(self) -> Iterator[Metric]:
        """Yields nothing, so that registering asks for no state."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yields what is known now."""
        broker = self._cameras.broker
        yield GaugeMetricFamily("rrn_view_broker_connected", "1 while subscribed", broker.connected)
        yield CounterMetricFamily("rrn_view_broker_connections", "Subscriptions that were made", broker.connections)
        yield GaugeMetricFamily("rrn_view_viewers", "Pages and streams that are connected", self.viewers())
        yield GaugeMetricFamily(
            "rrn_view_viewers_skipped", "Frames that connected viewers did not get, being behind", self.skipped()
        )
        invalid = CounterMetricFamily("rrn_view_invalid_messages", "Messages that were not taken", labels=["reason"])
        refused = self._cameras.refusals()
        for reason in REASONS:
            invalid.add_metric([reason], refused.get(reason, 0))
        yield invalid
        yield from self._of_cameras()

    def _of_cameras(self) -> Iterator[Metric]:
        states = self._cameras.states()
        counters = {
            "rrn_view_frames": ("Messages that were taken", "received"),
            "rrn_view_frames_lost": ("Messages that are missing by their sequence numbers", "lost"),
            "rrn_view_frames_unpaired": ("Messages whose picture did not arrive", "unpaired"),
            "rrn_view_sessions": ("Starts of the publisher", "sessions"),
        }
        for name, (text, attribute) in counters.items():
            family = CounterMetricFamily(name, text, labels=["camera"])
            for camera, state in states.items():
                family.add_metric([camera], getattr(state, attribute))
            yield family
        online = GaugeMetricFamily("rrn_view_camera_online", "1 while its publisher says so", labels=["camera"])
        fps = GaugeMetricFamily("rrn_view_camera_fps", "Messages a second", labels=["camera"])
        age = GaugeMetricFamily("rrn_view_camera_age_seconds", "Since the newest message", labels=["camera"])
        # A gauge: with a new session the publisher counts from 0 again.
        outcomes = GaugeMetricFamily(
            "rrn_view_publisher_frames", "Frames of the publisher's session", labels=["camera", "outcome"]
        )
        for camera, state in states.items():
            online.add_metric([camera], state.status == "online")
            fps.add_metric([camera], state.fps)
            if state.age is not None:
                age.add_metric([camera], state.age)
            for outcome in _OUTCOMES if state.counters is not None else ():
                outcomes.add_metric([camera, outcome], getattr(state.counters, outcome))
        yield from (online, fps, age, outcomes)
