"""The viewer at a real broker: the contract of the topics, hostile messages, a broker that dies, many viewers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paho.mqtt", reason="rrn's extra watch is missing: scripts/build.sh --tests")
pytest.importorskip("starlette", reason="rrn's extra watch is missing: scripts/build.sh --tests")

from rrn_ops.streaming.connection import Broker, Tls
from rrn_ops.streaming.message import encode
from rrn_ops.streaming.viewer.options import Limits, ViewerOptions
from rrn_ops.streaming.viewer.server import Viewer
from watch_helpers import (
    MOSQUITTO,
    NO_BROKER,
    SESSION,
    Mosquitto,
    Publisher,
    acknowledgement,
    draw,
    frame_message,
    get,
    next_frame,
    page_of,
    running_broker,
    state_of,
    wait_for,
)
from websockets.sync.client import ClientConnection

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason=NO_BROKER)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_broker(tmp_path) as running:
        yield running


@contextlib.contextmanager
def viewer(port: int, **limits: Any) -> Iterator[Viewer]:
    with Viewer(ViewerOptions(broker=Broker(port=port), port=0, limits=Limits(**limits))) as running:
        wait_for(lambda: state_of(running.url)["broker"]["connected"], "the viewer's subscription")
        yield running


@pytest.fixture
def running(broker: Mosquitto) -> Iterator[Viewer]:
    with viewer(broker.port) as made:
        yield made


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    made = Publisher(broker.port)
    yield made
    made.close()


def invalid(running: Viewer) -> dict[str, int]:
    found: dict[str, int] = state_of(running.url)["invalid"]
    return found


def test_a_frame_arrives_with_its_own_picture(running: Viewer, publisher: Publisher) -> None:
    with page_of(running.url) as page:
        for _ in range(5):
            sent = publisher.frame()
            header, jpeg = next_frame(page)
            page.send(acknowledgement(header))
            assert header["frame"] == json.loads(encode(sent))
            assert hashlib.sha256(jpeg).hexdigest() == header["frame"]["picture"]["sha256"]
            assert header["publish_ms"] > 0
    assert invalid(running) == {}


def test_status_and_last_will(running: Viewer, publisher: Publisher, broker: Mosquitto) -> None:
    def status() -> str:
        return str(state_of(running.url)["cameras"].get("front", {}).get("status"))

    wait_for(lambda: status() == "online", "online")
    publisher.status("offline")
    wait_for(lambda: status() == "offline", "offline")
    publisher.status("sideways")
    wait_for(lambda: invalid(running) == {"status": 1}, "a refusal")
    assert status() == "offline"
    # Retained: a viewer that comes later knows it too.
    publisher.status("online")
    with viewer(broker.port) as other:
        wait_for(lambda: state_of(other.url)["cameras"].get("front", {}).get("status") == "online", "online")


def hostile(publisher: Publisher) -> dict[str, int]:
    """Publishes what no publisher should; how often each reason has to be counted."""
    jpeg, _ = draw(1)
    user = [("session", SESSION), ("frame", "1")]
    publisher.raw("rrn/front/frame", b"\xff\xfe{")
    publisher.raw("rrn/front/frame", b"[" * 100_000)
    publisher.raw("rrn/front/frame", encode(frame_message(1)).replace(b'"front"', b'"<script>"'))
    publisher.raw("rrn/front/frame", encode(frame_message(1, camera="back")))
    publisher.raw("rrn/<img src=x>/frame", b"{}")
    publisher.raw("rrn/caf\u00e9/frame", b"{}")
    publisher.raw(f"rrn/{'a' * 65}/frame", b"{}")
    publisher.raw("rrn/front/picture", jpeg)
    publisher.raw("rrn/front/picture", jpeg, UserProperty=user, ContentType="text/html")
    publisher.raw("rrn/front/status", b"")
    # Bytes that are not those of the message.
    publisher.picture(jpeg[:-2] + b"xx", 1)
    publisher.raw("rrn/front/frame", encode(frame_message(1, jpeg)))
    # A message again, and one whose picture never comes.
    publisher.raw("rrn/front/frame", encode(frame_message(1, jpeg)))
    publisher.raw("rrn/front/frame", encode(frame_message(2, jpeg)))
    return {
        "message": 3,
        "camera": 1,
        "topic": 3,
        "properties": 1,
        "content_type": 1,
        "status": 1,
        "digest": 1,
        "old": 1,
    }


def test_hostile_messages_are_counted_and_hurt_nobody(running: Viewer, publisher: Publisher) -> None:
    with page_of(running.url) as page:
        expected = hostile(publisher)
        wait_for(lambda: invalid(running) == expected, "the refusals")
        publisher.number = 10
        publisher.frame()
        assert next_frame(page)[0]["frame"]["frame"] == 11
        assert invalid(running) == expected | {"unpaired": 1}


def test_retained_frames_are_not_live(broker: Mosquitto, publisher: Publisher) -> None:
    publisher.raw("rrn/front/frame", encode(frame_message(1)), retain=True)
    with viewer(broker.port) as running:
        wait_for(lambda: "front" in state_of(running.url)["cameras"], "the camera")
        publisher.raw("rrn/front/frame", encode(frame_message(2)))
        frames = wait_for(lambda: state_of(running.url)["frames"], "a frame")
        assert frames["front"]["frame"] == 2
        assert state_of(running.url)["cameras"]["front"]["received"] == 1


def test_pictures_that_are_too_large_are_not_sent_by_the_broker(broker: Mosquitto, publisher: Publisher) -> None:
    with viewer(broker.port, picture_bytes=300_000) as running:
        user = [("session", SESSION), ("frame", "1")]
        publisher.raw("rrn/front/picture", bytes(900_000), UserProperty=user)
        publisher.raw("rrn/front/picture", bytes(300_001), UserProperty=user)
        wait_for(lambda: invalid(running) == {"picture_size": 1}, "the refusal")
        publisher.frame()
        wait_for(lambda: state_of(running.url)["frames"], "a frame")


def test_a_flood_of_nonsense(running: Viewer, publisher: Publisher) -> None:
    """Frames go on while thousands of messages of another client are refused, in bounded memory."""
    with page_of(running.url) as page, contextlib.closing(Publisher(publisher.port, "flood")) as other:
        before = resident()
        for k in range(3000):
            other.raw(f"rrn/camera{k}/frame", os.urandom(2000))
        wait_for(lambda: invalid(running).get("message", 0) > 1000, "refusals")
        for _ in range(5):
            publisher.frame()
            header, _ = next_frame(page)
            page.send(acknowledgement(header))
        assert sorted(state_of(running.url)["cameras"]) == ["flood", "front"]
        assert resident() - before < 64 * 2**20


def resident() -> int:
    """Bytes of memory of this process, in which the viewer runs."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_more_cameras_than_are_followed(broker: Mosquitto) -> None:
    with viewer(broker.port, cameras=2) as running, contextlib.ExitStack() as held:
        for name in ("a", "b", "c"):
            made = held.enter_context(contextlib.closing(Publisher(broker.port, name)))
            made.frame()
            wait_for(lambda: len(state_of(running.url)["cameras"]) >= min(2, ord(name) - 96), name)  # noqa: B023
        wait_for(lambda: invalid(running).get("cameras", 0) >= 1, "the refusal")
        assert len(state_of(running.url)["cameras"]) == 2


