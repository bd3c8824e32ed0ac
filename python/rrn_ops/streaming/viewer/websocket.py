"""A page's websocket: frames by credit, state once a second, and what the page says in return."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from rrn_ops.streaming.viewer import clocks, protocol
from rrn_ops.streaming.viewer.hub import FullError, Hub, Page
from rrn_ops.streaming.viewer.metrics import Metrics
from rrn_ops.streaming.viewer.options import Limits
from rrn_ops.streaming.viewer.protocol import CLOSED, Ack, Answer, Camera, Clock, read_text, text_of

_STATE_SECONDS = 1.0
# How often it is looked whether the broker or a camera came or went, and whether an acknowledgement is overdue.
_LOOK_SECONDS = 0.25
_CLOSE_SECONDS = 1.0
_TOO_BIG = 1009


class _ClosedError(Exception):
    """The page is closed with one of the codes of :data:`CLOSED`."""

    def __init__(self, code: int) -> None:
        super().__init__(CLOSED[code])
        self.code = code


class Session:
    """One page from its connection to its end. For the event loop alone.

    Args:
        hub: Where the frames come from.
        limits: What the page may do.
        metrics: What counts.
    """

    def __init__(self, hub: Hub, limits: Limits, metrics: Metrics) -> None:
        self._hub, self._limits, self._metrics = hub, limits, metrics
        self._page = Page(limits, metrics)
        self._texts, self._refilled = float(2 * limits.texts_a_second), time.monotonic()

    async def run(self, socket: WebSocket) -> None:
        """Serves a page until it goes or has to be closed; whatever it does, other pages do not notice."""
        await socket.accept()
        code: int | None = None
        try:
            self._hub.add(self._page)
            await self._serve(socket)
        except FullError:
            code = protocol.TOO_MANY_VIEWERS
        except _ClosedError as error:
            code = error.code
        except WebSocketDisconnect as error:
            if error.code == _TOO_BIG:
                self._metrics.closed(CLOSED[protocol.BAD_TEXT])
        finally:
            self._hub.remove(self._page)
        if code is not None:
            self._metrics.closed(CLOSED[code])
            await _close(socket, code)

    async def _serve(self, socket: WebSocket) -> None:
        """Sends and receives until one of the two ends, with its exception."""
        tasks = [asyncio.ensure_future(each) for each in (self._send(socket), self._receive(socket))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _send(self, socket: WebSocket) -> None:
        page, hub = self._page, self._hub
        due, signs = 0.0, None
        while True:
            page.wake.clear()
            now = time.monotonic()
            if now >= due or hub.signs() != signs:
                due, signs = now + _STATE_SECONDS, hub.signs()
                await self._in_time(socket.send_text(text_of(hub.state(page))))
            shown = page.take()
            if shown is not None:
                await self._in_time(socket.send_bytes(hub.packet(page, shown)))
                continue
            if page.waits_seconds() > self._limits.acknowledge_seconds:
                raise _ClosedError(protocol.NO_ACKNOWLEDGEMENT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await page.wake.wait()

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await sending
        except TimeoutError as error:
            raise _ClosedError(protocol.TAKES_NOTHING) from error

    async def _receive(self, socket: WebSocket) -> None:
        while True:
            received = await socket.receive()
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code", 1005), received.get("reason"))
            arrived = clocks.now_ms()
            self._count_text()
            text = received.get("text")
            if text is None or len(text) > self._limits.text_bytes:
                raise _ClosedError(protocol.BAD_TEXT)
            try:
                answer = self._take(text, arrived)
            except ValueError as error:
                raise _ClosedError(protocol.BAD_TEXT) from error
            if answer is not None:
                await self._in_time(socket.send_text(text_of(answer)))

    def _count_text(self) -> None:
        """Takes one of the messages that the page may send; they come back over time, up to those of two seconds."""
        rate, now = self._limits.texts_a_second, time.monotonic()
        self._texts = min(2.0 * rate, self._texts + (now - self._refilled) * rate) - 1.0
        self._refilled = now
        if self._texts < 0:
            raise _ClosedError(protocol.TOO_MANY_TEXTS)

    def _take(self, text: str, arrived: float) -> Answer | None:
        message = read_text(text)
        if isinstance(message, Ack):
            self._page.acknowledge(message)
        elif isinstance(message, Clock):
            return Answer(message.t0, arrived, clocks.now_ms())
        elif isinstance(message, Camera):
            self._hub.turn(self._page, message.name)
        elif message.paused != self._page.paused:
            self._page.paused = message.paused
            self._hub.turn(self._page, self._page.camera or self._hub.default())
        return None


async def _close(socket: WebSocket, code: int) -> None:
    """Closes with a code; a page that takes nothing does not get it, and the connection ends all the same."""
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await socket.close(code, CLOSED[code])
