"""What a viewer is started with, checked before anything runs."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from rrn_ops.streaming.connection import Broker

TOKEN_VARIABLE = "RRN_VIEW_TOKEN"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a viewer takes from others at most.

    Attributes:
        viewers: Pages and MJPEG streams at the same time.
        cameras: Names that are followed at the same time.
        picture_bytes: Of a JPEG file; the broker is told to send nothing larger.
        picture_pixels: Width x height of a picture, which a browser holds as four bytes a pixel.
        credit: Frames that may be on their way to a page without an acknowledgement.
        text_bytes: Of a message from a browser.
        texts_a_second: Messages from a browser, on average over a second.
        acknowledge_seconds: A page that leaves a frame unacknowledged for so long is closed.
        send_seconds: A page that takes nothing for so long is closed.
    """

    viewers: int = 100
    cameras: int = 16
    picture_bytes: int = 4 * 1024 * 1024
    picture_pixels: int = 7680 * 4320
    credit: int = 2
    text_bytes: int = 1024
    texts_a_second: int = 300
    acknowledge_seconds: float = 30.0
    send_seconds: float = 10.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}, expected more than 0")


@dataclasses.dataclass(frozen=True)
class ViewerOptions:
    """What a viewer is started with.

    Attributes:
        broker: Where the messages come from.
        host: The address that the page listens on.
        port: Its port; 0 for any free one.
        token: What a browser has to know, 16 ... 256 letters, digits and "._~-"; None for nothing. Never printed.
        allowed_hosts: Names in a request's Host header that are answered; () for the names of this machine where the
            page listens on a loopback address, which keeps other sites' names from pointing here, else for any.
        limits: What is taken from others at most.
    """

    broker: Broker = dataclasses.field(default_factory=Broker)
    host: str = "127.0.0.1"
    port: int = 8090
    token: str | None = dataclasses.field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port}: expected 0 to 65535")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ValueError(
                'the token: expected 16 to 256 letters, digits and "._~-" (openssl rand -hex 16 makes one)'
            )

    def hosts(self) -> frozenset[str]:
        """Returns the names of the Host header that are answered, lower case without a port; empty for any."""
        if self.allowed_hosts:
            return frozenset(name.lower() for name in self.allowed_hosts)
        return frozenset({*LOOPBACK_NAMES, self.host.lower()}) if is_loopback(self.host) else frozenset()


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, which nobody else reaches."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
