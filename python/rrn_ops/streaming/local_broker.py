"""A mosquitto broker of one's own, for one machine: started, waited for, and ended with its starter."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from rrn_ops.streaming import child

HOST = "127.0.0.1"
_START_SECONDS = 10.0
# Where Debian puts it, which is not on the path of ordinary users.
_PLACES = ("/usr/sbin", "/usr/local/sbin")

# Of mosquitto.conf(5). A frame that a slow reader has not taken is thrown away early: the next one is newer.
CONFIGURATION = """\
listener {port} {host}
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 100
max_queued_bytes 4194304
queue_qos0_messages false
log_dest stderr
log_type error
log_type warning
log_type notice
"""


class BrokerError(Exception):
    """mosquitto is missing or does not start; one line says what to do."""


def find_mosquitto() -> Path:
    """Returns the program.

    Raises:
        BrokerError: It is not installed.
    """
    found = shutil.which("mosquitto") or next(
        (path for place in _PLACES if (path := shutil.which("mosquitto", path=place))), None
    )
    if found is None:
        raise BrokerError("mosquitto is not installed (apt-get install mosquitto), or name a broker with --broker")
    return Path(found)


class LocalBroker:
    """A broker that only this machine reaches; a context manager that ends it.

    It also ends when the starting thread is gone in any other way. Nothing is kept on disk.

    Args:
        port: 0 for any free one.

    Raises:
        BrokerError: On entering: mosquitto is missing, the port is taken, or it does not start.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> LocalBroker:
        program = find_mosquitto()
        with socket.socket() as probe:
            # As mosquitto will: a port whose last connection is not quite gone is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except (OSError, OverflowError) as error:
                raise BrokerError(f"port {self.port} of {HOST}: {error}; choose another, or 0") from error
            self.port = probe.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory(prefix="rrn-broker-")
        folder = Path(self._folder.name)
        # It does not run as root, and must still be able to read its configuration.
        folder.chmod(0o755)
        configuration = folder / "mosquitto.conf"
        configuration.write_text(CONFIGURATION.format(port=self.port, host=HOST), encoding="ascii")
        self._log = folder / "log"
        try:
            self._start(program, configuration)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self, program: Path, configuration: Path) -> None:
        command = child.bound([str(program), "-c", str(configuration)], drop_root=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                lines = self._log.read_text(errors="replace").split("\n")
                said = next((line for line in reversed(lines) if "rror" in line), "no reason given")
                raise BrokerError(f"mosquitto does not start on port {self.port}: {said.strip()}")
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return
            time.sleep(0.02)
        raise BrokerError(f"mosquitto does not answer on port {self.port} within {_START_SECONDS:.0f} seconds")

    @property
    def pid(self) -> int:
        """The process; 0 before and after."""
        return self._process.pid if self._process is not None else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            child.end(process)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
