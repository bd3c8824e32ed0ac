"""Fetching: once, checked, and nothing kept that is not what was asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from research.common import downloads

DIGEST = hashlib.sha256(b"weights").hexdigest()


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "cache" / "file"
    source.write_bytes(b"weights")
    assert downloads.fetch(target, source.as_uri(), digest=DIGEST, size=7).read_bytes() == b"weights"
    source.unlink()
    assert downloads.fetch(target, source.as_uri(), digest=DIGEST, size=7) == target


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"WEIGHTS", "expected SHA-256"),
        (b"weigh", "expected 7 bytes, got 5"),
        (b"weights and more", "expected 7 bytes, got more"),
    ],
)
def test_another_file_is_not_kept(content: bytes, message: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "cache" / "file"
    source.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        downloads.fetch(target, source.as_uri(), digest=DIGEST, size=7)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_was_changed_later_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"other")
    with pytest.raises(ValueError, match="remove it and fetch it again"):
        downloads.fetch(target, "file:///nothing", digest=DIGEST, size=7)
