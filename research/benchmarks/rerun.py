"""What a store saves: a folder for the first time, again, with ten files changed, with ten files added, and without."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from research.benchmarks import process
from research.common import photos, timing
from research.common.places import PROGRAM

Json = dict[str, Any]

_FILES = 10_000
_DRAWN = 400
_SIZE = (640, 480)
_CHANGED = 10


def _write_photos(folder: Path, count: int) -> None:
    """Writes `count` JPEG files of 640 x 480 pixels: drawn pictures, each in several qualities."""
    folder.mkdir()
    drawn = min(count, _DRAWN)
    for number in range(drawn):
        picture = photos.draw(number, *_SIZE)
        for copy, place in enumerate(range(number, count, drawn)):
            picture.save(folder / f"{place:06d}.jpg", quality=95 - 2 * copy)


class _Runs:
    """The ways to run the program on one folder; each round has a store of its own."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch
        self._store = scratch / "store"
        self._files = sorted(folder.iterdir())
        self._round = 0

    def _run(self, *options: str) -> float:
        command = [str(PROGRAM), str(self._folder), "--json", os.devnull, *options]
        run = process.run(command, folder=self._scratch / "run")
        if run.status != 0:
            raise RuntimeError(f"build/similarity failed: {run.error}")
        return run.seconds

    def first(self) -> float:
        shutil.rmtree(self._store, ignore_errors=True)
        self._round += 1
        return self._run("--store", str(self._store))

    def again(self) -> float:
        return self._run("--store", str(self._store))

    def touched(self) -> float:
        for file in self._files[:_CHANGED]:
            file.touch()
        return self._run("--store", str(self._store))

    def added(self) -> float:
        for number, file in enumerate(self._files[:_CHANGED]):
            # Bytes after a JPEG's end do not change the picture, but the file.
            (self._folder / f"new{self._round}_{number}.jpg").write_bytes(file.read_bytes() + b"%d" % self._round)
        seconds = self._run("--store", str(self._store))
        for file in self._folder.glob(f"new{self._round}_*.jpg"):
            file.unlink()
        return seconds

    def without(self) -> float:
        return self._run("--no-store")

    def ways(self) -> dict[str, Callable[[], float]]:
        """Each needs those before it."""
        return {
            "first run": self.first,
            "again": self.again,
            f"{_CHANGED} files touched": self.touched,
            f"{_CHANGED} files added": self.added,
            "without a store": self.without,
        }


def measure(quick: bool) -> Json:
    """Runs the program in all ways, in turns.

    Returns:
        {"rows": [...]}: for each way the median of its seconds and its share of the first run's.
    """
    files, rounds = (24, 1) if quick else (_FILES, 3)
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as scratch:
        folder = Path(scratch, "photos")
        _write_photos(folder, files)
        ways = _Runs(folder, Path(scratch)).ways()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, run in ways.items():
                seconds[name].append(run())
    first = timing.spread(seconds["first run"]).median
    rows = []
    for name, measured in seconds.items():
        spread = timing.spread(measured)
        rows.append({"way": name, **spread.to_json("s"), "share_of_first": round(spread.median / first, 4)})
    return {"files": files, "pixels": list(_SIZE), "rounds": rounds, "rows": rows}
