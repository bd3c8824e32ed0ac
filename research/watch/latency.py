"""Measures how old a frame is when a reader has it decoded, and what that costs, for rrn and for the plain way.

Real processes on this machine: mosquitto, the publisher, the viewer, and a reader behind the viewer's websocket that
decodes each picture and acknowledges it, as the page does. Everything has the machine's monotonic clock, so the age of
a frame needs no estimate. Cases are measured in turn, all of them in every round.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import rrn_native
from paho.mqtt.enums import CallbackAPIVersion
from rrn_ops.streaming.drawing import VideoWriter
from rrn_ops.streaming.local_broker import LocalBroker
from rrn_ops.streaming.sources import Frame, open_source
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from research.common import machine, results, timing
from research.common.places import RESULTS, ROOT

STAGES = ("grab", "decode", "wait", "preprocess", "detect", "track", "encode")
SIZES = {"427x240": (427, 240), "1280x720": (1280, 720)}
RATES = (1, 10, 30)
PLAIN_WAY = Path(__file__).with_name("plain_way.py")
_VIDEO_FRAMES = 150
_START_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        way: "rrn" or "plain".
        size: Width and height of the published picture.
        fps: Frames a second of the source.
    """

    way: str
    size: tuple[int, int]
    fps: int


@dataclasses.dataclass
class Taken:
    """What a reader saw, in milliseconds; one value for each frame.

    Attributes:
        age: From the capture of the frame until its picture was decoded by the reader.
        beyond: The same without preprocessing and detection.
        stages: Of the publisher, by stage; "publish" until the viewer had it, "reach" from there to the decoded one.
        cpu_seconds: Of all processes but the reader.
        seconds: How long was measured.
        every: How many of the frames the detector saw.
    """

    age: list[float] = dataclasses.field(default_factory=list)
    beyond: list[float] = dataclasses.field(default_factory=list)
    stages: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    detected: int = 0

    def extend(self, other: Taken) -> None:
        """Adds another round."""
        self.age += other.age
        self.beyond += other.beyond
        for stage, values in other.stages.items():
            self.stages.setdefault(stage, []).extend(values)
        self.cpu_seconds += other.cpu_seconds
        self.seconds += other.seconds
        self.detected += other.detected


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Returns p50, p95 and p99."""
    found = np.percentile(values, [50, 95, 99]).tolist()
    return {name: timing.significant(value, 3) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}


def make_video(source: Path, target: Path, size: tuple[int, int], fps: int) -> None:
    """Writes the first frames of a video at another size and rate."""
    with VideoWriter(target, size, fps) as writer:
        for one in open_source(str(source)).frames():
            if one.number > _VIDEO_FRAMES:
                break
            if isinstance(one, Frame):
                writer.add(one.pixels(size))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Returns the CPU time of processes so far (proc(5), utime and stime)."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


@contextlib.contextmanager
def running(words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Runs a process, and ends it."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def take_rrn(case: Case, video: Path, seconds: float, more: Sequence[str]) -> Taken:
    """Measures rrn's publisher and viewer."""
    rrn = [sys.executable, "-m", "rrn_native", "watch"]
    taken = Taken()
    size = f"{case.size[0]}x{case.size[1]}"
    with LocalBroker() as broker:
        where = ["--broker", f"127.0.0.1:{broker.port}"]
        with running([*rrn, "view", "--port", "0", *where]) as view:
            assert view.stdout is not None
            page = view.stdout.readline().strip()
            publish = [*rrn, "publish", str(video), "--loop", "--size", size, *where, *more]
            with running(publish) as publisher, connect(f"ws{page.removeprefix('http')}socket") as socket:
                pids = (broker.pid, view.pid, publisher.pid)
                _read_websocket(socket, pids, seconds, taken)
    return taken


def _read_websocket(socket: Any, pids: Sequence[int], seconds: float, taken: Taken) -> None:
    """Reads and acknowledges frames, and keeps what came after the first few."""
    begin = cpu = 0.0
    deadline = time.monotonic() + _START_SECONDS
    count = 0
    while not begin or time.monotonic() < begin + seconds:
        if time.monotonic() > deadline + seconds:
            raise TimeoutError("no frame came")
        received = socket.recv(timeout=_START_SECONDS)
        if isinstance(received, str):
            continue
        (length,) = struct.unpack_from("<I", received)
        header = json.loads(received[4 : 4 + length])
        frame = header["frame"]
        rrn_native.decode_bytes(received[4 + length :])
        now = time.monotonic_ns()
        milliseconds = now / 1e6
        ack = {"type": "ack", "camera": frame["camera"], "session": frame["session"], "frame": frame["frame"]}
        socket.send(json.dumps(ack | {"received_ms": milliseconds, "painted_ms": milliseconds}))
        count += 1
        if count < 6:
            continue
        if not begin:
            begin, cpu = time.monotonic(), cpu_seconds(pids)
        age = (now - frame["captured_ns"]) / 1e6
        latency = frame["latency"]
        taken.age.append(age)
        taken.beyond.append(age - latency["preprocess"] - latency["detect"])
        taken.detected += frame["source"] == "detected"
        own = {**latency, "publish": header["publish_ms"], "reach": (now - header["server_ns"]) / 1e6}
        for stage, value in own.items():
            taken.stages.setdefault(stage, []).append(value)
    taken.seconds = time.monotonic() - begin
    taken.cpu_seconds = cpu_seconds(pids) - cpu


