"""The verbs of rrn watch as processes: everything starts with one command and ends with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av", reason="the extra 'watch' is not installed")
pytest.importorskip("trackers", reason="the extra 'watch' is not installed")

from blob_detector import blob_model, scene
from conftest import ROOT
from rrn_native import cli
from rrn_ops.streaming.deploy.command import mosquitto_password
from rrn_ops.streaming.drawing import VideoWriter
from watch_helpers import MOSQUITTO, NO_BROKER, get, running_broker, wait_for

SIZE = (160, 120)
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason=NO_BROKER)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_model(tmp_path_factory.mktemp("blob") / "blob.onnx")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with VideoWriter(path, SIZE, 25) as writer:
        for k in range(50):
            writer.add(scene(SIZE, (8 + k, 30, 28 + k, 90)))
    return path


def started(*words: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    command = [sys.executable, "-m", "rrn_native", "watch", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started_all(video: Path, model: Path) -> tuple[subprocess.Popen[str], str]:
    process = started("run", video, "--model", model, "--page-port", "0", "--size", "160x120")
    assert process.stdout is not None
    lines = [process.stdout.readline().strip(), process.stdout.readline().strip()]
    assert lines[0].startswith("broker 127.0.0.1:")
    assert lines[1].startswith("live page: http://127.0.0.1:")
    return process, lines[1].removeprefix("live page: ")


@needs_broker
def test_one_command_starts_and_ends_everything(video: Path, model: Path) -> None:
    process, url = started_all(video, model)
    wait_for(lambda: get(url, "/snapshot")[0] == 200, "a picture")
    status, headers, body = get(url, "/snapshot")
    assert status == 200
    assert headers["content-type"] == "image/jpeg"
    assert body[:2] == b"\xff\xd8"
    belonging = children(process.pid)
    assert len(belonging) == 2
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "frames captured" in output
    assert [pid for pid in belonging if alive(pid)] == []


@needs_broker
def test_nothing_is_left_of_a_starter_that_was_killed(video: Path, model: Path) -> None:
    process, url = started_all(video, model)
    wait_for(lambda: get(url, "/snapshot")[0] == 200, "a picture")
    belonging = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(pid) for pid in belonging), "the end of broker and page")


@needs_broker
def test_a_file_that_ends_ends_the_publisher(video: Path, model: Path, tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        process = started("publish", video, "--model", model, "--broker", f"127.0.0.1:{broker.port}")
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.startswith("50 frames captured: ")


def _code(*words: object) -> int:
    try:
        return cli.main(["watch", *map(str, words)])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("publish", "no-such.mp4"), 3, "no such file"),
        (("publish", "test", "--camera", "a/b"), 2, "camera 'a/b'"),
        (("publish", "test", "--broker", "a b"), 2, "--broker"),
        (("publish", "test", "--quality", "101"), 2, "quality is 101"),
        (("publish", "test", "--fps", "-1"), 2, "fps is -1"),
        (("publish", "test", "--tls-ca", "no-such.pem"), 2, "no-such.pem"),
        (("publish",), 2, "SOURCE"),
        (("nonsense.mp4",), 3, "nonsense.mp4"),
        (("run", "test", "--prefix", "#"), 2, "prefix"),
    ],
)
def test_wrong_usage(
    words: tuple[str, ...], code: int, message: str, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--model", model) if len(words) > 1 else ()
    assert _code(*words, *more) == code
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "rrn.frame/1"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "deploy"
    assert _code("init", folder, "--source", "/dev/video0", "--camera", "door") == 0
    return folder


def environment_of(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines()]
    return {name: value.strip('"') for name, _, value in lines}


def test_init_writes_files_with_secrets_of_their_own(written: Path, tmp_path: Path) -> None:
    for name in (".env", "env"):
        assert stat.S_IMODE((written / name).stat().st_mode) == 0o600
    found = environment_of(written / ".env")
    assert (found["SOURCE"], found["CAMERA"]) == ("/dev/video0", "door")
    assert len(found["MQTT_PASSWORD"]) >= 24
    assert len(found["VIEW_TOKEN"]) >= 24
    assert environment_of(written / "env")["RRN_MQTT_PASSWORD"] == found["MQTT_PASSWORD"]
    other = tmp_path / "other"
    assert _code("init", other) == 0
    assert environment_of(other / ".env")["MQTT_PASSWORD"] != found["MQTT_PASSWORD"]
    named = {line.split("`")[1] for line in (written / "README.md").read_text().splitlines() if line.startswith("| `")}
    assert named <= {path.name for path in written.iterdir()}


def test_init_does_not_touch_a_folder_with_files(written: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()}
    assert _code("init", written) == 2
    assert "holds files already" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in written.iterdir() if path.is_file()} == before


def test_init_refuses_what_an_environment_file_cannot_hold(tmp_path: Path) -> None:
    assert _code("init", tmp_path / "x", "--source", 'a"b') == 2
    assert not (tmp_path / "x").exists()


def test_the_words_of_the_compose_file_are_those_of_the_command_line(written: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    from rrn_ops.streaming.command import parser

    services: dict[str, Any] = yaml.safe_load((written / "compose.yaml").read_text())["services"]
    assert set(services) == {"broker", "publisher", "page"}
    for name in ("publisher", "page"):
        words = [word.replace("${SOURCE:?set it in .env}", "/dev/video0") for word in services[name]["command"]]
        words = [word.replace("${CAMERA:-camera}", "door") for word in words]
        parser().parse_args(words)
    service = (written / "rrn-watch.service").read_text()
    assert "@" not in service.replace("[Install]", "")
    (start,) = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    words = start.partition(" watch ")[2].replace("${SOURCE}", "x").replace("${CAMERA}", "y").replace("${BROKER}", "z")
    parser().parse_args(words.split())


@needs_broker
def test_the_broker_of_the_files_knows_the_password(written: Path, tmp_path: Path, model: Path, video: Path) -> None:
    rules = (written / "mosquitto.conf").read_text().replace("/mosquitto/config/passwords", str(written / "passwords"))
    more = "".join(line + "\n" for line in rules.splitlines() if not line.startswith(("listener", "#")))
    password = environment_of(written / ".env")["MQTT_PASSWORD"]
    with running_broker(tmp_path, f"user root\n{more}") as broker:
        for given, good in ((password, True), ("wrong", False)):
            (tmp_path / "password").write_text(f"{given}\n")
            words = ("publish", video, "--model", model, "--broker", f"127.0.0.1:{broker.port}")
            process = started(*words, "--username", "rrn", "--password-file", tmp_path / "password")
            output, errors = process.communicate(timeout=60)
            assert process.returncode == 0
            assert ("refused" in errors) != good
            assert (", 0 published" in output.replace(": 0 published", ", 0 published")) != good


def test_a_password_line_is_what_mosquitto_makes() -> None:
    line = mosquitto_password("rrn", "secret", b"0123456789ab")
    user, _, rest = line.strip().partition(":")
    assert user == "rrn"
    kind, iterations, salt, digest = rest.removeprefix("$").split("$") if rest.count("$") == 4 else ("", "", "", "")
    assert (kind, iterations) == ("7", "101")
    assert salt == "MDEyMzQ1Njc4OWFi"
    assert len(digest) == 88


def test_browsers_that_go_away_do_not_end_the_page() -> None:
    process = started("view", "--port", "0", "--broker", "127.0.0.1:9")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        host, port = url.removeprefix("http://").strip("/").split(":")
        for _ in range(60):
            with socket.create_connection((host, int(port))) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 8)
        assert get(url, "/healthz")[0] == 503
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
