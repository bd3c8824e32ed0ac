"""Times the pair search on embeddings of real pictures and on random rows: with short rows, without, and faiss flat.

python -m research.benchmarks.real_pairs --data DATA --cache FOLDER

DATA is a folder with what `real_pictures.py` lists. The embeddings are those of the default model with an input of
64x64, the size of most of these pictures: enlarged to 224x224 all tiny pictures look alike, because all of them are
blurred. They are kept in FOLDER, so that only the first run embeds. See pairs.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rrn_native

from research.benchmarks import pairs, real_pictures
from research.common import machine, results, timing
from research.common.places import RESULTS

MODULE = "python -m research.benchmarks.real_pairs"
OUTPUT = RESULTS / "bench_real_pairs.json"
SIZE = 64
SHARD = 5000
FAISS = "faiss, flat"
DIRECTIONS = (16, 32, 64, 96, 128, 192, 256)
THRESHOLDS = (0.7, 0.75, 0.8, 0.9)
Rows = npt.NDArray[np.float32]
Json = dict[str, Any]


def embed(data: Path, cache: Path, count: int, size: int = SIZE) -> tuple[Rows, Json]:
    """Returns embeddings of the first `count` pictures, from the cache where they are there, and what they are.

    Args:
        data: As for `real_pictures.read_originals`.
        cache: Gets a file for each 5,000 pictures, named after the embedder's fingerprint.
        count: At most three for each original.
        size: Of the model's input, in pixels.

    Returns:
        (rows, about): float32 [count, dim], and numbers of originals and of pictures, model and size.

    Raises:
        ValueError: The data has fewer pictures.
    """
    originals = real_pictures.read_originals(data)
    order = real_pictures.order(len(originals))
    if count > len(order):
        raise ValueError(f"expected at least {count} pictures, got {len(order)} from {len(originals)} originals")
    embedder = rrn_native.Embedder(size=size)
    shards = []
    for start in range(0, count, SHARD):
        numbers = order[start : min(start + SHARD, count)]
        place = cache / f"{embedder.fingerprint}-{start:07}-{len(numbers)}.npy"
        if not place.is_file():
            pictures = [np.asarray(real_pictures.picture(originals, int(number))) for number in numbers]
            content = io.BytesIO()
            np.save(content, embedder.embed(pictures))
            results.write_bytes(place, content.getvalue())
        shards.append(np.load(place))
    about = {
        "originals": len(originals),
        "copies_of_each": real_pictures.COPIES,
        "rows": count,
        "input_size": size,
        "model": embedder.model.file,
        "provider": embedder.provider,
    }
    return np.concatenate(shards), about


def left_over(rows: Rows, sample: int = 3000, train: int = 4096) -> list[Json]:
    """The share of pairs that the bound leaves over, by directions and threshold, without any rounding.

    The directions are the principal ones of `train` rows, at most half of them; the pairs are those of `sample` others.
    """
    train = min(train, len(rows) // 2)
    chosen = np.random.default_rng(1).permutation(len(rows))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    first, others = unit[chosen[:train]].astype(np.float64), unit[chosen[train : train + sample]].astype(np.float64)
    directions = np.linalg.eigh(first.T @ first)[1][:, ::-1]
    pairs_of = np.triu_indices(len(others), 1)
    cosines = (others @ others.T)[pairs_of]
    table = []
    for number in DIRECTIONS:
        inside = others @ directions[:, : number - 1]
        rest = np.sqrt(np.maximum(0, 1 - (inside**2).sum(axis=1)))
        bounds = (inside @ inside.T + np.outer(rest, rest))[pairs_of]
        for threshold in THRESHOLDS:
            table.append(
                {
                    "numbers": number,
                    "threshold": threshold,
                    "similar": timing.significant(float((cosines > threshold).mean())),
                    "left_over": timing.significant(float((bounds > threshold).mean())),
                    "mean_rest": timing.significant(float(rest.mean())),
                }
            )
    return table


def ways(with_faiss: bool) -> dict[str, Callable[[Rows, float], int]]:
    """What is compared; each returns the number of pairs."""
    found: dict[str, Callable[[Rows, float], int]] = {
        "rrn": lambda rows, threshold: len(rrn_native.similar_pairs(rows, threshold)[0]),
        "rrn, no short rows": lambda rows, threshold: len(
            rrn_native.similar_pairs(rows, threshold, short_rows=False)[0]
        ),
    }
    if with_faiss:
        found[FAISS] = pairs.with_faiss
    return found


def compare(kind: str, rows: Rows, threshold: float, runs: int, with_faiss: bool) -> list[Json]:
    """Times all ways in turn on one set of rows.

    Raises:
        RuntimeError: Short rows have changed the result.
    """
    if pairs_of(rows, threshold, None) != pairs_of(rows, threshold, False):
        raise RuntimeError(f"{kind} rows: short rows changed the result")
    counts: dict[str, int] = {}

    def run(name: str, search: Callable[[Rows, float], int]) -> None:
        counts[name] = search(rows, threshold)

    compared = ways(with_faiss)
    for search in compared.values():  # imports and threads start outside the times
        search(rows[:500], threshold)
    times = timing.interleaved({name: partial(run, name, compared[name]) for name in compared}, runs, warmup=0)
    return [
        {
            "kind": kind,
            "rows": len(rows),
            "way": name,
            "pairs": counts[name],
            **taken.to_json("s"),
            "times_rrn": timing.significant(taken.median / times["rrn"].median),
        }
        for name, taken in times.items()
    ]


def pairs_of(rows: Rows, threshold: float, short_rows: bool | None) -> list[bytes]:
    """Returns the bytes of all that a search finds."""
    return [column.tobytes() for column in rrn_native.similar_pairs(rows, threshold, short_rows=short_rows)]


def main(words: list[str] | None = None) -> int:
    """Reads the command line, embeds, measures, writes the file; returns the exit status."""
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the pictures (real_pictures.py)")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the embeddings")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file (default: %(default)s)")
    parser.add_argument("--count", type=int, default=100_000, help="rows (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each (default: %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.75, help="default: %(default)s")
    parser.add_argument("--no-faiss", action="store_true", help="leave faiss out")
    arguments = parser.parse_args(words)
    try:
        results.check_writable(arguments.output)
        rows, about = embed(arguments.data, arguments.cache, arguments.count)
    except (OSError, ValueError) as error:
        print(f"real_pairs: {error}", file=sys.stderr)
        return 2
    head = machine.head(machine.command_line(MODULE, sys.argv[1:] if words is None else words))
    measured = []
    for kind, some in (("real", rows), ("random", pairs.make_rows(arguments.count))):
        measured += compare(kind, some, arguments.threshold, arguments.runs, not arguments.no_faiss)
        for entry in measured[-len(ways(not arguments.no_faiss)) :]:
            print(
                f"{kind:8} {entry['way']:20} {entry['median_s']:9.3f} s {entry['times_rrn']:7.2f} times rrn", flush=True
            )
    result = {
        **head,
        "threshold": arguments.threshold,
        "dim": rows.shape[1],
        "real_rows": about,
        "rows": measured,
        "left_over": left_over(rows),
    }
    results.write(arguments.output, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
