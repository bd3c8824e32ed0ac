"""``rrn watch init``: writes the files with which rrn watch runs as a service."""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import shutil
import sys
from pathlib import Path

from rrn_native.cli.parser import Parser
from rrn_native.files import write_file

from rrn_ops.streaming.publisher.topics import Topics

_SUMMARY = "write container, compose and systemd files, with a password and a token of their own"
_FILES = Path(__file__).with_name("files")
_SECRET_FILES = (".env", "env")
# What mosquitto_passwd of mosquitto 2 makes.
_ITERATIONS, _SALT_BYTES = 101, 12


def add(verbs: argparse._SubParsersAction[Parser]) -> None:
    """Adds the verb to those of ``rrn watch``."""
    made = verbs.add_parser(
        "init", prog="rrn watch init", description=f"{_SUMMARY.capitalize()}.", epilog="", help=_SUMMARY
    )
    made.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    made.add_argument("--source", default="/videos/video.mp4", metavar="SOURCE", help="(default %(default)s)")
    made.add_argument("--camera", default="camera", metavar="NAME", help="(default %(default)s)")
    made.set_defaults(run=run)


def mosquitto_password(user: str, password: str, salt: bytes) -> str:
    """Returns a line of mosquitto's password file: PBKDF2 with SHA-512, as mosquitto_passwd(1) of version 2 makes it.

    Args:
        user: Without a colon.
        password: In UTF-8.
        salt: Random; any length that mosquitto reads, 12 bytes for all versions of 2.
    """
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    parts = [base64.b64encode(part).decode() for part in (salt, digest)]
    return f"{user}:$7${_ITERATIONS}${parts[0]}${parts[1]}\n"


def files(folder: Path, *, source: str, camera: str) -> dict[str, bytes]:
    """Returns names and contents of the files, with a new password and token.

    Args:
        folder: Where they will be.
        source: Of the publisher, inside its container.
        camera: Its name.

    Raises:
        ValueError: A name cannot be written into an environment file.
    """
    Topics("rrn", camera)
    if not source:
        raise ValueError("--source is empty, expected a camera, an address or a file")
    if any(sign in source + camera for sign in "\n\"'\\$"):
        raise ValueError("--source and --camera must have no quotes, dollars, backslashes or line breaks")
    password, token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    program = shutil.which("rrn") or f"{sys.executable} -m rrn_native"
    found = {path.name: path.read_bytes() for path in sorted(_FILES.iterdir()) if path.is_file()}
    service = found["rrn-watch.service"].decode()
    service = service.replace("@FOLDER@", str(folder.absolute()).replace("%", "%%")).replace("@RRN@", program)
    found["rrn-watch.service"] = service.encode()
    shared = f'SOURCE="{source}"\nCAMERA="{camera}"\n'
    found[".env"] = f"{shared}MQTT_PASSWORD={password}\nVIEW_TOKEN={token}\n".encode()
    found["env"] = f"{shared}BROKER=127.0.0.1\nRRN_MQTT_PASSWORD={password}\n".encode()
    # What COPY takes: no secrets and no videos.
    found[".dockerignore"] = b"*\n!*.whl\n!README.md\n"
    found["passwords"] = mosquitto_password("rrn", password, secrets.token_bytes(_SALT_BYTES)).encode()
    return found


def run(arguments: argparse.Namespace) -> int:
    """Writes the files; returns the exit code."""
    folder: Path = arguments.folder
    made = files(folder, source=arguments.source, camera=arguments.camera)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder}: holds files already; name a new folder")
    folder.joinpath("videos").mkdir()
    before = os.umask(0o077)
    try:
        for name in _SECRET_FILES:
            write_file(folder / name, made[name])
    finally:
        os.umask(before)
    for name, content in made.items():
        if name not in _SECRET_FILES:
            write_file(folder / name, content)
    print(f"{folder}: {', '.join(sorted(made))}; README.md says how to start them")
    return 0
