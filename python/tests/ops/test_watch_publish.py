"""The publisher with a real broker: boxes and picture of the same frame, counters that add up, and what goes wrong."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="the extra 'watch' is not installed")
pytest.importorskip("trackers", reason="the extra 'watch' is not installed")

import av
import paho.mqtt.client as mqtt
import rrn_native
from blob_detector import blob_model, scene
from paho.mqtt.enums import CallbackAPIVersion
from rrn_ops.streaming import message, sources
from rrn_ops.streaming.connection import Broker, Tls
from rrn_ops.streaming.grabber import Grabber
from rrn_ops.streaming.local_broker import BrokerError, LocalBroker
from rrn_ops.streaming.publisher.link import Link
from rrn_ops.streaming.publisher.publisher import Publisher, PublishOptions
from rrn_ops.streaming.publisher.topics import Topics, home_assistant
from rrn_ops.streaming.watcher import Watcher, WatchOptions, make_detector
from watch_helpers import MOSQUITTO, NO_BROKER, Mosquitto, running_broker, wait_for

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: scripts/build.sh --tests")

SIZE = (160, 120)
MODEL = message.Model("blob", "cpu", "fp32")

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason=NO_BROKER)


class Camera:
    """A camera of drawn frames: a rectangle that walks, at 50 frames a second; it can be stopped or hidden."""

    def __init__(self) -> None:
        self.silent = threading.Event()
        self.nobody = threading.Event()
        self.source = sources.Source("drawn", True, self._frames)

    def rectangle(self, number: int) -> tuple[int, int, int, int]:
        left = 4 + number % 40
        return (left, 30, left + 24, 90)

    def _frames(self) -> sources.Frames:
        for number in range(1, 1_000_000):
            while self.silent.is_set():
                time.sleep(0.01)
            time.sleep(0.02)
            pixels = scene(SIZE) if self.nobody.is_set() else scene(SIZE, self.rectangle(number))
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            yield sources.Frame(number, number / 50, time.monotonic_ns(), time.time(), 0.0, 0.0, picture)


class Reader:
    """Everything that a broker gives under a prefix."""

    def __init__(self, port: int) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.reconnect_delay_set(0, 1)  # type: ignore[arg-type]
        self._client.on_connect = lambda client, *_: client.subscribe("#")
        self._client.on_message = lambda _client, _data, one: self.messages.append(one)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def of(self, part: str) -> list[mqtt.MQTTMessage]:
        return [one for one in list(self.messages) if one.topic.endswith(f"/{part}")]

    def frames(self) -> list[message.FrameMessage]:
        return [message.decode(one.payload) for one in self.of("frame")]

    def last(self, part: str) -> bytes:
        found = self.of(part)
        return bytes(found[-1].payload) if found else b""

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclasses.dataclass
class Running:
    broker: Mosquitto
    camera: Camera
    grabber: Grabber
    publisher: Publisher
    reader: Reader
    thread: threading.Thread

    def stop(self) -> message.Counters:
        self.publisher.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.counters[0]

    counters: list[message.Counters] = dataclasses.field(default_factory=list)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_model(tmp_path_factory.mktemp("blob") / "blob.onnx")


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, model: Path) -> Iterator[Start]:
    """Starts broker, publisher and reader; keywords are options of the publisher."""
    with contextlib.ExitStack() as stack:

        def begin(broker_of: Callable[[Mosquitto], Broker] | None = None, **options: Any) -> Running:
            broker = stack.enter_context(running_broker(tmp_path))
            camera = Camera()
            grabber = stack.enter_context(Grabber(camera.source))
            where = broker_of(broker) if broker_of else Broker(port=broker.port)
            watcher = Watcher(make_detector(str(model)), WatchOptions())
            publisher = Publisher(grabber, watcher, MODEL, PublishOptions(where, size=SIZE, **options))
            reader = Reader(broker.port)
            stack.callback(reader.close)
            running = Running(broker, camera, grabber, publisher, reader, threading.Thread())
            running.thread = threading.Thread(target=lambda: running.counters.append(publisher.run()))
            running.thread.start()
            stack.callback(running.thread.join, 10)
            stack.callback(publisher.stop)
            return running

        yield begin


def test_boxes_and_picture_are_of_the_same_frame(start: Start) -> None:
    running = start()
    wait_for(lambda: len(running.reader.of("frame")) >= 30, "30 frames")
    running.stop()
    pictures = {dict(one.properties.UserProperty)["frame"]: one for one in running.reader.of("picture")}
    schema = message.json_schema()
    for one, found in zip(running.reader.of("frame"), running.reader.frames(), strict=True):
        jsonschema.validate(json.loads(one.payload), schema)
        picture = pictures[str(found.frame)]
        assert dict(picture.properties.UserProperty)["session"] == found.session
        assert picture.properties.ContentType == "image/jpeg"
        assert found.picture is not None
        assert hashlib.sha256(picture.payload).hexdigest() == found.picture.sha256
        assert len(picture.payload) == found.picture.bytes
        pixels = rrn_native.decode_bytes(picture.payload)
        assert pixels.shape == (SIZE[1], SIZE[0], 3)
        rows, columns = np.nonzero(pixels[:, :, 0] > 127)
        drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        seen = [person for person in found.people if person.age == 0]
        assert len(seen) == 1
        np.testing.assert_allclose(seen[0].box, drawn, atol=4)
        assert drawn[:2] == running.camera.rectangle(found.frame)[:2]


def test_counters_add_up_and_sequences_have_no_gap(start: Start) -> None:
    running = start(fps=15)
    wait_for(lambda: len(running.reader.of("frame")) >= 20, "20 frames")
    last = running.stop()
    frames = running.reader.frames()
    assert [one.sequence for one in frames] == list(range(1, len(frames) + 1))
    assert (np.diff([one.frame for one in frames]) > 0).all()
    for counters in [*(one.counters for one in frames), last]:
        assert counters.captured == counters.processed + counters.corrupt + counters.replaced + counters.waiting
        assert counters.processed == counters.published + counters.not_sent + counters.rate_limited
    assert last.rate_limited > 0
    assert last.published == len(frames)
    spans = np.diff([one.captured_ns for one in frames]) / 1e9
    assert spans.mean() > 1 / 15 - 0.01


def test_states_are_retained_and_say_goodbye(start: Start) -> None:
    running = start(discovery="homeassistant")
    wait_for(lambda: json.loads(running.reader.last("main") or b"{}").get("present"), "a main person")
    late = Reader(running.broker.port)
    wait_for(lambda: late.last("status") == b"online", "the retained status")
    wait_for(lambda: json.loads(late.last("main") or b"{}").get("present"), "the retained main person")
    configs = [one for one in late.messages if one.topic.startswith("homeassistant/")]
    assert len(configs) == 3
    for one in configs:
        config = json.loads(one.payload)
        assert one.retain
        assert config["availability_topic"] == "rrn/camera/status"
        topic = config.get("state_topic") or config["topic"]
        assert topic.startswith("rrn/camera/")
    running.stop()
    wait_for(lambda: late.last("status") == b"offline", "offline")
    assert json.loads(late.last("main"))["present"] is False
    late.close()


def test_nobody_where_nobody_is_and_where_no_frame_comes(start: Start) -> None:
    """How soon is tested without a clock in test_watch_people.py."""
    running = start()
    for event in (running.camera.nobody, running.camera.silent):
        wait_for(lambda: json.loads(running.reader.last("main") or b"{}").get("present"), "a main person")
        event.set()
        wait_for(lambda: json.loads(running.reader.last("main"))["present"] is False, "nobody")
        event.clear()


def test_a_broker_that_is_killed_is_found_again(start: Start) -> None:
    running = start()
    wait_for(lambda: len(running.reader.of("frame")) >= 5, "frames")
    running.broker.kill()
    time.sleep(1)
    before = len(running.reader.of("frame"))
    running.broker.start()
    wait_for(lambda: len(running.reader.of("frame")) > before + 5, "frames again")
    newest = running.reader.frames()[-1]
    assert newest.counters.not_sent > 0
    late = Reader(running.broker.port)
    wait_for(lambda: late.last("status") == b"online", "the status of a broker that forgot it")
    wait_for(lambda: late.last("main") != b"", "the main person of a broker that forgot it")
    late.close()


def test_a_publisher_that_is_gone_is_offline(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        reader = Reader(broker.port)
        states: list[object] = []
        link = Link(
            Broker(port=broker.port),
            will=("rrn/c/status", b"offline"),
            greet=lambda: states.append(link.state("rrn/c/status", b"online")),
        )
        link.start()
        wait_for(lambda: reader.last("status") == b"online", "online")
        opened = link._client.socket()
        assert opened is not None
        opened.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: reader.last("status") == b"offline", "the will")
        wait_for(lambda: reader.last("status") == b"online", "online again")
        link.stop()
        reader.close()


class Tap:
    """A connection to a broker through a tap that can be closed: what is sent then stays on its way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open = threading.Event()
        self.open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            far = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, tapped: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                if tapped:
                    self.open.wait()
                data = source.recv(4096)
                if not data:
                    return
                target.sendall(data)

    def close(self) -> None:
        self.open.set()
        self._listener.close()


