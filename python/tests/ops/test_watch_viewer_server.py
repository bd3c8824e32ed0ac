"""The viewer's web server without a broker: the websocket, pictures for other tools, and who may read what."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("paho.mqtt", reason="rrn's extra watch is missing: scripts/build.sh --tests")
pytest.importorskip("starlette", reason="rrn's extra watch is missing: scripts/build.sh --tests")

from prometheus_client.parser import text_string_to_metric_families
from rrn_ops.streaming.connection import Broker
from rrn_ops.streaming.viewer.options import Limits, ViewerOptions
from rrn_ops.streaming.viewer.pairing import Frame
from rrn_ops.streaming.viewer.server import Viewer, ViewerError
from watch_helpers import (
    SESSION,
    TOKEN,
    acknowledgement,
    closed_with,
    draw,
    frame,
    frame_message,
    free_port,
    get,
    next_frame,
    page_of,
    wait_for,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

# ---- The server ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def viewer(**changes: Any) -> Iterator[Viewer]:
    """A viewer whose broker is not there."""
    with Viewer(ViewerOptions(broker=Broker(port=free_port()), port=0, **changes)) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[Viewer]:
    with viewer() as running:
        yield running


def counted(running: Viewer, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in text_string_to_metric_families(get(running.url, "/metrics")[2].decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels)
    return found[0]


def test_late_pages_get_the_newest_frame_at_once(plain: Viewer) -> None:
    made = frame(9)
    plain.show(made)
    for _ in range(2):
        with page_of(plain.url) as page:
            header, jpeg = next_frame(page)
            assert (header["frame"]["frame"], header["old"], jpeg) == (9, True, made.jpeg)
            assert header["frame"]["picture"]["sha256"] == hashlib.sha256(jpeg).hexdigest()
            assert header["frame"]["people"][0]["box"] == list(made.message.people[0].box)


def test_a_slow_page_skips_and_a_quick_one_does_not(plain: Viewer) -> None:
    with page_of(plain.url) as slow, page_of(plain.url) as quick:
        wait_for(lambda: counted(plain, "rrn_view_viewers") == 2, "two pages")
        seen = []
        for number in range(1, 21):
            plain.show(frame(number))
            header, _ = next_frame(quick)
            seen.append(header["frame"]["frame"])
            quick.send(acknowledgement(header))
        assert seen == list(range(1, 21))
        first, second = next_frame(slow)[0], next_frame(slow)[0]
        slow.send(acknowledgement(first))
        third = next_frame(slow)[0]
        assert [each["frame"]["frame"] for each in (first, second, third)] == [1, 2, 20]
        assert third["skipped"] == 17


def test_acknowledgements_are_measured(plain: Viewer) -> None:
    with page_of(plain.url) as page:
        wait_for(lambda: counted(plain, "rrn_view_viewers") == 1, "the page")
        plain.show(frame(1))
        header, _ = next_frame(page)
        page.send(json.dumps({"type": "clock", "t0": 5.5}))
        answer = json.loads(next(text for text in page if isinstance(text, str) and '"clock"' in text))
        assert answer["t0"] == 5.5
        assert header["server_ns"] / 1e6 < answer["t1"] <= answer["t2"]
        page.send(acknowledgement(header, received_ms=answer["t1"], painted_ms=answer["t2"]))
        for stage in ("send", "paint", "end_to_end", "publish", "detect"):
            wait_for(lambda name=stage: counted(plain, "rrn_view_latency_seconds_count", stage=name) == 1, stage)
        state = json.loads(wait_for(lambda: next((t for t in page if '"end_to_end"' in str(t)), None), "the state"))
        assert state["latency"]["end_to_end"]["count"] == 1
        assert state["latency"]["detect"]["p99"] == 18.5


BAD_TEXTS = [
    "",
    "{}",
    "[]",
    "null",
    "x" * 500,
    '{"type":"ack"}',
    '{"type":"shell","run":"ls"}',
    '{"type":"camera","name":"../x"}',
    '{"type":"camera","name":"<b>"}',
    '{"type":"pause","paused":1}',
    '{"type":"pause","paused":true,"more":1}',
    '{"type":"clock","t0":1e300}',
    '{"type":"clock","t0":NaN}',
    '{"type":"ack","camera":"front","session":"0123456789abcdef","frame":1,"received_ms":null,"painted_ms":null}',
    "[" * 900,
]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_a_bad_page_is_closed_alone(text: str, plain: Viewer) -> None:
    with page_of(plain.url) as good, page_of(plain.url) as bad:
        bad.send(text)
        assert closed_with(bad) == 4400
        plain.show(frame(1))
        assert next_frame(good)[0]["frame"]["frame"] == 1
        assert counted(plain, "rrn_view_closed_total", reason="a message that is not understood") == 1


def test_binary_and_large_messages_are_not_taken(plain: Viewer) -> None:
    with page_of(plain.url) as page:
        page.send(b"\x00")
        assert closed_with(page) == 4400
    with page_of(plain.url) as page:
        page.send('"' + "x" * 5000 + '"')
        assert closed_with(page) == 1009


def test_limits_of_a_page() -> None:
    with viewer(limits=Limits(viewers=2, texts_a_second=20, acknowledge_seconds=0.5)) as running:
        with page_of(running.url) as first, page_of(running.url), page_of(running.url) as third:
            assert closed_with(third) == 4503
            with contextlib.suppress(ConnectionClosed):
                for _ in range(200):
                    first.send('{"type":"clock","t0":1}')
            assert closed_with(first) == 4429
        wait_for(lambda: counted(running, "rrn_view_viewers") == 0, "no page")
        with page_of(running.url) as silent:
            running.show(frame(1))
            assert closed_with(silent) == 4408


def test_state_follows(plain: Viewer) -> None:
    plain.show(frame(1))
    plain.show(frame(2, camera="back"))
    with page_of(plain.url) as page:
        page.send('{"type":"camera","name":"back"}')
        state = json.loads(wait_for(lambda: next((t for t in page if '"camera":"back"' in str(t)), None), "the state"))
    assert state["broker"]["connected"] is False
    assert sorted(state["cameras"]) == ["back", "front"]


# ---- Pictures and numbers for other tools --------------------------------------------------------------------------


def test_a_snapshot(plain: Viewer) -> None:
    status, _, body = get(plain.url, "/snapshot")
    assert (status, body) == (404, b"there is no picture yet of this camera\n")
    made = frame(3)
    plain.show(made)
    wait_for(lambda: get(plain.url, "/snapshot")[0] == 200, "a picture")
    status, headers, body = get(plain.url, "/snapshot?camera=front")
    assert (status, body, headers["content-type"]) == (200, made.jpeg, "image/jpeg")
    assert (headers["x-rrn-session"], headers["x-rrn-frame"]) == (SESSION, "3")
    assert headers["x-rrn-captured-at"].endswith("+00:00")
    assert get(plain.url, "/snapshot?camera=%3Cb%3E")[0] == 404


def test_a_stream_of_pictures(plain: Viewer) -> None:
    assert get(plain.url, "/stream.mjpeg")[0] == 404
    plain.show(frame(1))
    wait_for(lambda: get(plain.url, "/snapshot")[0] == 200, "a picture")
    host, port = plain.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), 20) as tool, tool.makefile("rb") as answer:
        tool.sendall(f"GET /stream.mjpeg?camera=front HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        for number in (1, 2, 3):
            if number > 1:
                plain.show(frame(number))
            length = 0
            while (line := answer.readline()) != b"--rrn-frame\r\n":
                assert line, "the stream ended"
            headers = {}
            while (line := answer.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            length = int(headers["content-length"])
            assert answer.read(length) == draw(number)[0]
            assert headers["x-rrn-frame"] == str(number)
        assert counted(plain, "rrn_view_viewers") == 1
    wait_for(lambda: counted(plain, "rrn_view_viewers") == 0, "the stream's end")


def test_health_without_a_broker(plain: Viewer) -> None:
    status, _, body = get(plain.url, "/healthz")
    assert (status, json.loads(body)) == (503, {"broker": False, "age": None})


def test_state_and_metrics(plain: Viewer) -> None:
    plain.show(frame(1))
    plain.show(frame(4))
    wait_for(lambda: get(plain.url, "/snapshot")[1].get("x-rrn-frame") == "4", "the frame")
    state = json.loads(get(plain.url, "/api/state")[2])
    assert state["cameras"]["front"]["lost"] == 2
    assert state["frames"]["front"]["frame"] == 4
    assert counted(plain, "rrn_view_frames_total", camera="front") == 2
    assert counted(plain, "rrn_view_frames_lost_total", camera="front") == 2
    assert counted(plain, "rrn_view_publisher_frames", camera="front", outcome="replaced") == 3
    assert counted(plain, "rrn_view_invalid_messages_total", reason="digest") == 0


# ---- Who may read what ---------------------------------------------------------------------------------------------

PATHS = ("/", "/web/app.js", "/web/style.css", "/snapshot", "/stream.mjpeg", "/metrics", "/healthz", "/api/state", "/x")


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers(path: str, plain: Viewer) -> None:
    _, headers, _ = get(plain.url, path)
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "form-action": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/web/", "/web/..%2fapp.py", "/web/%2e%2e/app.py", "/web/nothing.js", "/web/..%5capp.py", "/app.py"]
)
def test_only_the_page_s_files(path: str, plain: Viewer) -> None:
    assert get(plain.url, path)[0] == 404


def test_the_page_has_nothing_inline_and_nothing_of_others(plain: Viewer) -> None:
    text = get(plain.url, "/")[2].decode()
    assert text.count("<script") == text.count('src="/web/app.js"') == 1
    assert [
        word for word in ("<style", " style=", " onclick", " onload", "http://", "https://", "//cdn") if word in text
    ] == []


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/healthz"])
def test_a_token_is_asked_for(path: str) -> None:
    with viewer(token=TOKEN) as running:
        assert get(running.url, path)[0] == 401
        assert get(running.url, path, {"Authorization": f"Bearer {TOKEN}x"})[0] == 401
        assert get(running.url, path, {"Authorization": f"Basic {TOKEN}"})[0] == 401
        assert get(running.url, path, {"Cookie": f"rrn_view={TOKEN}"})[0] == 401
        assert get(running.url, path, {"Authorization": f"Bearer {TOKEN}"})[0] != 401
        assert get(running.url, "/healthz")[0] == 503


def test_a_token_in_the_address_becomes_a_cookie() -> None:
    with viewer(token=TOKEN) as running:
        assert get(running.url, "/?token=wrong")[0] == 401
        assert get(running.url, f"/snapshot?token={TOKEN}")[0] == 401
        status, headers, _ = get(running.url, f"/?token={TOKEN}")
        assert (status, headers["location"]) == (303, "/")
        cookie, *flags = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=strict"} <= set(flags)
        assert TOKEN not in cookie
        assert get(running.url, "/", {"Cookie": cookie})[0] == 200
        assert get(running.url, "/", {"Cookie": cookie + "0"})[0] == 401
        with page_of(running.url, additional_headers={"Cookie": cookie}) as page:
            assert json.loads(page.recv(20))["type"] == "state"
        with pytest.raises(InvalidStatus) as caught:
            page_of(running.url)
        assert caught.value.response.status_code == 401
    with viewer(token=TOKEN[::-1]) as other:
        assert get(other.url, "/", {"Cookie": cookie})[0] == 401


def test_pages_of_other_origins_do_not_connect(plain: Viewer) -> None:
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://[", "file://"):
        with pytest.raises(InvalidStatus) as caught:
            page_of(plain.url, origin=origin)
        assert caught.value.response.status_code == 403
    with page_of(plain.url, origin=plain.url.rstrip("/")) as page:
        assert json.loads(page.recv(20))["type"] == "state"


def test_names_of_others_that_point_here_are_not_served(plain: Viewer) -> None:
    assert get(plain.url, "/", {"Host": "evil.example"})[0] == 421
    assert get(plain.url, "/", {"Host": "localhost:80"})[0] == 200
    with viewer(allowed_hosts=("Cams.example",)) as running:
        assert get(running.url, "/", {"Host": "cams.example:8443"})[0] == 200
        assert get(running.url, "/")[0] == 421


# ---- Start and end ---------------------------------------------------------------------------------------------------


def test_a_taken_port_is_named(plain: Viewer) -> None:
    port = int(plain.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(ViewerError, match=f"port {port}: .*choose another"):
        Viewer(ViewerOptions(port=port)).start()


COMMAND = """
import sys
from rrn_native.cli.parser import Parser
from rrn_ops.streaming.viewer import command
parser = Parser("rrn watch", "", "")
command.add(parser.add_subparsers(dest="what"))
arguments = parser.parse_args(sys.argv[1:])
sys.exit(arguments.run(arguments))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_command(number: signal.Signals) -> None:
    words = ["view", "--port", "0", "--broker", f"127.0.0.1:{free_port()}"]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {}
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        with connect(url.replace("http", "ws") + "socket", proxy=None) as page:
            page.recv(20)
            process.send_signal(number)
            assert closed_with(page) == 1012
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_picture_without_a_file_is_shown_without_one(plain: Viewer) -> None:
    plain.show(Frame(frame_message(1), None, time.monotonic_ns()))
    with page_of(plain.url) as page:
        header, jpeg = next_frame(page)
    assert (header["frame"]["picture"], jpeg) == (None, b"")
    assert get(plain.url, "/snapshot")[0] == 404


def test_streams_end_with_the_viewer(capfd: pytest.CaptureFixture[str]) -> None:
    with viewer() as running:
        running.show(frame(1))
        wait_for(lambda: get(running.url, "/snapshot")[0] == 200, "a picture")
        host, port = running.url.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), 20) as tool:
            tool.sendall(f"GET /stream.mjpeg HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            wait_for(lambda: counted(running, "rrn_view_viewers") == 1, "the stream")
            running.stop()
            received = b""
            while part := tool.recv(2**16):
                received += part
    # The end of a chunked answer: it is complete, and was not cut.
    assert received.endswith(b"0\r\n\r\n")
    assert capfd.readouterr().err == ""
