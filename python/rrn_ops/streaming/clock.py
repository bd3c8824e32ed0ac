"""The name of this machine's monotonic clock, so that times of two processes are compared only where they may be."""

from __future__ import annotations

import functools
import socket
from pathlib import Path

from rrn_native.files import sha256_of_bytes

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def clock_name() -> str:
    """Returns what names the clock of :func:`time.monotonic_ns` here: the same for all processes since the last start.

    Linux's boot id (``random(4)``): CLOCK_MONOTONIC counts from the start that it belongs to. Where the system has no
    such id, a checksum of the host name, which says nothing about a restart of the machine. 36 and 32 characters.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or _host()
    except (OSError, UnicodeDecodeError):
        return _host()


def _host() -> str:
    return sha256_of_bytes(socket.gethostname().encode())[:32]
