"""Where pictures come from: validation set apart, edges of ranges, and CIFAR-100's own archive."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optuna", reason="Optuna is missing")
pytest.importorskip("sklearn", reason="scikit-learn is missing")

from hypothesis import given
from hypothesis import strategies as st

from research.common.results import sha256
from research.tuning import cifar_binary, data, run, space

CLASSES = ("apple", "bear")


def record(fine: int, level: int) -> bytes:
    planes = np.zeros((3, 32, 32), np.uint8)
    planes[1, 0, 5] = level
    return bytes([9, fine]) + planes.tobytes()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return path


def whole(path: Path) -> Path:
    train = b"".join(record(number % 2, number) for number in range(10))
    names = "\n".join(CLASSES).encode()
    return archive(path, {"fine_label_names.txt": names, "train.bin": train, "test.bin": record(1, 200)})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_splits_of_the_binary_archive(tmp_path: Path) -> None:
    path = whole(tmp_path / "set.tar.gz")
    train, held = cifar_binary.read(path, "train"), cifar_binary.read(path, "test")
    assert train.classes == CLASSES
    assert train.labels.tolist() == [0, 1] * 5
    assert train.pixels.shape == (10, 32, 32, 3)
    assert train.pixels[:, 0, 5, 1].tolist() == list(range(10))
    assert int(train.pixels.sum()) == sum(range(10)), "no other pixel"
    assert held.pixels[0, 0, 5].tolist() == [0, 200, 0]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"fine_label_names.txt": b"apple"}, "expected CIFAR-100's binary archive"),
        (
            {"fine_label_names.txt": b"apple", "train.bin": b"short"},
            "train.bin has 5 bytes, expected a multiple of 3074",
        ),
        ({"fine_label_names.txt": b"apple", "train.bin": b""}, "train.bin has 0 bytes"),
        ({"fine_label_names.txt": b"apple", "train.bin": record(1, 0)}, "has a label 1, expected one below 1"),
    ],
)
def test_other_archives_are_refused(members: dict[str, bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        cifar_binary.read(archive(tmp_path / "set.tar.gz", members), "train")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ValueError, match="text: expected CIFAR-100's binary archive"):
        cifar_binary.read(tmp_path / "text", "train")


def test_the_archive_is_fetched_when_asked_for_and_kept(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = whole(tmp_path / "there.tar.gz")
    for name, value in (("URL", f"{served}/there.tar.gz"), ("SHA256", sha256(path)), ("SIZE", path.stat().st_size)):
        monkeypatch.setattr(cifar_binary, name, value)
    monkeypatch.setattr(run, "CACHE", tmp_path / "cache")
    source = run.source(run.parser().parse_args(["--download", "--full"]))
    assert source == data.Source("binary", tmp_path / "cache" / cifar_binary.NAME, 100, None)
    assert len(data.learning(source).whole()) == 10
    path.unlink()
    assert cifar_binary.fetch(tmp_path / "cache") == source.archive


def test_validation_is_a_fifth_of_each_class_and_no_picture_is_in_both(tmp_path: Path) -> None:
    found = data.learning(data.Source("binary", whole(tmp_path / "set.tar.gz"), 2, None))
    assert found.train.labels.tolist().count(0) == 4
    assert found.validation.labels.tolist().count(1) == 1
    levels = [part.pixels[:, 0, 5, 1].tolist() for part in (found.train, found.validation)]
    assert sorted(levels[0] + levels[1]) == list(range(10))
    assert found.whole().pixels[:, 0, 5, 1].tolist() == levels[0] + levels[1]
    assert found.digest == sha256(tmp_path / "set.tar.gz")


def test_digits_are_the_same_each_time_and_have_a_hash() -> None:
    source = data.Source("digits", None, 3, 20)
    first, second = data.learning(source), data.learning(source)
    assert first.digest == second.digest
    assert np.array_equal(first.validation.pixels, second.validation.pixels)
    assert (len(first.train), len(first.validation)) == (48, 12)
    assert data.learning(dataclasses.replace(source, per_class=10)).digest != first.digest


def test_too_few_pictures_for_a_validation_set() -> None:
    with pytest.raises(ValueError, match="class 0 has 2 pictures, expected at least 3"):
        data.learning(data.Source("digits", None, 3, 2))


def test_the_default_is_inside_the_space() -> None:
    values = space.DEFAULT.to_json()
    assert list(values) == list(space.SPACE)
    for name, distribution in space.SPACE.items():
        assert distribution._contains(distribution.to_internal_repr(values[name])), name


def test_edges_of_ranges_are_found_on_the_scale_of_the_range() -> None:
    middle = space.Configuration("sgd", 0.0173, 1e-3, 64, 16, 1, 0.2, 0.1, 0.5)
    assert [edge.name for edge in space.edges(dataclasses.replace(middle, depth=1))] == ["depth"]
    near = dataclasses.replace(middle, learning_rate=0.25, dropout=0.019, batch=128, width=24)
    found = {edge.name: edge for edge in space.edges(near)}
    assert list(found) == ["learning_rate", "batch", "width", "depth", "dropout"]
    assert (found["learning_rate"].bound, found["learning_rate"].at) == ("high", 0.3)
    assert not found["learning_rate"].natural
    assert found["dropout"].natural
    # 0.02 is far from 0.001 on a linear scale, and in the middle of the logarithmic one.
    assert space.position(space.SPACE["learning_rate"], 0.0173) == pytest.approx(0.5, abs=0.01)


@given(st.floats(1e-3, 0.3))
def test_positions_are_between_0_and_1(rate: float) -> None:
    place = space.position(space.SPACE["learning_rate"], rate)
    assert place is not None
    assert -1e-9 <= place <= 1 + 1e-9
