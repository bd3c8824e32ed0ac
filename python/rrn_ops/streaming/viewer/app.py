"""The viewer's routes: the page, its websocket, pictures for other tools, metrics and health."""

from __future__ import annotations

import datetime
import importlib.resources
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from rrn_ops.streaming.viewer import metrics
from rrn_ops.streaming.viewer.access import Guard
from rrn_ops.streaming.viewer.cameras import Cameras
from rrn_ops.streaming.viewer.hub import FullError, Hub, Outlet, Shown
from rrn_ops.streaming.viewer.metrics import Metrics
from rrn_ops.streaming.viewer.options import ViewerOptions
from rrn_ops.streaming.viewer.websocket import Session

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_BOUNDARY = "rrn-frame"
_JPEG = "image/jpeg"


class Routes:
    """What answers requests. For the event loop alone.

    Args:
        options: What the viewer was started with.
        cameras: What is known of the cameras and the broker.
        hub: Where the frames are.
        counted: What is counted.
    """

    def __init__(self, options: ViewerOptions, cameras: Cameras, hub: Hub, counted: Metrics) -> None:
        self._options, self._cameras, self._hub, self._metrics = options, cameras, hub, counted
        self._files = _page_files()

    def routes(self) -> Sequence[BaseRoute]:
        """Returns all of them."""
        return [
            Route("/", self.page),
            Route("/web/{name}", self.file),
            Route("/snapshot", self.snapshot),
            Route("/stream.mjpeg", self.stream),
            Route("/metrics", self.metrics),
            Route("/healthz", self.health),
            Route("/api/state", self.state),
            WebSocketRoute("/socket", self.socket),
        ]

    async def page(self, request: Request) -> Response:
        """The page."""
        del request
        return self._file("index.html")

    async def file(self, request: Request) -> Response:
        """A file of the page, of a list that was read at the start."""
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        content = self._files.get(name)
        if content is None:
            return PlainTextResponse("there is no such file\n", 404)
        return Response(content, media_type=_TYPES[name[name.rindex(".") :]])

    async def snapshot(self, request: Request) -> Response:
        """The newest picture of a camera."""
        shown = self._hub.newest(request.query_params.get("camera", self._hub.default()))
        if shown is None or shown.frame.jpeg is None:
            return PlainTextResponse("there is no picture yet of this camera\n", 404)
        return Response(shown.frame.jpeg, media_type=_JPEG, headers=_picture_headers(shown))

    async def stream(self, request: Request) -> Response:
        """The pictures of a camera as multipart, for tools that know nothing else; the newest wins."""
        camera = request.query_params.get("camera", self._hub.default())
        if camera is None or self._hub.newest(camera) is None:
            return PlainTextResponse("there is no picture yet of this camera\n", 404)
        outlet = Outlet(camera)
        try:
            self._hub.add(outlet)
        except FullError:
            return PlainTextResponse("as many viewers as may be are connected\n", 503)
        return StreamingResponse(
            self._parts(outlet),
            media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
            # Where the client goes before the first part, the generator never runs.
            background=BackgroundTask(self._hub.remove, outlet),
        )

    async def _parts(self, outlet: Outlet) -> AsyncIterator[bytes]:
        try:
            # A boundary after each part: a client shows a picture when it knows that it is complete.
            yield f"--{_BOUNDARY}\r\n".encode()
            while not outlet.ended:
                outlet.wake.clear()
                shown = outlet.take()
                if shown is None or shown.frame.jpeg is None:
                    await outlet.wake.wait()
                    continue
                jpeg = shown.frame.jpeg
                headers = {"Content-Type": _JPEG, "Content-Length": str(len(jpeg)), **_picture_headers(shown)}
                text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                yield b"".join((text.encode(), b"\r\n", jpeg, f"\r\n--{_BOUNDARY}\r\n".encode()))
        finally:
            self._hub.remove(outlet)

    async def metrics(self, request: Request) -> Response:
        """Everything that is counted, as Prometheus reads it."""
        del request
        return Response(self._metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})

    async def health(self, request: Request) -> Response:
        """Whether the broker is connected, and how old the newest frame is."""
        del request
        broker, age = self._cameras.broker, self._cameras.age()
        found = {"broker": broker.connected, "age": None if age is None else round(age, 3)}
        return _json(found, 200 if broker.connected else 503)

    async def state(self, request: Request) -> Response:
        """Everything that is known, as JSON."""
        del request
        newest = {name: self._hub.newest(name) for name in self._cameras.names()}
        return _json(
            {
                "broker": self._cameras.broker,
                "prefix": self._options.broker.prefix,
                "cameras": self._cameras.states(),
                "frames": {name: shown.text for name, shown in newest.items() if shown is not None},
                "viewers": self._hub.viewers,
                "skipped": self._hub.skipped(),
                "invalid": self._cameras.refusals(),
                "last_invalid": self._cameras.details(),
            }
        )

    async def socket(self, websocket: WebSocket) -> None:
        """The page's connection."""
        await Session(self._hub, self._options.limits, self._metrics).run(websocket)


def make_app(options: ViewerOptions, cameras: Cameras, hub: Hub, counted: Metrics) -> Guard:
    """Returns the ASGI application; `hub` has to be attached to its event loop.

    Args:
        options: What the viewer was started with.
        cameras: What is known of the cameras and the broker.
        hub: Where the frames are.
        counted: What is counted.
    """
    counted.watch(lambda: hub.viewers, hub.skipped)
    routes = Routes(options, cameras, hub, counted).routes()
    return Guard(Starlette(routes=routes), options.token, options.hosts())


def _page_files() -> dict[str, bytes]:
    folder = importlib.resources.files("rrn_ops.streaming.viewer") / "web"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(tuple(_TYPES))}


def _picture_headers(shown: Shown) -> dict[str, str]:
    message = shown.frame.message
    # What a hostile publisher calls a time may be after the last year that there is a date for.
    captured = min(message.captured_at, 32503680000.0)
    at = datetime.datetime.fromtimestamp(captured, datetime.UTC).isoformat(timespec="milliseconds")
    age = (time.monotonic_ns() - shown.frame.received_ns) / 1e9
    return {
        "X-Rrn-Camera": message.camera,
        "X-Rrn-Session": message.session,
        "X-Rrn-Frame": str(message.frame),
        "X-Rrn-Captured-At": at,
        "X-Rrn-Age-Seconds": f"{age:.3f}",
    }


def _json(found: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status, media_type="application/json")
