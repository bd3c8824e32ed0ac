"""Files that are fetched only when a user asks for them, and checked by their SHA-256."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from research.common.results import sha256

_STEP = 1 << 20
_TIMEOUT_S = 60


def fetch(target: Path, url: str, *, digest: str, size: int) -> Path:
    """Returns a file, fetched if it is not there; its checksum is looked at in both cases.

    Args:
        target: The file; its folder is made if it is missing.
        url: Where it is.
        digest: SHA-256 that it must have.
        size: Bytes that it must have.

    Raises:
        OSError: It cannot be fetched or written.
        ValueError: Its size or checksum is another one; what was fetched is removed.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Two processes may fetch the same file.
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        try:
            _copy(url, partial, size)
            _check(partial, digest)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    _check(target, digest)
    return target


def _copy(url: str, target: Path, size: int) -> None:
    print(f"fetching {url}, {size / 1e6:.0f} MB", flush=True)
    done, told = 0, 0
    try:
        answer = urllib.request.urlopen(url, timeout=_TIMEOUT_S)
    except urllib.error.URLError as error:
        raise OSError(f"cannot fetch {url}: {error.reason}; fetch it elsewhere and give the file") from error
    with answer, target.open("wb") as file:
        while part := answer.read(_STEP):
            done += len(part)
            if done > size:
                break
            file.write(part)
            if done * 10 // size > told:
                told = done * 10 // size
                print(f"fetched {done / 1e6:.0f} of {size / 1e6:.0f} MB", flush=True)
    if done != size:
        at_least = "more" if done > size else str(done)
        raise ValueError(f"{url}: expected {size} bytes, got {at_least}; fetch it again")


def _check(path: Path, digest: str) -> None:
    found = sha256(path)
    if found != digest:
        raise ValueError(f"{path.name}: expected SHA-256 {digest}, got {found}; remove it and fetch it again")