def test_lost_messages_are_counted(running: Viewer, publisher: Publisher) -> None:
    publisher.frame()
    publisher.number = 8
    publisher.frame()
    wait_for(lambda: state_of(running.url)["cameras"].get("front", {}).get("lost") == 7, "the gap")


def test_the_broker_is_killed_and_comes_back(broker: Mosquitto, running: Viewer, publisher: Publisher) -> None:
    publisher.start()
    with page_of(running.url) as page:
        page.send(acknowledgement(next_frame(page)[0]))
        broker.kill()
        wait_for(lambda: get(running.url, "/healthz")[0] == 503, "the loss of the broker")
        assert state_of(running.url)["broker"]["error"]
        broker.start()
        # What the page is promised: frames again within 5 s of the broker's return.
        wait_for(lambda: get(running.url, "/healthz")[0] == 200, "the viewer's subscription", 5.0)
        newest = state_of(running.url)["frames"]["front"]["frame"]
        while (header := next_frame(page)[0])["frame"]["frame"] <= newest:
            page.send(acknowledgement(header))
        assert state_of(running.url)["broker"]["connections"] == 2


def test_a_broker_that_comes_late(tmp_path: Path) -> None:
    late = Mosquitto(tmp_path)
    with Viewer(ViewerOptions(broker=Broker(port=late.port), port=0)) as running:
        wait_for(lambda: "refused" in state_of(running.url)["broker"]["error"], "the refusal")
        late.start()
        try:
            wait_for(lambda: get(running.url, "/healthz")[0] == 200, "the subscription")
        finally:
            late.kill()