def test_a_slow_broker_gets_new_frames_and_no_queue_grows(start: Start) -> None:
    taps: list[Tap] = []

    def through_tap(broker: Mosquitto) -> Broker:
        taps.append(Tap(broker.port))
        return Broker(port=taps[0].port)

    running = start(through_tap, most_bytes=16 * 1024)
    wait_for(lambda: len(running.reader.of("frame")) >= 5, "frames")
    taps[0].open.clear()
    stuck = wait_for(lambda: running.publisher._sent.not_sent > 100 and running.publisher._link.in_flight(), "a jam")
    # One frame may exceed the limit; beside it, the system doubles the socket's buffer for its own use.
    assert stuck < 16 * 1024 + 8 * 1024
    taps[0].open.set()
    count = len(running.reader.of("frame"))
    opened = time.monotonic_ns()
    wait_for(lambda: len(running.reader.of("frame")) > count + 20, "frames after the jam")
    old = [one for one in running.reader.frames()[count:] if one.captured_ns < opened - 300_000_000]
    # What was on its way when the tap was closed, through three sockets, and nothing of what was captured meanwhile.
    assert len(old) < 30
    taps[0].close()


def test_a_wrong_password_is_said(tmp_path: Path, start: Start) -> None:
    passwords = tmp_path / "passwords"
    from rrn_ops.streaming.deploy.command import mosquitto_password

    passwords.write_text(mosquitto_password("rrn", "right", b"123456789012"))
    more = f"user root\nallow_anonymous false\npassword_file {passwords}\n"
    with running_broker(tmp_path, more) as broker:
        states = collections.Counter[str]()
        for password in ("right", "wrong"):
            link = Link(
                Broker(port=broker.port, username="rrn", password=password),
                will=("rrn/c/status", b"offline"),
                greet=lambda: states.update(["greeted"]),
            )
            link.start()
            if password == "right":
                assert link.wait_connected(10)
            else:
                wait_for(lambda link=link: "refused" in link.error, "the refusal")
                assert not link.connected
            link.stop()
        assert states["greeted"] == 1


