"""A broker, a publisher of drawn pictures, and what the tests of the viewer ask."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from PIL import Image, ImageDraw
from rrn_ops.streaming.clock import clock_name
from rrn_ops.streaming.message import SCHEMA, Counters, FrameMessage, Latency, Model, Person, Picture, encode
from rrn_ops.streaming.viewer.pairing import Frame
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

TOKEN = "correct-horse-battery"
SESSION = "0123456789abcdef"
SIZE = (427, 240)
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
NO_BROKER = "no mosquitto here: apt-get install mosquitto"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Waits until `condition` holds; the time only bounds a test that fails, unless it is what is tested."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return value


def draw(number: int, size: tuple[int, int] = SIZE) -> tuple[bytes, list[Person]]:
    """A room with two people who walk, the first one in front; the JPEG file and their boxes."""
    width, height = size
    image = Image.new("RGB", size, (92, 104, 118))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, int(height * 0.72), width, height), fill=(128, 116, 100))
    people = []
    for k, (share, colour, speed) in enumerate(((0.62, (40, 92, 160), 3), (0.36, (150, 70, 66), -2))):
        tall = height * share
        left = (width * (0.25 + 0.45 * k) + speed * number) % (width - tall * 0.4)
        top = height * 0.9 - tall - 30 * k
        right, bottom = left + tall * 0.4, top + tall
        pen.ellipse((left + tall * 0.12, top, right - tall * 0.12, top + tall * 0.18), fill=(224, 186, 158))
        pen.rounded_rectangle((left, top + tall * 0.19, right, bottom), radius=int(tall * 0.1), fill=colour)
        people.append(
            Person(k + 1, (round(left, 1), round(top, 1), round(right, 1), round(bottom, 1)), 0.93 - 0.12 * k)
        )
    held = io.BytesIO()
    image.save(held, "JPEG", quality=80)
    return held.getvalue(), people


def frame_message(number: int = 1, jpeg: bytes | None = None, **changes: Any) -> FrameMessage:
    """A message as a publisher makes it; `changes` replaces fields."""
    now = time.monotonic_ns()
    people = changes.pop("people", draw(number)[1])
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "camera": "front",
        "session": SESSION,
        "frame": number,
        "sequence": number,
        "captured_at": time.time() - 0.03,
        "captured_ns": now - 30_000_000,
        "sent_ns": now,
        "clock": clock_name(),
        "width": SIZE[0],
        "height": SIZE[1],
        "model": Model("fast", "openvino", "fp16"),
        "source": "detected",
        "people": people,
        "main": people[0].id if people else None,
        "main_since": 3.5 if people else None,
        "latency": Latency(0.4, 1.8, 2.1, 0.9, 18.5, 0.6, 1.7),
        "counters": Counters(number + 4, 0, 3, 1, number, number, 0, 0),
        "picture": Picture(len(jpeg), hashlib.sha256(jpeg).hexdigest()) if jpeg is not None else None,
    }
    return FrameMessage(**fields | changes)


def frame(number: int = 1, **changes: Any) -> Frame:
    jpeg = draw(number)[0]
    return Frame(frame_message(number, jpeg, **changes), jpeg, time.monotonic_ns())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A real broker of this machine alone, which can be killed and started again on its port."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        self._file.write_text(f"listener {self.port} 127.0.0.1\npersistence false\n{more}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            restore_signals=False,  # it ignores what the test ignores
        )
        wait_for(self._listens, "mosquitto")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def running_broker(folder: Path, more: str = "allow_anonymous true\n") -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip(NO_BROKER)
    broker = Mosquitto(folder, more)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Publisher:
    """Publishes what a camera would, in its own thread or frame by frame; connects again when the broker was away."""

    def __init__(self, port: int, camera: str = "front", prefix: str = "rrn") -> None:
        self.port, self.camera, self._prefix = port, camera, prefix
        self.changes: dict[str, Any] = {}
        self.number = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.will_set(self._topic("status"), "offline", qos=1, retain=True)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda *_: self._client.publish(self._topic("status"), "online", 1, True)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_for(self._client.is_connected, "the publisher")

    def _topic(self, kind: str) -> str:
        return f"{self._prefix}/{self.camera}/{kind}"

    def raw(self, topic: str, payload: bytes, retain: bool = False, **properties: Any) -> None:
        held = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(held, name, value)
        self._client.publish(topic, payload, 0, retain, held).wait_for_publish(10)

    def picture(self, jpeg: bytes, frame: int, session: str = SESSION) -> None:
        user = [("session", session), ("frame", str(frame))]
        self.raw(self._topic("picture"), jpeg, UserProperty=user, ContentType="image/jpeg")

    def frame(self) -> FrameMessage:
        """Publishes the next frame."""
        self.number += 1
        jpeg, people = draw(self.number)
        message = frame_message(self.number, jpeg, **{"camera": self.camera, "people": people} | self.changes)
        self.picture(jpeg, message.frame, message.session)
        self.raw(self._topic("frame"), encode(message))
        return message

    def start(self, fps: float = 15.0) -> None:
        """Publishes on and on, until `stop`."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, args=(fps,), daemon=True)
        self._thread.start()

    def _run(self, fps: float) -> None:
        while not self._stopped.wait(1 / fps):
            if self._client.is_connected():
                # The broker may go while a message is on its way to it.
                with contextlib.suppress(RuntimeError, ValueError):
                    self.frame()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def status(self, text: str) -> None:
        self._client.publish(self._topic("status"), text, 1, True).wait_for_publish(10)

    def close(self) -> None:
        self.stop()
        self._client.disconnect()
        self._client.loop_stop()


def get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Asks a server; status, headers with lower-case names, and body. Follows no redirection."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def state_of(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(url, "/api/state")[2])
    return found


def read_packet(packet: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and JPEG file of a binary message."""
    length = int.from_bytes(packet[:4], "little")
    header: dict[str, Any] = json.loads(packet[4 : 4 + length])
    return header, packet[4 + length :]


def acknowledgement(header: dict[str, Any], **changes: Any) -> str:
    frame = header["frame"]
    names = ("camera", "session", "frame")
    found = {"type": "ack", **{name: frame[name] for name in names}, "received_ms": None, "painted_ms": None}
    return json.dumps(found | changes)


def page_of(url: str, **options: Any) -> ClientConnection:
    return connect(url.replace("http", "ws") + "socket", proxy=None, max_size=2**24, **options)


def next_frame(page: ClientConnection) -> tuple[dict[str, Any], bytes]:
    while isinstance(received := page.recv(20), str):
        pass
    return read_packet(received)


def closed_with(page: ClientConnection) -> int:
    """The code that the server closes with."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            page.recv(20)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code
