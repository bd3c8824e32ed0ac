"""Where the broker is, and how to reach it; and the options of the command line that say so."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import ssl
from pathlib import Path

PREFIX = "rrn"
BROKER_HOST = "127.0.0.1"
BROKER_PORT = 1883
BROKER_TLS_PORT = 8883
PASSWORD_VARIABLE = "RRN_MQTT_PASSWORD"

# Levels of a topic without wildcards, "$" and control characters; what a publisher may use as a prefix.
_PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,7}")
_MOST_SECRET_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Tls:
    """An encrypted connection to the broker, whose certificate and name are always checked.

    Attributes:
        ca: The certificates that are trusted, PEM; None for the system's.
        certificate: Of this client, PEM; None where the broker asks for no certificate.
        key: Its private key, PEM; None where it is in the file of the certificate.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Reads the files.

        Raises:
            ValueError: A file is missing or is not what it has to be, or there is a key without a certificate.
        """
        if self.key is not None and self.certificate is None:
            raise ValueError(f"--tls-key {self.key}: expected --tls-certificate with it")
        try:
            made = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"--tls-ca {self.ca}: no PEM file of certificates ({error})") from error
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            try:
                made.load_cert_chain(self.certificate, self.key)
            except (OSError, ssl.SSLError) as error:
                raise ValueError(
                    f"--tls-certificate {self.certificate}: no PEM certificate and key ({error})"
                ) from error
        return made


@dataclasses.dataclass(frozen=True)
class Broker:
    """Where the messages come from.

    Attributes:
        host: Its name or address.
        port: Its port, 1 ... 65535.
        username: None to connect without one.
        password: Never printed; None to connect without one.
        tls: None for an unencrypted connection.
        prefix: What the topics begin with: levels of letters, digits, "_" and "-", as "rrn" or "home/rrn".
    """

    host: str = "127.0.0.1"
    port: int = BROKER_PORT
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    tls: Tls | None = None
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        if not self.host or not 1 <= self.port <= 65535:
            raise ValueError(f"broker {self.host}:{self.port}: expected a host and a port of 1 to 65535")
        check_prefix("--prefix", self.prefix)
        if self.password is not None and self.username is None:
            raise ValueError("a password for the broker without a user: expected --username with it")


def check_prefix(option: str, text: str) -> None:
    """Checks what topics begin with.

    Args:
        option: Named in the message.
        text: Levels of letters, digits, "_" and "-", as "rrn" or "home/rrn".

    Raises:
        ValueError: It is something else.
    """
    if not _PREFIX.fullmatch(text):
        raise ValueError(f'{option} {text!r}: expected letters, digits, "_" and "-" between "/"')


def read_broker(text: str, *, tls: bool) -> tuple[str, int]:
    """Reads HOST[:PORT], with an IPv6 address in brackets.

    Args:
        text: As "127.0.0.1", "broker.local:1884" or "[::1]:1883".
        tls: Whether the port that is left out is that of TLS.

    Raises:
        ValueError: It is neither.
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/@]+)(?::([0-9]{1,5}))?", text)
    if match is None:
        raise ValueError(f"--broker {text!r}: expected HOST or HOST:PORT, an IPv6 address in brackets")
    port = int(match[2]) if match[2] else (BROKER_TLS_PORT if tls else BROKER_PORT)
    return match[1].strip("[]"), port


def read_secret(path: Path | None, variable: str) -> str | None:
    """Reads a secret from the first line of a file, or from the environment; never from the command line.

    Args:
        path: The file; None for the environment.
        variable: The environment's variable.

    Returns:
        None where there is neither.

    Raises:
        ValueError: The file is empty, too long or not UTF-8.
        OSError: The file cannot be read.
    """
    if path is None:
        return os.environ.get(variable) or None
    with path.open("rb") as file:
        content = file.read(_MOST_SECRET_BYTES + 1)
    if len(content) > _MOST_SECRET_BYTES:
        raise ValueError(f"{path}: expected a secret of at most {_MOST_SECRET_BYTES} bytes")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a secret as UTF-8 text") from error
    if not lines or not lines[0]:
        raise ValueError(f"{path}: expected a secret on the first line, and it is empty")
    return lines[0]


def add_connection(made: argparse.ArgumentParser, default: str | None = BROKER_HOST) -> None:
    """Adds the options that say where the broker is.

    Args:
        made: The parser.
        default: The broker where none is named; None for a broker of one's own.
    """
    shown = "(default %(default)s)" if default else "(default: one is started)"
    made.add_argument("--broker", default=default, metavar="HOST[:PORT]", help=shown)
    made.add_argument("--prefix", default=PREFIX, metavar="NAME", help="what topics begin with (default %(default)s)")
    made.add_argument("--username", metavar="NAME", help="for the broker")
    made.add_argument(
        "--password-file", type=Path, metavar="FILE", help=f"its first line (default: ${PASSWORD_VARIABLE})"
    )
    made.add_argument("--tls", action="store_true", help="encrypted, checked by the system's certificates; port 8883")
    made.add_argument("--tls-ca", type=Path, metavar="FILE", help="the same, checked by these certificates (PEM)")
    made.add_argument("--tls-certificate", type=Path, metavar="FILE", help="of this client, where the broker asks")
    made.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")


def broker_of(arguments: argparse.Namespace) -> Broker:
    """Returns what the options of :func:`add_connection` say.

    Raises:
        ValueError, OSError: An option is wrong, or a file cannot be read.
    """
    files = (arguments.tls_ca, arguments.tls_certificate, arguments.tls_key)
    tls = Tls(*files) if arguments.tls or any(file is not None for file in files) else None
    host, port = read_broker(arguments.broker, tls=tls is not None)
    named = arguments.username is not None or arguments.password_file is not None
    return Broker(
        host=host,
        port=port,
        username=arguments.username,
        password=read_secret(arguments.password_file, PASSWORD_VARIABLE) if named else None,
        tls=tls,
        prefix=arguments.prefix,
    )
