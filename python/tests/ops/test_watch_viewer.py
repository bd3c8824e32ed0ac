"""The parts of the viewer: pairing, sizes of pictures, statistics, credits, options."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("paho.mqtt", reason="rrn's extra watch is missing: scripts/build.sh --tests")
pytest.importorskip("starlette", reason="rrn's extra watch is missing: scripts/build.sh --tests")

from conftest import make_picture
from rrn_native.cli.parser import Parser
from rrn_ops.streaming.connection import Broker, Tls, read_broker, read_secret
from rrn_ops.streaming.message import FrameMessage, encode
from rrn_ops.streaming.viewer import cameras, clocks, command
from rrn_ops.streaming.viewer.cameras import Cameras
from rrn_ops.streaming.viewer.hub import Hub, Page
from rrn_ops.streaming.viewer.metrics import Metrics
from rrn_ops.streaming.viewer.options import Limits, ViewerOptions
from rrn_ops.streaming.viewer.pairing import Frame, Loose, Pairing, RefusedError, Taken, read
from rrn_ops.streaming.viewer.pictures import jpeg_size
from rrn_ops.streaming.viewer.protocol import Ack
from rrn_ops.streaming.viewer.statistics import CameraStatistics
from rrn_ops.streaming.windows import Rate, Window
from watch_helpers import SESSION, TOKEN, draw, frame, frame_message

# ---- Pairing -------------------------------------------------------------------------------------------------------


def loose(jpeg: bytes, number: int, session: str = SESSION) -> Loose:
    return Loose(session, number, jpeg)


def test_a_picture_and_its_message() -> None:
    jpeg = draw(1)[0]
    pairing, message = Pairing(Limits()), frame_message(1, jpeg)
    assert pairing.picture("front", loose(jpeg, 1), 10) is None
    assert pairing.message(message, 20) == Taken(message, Frame(message, jpeg, 20), False)


def test_a_message_before_its_picture() -> None:
    jpeg = draw(1)[0]
    pairing, message = Pairing(Limits()), frame_message(1, jpeg)
    assert pairing.message(message, 10) == Taken(message, None, False)
    assert pairing.picture("front", loose(jpeg, 1), 20) == Frame(message, jpeg, 20)


@pytest.mark.parametrize("other", [("front", 1, SESSION), ("front", 2, "f" * 16), ("back", 2, SESSION)])
def test_no_boxes_on_another_picture(other: tuple[str, int, str]) -> None:
    camera, number, session = other
    jpeg = draw(2)[0]
    pairing = Pairing(Limits())
    pairing.picture(camera, loose(jpeg, number, session), 10)
    assert pairing.message(frame_message(2, jpeg), 20).frame is None
    taken = pairing.message(frame_message(3, draw(3)[0]), 30)
    assert (taken.frame, taken.unpaired) == (None, True)


def broken(jpeg: bytes) -> bytes:
    return jpeg[:-20] + bytes(20)


def as_png(width: int, height: int) -> bytes:
    held = io.BytesIO()
    make_picture(1, width, height).save(held, "PNG")
    return held.getvalue()


def test_pictures_that_are_not_the_message_s() -> None:
    jpeg = draw(1)[0]
    png, small = as_png(427, 240), draw(1, (100, 50))[0]
    cases = [
        (broken(jpeg), frame_message(1, jpeg), "digest"),
        (jpeg + b"x", frame_message(1, jpeg), "picture_size"),
        (png, frame_message(1, png), "not_jpeg"),
        (b"<svg onload=alert(1)>", frame_message(1, b"<svg onload=alert(1)>"), "not_jpeg"),
        (small, frame_message(1, small), "picture_size"),
    ]
    for content, message, reason in cases:
        pairing = Pairing(Limits())
        pairing.picture("front", loose(content, 1), 10)
        taken = pairing.message(message, 20)
        assert taken.frame is None
        assert taken.refusal is not None
        assert taken.refusal.reason == reason


def test_pictures_with_more_pixels_than_a_browser_should_hold() -> None:
    jpeg = draw(1)[0]
    pairing = Pairing(Limits(picture_pixels=1000))
    pairing.picture("front", loose(jpeg, 1), 10)
    refusal = pairing.message(frame_message(1, jpeg), 20).refusal
    assert refusal is not None
    assert refusal.reason == "picture_size"


USER = [("session", SESSION), ("frame", "3")]


@pytest.mark.parametrize(
    ("properties", "content_type", "reason"),
    [
        ([], None, "properties"),
        (USER[:1], None, "properties"),
        ([*USER, ("frame", "4")], None, "properties"),
        ([("session", SESSION + "\n"), USER[1]], None, "properties"),
        ([USER[0], ("frame", "0")], None, "properties"),
        ([USER[0], ("frame", "\u0663")], None, "properties"),
        ([USER[0], ("frame", "9" * 500)], None, "properties"),
        (USER, "text/html", "content_type"),
    ],
)
def test_pictures_of_no_frame(properties: list[tuple[str, str]], content_type: str | None, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Pairing(Limits()).check_picture(b"\xff\xd8", properties, content_type)
    assert caught.value.reason == reason


def test_a_picture_that_is_too_large() -> None:
    pairing = Pairing(Limits(picture_bytes=10))
    assert pairing.check_picture(bytes(10), [*USER, ("else", "x")], "image/jpeg") == Loose(SESSION, 3, bytes(10))
    with pytest.raises(RefusedError, match="11 bytes"):
        pairing.check_picture(bytes(11), USER, None)


def test_what_was_there_before_is_not_shown_again() -> None:
    pairing = Pairing(Limits())
    pairing.message(frame_message(5), 10)
    for number in (5, 4):
        with pytest.raises(RefusedError, match="after 5"):
            pairing.message(frame_message(number), 20)
    assert pairing.message(frame_message(1, session="f" * 16), 30).frame is not None


def test_a_message_of_another_camera() -> None:
    with pytest.raises(RefusedError, match="not the topic's"):
        read("back", encode(frame_message()))
    assert read("front", encode(message := frame_message())) == message


# ---- Sizes of pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}, {"quality": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_size_of_a_jpeg_file(options: dict[str, Any], mode: str) -> None:
    held = io.BytesIO()
    make_picture(1, 123, 45).convert(mode).save(held, "JPEG", **options)
    content = held.getvalue()
    assert jpeg_size(content) == (123, 45)
    # With its header cut anywhere there is no size, or the same.
    assert {jpeg_size(content[:at]) for at in range(min(len(content), 900))} <= {None, (123, 45)}


@given(st.binary(max_size=300))
def test_any_bytes_have_a_size_or_none(content: bytes) -> None:
    for each in (content, b"\xff\xd8" + content, b"\xff\xd8\xff\xc0\x00\x11\x08" + content):
        assert min(jpeg_size(each) or (1, 1)) >= 1


# ---- Statistics ----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300))
def test_percentiles_are_those_of_the_nearest_rank(values: list[float]) -> None:
    window = Window()
    for value in values:
        window.add(value, 1.0)
    found = window.percentiles(1.0)
    assert found is not None
    assert [found.p50, found.p95, found.p99] == list(np.percentile(values, [50, 95, 99], method="inverted_cdf"))
    assert found.count == len(values)


def test_a_window_forgets() -> None:
    window = Window()
    window.add(1.0, 0.0)
    window.add(3.0, 9.0)
    found = window.percentiles(10.5)
    assert found is not None
    assert (found.p50, found.count) == (3.0, 1)
    assert window.percentiles(30.0) is None


def test_frames_a_second_go_to_zero() -> None:
    rate = Rate()
    for k in range(30):
        rate.add(k / 10)
    assert rate.value(2.95) == pytest.approx(10)
    assert 1 < rate.value(4.9) < 6
    assert rate.value(9) == 0


def test_lost_messages_by_their_sequence() -> None:
    counted = CameraStatistics()
    for sequence, session in ((5, "a" * 16), (6, "a" * 16), (10, "a" * 16), (2, "b" * 16), (4, "b" * 16)):
        counted.arrived(frame_message(sequence, session=session), None, 1.0)
    # What came before the first message of a session is not known to be lost.
    assert (counted.received, counted.lost, counted.sessions) == (5, 4, 2)


def test_times_of_another_clock_are_not_compared() -> None:
    own = frame_message(1, clock="own", captured_ns=0, sent_ns=5_000_000)
    assert clocks.publish_ms(own, 7_000_000, "own") == 2.0
    assert clocks.publish_ms(own, 7_000_000, "other") is None
    assert clocks.publish_ms(own, 10**15, "own") is None
    way = clocks.way(own, 7_000_000, "own", browser_ms=9.0, painted_ms=12.0)
    assert (way.send, way.paint, way.end_to_end) == (2.0, 3.0, 12.0)
    assert clocks.way(own, 7_000_000, "other", browser_ms=9.0, painted_ms=12.0).end_to_end is None
    assert clocks.way(own, 7_000_000, "own", browser_ms=None, painted_ms=12.0) == clocks.Way()
    assert clocks.way(own, 7_000_000, "own", browser_ms=9.0, painted_ms=1e14) == clocks.Way(send=2.0)


def test_cameras_are_limited_and_silent_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Cameras(2)
    assert [known.admit(name) for name in ("a", "b", "a")] == [None] * 3
    with pytest.raises(RefusedError, match="more cameras"):
        known.admit("c")
    monkeypatch.setattr(cameras, "_SILENT_SECONDS", 0.0)
    assert known.admit("c") == "b"
    assert known.names() == ["a", "c"]


# ---- Credits -------------------------------------------------------------------------------------------------------


def ack_of(shown: FrameMessage) -> Ack:
    return Ack(shown.camera, shown.session, shown.frame, None, None)


def make_hub(limits: Limits) -> tuple[Hub, Page]:
    known = Cameras(limits.cameras)
    counted = Metrics(known)
    hub, page = Hub(known, limits, counted), Page(limits, counted)
    hub.add(page)
    return hub, page


def show(hub: Hub, number: int, **changes: Any) -> None:
    hub.offer(frame(number, **changes))
    hub.deliver()


def taken(page: Page) -> int | None:
    shown = page.take()
    return shown.frame.message.frame if shown is not None else None


def test_two_frames_may_be_on_their_way() -> None:
    hub, page = make_hub(Limits())
    got = []
    for number in range(1, 7):
        show(hub, number)
        got.append(taken(page))
    assert got == [1, 2, None, None, None, None]
    assert page.skipped == 3
    page.acknowledge(ack_of(frame_message(1)))
    assert [taken(page), taken(page)] == [6, None]
    with pytest.raises(ValueError, match="not on its way"):
        page.acknowledge(ack_of(frame_message(1)))


def test_frames_that_the_loop_did_not_see_are_overtaken() -> None:
    hub, page = make_hub(Limits())
    for number in (1, 2, 3):
        hub.offer(frame(number))
    hub.deliver()
    assert taken(page) == 3


def test_a_page_that_is_paused_gets_and_skips_nothing() -> None:
    hub, page = make_hub(Limits())
    show(hub, 1)
    page.take()
    page.paused = True
    show(hub, 2)
    show(hub, 3)
    assert (taken(page), page.skipped) == (None, 0)
    page.paused = False
    hub.turn(page, "front")
    assert taken(page) == 3


def test_a_page_keeps_its_camera() -> None:
    hub, page = make_hub(Limits())
    show(hub, 1)
    show(hub, 2, camera="back")
    assert (page.camera, taken(page), taken(page)) == ("front", 1, None)
    hub.turn(page, "back")
    assert taken(page) == 2


# ---- Options and the command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.b", ("a.b", 1883)), ("a:5", ("a", 5)), ("[::1]", ("::1", 1883)), ("[::1]:7", ("::1", 7))],
)
def test_brokers(text: str, expected: tuple[str, int]) -> None:
    assert read_broker(text, tls=False) == expected
    assert read_broker("a", tls=True) == ("a", 8883)


@pytest.mark.parametrize("text", ["", "a:b", "a:", "::1", "user@a", "mqtt://a", "a b", "a:123456"])
def test_what_is_no_broker(text: str) -> None:
    with pytest.raises(ValueError, match="--broker"):
        read_broker(text, tls=False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Broker(prefix="a/#"), "--prefix"),
        (lambda: Broker(prefix=""), "--prefix"),
        (lambda: Broker(port=0), "port"),
        (lambda: Broker(password="x"), "--username"),
        (lambda: ViewerOptions(port=70000), "--port"),
        (lambda: ViewerOptions(token="short"), "token"),
        (lambda: Limits(viewers=0), "viewers"),
        (lambda: Tls(key="k").context(), "--tls-certificate"),  # type: ignore[arg-type]
    ],
)
def test_wrong_options_are_named(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_secrets_are_read_and_not_shown(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("p4ss word\nmore\n")
    assert read_secret(file, "X") == "p4ss word"
    monkeypatch.setenv("RRN_MQTT_PASSWORD", "from outside")
    assert read_secret(None, "RRN_MQTT_PASSWORD") == "from outside"
    file.write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        read_secret(file, "X")
    made = ViewerOptions(broker=Broker(username="u", password="p4ss"), token=TOKEN)
    assert "p4ss" not in repr(made)
    assert TOKEN not in repr(made)


def parsed(*words: str) -> Any:
    parser = Parser("rrn watch", "", "")
    command.add(parser.add_subparsers(dest="what"))  # type: ignore[arg-type]
    return parser.parse_args(["view", *words])


def test_the_command_s_options(tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    words = ("--broker", "b:99", "--prefix", "home/rrn", "--host", "::1", "--port", "0", "--token-file", str(file))
    made = command.options(parsed(*words, "--tls", "--username", "me"))
    assert (made.broker.host, made.broker.port, made.broker.prefix) == ("b", 99, "home/rrn")
    assert (made.broker.tls, made.broker.username, made.token) == (Tls(), "me", TOKEN)
    assert dataclasses.astuple(made.limits) == dataclasses.astuple(Limits())


@pytest.mark.parametrize("words", [("--broker", "a:b"), ("--token-file", "/nothing"), ("--tls-ca", "/nothing")])
def test_wrong_usage_is_one_line(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    arguments = parsed(*words)
    assert arguments.run(arguments) == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("rrn watch view: ")


def test_a_forged_sequence_number_does_not_shut_a_camera_out() -> None:
    pairing, statistics = Pairing(Limits()), CameraStatistics()
    statistics.arrived(pairing.message(frame_message(1), 0).message, None, 0.0)
    forged = frame_message(2, sequence=2**53)
    statistics.arrived(pairing.message(forged, 0).message, None, 0.1)
    refused = 0
    for number in range(3, 60):
        try:
            statistics.arrived(pairing.message(frame_message(number), 0).message, None, number / 10)
        except RefusedError:
            refused += 1
    assert refused == 20
    assert statistics.lost == 0
    assert statistics.received == 2 + 57 - 20