def test_fifty_viewers_and_one_that_sleeps(running: Viewer, publisher: Publisher) -> None:
    seen: list[list[int]] = [[] for _ in range(50)]

    def follow(page: ClientConnection, numbers: list[int]) -> None:
        while not numbers or numbers[-1] < 30:
            header, jpeg = next_frame(page)
            assert hashlib.sha256(jpeg).hexdigest() == header["frame"]["picture"]["sha256"]
            numbers.append(header["frame"]["frame"])
            page.send(acknowledgement(header))

    with contextlib.ExitStack() as held:
        pages = [held.enter_context(page_of(running.url)) for _ in range(50)]
        sleeper = held.enter_context(page_of(running.url))
        wait_for(lambda: state_of(running.url)["viewers"] == 51, "the viewers")
        threads = [threading.Thread(target=follow, args=each) for each in zip(pages, seen, strict=True)]
        for thread in threads:
            thread.start()
        slow = []
        for _ in range(2):
            publisher.frame()
            slow.append(next_frame(sleeper)[0])
        for _ in range(28):
            publisher.frame()
        # Those that were behind got the newest at the end.
        for thread in threads:
            thread.join(60)
        assert {numbers[-1] for numbers in seen} == {30}
        assert all(numbers == sorted(set(numbers)) for numbers in seen)
        sleeper.send(acknowledgement(slow[0]))
        last = next_frame(sleeper)[0]
        assert [each["frame"]["frame"] for each in (*slow, last)] == [1, 2, 30]
        assert last["skipped"] > 0


# ---- Users and encryption ------------------------------------------------------------------------------------------


def test_user_and_password(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch()
    passwords.chmod(0o644)
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    with running_broker(tmp_path, f"allow_anonymous false\npassword_file {passwords}\nuser root\n") as locked:
        wrong = Broker(port=locked.port, username="me", password="wrong")
        with Viewer(ViewerOptions(broker=wrong, port=0)) as running:
            wait_for(lambda: "Not authorized" in state_of(running.url)["broker"]["error"], "the refusal")
        right = Broker(port=locked.port, username="me", password="right")
        with Viewer(ViewerOptions(broker=right, port=0)) as running:
            wait_for(lambda: get(running.url, "/healthz")[0] == 200, "the subscription")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    more = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *more], check=True, capture_output=True)
    return made, key


@pytest.mark.parametrize(("trusted", "error"), [("other", "certificate verify failed"), ("broker", "")])
def test_encryption_is_checked(trusted: str, error: str, tmp_path: Path) -> None:
    made, key = certificate(tmp_path, "broker")
    certificate(tmp_path, "other")
    with running_broker(tmp_path, f"certfile {made}\nkeyfile {key}\nallow_anonymous true\nuser root\n") as encrypted:
        broker = Broker(port=encrypted.port, tls=Tls(ca=tmp_path / f"{trusted}.pem"))
        with Viewer(ViewerOptions(broker=broker, port=0)) as running:
            expected = (not error, True)
            wait_for(lambda: told(running, error) == expected, error or "the connection")


def told(running: Viewer, error: str) -> tuple[bool, bool]:
    broker = state_of(running.url)["broker"]
    return broker["connected"], error in broker["error"]
