"""``rrn watch publish`` and ``rrn watch run``: a camera or video, live."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, fail
from rrn_native.cli.parser import Parser

from rrn_ops.streaming import child
from rrn_ops.streaming.arguments import add_watching, make_watcher
from rrn_ops.streaming.connection import PASSWORD_VARIABLE, Broker, add_connection, broker_of
from rrn_ops.streaming.grabber import Grabber
from rrn_ops.streaming.message import MAX_NAME, Counters, Model
from rrn_ops.streaming.sources import open_source
from rrn_ops.streaming.viewer.options import TOKEN_VARIABLE

_PUBLISH = "publish the people and pictures of a camera or video over MQTT"
_RUN = "broker, publisher and live page on this machine"
_PUBLISH_EPILOG = """examples:
  rrn watch publish /dev/video0 --camera door
  rrn watch publish rtsp://camera/stream --broker broker.local --tls-ca ca.pem --username rrn --password-file password
  rrn watch publish video.mp4 --loop --fps 10

SOURCE is /dev/videoN, an rtsp:// or http:// address, a video file, a folder of pictures, test (a test pattern), or
env:NAME for what the environment's variable NAME holds, such as an address with a password.

Topics under PREFIX/CAMERA: frame (JSON, see rrn watch schema) and picture (the JPEG of the same frame, proven by its
SHA-256) with QoS 0; status (online or offline, also as last will), main (whether there is a main person) and stats,
retained. The newest frame wins: one that the detector or the broker is too slow for is left out and counted.

Exit codes: 0 the file ended, or stopped by Ctrl-C or SIGTERM, 2 wrong usage, 3 the source failed, 4 the model
failed."""
_RUN_EPILOG = """examples:
  rrn watch run video.mp4
  rrn watch run /dev/video0 --fps 15 --page-port 8080
  rrn watch run test --broker broker.local            with a broker that is there already