def test_encrypted(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in (key, certificate):
        path.chmod(0o600)
    more = f"user root\nallow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n"
    with running_broker(tmp_path, more) as broker:
        trusting = Link(Broker(port=broker.port, tls=Tls(ca=certificate)), will=("s", b"offline"), greet=lambda: None)
        trusting.start()
        assert trusting.wait_connected(10)
        assert trusting.may_send(10)
        trusting.stop()
        doubting = Link(Broker(port=broker.port, tls=Tls()), will=("s", b"offline"), greet=lambda: None)
        doubting.start()
        assert not doubting.wait_connected(1.5)
        doubting.stop()


def test_a_broker_of_ones_own(tmp_path: Path) -> None:
    with LocalBroker() as broker:
        assert broker.port > 0
        with pytest.raises(BrokerError, match=str(broker.port)), LocalBroker(broker.port):
            pass
        pid = broker.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="fps"):
        PublishOptions(Broker(), fps=-1)
    with pytest.raises(ValueError, match="quality"):
        PublishOptions(Broker(), quality=101)

    for camera in ("", "a/b", "#", "ä", "x" * 65):
        with pytest.raises(ValueError, match="camera"):
            Topics("rrn", camera)


def test_a_broker_that_cannot_write_its_files_still_carries_frames(
    tmp_path: Path, model: Path, request: pytest.FixtureRequest
) -> None:
    """As on a full disk: every write of the broker to a file fails."""
    # A file that grows over the limit then makes its write fail, and no signal; the broker inherits that.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGXFSZ, before))
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit (util-linux)")
    store = tmp_path / "store"
    store.mkdir()
    more = f"user root\nallow_anonymous true\npersistence_location {store}/\nautosave_interval 1\n"
    with running_broker(tmp_path, more.replace("allow", "persistence true\nallow")) as broker:
        assert broker._process is not None
        pid = broker._process.pid
        subprocess.run(["prlimit", f"--pid={pid}", "--fsize=0"], check=True)
        camera, reader = Camera(), Reader(broker.port)
        with Grabber(camera.source) as grabber:
            watcher = Watcher(make_detector(str(model)), WatchOptions())
            publisher = Publisher(grabber, watcher, MODEL, PublishOptions(Broker(port=broker.port), size=SIZE))
            thread = threading.Thread(target=publisher.run)
            thread.start()
            try:
                begin = time.monotonic()
                wait_for(lambda: time.monotonic() > begin + 3 and len(reader.of("frame")) > 30, "frames")
                assert broker._process.poll() is None
            finally:
                publisher.stop()
                thread.join(10)
        reader.close()


def test_a_wall_clock_that_jumps_changes_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    jumps = itertools.cycle((0, 3600, -3600, 86_400))
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    running = start()
    wait_for(lambda: len(running.reader.of("frame")) >= 60, "60 frames")
    running.stop()
    frames = running.reader.frames()
    assert (np.diff([one.captured_at for one in frames]) < 0).any()
    assert (np.diff([one.captured_ns for one in frames]) > 0).all()
    # One walk from left to right takes 40 frames: one person, perhaps a second one where it begins again.
    assert len({one.main for one in frames[20:50]} - {None}) <= 2
    assert all(one.main is not None for one in frames[20:30])
    assert max(one.latency.wait for one in frames) < 3_000_000


def test_discovery_names_are_unique() -> None:
    topics = [Topics("a_b", "c"), Topics("a", "b_c"), Topics("a/b", "c")]
    found = [set(home_assistant(one, "homeassistant")) for one in topics]
    assert len(set.union(*found)) == 9
