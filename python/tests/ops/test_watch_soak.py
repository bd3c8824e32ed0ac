"""An hour of publisher and viewer with a broker that dies: flat memory, counters that add up, no stuck state."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av", reason="the extra 'watch' is not installed")
pytest.importorskip("trackers", reason="the extra 'watch' is not installed")

from blob_detector import blob_model, scene
from conftest import ROOT
from rrn_ops.streaming.drawing import VideoWriter
from watch_helpers import running_broker, state_of, wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

# RRN_SOAK_SECONDS makes it shorter, to try it.
SECONDS = float(os.environ.get("RRN_SOAK_SECONDS", "3600"))
SIZE = (427, 240)
# Of a process whose memory is flat: what allocators and caches still take after the first tenth of the time.
MOST_GROWTH = 24 * 1024 * 1024
VIEWERS = 10
VIDEO_SECONDS = 8

pytestmark = pytest.mark.nightly


def resident(pid: int) -> int:
    """Resident memory in bytes (proc(5))."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def draw_video(path: Path) -> Path:
    """Somebody walks in from the left, out again, and nobody is there for two seconds: 8 seconds in all."""
    with VideoWriter(path, SIZE, 25) as writer:
        for k in range(200):
            left = 5 + k
            writer.add(scene(SIZE, (left, 60, left + 50, 200)) if k < 140 else scene(SIZE))
    return path


@contextlib.contextmanager
def rrn(*words: object) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    command = [sys.executable, "-m", "rrn_native", "watch", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


class Page:
    """A page that acknowledges frames, comes and goes, and remembers when it last saw a new one."""

    def __init__(self, url: str, patience: float) -> None:
        self._url, self._patience = url, patience
        self.frames = 0
        self.last = time.monotonic()
        self.saw = {True: 0.0, False: 0.0}
        self.sums_wrong: list[dict[str, int]] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(ConnectionClosed, OSError, TimeoutError):
                self._session(time.monotonic() + self._patience)

    def _session(self, end: float) -> None:
        with connect(self._url) as socket:
            while time.monotonic() < end and not self.stop.is_set():
                received = socket.recv(timeout=5)
                if isinstance(received, str):
                    continue
                (length,) = struct.unpack_from("<I", received)
                self._take(socket, json.loads(received[4 : 4 + length])["frame"])

    def _take(self, socket: Any, frame: dict[str, Any]) -> None:
        self.frames += 1
        self.last = time.monotonic()
        self.saw[frame["main"] is None] = self.last
        found = frame["counters"]
        taken = found["processed"] + found["corrupt"] + found["replaced"] + found["waiting"]
        sent = found["published"] + found["not_sent"] + found["rate_limited"]
        if (found["captured"], found["processed"]) != (taken, sent):
            self.sums_wrong.append(found)
        now = time.monotonic_ns() / 1e6
        names = {name: frame[name] for name in ("camera", "session", "frame")}
        socket.send(json.dumps({"type": "ack", **names, "received_ms": now, "painted_ms": now}))


def test_soak(tmp_path: Path) -> None:
    model = blob_model(tmp_path / "blob.onnx")
    video = draw_video(tmp_path / "walk.mp4")
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(tmp_path))
        where = ("--broker", f"127.0.0.1:{broker.port}")
        viewer = stack.enter_context(rrn("view", "--port", "0", *where))
        assert viewer.stdout is not None
        url = viewer.stdout.readline().strip()
        publisher = stack.enter_context(rrn("publish", video, "--loop", "--model", model, *where))
        socket = f"ws{url.removeprefix('http')}socket"
        pages = [Page(socket, 20 + 7 * k) for k in range(VIEWERS)]
        stack.callback(lambda: [page.stop.set() for page in pages])
        wait_for(lambda: all(page.frames for page in pages), "frames on every page", 60)

        sizes: dict[str, list[int]] = {"publisher": [], "viewer": []}
        begin = time.monotonic()
        next_kill = begin + SECONDS / 12
        while (now := time.monotonic()) < begin + SECONDS:
            time.sleep(1)
            if now >= next_kill:
                next_kill += SECONDS / 12
                broker.kill()
                time.sleep(2)
                broker.start()
                back = time.monotonic()
                wait_for(lambda back=back: all(page.last > back for page in pages), "frames after a restart", 15)
            assert publisher.poll() is None
            assert viewer.poll() is None
            if now - begin > SECONDS / 10:
                sizes["publisher"].append(resident(publisher.pid))
                sizes["viewer"].append(resident(viewer.pid))

        state = state_of(url)
        assert state["broker"]["connected"]
        for name, values in sizes.items():
            tenth = max(1, len(values) // 10)
            growth = statistics.median(values[-tenth:]) - statistics.median(values[:tenth])
            print(f"{name}: {values[0] / 1e6:.0f} MB, {growth / 1e6:+.1f} MB over {SECONDS:.0f} s")
            assert growth < MOST_GROWTH, name
        assert [page.sums_wrong for page in pages] == [[] for _ in pages]
        for page in pages:
            page.stop.set()
            page.thread.join(10)
            assert not page.thread.is_alive()
        # The video has somebody in 70 % of it: neither of the two states is stuck.
        for page in pages:
            assert max(page.last - seen for seen in page.saw.values()) < 3 * VIDEO_SECONDS
