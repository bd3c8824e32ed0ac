"""Tables of labelled images: which pairs belong together."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rrn_native.analysis import metrics

# All pairs of this many images are 50 million, half a gigabyte of work space.
MAX_GROUPED_IMAGES = 10_000
TRUE_WORDS = frozenset({"1", "true", "yes", "y", "similar", "same"})
FALSE_WORDS = frozenset({"0", "false", "no", "n", "dissimilar", "different"})


@dataclasses.dataclass(frozen=True)
class LabelledPairs:
    """Pairs of files and whether they belong together.

    Attributes:
        files: n paths.
        first: int64 [m], positions in ``files``.
        second: int64 [m].
        same: bool [m].
    """

    files: list[Path]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    same: npt.NDArray[np.bool_]


def read_groups(path: Path, images: Path | None = None) -> LabelledPairs:
    """Reads a CSV with the columns ``file`` and ``group``: files of one group belong together, all others do not.

    Args:
        path: The CSV file.
        images: The folder that relative file names start from; None for the CSV's own.

    Raises:
        ValueError: A column is missing, or there are too few or too many files.
    """
    rows = _read_rows(path, ("file", "group"))
    if len(rows) > MAX_GROUPED_IMAGES:
        raise ValueError(f"{path}: {len(rows)} files, at most {MAX_GROUPED_IMAGES}; label some pairs instead (--pairs)")
    first, second, same = metrics.pairs_of_groups([row["group"] for row in rows])
    folder = images or path.parent
    return LabelledPairs([folder / row["file"] for row in rows], first, second, same)


def read_pairs(path: Path, images: Path | None = None) -> LabelledPairs:
    """Reads a CSV with the columns ``first``, ``second`` and ``similar`` (1 or 0, yes or no, true or false).

    Args:
        path: The CSV file.
        images: The folder that relative file names start from; None for the CSV's own.

    Raises:
        ValueError: A column is missing, a label is no label, or there is no row.
    """
    rows = _read_rows(path, ("first", "second", "similar"))
    folder = images or path.parent
    numbers: dict[str, int] = {}
    labels = []
    for line, row in enumerate(rows, start=2):
        word = row["similar"].strip().lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise ValueError(f"{path}, line {line}: similar is {row['similar']!r}, expected 1 or 0")
        labels.append(word in TRUE_WORDS)
        for name in (row["first"], row["second"]):
            numbers.setdefault(name, len(numbers))
    first = np.array([numbers[row["first"]] for row in rows], dtype=np.int64)
    second = np.array([numbers[row["second"]] for row in rows], dtype=np.int64)
    return LabelledPairs([folder / name for name in numbers], first, second, np.array(labels, dtype=bool))


def _read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise ValueError(f"{path}: expected the columns {', '.join(columns)}; got {found}")
        rows = list(reader)
    for line, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise ValueError(f"{path}, line {line}: expected {len(columns)} fields")
    if not rows:
        raise ValueError(f"{path}: no rows")
    return rows
