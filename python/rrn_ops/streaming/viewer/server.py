"""A viewer that runs: its web server in one thread, its subscriber in another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from types import TracebackType

import uvicorn

from rrn_ops.streaming.clock import clock_name
from rrn_ops.streaming.viewer import clocks
from rrn_ops.streaming.viewer.app import make_app
from rrn_ops.streaming.viewer.cameras import Cameras
from rrn_ops.streaming.viewer.hub import Hub
from rrn_ops.streaming.viewer.metrics import Metrics
from rrn_ops.streaming.viewer.options import ViewerOptions
from rrn_ops.streaming.viewer.pairing import Frame
from rrn_ops.streaming.viewer.subscriber import Subscriber

_START_SECONDS = 20.0
_STOP_SECONDS = 1
# How long a connection may take nothing before the system ends it, so that nothing of it stays.
_TAKES_NOTHING_MS = 20_000


class ViewerError(Exception):
    """A viewer cannot start."""


class Viewer:
    """A running viewer; a context manager that stops it. For one thread.

    Args:
        options: What it is started with.

    Raises:
        ValueError: A file for TLS cannot be read.
    """

    def __init__(self, options: ViewerOptions) -> None:
        self.options = options
        self._cameras = Cameras(options.limits.cameras)
        self._metrics = Metrics(self._cameras)
        self._hub = Hub(self._cameras, options.limits, self._metrics)
        self._subscriber = Subscriber(
            options.broker, options.limits, self._cameras, show=self._hub.offer, forget=self._hub.forget
        )
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The page's address.

        Raises:
            ViewerError: It is not running.
        """
        if self._socket is None:
            raise ViewerError("the viewer is not running")
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def __enter__(self) -> Viewer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, and connects to the broker, which need not be there yet.

        Raises:
            ViewerError: The address cannot be listened on.
        """
        limits = self.options.limits
        self._socket = _listen(self.options.host, self.options.port)
        config = uvicorn.Config(
            make_app(self.options, self._cameras, self._hub, self._metrics),
            ws="websockets-sansio",
            ws_max_size=limits.text_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=10.0,
            ws_ping_timeout=10.0,
            # The websockets, and plain requests beside them.
            limit_concurrency=2 * limits.viewers + 32,
            timeout_graceful_shutdown=_STOP_SECONDS,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            log_level="error",
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._server, started), name="rrn-viewer", daemon=True)
        self._thread.start()
        if not started.wait(_START_SECONDS) or not self._thread.is_alive():
            self.stop()
            raise ViewerError(f"the page at {self.options.host} port {self.options.port} did not start")
        self._subscriber.start()

    def stop(self) -> None:
        """Stops it; pages are told, and at most a second is waited for them. Does nothing where it is stopped."""
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        held, self._socket = self._socket, None
        if server is not None and thread is not None:
            self._hub.end()
            server.should_exit = True
            self._subscriber.stop()
            thread.join(_START_SECONDS)
        if held is not None:
            held.close()

    def show(self, frame: Frame) -> None:
        """Shows a frame, as if it came from the broker; for any thread.

        Args:
            frame: Its picture has to be that of its message, which :class:`Pairing` makes sure of otherwise.

        Raises:
            RefusedError: As many cameras as may be are followed, and none of them is silent.
        """
        forgotten = self._cameras.admit(frame.message.camera)
        if forgotten is not None:
            self._hub.forget(forgotten)
        publish = clocks.publish_ms(frame.message, frame.received_ns, clock_name())
        self._cameras.arrived(frame.message, publish, unpaired=False)
        self._hub.offer(frame)

    def _run(self, server: uvicorn.Server, started: threading.Event) -> None:
        async def serve() -> None:
            self._hub.attach(asyncio.get_running_loop())
            telling = asyncio.ensure_future(_tell(server, started))
            try:
                await server.serve(sockets=[self._socket] if self._socket is not None else [])
            finally:
                telling.cancel()
                self._hub.attach(None)

        try:
            asyncio.run(serve())
        finally:
            started.set()


async def _tell(server: uvicorn.Server, started: threading.Event) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    started.set()


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; of IPv4 where a name has addresses of both kinds."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ViewerError(f"--host {host}: no such address ({error.strerror})") from error
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TAKES_NOTHING_MS)
        # A frame goes out when it is there, and does not wait for an acknowledgement of TCP.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(address)
        made.listen(512)
    except OSError as error:
        made.close()
        raise ViewerError(f"{host} port {port}: {error.strerror}; choose another --port, or 0") from error
    return made
