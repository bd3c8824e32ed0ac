"""CIFAR-100 as its authors distribute it: fetched when asked for, checked, and read one split at a time.

The format is described at https://www.cs.toronto.edu/~kriz/cifar.html: a record is a coarse label, a fine label, and
3072 bytes of red, green and blue planes of 32x32.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from research.common import downloads
from research.common.image_sets import Split, SplitName
from research.common.results import sha256

NAME = "cifar-100-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{NAME}"
SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
SIZE = 168_513_733
_RECORD = 2 + 3 * 32 * 32


def fetch(folder: Path) -> Path:
    """Returns the archive in `folder`, fetched if it is not there; see :func:`research.common.downloads.fetch`."""
    return downloads.fetch(folder / NAME, URL, digest=SHA256, size=SIZE)


def read(archive: Path, split: SplitName) -> Split:
    """Reads a split; the other one's records are not read.

    Raises:
        OSError: The archive cannot be read.
        ValueError: It is no such archive.
    """
    try:
        with tarfile.open(archive) as opened:
            classes = tuple(_member(opened, "fine_label_names.txt").decode().split())
            content = _member(opened, f"{split}.bin")
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise ValueError(f"{archive.name}: expected CIFAR-100's binary archive ({error}); fetch it again") from error
    if not content or len(content) % _RECORD:
        raise ValueError(f"{archive.name}: {split}.bin has {len(content)} bytes, expected a multiple of {_RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 1].astype(np.int64)
    if labels.max() >= len(classes):
        raise ValueError(f"{archive.name}: {split}.bin has a label {labels.max()}, expected one below {len(classes)}")
    pixels = np.ascontiguousarray(records[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Split(pixels, labels, classes, f"CIFAR-100, {split}", sha256(archive))


def _member(opened: tarfile.TarFile, name: str) -> bytes:
    file = opened.extractfile(f"cifar-100-binary/{name}")
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()
