"""What several modules do with files: replace one as a whole, checksums, the cache folder, has a file changed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

# Size, time of modification, time of the last change of anything about the file, and inode.
State = tuple[int, int, int, int]
GONE: State = (-1, -1, -1, -1)


# The temporary names of replace_file.
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part")


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary name in the folder of `path`, then gives that file its name.

    A symbolic link stays one: the file that it points to is replaced.

    Raises:
        OSError: The file cannot be written, or what is there is no regular file; it names `path`. Nothing is left of
            it, and what was there before stays; the same holds for any exception of `write`.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        # A device or pipe that is replaced is gone for everybody.
        raise OSError(errno.EEXIST, "is there and no regular file, so it is not replaced", os.fspath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        write(temporary)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == os.fspath(temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def write_file(path: Path, content: bytes) -> None:
    """Writes a file that is complete or, where that fails, untouched.

    Raises:
        OSError: The folder does not exist or cannot be written.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    replace_file(path, write)


def remove_left_over(folder: Path) -> None:
    """Removes what calls of :func:`replace_file` that were killed have left in a folder; nobody may write there."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(*parts: bytes) -> str:
    """Returns the SHA-256 of the parts, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def cache_folder() -> Path | None:
    """Returns the folder of what can be made or fetched again, whether or not it exists; None where there is no place.

    It is ``$XDG_CACHE_HOME/rrn``, or ``~/.cache/rrn``, as for the engine's compiled models.
    """
    for variable, below in (("XDG_CACHE_HOME", "rrn"), ("HOME", ".cache/rrn")):
        folder = os.environ.get(variable, "")
        if folder.startswith("/"):
            return Path(folder) / below
    return None


def file_state(path: str) -> State:
    """Returns what tells whether a file has changed; GONE for one that cannot be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes its time
    except OSError:
        return GONE
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def is_gone(path: str) -> bool:
    """Is there certainly no file of this name? One that cannot be looked at, say because of permissions, may be."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
