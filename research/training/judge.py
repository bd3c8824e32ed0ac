"""Judges weights before they are exported: labelled photos, and generated copies of others.

    python -m research.training.judge balanced=.cache/balanced.pth --labelled UKBENCH --copies-from PHOTOS

Half of the objects are for choosing between weights, the other half is for what is reported of the chosen ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from research.common import copies, machine, photos, results
from research.evaluation import evaluate, measure
from research.training.config import load_config
from research.training.stages import batches, opened
from research.training.student import Student, load_student
from research.training.trainer import Normaliser

Json = dict[str, Any]

MODULE = "python -m research.training.judge"
HALVES = ("choosing", "report", "all")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pictures:
    """What weights are judged on, as normalised batches of one size.

    Attributes:
        labelled: Of labelled photos.
        groups: Their labels.
        copied: Of photos, each followed by its copies in the order of `copies.TRANSFORMS`.
    """

    labelled: list[torch.Tensor]
    groups: list[str]
    copied: list[torch.Tensor]


def half_of(groups: Sequence[str], half: str) -> list[int]:
    """Returns the positions of the photos of a half: every other object, in the order of their names."""
    names = sorted(set(groups))
    wanted = set({"choosing": names[::2], "report": names[1::2], "all": names}[half])
    return [position for position, group in enumerate(groups) if group in wanted]


def read_pictures(labelled: Path, half: str, copied: Path, size: int) -> Pictures:
    """Reads and prepares all pictures.

    Raises:
        ValueError, OSError: As for `photos.labelled`.
    """
    normalised = Normaliser(load_config(cuda=False), CPU)
    files, groups = photos.labelled(labelled)
    chosen = half_of(groups, half)

    made = (
        Image.fromarray(pixels)
        for photo in evaluate.originals(photos.readable(copied))
        for pixels in copies.with_copies(photo, evaluate.SEED)
    )
    return Pictures(
        list(batches(opened(files[position] for position in chosen), normalised, size)),
        [groups[position] for position in chosen],
        list(batches(made, normalised, size)),
    )


def numbers(labelled: torch.Tensor, groups: Sequence[str], copied: torch.Tensor) -> Json:
    """Measures raw embeddings [n, D] of labelled photos, and of photos with their copies."""
    by_group = measure.group_numbers(measure.cosines(labelled.numpy()), groups)
    by_copy = measure.copy_numbers(measure.cosines(copied.numpy()), list(copies.TRANSFORMS))
    return {"labelled": measure.brief(by_group), "copies": measure.brief(by_copy)}


@torch.inference_mode()
def embed(student: Student, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns the raw embeddings [n, 512]."""
    student.eval()
    return torch.cat([student(batch)[0] for batch in pictures])


def judge(weights: Mapping[str, Path], pictures: Pictures) -> list[Json]:
    """Judges files of weights; returns a row for each.

    Raises:
        ValueError, OSError: As for `load_student`.
    """
    rows = []
    for name, path in weights.items():
        student = load_student(path)
        found = numbers(embed(student, pictures.labelled), pictures.groups, embed(student, pictures.copied))
        rows.append({"name": name, "sha256": results.sha256(path), **found})
        print(line(name, found), flush=True)
    return rows


def line(name: str, found: Json) -> str:
    """One row for reading."""
    parts = []
    for kind in ("labelled", "copies"):
        one = found[kind]
        at = one["at_threshold"]
        parts.append(
            f"{kind}: AP {one['average_precision']:.3f}"
            + (f", N-S {one['ns']:.2f}" if "ns" in one else "")
            + f", at {at['threshold']:g} P {at['precision'] or 0:.3f} R {at['recall']:.3f} F1 {at['f1']:.3f}"
            + f", best {one['best_f1']['f1']:.3f} at {one['best_f1']['threshold']:.3f}"
            + f", unrelated above {100 * one['different_above_threshold']:.3f} %"
        )
    return f"{name}: {'; '.join(parts)}"


def _named(words: Sequence[str]) -> dict[str, Path]:
    """Splits NAME=FILE.

    Raises:
        ValueError: One is something else, or two have the same name.
        FileNotFoundError: There is no such file.
    """
    named: dict[str, Path] = {}
    for text in words:
        name, _, path = text.partition("=")
        if not name or not path or name in named:
            raise ValueError(f"{text}: expected NAME=FILE.pth, each name once")
        if not Path(path).is_file():
            raise FileNotFoundError(f"no such file: {path}")
        named[name] = Path(path)
    return named


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which pictures are judged on."""
    parser.add_argument("--labelled", type=Path, required=True, metavar="DIR", help="photos with groups.csv")
    parser.add_argument("--half", choices=HALVES, default="choosing", help="of its objects (default %(default)s)")
    parser.add_argument("--copies-from", type=Path, required=True, metavar="DIR", help="photos to make copies of")
    parser.add_argument("--size", type=int, default=224, metavar="N", help="default %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE.json")


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=MODULE, description="Judge weights on labelled photos and on copies.")
    parser.add_argument("weights", nargs="+", metavar="NAME=FILE.pth")
    add_pictures(parser)
    given = list(sys.argv[1:] if words is None else words)
    arguments = parser.parse_args(given)
    try:
        named = _named(arguments.weights)
        pictures = read_pictures(arguments.labelled, arguments.half, arguments.copies_from, arguments.size)
        head = machine.head(machine.command_line(MODULE, given))
        rows = judge(named, pictures)
        if arguments.output:
            results.write(arguments.output, {**head, "half": arguments.half, "size": arguments.size, "rows": rows})
    except (OSError, ValueError) as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
