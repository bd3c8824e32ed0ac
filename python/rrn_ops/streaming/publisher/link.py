"""The publisher's connection to a broker: never a queue of frames, however slow the broker or the way to it is.

A client library queues without bound what is published faster than the link takes it, QoS 0 included, and the system's
socket hides more: seconds of old pictures. So this module counts the bytes that are still on their way, those in paho's
hands and those in the socket's send buffer, and a frame that would exceed the limit is left out and counted; the next
one is newer.

Frames are sent with QoS 0: a frame that is lost is replaced by the next one 40 ms later, and sending it again would
only delay that. States are sent with QoS 1 and retained: there is one message when something changes, and a reader who
comes later must know it.
"""

from __future__ import annotations

import array
import collections
import contextlib
import fcntl
import logging
import socket
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from rrn_native.cli.common import one_line

from rrn_ops.streaming.connection import Broker

_FIRST_WAIT, _LAST_WAIT = 0.25, 2.0
_CONNECT_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 4
# What the system may hold of what has not been sent; it would otherwise grow to megabytes.
_SEND_BUFFER = 64 * 1024
# The broker throws away what a slow subscriber has not taken for so long (MQTT 5, 3.3.2.3.3).
_EXPIRY_SECONDS = 2
_NOT_YET = "not connected yet"
_log = logging.getLogger(__name__)


class Link:
    """A connection that is made again whenever the broker was away. Thread-safe.

    Args:
        broker: Where to.
        will: Topic and payload of the retained message that the broker publishes when this process is gone.
        greet: Called after each connection, on the link's thread; publishes what is retained.
        most_bytes: The most bytes that may be on their way before a frame is left out; one frame always may.

    Raises:
        ValueError: A file for TLS cannot be read.
    """

    def __init__(
        self, broker: Broker, *, will: tuple[str, bytes], greet: Callable[[], None], most_bytes: int = 128 * 1024
    ) -> None:
        self._broker, self._will, self._greet = broker, will, greet
        self._most_bytes = most_bytes
        self._tls = broker.tls.context() if broker.tls is not None else None
        self._lock = threading.Lock()
        self._sent: collections.deque[tuple[mqtt.MQTTMessageInfo, int]] = collections.deque()
        self._connected = threading.Event()
        self._stopping = False
        self._asked_at = time.monotonic()
        self._error = _NOT_YET
        self._client = self._new_client(broker)

    def start(self) -> None:
        """Starts; a broker that is not there yet is waited for."""
        self._asked_at = time.monotonic()
        self._client.connect_async(
            self._broker.host, self._broker.port, keepalive=_KEEP_ALIVE_SECONDS, clean_start=True
        )
        self._client.loop_start()

    def stop(self, last: tuple[str, bytes] | None = None) -> None:
        """Sends a last retained message, waits up to a second for it, and ends the connection."""
        info = self.state(*last) if last is not None else None
        deadline = time.monotonic() + 1
        while info is not None and not info.is_published() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._stopping = True
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected.is_set()

    @property
    def error(self) -> str:
        """Why it is not: one line; empty while it is."""
        return "" if self.connected else self._error

    def check(self) -> str:
        """Returns why the broker is not there, as `error` does; says so where it does not answer."""
        silent = time.monotonic() - self._asked_at > _CONNECT_SECONDS
        if not self.connected and silent and self._error in ("", _NOT_YET):
            self._say("it does not answer")
        return self.error

    def wait_connected(self, timeout: float) -> bool:
        """Waits until the broker is there; returns whether it is."""
        return self._connected.wait(timeout)

    def in_flight(self) -> int:
        """Returns how many bytes of frames are still on their way out of this machine."""
        with self._lock:
            while self._sent and self._sent[0][0].is_published():
                self._sent.popleft()
            return sum(size for _, size in self._sent) + self._unsent_of_socket()

    def may_send(self, size: int) -> bool:
        """Whether a frame of `size` bytes may be sent now."""
        if not self.connected:
            return False
        waiting = self.in_flight()
        return waiting == 0 or waiting + size <= self._most_bytes

    def frame(self, topic: str, payload: bytes, *, content_type: str, properties: dict[str, str]) -> None:
        """Sends a part of a frame: QoS 0, not retained; expires after two seconds. Ask :meth:`may_send` before."""
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        made.MessageExpiryInterval = _EXPIRY_SECONDS
        made.ContentType = content_type
        if properties:
            made.UserProperty = list(properties.items())
        info = self._client.publish(topic, payload, qos=0, retain=False, properties=made)
        with self._lock:
            self._sent.append((info, len(payload)))

    def state(self, topic: str, payload: bytes) -> mqtt.MQTTMessageInfo | None:
        """Sends a retained message, QoS 1; nothing where the broker is away, which is greeted when it is back."""
        if not self.connected:
            return None
        return self._client.publish(topic, payload, qos=1, retain=True)

    def _unsent_of_socket(self) -> int:
        """Returns what the socket holds and the other side has not acknowledged (SIOCOUTQ, tcp(7))."""
        found = self._client.socket()
        if found is None:
            return 0
        count = array.array("i", [0])
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, count)
        return count[0]

    def _new_client(self, broker: Broker) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        # States that are published while the broker is away; the greeting has them all.
        client.max_queued_messages_set(64)
        client.connect_timeout = _CONNECT_SECONDS
        client.reconnect_delay_set(_FIRST_WAIT, _LAST_WAIT)  # type: ignore[arg-type]  # it takes any number
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(self._will[0], self._will[1], qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = _prepare_socket
        return client

    def _on_connect(self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._say(f"refused: {reason}")
            return
        with self._lock:
            self._sent.clear()
        self._error = ""
        self._connected.set()
        self._greet()

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: Any) -> None:
        self._say(self._why_not())

    def _why_not(self) -> str:
        """Returns why the broker cannot be reached, which paho keeps to itself: the same once more."""
        address = (self._broker.host, self._broker.port)
        try:
            with socket.create_connection(address, timeout=_CONNECT_SECONDS) as opened:
                if self._tls is not None:
                    self._tls.wrap_socket(opened, server_hostname=self._broker.host).close()
        except OSError as error:
            return f"cannot be reached: {one_line(error)}"
        return "cannot be reached"

    def _on_disconnect(self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        # After a refusal, its reason stays.
        if self._connected.is_set() and not self._stopping:
            self._say("the connection ended")
        self._connected.clear()

    def _say(self, problem: str) -> None:
        if problem != self._error:
            self._error = problem
            _log.warning("broker %s:%d: %s; trying again", self._broker.host, self._broker.port, problem)


def _prepare_socket(_client: mqtt.Client, _userdata: Any, opened: Any) -> None:
    """Keeps the socket from holding old frames back, or small ones together."""
    with contextlib.suppress(OSError, AttributeError):  # a wrapped socket that has no such options
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
