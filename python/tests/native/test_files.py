"""Files that are complete or untouched, whatever is there and whatever goes wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from rrn_native.files import remove_left_over, replace_file, write_file


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"before")

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        replace_file(path, fail)
    assert path.read_bytes() == b"before"
    write_file(path, b"after")
    assert path.read_bytes() == b"after"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_file(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file") as error:
        write_file(pipe, b"content")
    assert error.value.filename == os.fspath(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_killed_runs_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".file.123-0123abcd.part").write_bytes(b"half")
    (tmp_path / ".other.part").write_bytes(b"somebody's")
    remove_left_over(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".other.part"]
