"""What the tests share: the program, and folders of generated pictures."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

# scripts/nightly.sh asks for it: ten times as many examples as usual.
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None)

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "build" / "similarity"

RunSimilarity = Callable[..., "subprocess.CompletedProcess[bytes]"]


def make_picture(seed: int, width: int = 96, height: int = 72) -> Image.Image:
    """A picture of smooth colours; other seeds look different."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing that a test or a program of its writes goes to the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def run_similarity() -> RunSimilarity:
    """Runs ./build/similarity with small settings that a test may override."""
    assert BINARY.is_file(), f"{BINARY} is missing: run scripts/build.sh"

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [str(BINARY), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=False, timeout=300, **options)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, a smaller copy and a recompressed copy of the first, a broken file, a text file, a sub-folder."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    first = make_picture(1)
    first.save(folder / "first.png")
    first.resize((48, 36)).save(folder / "first_small.png")
    first.save(folder / "sub" / "first.jpg", quality=70)
    make_picture(2).save(folder / "second.png")
    make_picture(3).save(folder / "third.webp")
    (folder / "broken.png").write_bytes((folder / "first.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("not a picture")
    return folder


def read_json(run: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert run.returncode == 0, run.stderr
    data: dict[str, Any] = json.loads(run.stdout)
    return data


def check_sums(data: dict[str, Any]) -> None:
    assert data["read"] + len(data["skipped"]) == data["files"]
    assert data["read"] == len(data["images"])
    grouped = [group["representative"] for group in data["groups"]]
    grouped += [member["path"] for group in data["groups"] for member in group["members"]]
    assert len(grouped) == len(set(grouped)), "an image is in two groups"
    assert data["unique"] == len(data["groups"]) + data["read"] - len(grouped)
    for image in data["images"]:
        assert image["similar"] + image["dissimilar"] == data["read"] - 1
    for key in ("images", "skipped"):
        paths = [os.fsencode(entry["path"]) for entry in data[key]]
        assert paths == sorted(paths)


def read_all(terminal: int) -> bytes:
    """What a terminal shows until the other side is closed; closes this side."""
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux reports the closed terminal as an error
            break
        if not chunk:
            break
        shown += chunk
    os.close(terminal)
    return shown
