"""Takes the messages of a broker, in a thread of its own.

paho-mqtt itself, and not aiomqtt on top of it, for three reasons. A message is read, checked and hashed in the thread
that reads the socket, so that nothing queues here: where this process is slow, the broker's connection fills and the
broker drops (QoS 0), while aiomqtt puts messages into a queue that is unbounded or drops the newest. Pings are answered
however busy the event loop is. And the connection is made again by the loop below, whose waits are known (0.25 s to
2 s), with a new client each time, so that no state of a broken connection is carried on.

MQTT 5 (OASIS, 2019): the maximum packet size (3.1.2.11.4) keeps the broker from sending what would be refused anyway,
and frames that it retained are not asked for (retain handling 2, 3.8.3.1).
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from rrn_ops.streaming.clock import clock_name
from rrn_ops.streaming.connection import Broker
from rrn_ops.streaming.message import MAX_MESSAGE_BYTES
from rrn_ops.streaming.viewer import clocks
from rrn_ops.streaming.viewer.cameras import Cameras, Status
from rrn_ops.streaming.viewer.options import Limits
from rrn_ops.streaming.viewer.pairing import Frame, Pairing, RefusedError, read

_FIRST_WAIT, _LAST_WAIT = 0.25, 2.0
_CONNECT_SECONDS = 5.0
# How soon a broker that is there but does not answer counts as away: between one and two of these.
_KEEP_ALIVE_SECONDS = 4
_LOOP_SECONDS = 0.2
_STOP_SECONDS = 1.0
# Topic and properties, beside the payload.
_PACKET_MORE = 8192

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STATUSES: dict[bytes, Status] = {b"online": "online", b"offline": "offline"}
_log = logging.getLogger(__name__)


class Subscriber:
    """Subscribes to a prefix, and does so again whenever the broker was away.

    Args:
        broker: Where the messages come from.
        limits: What is taken at most.
        cameras: Where everything is counted.
        show: Called with each complete frame, in the subscriber's thread; must not block.
        forget: Called with the name of a camera that made room for another one, likewise.

    Raises:
        ValueError: A file for TLS cannot be read.
    """

    def __init__(
        self,
        broker: Broker,
        limits: Limits,
        cameras: Cameras,
        *,
        show: Callable[[Frame], None],
        forget: Callable[[str], None],
    ) -> None:
        self._broker, self._limits, self._cameras = broker, limits, cameras
        self._show, self._forget = show, forget
        self._tls = broker.tls.context() if broker.tls is not None else None
        self._pairing = Pairing(limits)
        self._stopped = threading.Event()
        self._subscribed = False
        self._error = ""
        self._thread = threading.Thread(target=self._run, name="rrn-subscriber", daemon=True)

    def start(self) -> None:
        """Starts; a broker that is not there yet is waited for."""
        self._cameras.disconnected("not connected yet")
        self._thread.start()

    def stop(self) -> None:
        """Ends the connection; a thread that waits for a host that does not answer is left, and shows nothing."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        wait = _FIRST_WAIT
        while not self._stopped.is_set():
            self._subscribed = False
            try:
                self._connection()
            # Whatever a broker sends, and whatever paho makes of it: the connection ends, and the next one begins.
            except Exception as error:
                self._error = str(error) or type(error).__name__
            self._cameras.disconnected(self._error or "the connection ended")
            wait = _FIRST_WAIT if self._subscribed else wait
            self._stopped.wait(wait)
            wait = min(2 * wait, _LAST_WAIT)

    def _connection(self) -> None:
        """Connects, and takes messages until the connection ends."""
        self._error = ""
        client = self._client()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = max(self._limits.picture_bytes, MAX_MESSAGE_BYTES) + _PACKET_MORE
        client.connect(
            self._broker.host,
            self._broker.port,
            keepalive=_KEEP_ALIVE_SECONDS,
            clean_start=True,
            properties=properties,
        )
        end = time.monotonic() + _CONNECT_SECONDS
        try:
            while not self._stopped.is_set():
                code = client.loop(_LOOP_SECONDS)
                if code != mqtt.MQTT_ERR_SUCCESS:
                    self._error = self._error or mqtt.error_string(code)
                    return
                if not self._subscribed and (self._error or time.monotonic() > end):
                    self._error = self._error or "no answer to MQTT's CONNECT and SUBSCRIBE"
                    return
        finally:
            with contextlib.suppress(OSError, ValueError):
                client.disconnect()
                client.loop(0.0)

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"rrn-view-{secrets.token_hex(8)}", protocol=mqtt.MQTTv5
        )
        client.connect_timeout = _CONNECT_SECONDS
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: mqtt.Client, data: object, flags: object, reason: Any, properties: object) -> None:
        del data, flags, properties
        if reason.is_failure:
            self._error = f"the broker refuses the connection: {reason}"
            return
        live = SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        kept = SubscribeOptions(qos=1)
        topics = [(f"{self._broker.prefix}/+/{kind}", live) for kind in ("picture", "frame")]
        client.subscribe([*topics, (f"{self._broker.prefix}/+/status", kept)])

    def _on_subscribe(self, client: mqtt.Client, data: object, message: int, reasons: Any, properties: object) -> None:
        del client, data, message, properties
        failed = [str(reason) for reason in reasons if reason.is_failure]
        if failed:
            self._error = f"the broker refuses the subscription to {self._broker.prefix}/+/...: {failed[0]}"
            return
        self._subscribed = True
        self._cameras.connected()

    def _on_disconnect(self, client: mqtt.Client, data: object, flags: object, reason: Any, properties: object) -> None:
        del client, data, flags, properties
        self._error = self._error or f"the connection ended: {reason}"

    def _on_message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        del client, data
        try:
            self._take(message, time.monotonic_ns())
        except RefusedError as error:
            self._cameras.refused(error.reason, str(error))
        # A message of a stranger must not end the thread; what happened is in the log.
        except Exception as error:
            _log.exception("a message could not be taken")
            self._cameras.refused("internal", type(error).__name__)

    def _take(self, message: mqtt.MQTTMessage, now_ns: int) -> None:
        camera, kind = self._topic(message)
        payload = bytes(message.payload)
        if kind == "status":
            status = _STATUSES.get(payload)
            if status is None:
                raise RefusedError("status")
            self._admit(camera)
            self._cameras.status(camera, status)
        elif message.retain:
            raise RefusedError("retained")
        elif kind == "frame":
            self._take_frame(camera, payload, now_ns)
        else:
            self._take_picture(camera, payload, message.properties, now_ns)

    def _topic(self, message: mqtt.MQTTMessage) -> tuple[str, str]:
        try:
            levels = message.topic.removeprefix(f"{self._broker.prefix}/").split("/")
        except UnicodeDecodeError as error:
            raise RefusedError("topic") from error
        if len(levels) != 2 or not _NAME.fullmatch(levels[0]) or levels[1] not in ("picture", "frame", "status"):
            raise RefusedError("topic")
        return levels[0], levels[1]

    def _admit(self, camera: str) -> None:
        forgotten = self._cameras.admit(camera)
        if forgotten is not None:
            self._pairing.forget(forgotten)
            self._forget(forgotten)

    def _take_frame(self, camera: str, payload: bytes, now_ns: int) -> None:
        message = read(camera, payload)
        self._admit(camera)
        taken = self._pairing.message(message, now_ns)
        publish = clocks.publish_ms(message, now_ns, clock_name())
        self._cameras.arrived(message, publish, unpaired=taken.unpaired)
        if taken.unpaired:
            self._cameras.refused("unpaired", "a frame whose picture did not arrive before the next frame")
        if taken.frame is not None:
            self._show(taken.frame)
        if taken.refusal is not None:
            raise taken.refusal

    def _take_picture(self, camera: str, payload: bytes, properties: Properties | None, now_ns: int) -> None:
        named = getattr(properties, "UserProperty", [])
        content_type = getattr(properties, "ContentType", None)
        # Before there is a place for the camera: only a picture that may belong to a frame takes one.
        picture = self._pairing.check_picture(payload, named, content_type)
        self._admit(camera)
        frame = self._pairing.picture(camera, picture, now_ns)
        if frame is not None:
            self._show(frame)