Starts mosquitto for this machine alone (unless --broker names one), the publisher and the live page, and ends all of
them together. A file is played again and again."""


def add_publish(verbs: argparse._SubParsersAction[Parser]) -> None:
    """Adds ``publish`` to the verbs of ``rrn watch``."""
    made = verbs.add_parser(
        "publish",
        prog="rrn watch publish",
        description="Publish the people and pictures of a camera or video over MQTT.",
        epilog=_PUBLISH_EPILOG,
        help=_PUBLISH,
    )
    _add_publishing(made, loop=False)
    add_connection(made)
    made.set_defaults(run=_run_publish)


def add_run(verbs: argparse._SubParsersAction[Parser]) -> None:
    """Adds ``run`` to the verbs of ``rrn watch``."""
    made = verbs.add_parser(
        "run",
        prog="rrn watch run",
        description="Run broker, publisher and live page on this machine.",
        epilog=_RUN_EPILOG,
        help=_RUN,
    )
    _add_publishing(made, loop=True)
    add_connection(made, default=None)
    made.add_argument("--page-host", default="127.0.0.1", metavar="ADDRESS", help="of the page (default %(default)s)")
    made.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"a browser has to know it (default: ${TOKEN_VARIABLE})"
    )
    made.add_argument("--page-port", type=int, default=8090, metavar="N", help="0 for a free one (default %(default)s)")
    made.add_argument(
        "--broker-port", type=int, default=0, metavar="N", help="of the broker that is started (default: free)"
    )
    made.set_defaults(run=_run_all)


def _add_publishing(made: Parser, *, loop: bool) -> None:
    made.add_argument("source", metavar="SOURCE", help="a camera, stream, file or folder, or test")
    made.add_argument("--camera", default="camera", metavar="NAME", help="its name in the topics (default %(default)s)")
    made.add_argument("--fps", type=float, default=0.0, metavar="N", help="at most N frames a second (default: all)")
    made.add_argument("--camera-fps", type=float, metavar="N", help="ask a camera for this rate")
    made.add_argument("--camera-size", default="", metavar="WxH", help="ask a camera for this size")
    made.add_argument(
        "--loop", action=argparse.BooleanOptionalAction, default=loop, help="begin a file again when it ends"
    )
    made.add_argument("--quality", type=int, default=75, metavar="N", help="of the JPEG, 1 ... 100; 0: no picture (75)")
    made.add_argument("--home-assistant", action="store_true", help="publish discovery messages for Home Assistant")
    made.add_argument(
        "--home-assistant-prefix", default="homeassistant", metavar="NAME", help="of these (default %(default)s)"
    )
    add_watching(made)


def _run_publish(arguments: argparse.Namespace) -> int:
    return _publish(arguments, broker_of(arguments))


def _publish(arguments: argparse.Namespace, broker: Broker) -> int:
    from rrn_ops.streaming.publisher.publisher import Publisher, PublishOptions

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    source = open_source(
        arguments.source,
        fps=arguments.camera_fps,
        paced=True,
        loop=arguments.loop,
        camera_size=arguments.camera_size,
    )
    options = PublishOptions(
        broker=broker,
        camera=arguments.camera,
        size=arguments.size,
        fps=arguments.fps,
        quality=arguments.quality,
        discovery=arguments.home_assistant_prefix if arguments.home_assistant else "",
    )
    detector, watcher = make_watcher(arguments)
    info = detector.info
    with Grabber(source) as grabber:
        publisher = Publisher(grabber, watcher, Model(info.name[:MAX_NAME], info.provider, info.precision), options)
        before = {
            number: signal.signal(number, lambda *_: publisher.stop()) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            counters = publisher.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        failure = grabber.failure
    print(_totals(counters))
    return fail(f"rrn watch {arguments.what}", failure, NOTHING_READABLE) if failure else 0


def _totals(counters: Counters) -> str:
    return (
        f"{counters.captured} frames captured: {counters.published} published, {counters.replaced} replaced by newer "
        f"ones, {counters.corrupt} corrupt, {counters.not_sent} not sent, {counters.rate_limited} over the rate"
        f"{', 1 waiting' if counters.waiting else ''}"
    )


def _run_all(arguments: argparse.Namespace) -> int:
    from rrn_ops.streaming.local_broker import LocalBroker

    with contextlib.ExitStack() as stack:
        if arguments.broker is None:
            local = stack.enter_context(LocalBroker(arguments.broker_port))
            broker = Broker(port=local.port, prefix=arguments.prefix)
        else:
            broker = broker_of(arguments)
        page = stack.enter_context(_page(arguments, broker))
        if page is None:
            return fail("rrn watch run", "the page did not start", RUNTIME_ERROR)
        print(f"broker {broker.host}:{broker.port}, topics {broker.prefix}/{arguments.camera}/...")
        print(f"live page: {page}", flush=True)
        return _publish(arguments, broker)


@contextlib.contextmanager
def _page(arguments: argparse.Namespace, broker: Broker) -> Iterator[str | None]:
    """Runs the viewer in a process of its own, so that it does not wait for the publisher; gives its address."""
    command = [sys.executable, "-m", "rrn_native", "watch", "view"]
    command += ["--broker", f"{broker.host}:{broker.port}", "--prefix", broker.prefix]
    command += ["--host", arguments.page_host, "--port", str(arguments.page_port)]
    if broker.tls is not None:
        files = {"--tls-ca": broker.tls.ca, "--tls-certificate": broker.tls.certificate, "--tls-key": broker.tls.key}
        command += ["--tls", *(word for name, file in files.items() if file for word in (name, str(file)))]
    environment = dict(os.environ)
    if arguments.token_file is not None:
        command += ["--token-file", str(arguments.token_file)]
    if broker.username is not None:
        command += ["--username", broker.username]
        environment[PASSWORD_VARIABLE] = broker.password or ""
    with subprocess.Popen(
        child.bound(command), stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip() or None
        finally:
            child.end(process)
