"""Times the whole pipeline, rrn scale embed on each engine, against one process of build/similarity on the same files.

The files are JPEGs of a few hundred photos, each re-encoded at another quality and shifted crop, so that no two are the
same. A run that was killed goes on where it was: the files are kept, and what was timed is in the result.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native
from PIL import Image
from rrn_ops.scale import embedding, engines, sources
from rrn_ops.scale.worker import Settings

from research.common import machine, results, timing
from research.common.places import CACHE, PROGRAM, RESULTS

Json = dict[str, Any]

WAYS = ("build/similarity", "processes", "ray", "daft")
# Of a file, in pixels: 1.5 megapixels, as of a picture on a page.
WIDTH, HEIGHT = 1440, 1080
# How much larger than a file the photo is of which it is cut.
_ROOM = 1.2
# Files of a folder.
_FOLDER = 1000


def originals(folder: Path) -> list[Path]:
    """Returns the photos of a folder, sorted.

    Raises:
        ValueError: It has no JPEG or PNG file.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not found:
        raise ValueError(f"--photos {folder}: no JPEG or PNG file")
    return found


def enlarged(photo: Image.Image) -> npt.NDArray[np.uint8]:
    """Returns an RGB photo with room for crops of WIDTH x HEIGHT, uint8 [height, width, 3]."""
    scale = max(WIDTH / photo.width, HEIGHT / photo.height) * _ROOM
    size = (int(photo.width * scale) + 1, int(photo.height * scale) + 1)
    return np.asarray(photo.resize(size, Image.Resampling.BICUBIC))


def make_file(photo: npt.NDArray[np.uint8], number: int) -> bytes:
    """Returns a JPEG of WIDTH x HEIGHT: a crop of a photo at a place and quality that depend on the number.

    Args:
        photo: Of `enlarged`.
        number: Of the file; the same number gives the same bytes.
    """
    random = np.random.default_rng(number)
    top, left = (int(random.integers(0, room)) for room in (photo.shape[0] - HEIGHT + 1, photo.shape[1] - WIDTH + 1))
    crop = np.ascontiguousarray(photo[top : top + HEIGHT, left : left + WIDTH])
    return rrn_native.encode_jpeg(crop, int(random.integers(80, 93)), optimize=False)


def make_files(photos: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Makes the files that are not there yet; returns all of them."""
    made = [folder / f"{number // _FOLDER:04d}" / f"{number:07d}.jpg" for number in range(count)]
    # Photo by photo, so that each is decoded and enlarged once.
    for place, path in enumerate(photos):
        missing = [number for number in range(place, count, len(photos)) if not made[number].is_file()]
        if not missing:
            continue
        with Image.open(path) as opened:
            photo = enlarged(opened.convert("RGB"))
        for number in missing:
            results.write_bytes(made[number], make_file(photo, number))
    return made


def run(way: str, files: Sequence[Path], workers: int) -> float:
    """Embeds files in one way, from nothing; returns the seconds.

    Args:
        way: One of WAYS.
        files: To embed.
        workers: One-threaded workers of an engine, or threads of the program.

    Raises:
        RuntimeError: The program failed, or a file was not embedded.
    """
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        if way == WAYS[0]:
            # Hard links: the program takes a folder.
            there = Path(folder) / "files"
            there.mkdir()
            for path in files:
                (there / path.name).hardlink_to(path)
            begin = time.perf_counter()
            # A threshold that no pair is above: the search is a part of both only where it is asked for.
            words = [PROGRAM, there, "--threads", workers, "--threshold", 0.999999, "--json", Path(folder) / "r.json"]
            words += ["--embeddings", Path(folder) / "e.npy", "--quiet", "--no-store"]
            done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"build/similarity: {done.stderr.strip()}")
            return time.perf_counter() - begin
        listed = embedding.gather([str(path) for path in files], [], sources.Columns())
        partitions = embedding.plan(folder, *listed, 256)
        options = engines.Options(way, workers)  # type: ignore[arg-type]
        totals = embedding.embed(folder, partitions, Settings(), options)
        if totals.images != len(files):
            raise RuntimeError(f"{way}: {totals.images} of {len(files)} files were embedded")
        return time.perf_counter() - begin


def measure(files: Sequence[Path], ways: Sequence[str], rounds: int, workers: int, state: Path) -> list[Json]:
    """Times all ways in turn, each round on its own share of the files; what `state` has is not timed again.

    Args:
        files: All of them.
        ways: Some of WAYS, the program among them.
        rounds: How many.
        workers: As for :func:`run`.
        state: A result that is written after every run.

    Returns:
        Rows with "way", "images_per_s" and "ratio" (to the program in the same round), each {"median", "low", "high"},
        and "runs".
    """
    share = len(files) // rounds
    known = results.read(state) if state.is_file() else {}
    timed: Json = known.get("seconds", {}) if known.get("files") == len(files) else {}
    for number, way in timing.turns(list(ways), rounds):
        key = f"{number} {way}"
        if key not in timed:
            timed[key] = run(way, files[number * share : (number + 1) * share], workers)
            print(f"round {number + 1}: {way} {share / timed[key]:.1f} images/s", flush=True)
            results.write(state, {"files": len(files), "seconds": timed})
    rows = []
    for way in ways:
        seconds = [timed[f"{number} {way}"] for number in range(rounds)]
        ratios = [timed[f"{number} {WAYS[0]}"] / each for number, each in enumerate(seconds)]
        rows.append(
            {
                "way": way,
                "images_per_s": _spread([share / each for each in seconds]),
                "ratio": _spread(ratios),
                "runs": rounds,
            }
        )
    return rows


def _spread(values: Sequence[float]) -> Json:
    middle = statistics.median(values)
    named = {"median": middle, "low": min(values), "high": max(values)}
    return {name: timing.significant(value) for name, value in named.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.scale.throughput", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="of which files are made")
    parser.add_argument("--files", type=int, default=100_000, metavar="N", help="(default %(default)s: about 30 GB)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default %(default)s)")
    parser.add_argument("--workers", type=int, default=machine.cores(), metavar="N", help="(default: the cores)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--folder", type=Path, default=CACHE / "throughput", metavar="DIR", help="of the files made")
    parser.add_argument("--output", type=Path, default=RESULTS / "scale_throughput.json", metavar="FILE")
    parser.add_argument("--remove", action="store_true", help="remove the files and what was timed at the end")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    try:
        if WAYS[0] not in arguments.ways or arguments.files < arguments.rounds or arguments.rounds < 1:
            raise ValueError(f"expected {WAYS[0]} among the ways, and at least one file a round")
        results.check_writable(arguments.output)
        value = machine.head(machine.command_line("research.scale.throughput", words))
        files = make_files(originals(arguments.photos), arguments.folder / "files", arguments.files)
        value |= {
            "files": len(files),
            "megapixels": WIDTH * HEIGHT / 1e6,
            "mean_kilobytes": timing.significant(statistics.mean(path.stat().st_size for path in files) / 1000),
            "rounds": arguments.rounds,
            "files_of_a_round": len(files) // arguments.rounds,
            "workers": arguments.workers,
        }
        value["rows"] = measure(
            files, arguments.ways, arguments.rounds, arguments.workers, arguments.folder / "timed.json"
        )
        results.write(arguments.output, value)
        if arguments.remove:
            shutil.rmtree(arguments.folder)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
