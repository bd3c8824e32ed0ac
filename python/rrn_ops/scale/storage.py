"""Files of a job, in a folder or an object store: written whole, with a manifest that says of what they were made.

A place is a path or any URL of fsspec, such as ``s3://bucket/job``. What a store needs to be told (an endpoint, say)
comes from fsspec's own configuration, for example ``FSSPEC_S3_ENDPOINT_URL`` in the environment. All functions may be
called from several threads and processes at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path
from typing import Any

import fsspec
from rrn_native.files import sha256_of_bytes, write_file

Json = dict[str, Any]

VERSION = 1


class ScaleError(Exception):
    """A job cannot go on; the message says why and what to do."""


def is_url(place: str) -> bool:
    """Whether fsspec is to open it; everything else is a path of this machine. ``file://`` is a URL."""
    return "://" in place


def join(place: str, *names: str) -> str:
    """Returns the place of something below a folder; names are separated by "/" everywhere."""
    return "/".join([place.rstrip("/") if place != "/" else "", *names])


def absolute(place: str) -> str:
    """Returns a path that means the same in every process of this machine; a URL stays as it is."""
    return place if is_url(place) else os.path.abspath(place)  # noqa: PTH100 - `a/../b` of a link is not resolved


def filesystem(url: str) -> tuple[Any, str]:
    """Returns fsspec's file system of a URL and the path in it.

    Raises:
        ScaleError: fsspec knows no such protocol, or its package is not installed.
    """
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ScaleError(f"{url}: {error}") from error
    return found


def read_bytes(place: str, most: int | None = None) -> bytes:
    """Reads a file.

    Args:
        place: A path or URL.
        most: Larger files are refused, in bytes; None for no limit.

    Raises:
        OSError: There is no such file, it is no regular file, it is larger than `most`, or it cannot be read.
    """
    if is_url(place):
        system, path = filesystem(place)
        if most is not None:
            _check_size(int(system.info(path).get("size") or 0), most)
        content: bytes = system.cat_file(path)
        return content
    # Opening a pipe would wait for its other end, and a device may have no end.
    found = os.stat(place)  # noqa: PTH116
    if not stat.S_ISREG(found.st_mode):
        raise OSError("not a regular file")
    if most is not None:
        _check_size(found.st_size, most)
    return Path(place).read_bytes()


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise OSError(f"{size} bytes, expected at most {most}")


def write_bytes(place: str, content: bytes) -> None:
    """Writes a file that is complete or not there; makes the folder.

    A path gets a temporary name first. Object stores show an object when all of it has arrived.

    Raises:
        OSError: It cannot be written.
    """
    if is_url(place) and not place.startswith("file://"):
        system, path = filesystem(place)
        system.makedirs(system._parent(path), exist_ok=True)
        system.pipe_file(path, content)
        return
    target = Path(place.removeprefix("file://"))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, content)


def size_of(place: str) -> int | None:
    """Returns the bytes of a file; None where there is no file."""
    try:
        if is_url(place):
            system, path = filesystem(place)
            system.invalidate_cache()
            return int(system.info(path)["size"])
        return os.stat(place).st_size  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None


def names_in(place: str) -> list[str]:
    """Returns the names in a folder, sorted; none where there is no such folder."""
    try:
        if is_url(place):
            system, path = filesystem(place)
            system.invalidate_cache()
            return sorted(name.rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False))
        return sorted(os.listdir(place))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(place: str) -> None:
    """Removes a file, if it is there."""
    if is_url(place):
        system, path = filesystem(place)
        if system.exists(path):
            system.rm_file(path)
    else:
        Path(place).unlink(missing_ok=True)


def read_json(place: str) -> Json | None:
    """Returns a JSON object; None where there is no file, or one that is damaged, so that it is made again."""
    try:
        value = json.loads(read_bytes(place))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(place: str, value: Json) -> None:
    """Writes a JSON object, complete or not at all.

    Raises:
        OSError: It cannot be written.
    """
    write_bytes(place, f"{json.dumps(value, indent=1, sort_keys=True)}\n".encode())


def digest(value: object) -> str:
    """Returns the SHA-256 of what :mod:`json` makes of a value: 64 hexadecimal digits."""
    return sha256_of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@dataclasses.dataclass(frozen=True)
class Product:
    """A file of a job and its manifest.

    Attributes:
        stage: The folder below the job's, such as "embeddings".
        name: Of the file, without its ending.
        made_from: A digest of all that its content depends on.
    """

    stage: str
    name: str
    made_from: str

    def file(self, job: str) -> str:
        """Returns the place of the file, given the job's."""
        return join(job, self.stage, f"{self.name}.parquet")

    def manifest(self, job: str) -> str:
        """Returns the place of the manifest."""
        return manifest_place(job, self.stage, self.name)


def manifest_place(job: str, stage: str, name: str) -> str:
    """Returns the place of a manifest."""
    return join(job, "manifests", stage, f"{name}.json")


def finish(job: str, product: Product, content: bytes, facts: Json) -> Json:
    """Writes a file and, when it is complete, its manifest; returns the manifest.

    Args:
        job: The place of the job.
        product: Which file.
        content: Of the file.
        facts: More members of the manifest.

    Raises:
        OSError: One of them cannot be written.
    """
    write_bytes(product.file(job), content)
    manifest = {
        **facts,
        "version": VERSION,
        "name": product.name,
        "made_from": product.made_from,
        "bytes": len(content),
        "sha256": sha256_of_bytes(content),
    }
    write_json(product.manifest(job), manifest)
    return manifest


def finished(job: str, product: Product) -> Json | None:
    """Returns the manifest of a file that is there and made from the same; None if it has to be made."""
    manifest = read_json(product.manifest(job))
    if manifest is None or manifest.get("version") != VERSION or manifest.get("made_from") != product.made_from:
        return None
    return manifest if size_of(product.file(job)) == manifest["bytes"] else None


def remove_others(job: str, stage: str, names: set[str]) -> int:
    """Removes the files of a stage that belong to nothing any more, manifests first; returns how many there were."""
    found = [name.removesuffix(".json") for name in names_in(join(job, "manifests", stage)) if name.endswith(".json")]
    stale = [name for name in found if name not in names]
    for name in stale:
        product = Product(stage, name, "")
        remove(product.manifest(job))
        remove(product.file(job))
    return len(stale)