def take_plain(case: Case, video: Path, seconds: float) -> Taken:
    """Measures the plain way: the reader subscribes at the broker, and decodes the picture with OpenCV."""
    import base64

    import cv2

    taken = Taken()
    first = threading.Event()
    state = {"count": 0}

    def arrived(_client: Any, _data: Any, one: mqtt.MQTTMessage) -> None:
        found = json.loads(one.payload)
        cv2.imdecode(np.frombuffer(base64.b64decode(found["image"]), np.uint8), cv2.IMREAD_COLOR)
        age = (time.monotonic() - found["captured"]) * 1000
        state["count"] += 1
        if state["count"] >= 6:
            first.set()
            taken.age.append(age)
            taken.beyond.append(age - found["detect"] * 1000)
            taken.detected += 1
            taken.stages.setdefault("detect", []).append(found["detect"] * 1000)

    with LocalBroker() as broker:
        reader = mqtt.Client(CallbackAPIVersion.VERSION2)
        reader.on_message = arrived
        reader.on_connect = lambda client, *_: client.subscribe("plain/frame")
        reader.connect("127.0.0.1", broker.port)
        reader.loop_start()
        words = [sys.executable, str(PLAIN_WAY), str(video), "--port", str(broker.port)]
        words += ["--fps", str(case.fps), "--width", str(case.size[0]), "--height", str(case.size[1])]
        with running(words) as publisher:
            pids = (broker.pid, publisher.pid)
            if not first.wait(_START_SECONDS):
                raise TimeoutError(f"no frame came from the plain way (its exit status: {publisher.poll()})")
            begin, cpu = time.monotonic(), cpu_seconds(pids)
            time.sleep(seconds)
            taken.seconds = time.monotonic() - begin
            taken.cpu_seconds = cpu_seconds(pids) - cpu
        reader.disconnect()
        reader.loop_stop()
    return taken


def record(case: Case, taken: Taken) -> dict[str, Any]:
    """Returns a case's numbers as they are written."""
    frames = len(taken.age)
    return {
        "way": case.way,
        "size": f"{case.size[0]}x{case.size[1]}",
        "source_fps": case.fps,
        "frames": frames,
        "fps": timing.significant(frames / taken.seconds, 3),
        "detected": taken.detected,
        "age_ms": percentiles(taken.age),
        "beyond_detection_ms": percentiles(taken.beyond),
        "stages_ms": {stage: percentiles(values) for stage, values in taken.stages.items()},
        "cpu_ms_per_frame": timing.significant(taken.cpu_seconds / frames * 1000, 3),
        "cores": timing.significant(taken.cpu_seconds / taken.seconds, 3),
    }


def compare(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the plain way's numbers as multiples of rrn's, for each size and rate that both have."""
    found = []
    by_key = {(one["way"], one["size"], one["source_fps"]): one for one in cases}
    for (way, size, fps), plain in by_key.items():
        ours = by_key.get(("rrn", size, fps))
        if way == "plain" and ours is not None:
            found.append(
                {
                    "size": size,
                    "source_fps": fps,
                    # Where it does not, frames wait in a queue, and their age is that of the run.
                    "plain_keeps_up": plain["fps"] > 0.95 * fps,
                    "age_p50_ratio": timing.significant(plain["age_ms"]["p50"] / ours["age_ms"]["p50"], 3),
                    "age_p95_ratio": timing.significant(plain["age_ms"]["p95"] / ours["age_ms"]["p95"], 3),
                    "cpu_per_frame_ratio": timing.significant(plain["cpu_ms_per_frame"] / ours["cpu_ms_per_frame"], 3),
                }
            )
    return found


def measure(
    video: Path, cases: Sequence[Case], rounds: int, seconds: float, more: Sequence[str]
) -> list[dict[str, Any]]:
    """Measures all cases in turn.

    Args:
        video: What the source shows; its first 150 frames, at each case's rate.
        cases: What is run.
        rounds: How often each is run.
        seconds: How long each time.
        more: Words for rrn watch publish.

    Raises:
        TimeoutError: A publisher gives no frame.
    """
    taken: dict[Case, Taken] = {case: Taken() for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            target = Path(folder, f"{case.size[0]}x{case.size[1]}_{case.fps}.mp4")
            if not target.exists():
                make_video(video, target, case.size, case.fps)
        for number, case in timing.turns(list(cases), rounds):
            target = Path(folder, f"{case.size[0]}x{case.size[1]}_{case.fps}.mp4")
            round_of = take_rrn(case, target, seconds, more) if case.way == "rrn" else take_plain(case, target, seconds)
            taken[case].extend(round_of)
            print(
                f"{number + 1}  {case.way:5} {case.size[0]:4}x{case.size[1]} at {case.fps:2}: "
                f"{statistics.median(round_of.age):8.1f} ms, {len(round_of.age) / round_of.seconds:5.1f} fps",
                flush=True,
            )
    return [record(case, one) for case, one in taken.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.watch.latency", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("video", type=Path, help="a video of people")
    parser.add_argument("--model", default="fast", metavar="NAME", help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="N", help="of each run (default %(default)s)")
    parser.add_argument("--every", default="1", metavar="K", help="as in rrn watch publish (default %(default)s)")
    parser.add_argument("--sizes", default=",".join(SIZES), metavar="WxH,...", help="(default %(default)s)")
    parser.add_argument("--rates", default=",".join(map(str, RATES)), metavar="N,...", help="(default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "watch_latency.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    cases = [
        Case(way, SIZES[size], int(rate))
        for size in arguments.sizes.split(",")
        for rate in arguments.rates.split(",")
        for way in ("rrn", "plain")
    ]
    value = machine.head(machine.command_line("research.watch.latency", words))
    value["detector"] = arguments.model
    value["load_before"] = os.getloadavg()[0]
    try:
        more = ["--model", arguments.model, "--every", arguments.every]
        value["cases"] = measure(arguments.video, cases, arguments.rounds, arguments.seconds, more)
    except (TimeoutError, ConnectionClosed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    value["plain_over_rrn"] = compare(value["cases"])
    results.write(arguments.output, value)
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
