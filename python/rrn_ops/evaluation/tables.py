"""The two CSV files: which images, and what is expected of them. Every problem has its line number."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import posixpath
from collections.abc import Sequence
from pathlib import Path

IMAGE, LABEL, OUTPUT = "image", "label", "output"


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """Something wrong with a row.

    Attributes:
        file: The CSV file.
        line: The first line of the row; 1 is the header.
        text: What is wrong.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class TableError(ValueError):
    """The tables cannot be evaluated.

    Attributes:
        problems: All of them, in the order of files and lines.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of one of the files: its first line, and its fields by column."""

    line: int
    fields: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Tables:
    """What both files say, in the order of the inputs.

    Attributes:
        names: n images as they are written.
        images: n paths.
        lines: n lines of the inputs.
        labels: n expected classes or groups.
        slices: For each further column of the inputs, n values.
        outputs: n expected outputs, or None where the table has no such value.
    """

    names: list[str]
    images: list[Path]
    lines: list[int]
    labels: list[str]
    slices: dict[str, list[str]]
    outputs: list[list[float] | None]


def read(inputs: Path, outputs: Path, classes: Sequence[str] | None) -> tuple[Tables, list[Problem]]:
    """Reads both files and finds what is wrong in them, without opening an image.

    Args:
        inputs: CSV with the column ``image``; each further column is a slice.
        outputs: CSV with the columns ``image`` and ``label``, and perhaps ``output``, a JSON list of numbers.
        classes: The names that a label may have; None for any.

    Returns:
        The rows that are in both files, and the problems in the order of files and lines.

    Raises:
        OSError: A file cannot be read.
    """
    problems: list[Problem] = []
    first = _rows(inputs, (IMAGE,), problems)
    second = _rows(outputs, (IMAGE, LABEL), problems)
    wanted = _by_image(inputs, first, problems)
    expected = _by_image(outputs, second, problems)
    # Where a header is wrong, each row would be said to be missing in the other file.
    if not any(problem.line == 1 for problem in problems):
        for names, others, file, other in ((wanted, expected, inputs, outputs), (expected, wanted, outputs, inputs)):
            for name, row in names.items():
                if name not in others:
                    problems.append(Problem(str(file), row.line, f"{name}: mismatched, not in {other}"))
    labels: dict[str, str] = {}
    values: dict[str, list[float] | None] = {}
    for name, row in expected.items():
        label = row.fields[LABEL]
        if not label:
            problems.append(Problem(str(outputs), row.line, f"{name}: missing label"))
        elif classes is not None and label not in classes:
            problems.append(
                Problem(str(outputs), row.line, f"{name}: unknown class {label!r}; one of {_some(classes)}")
            )
        labels[name] = label
        values[name] = _numbers(outputs, row, values, problems)
    both = [name for name in wanted if name in expected]
    columns = [name for name in (first[0].fields if first else ()) if name != IMAGE]
    tables = Tables(
        names=both,
        images=[inputs.absolute().parent / name for name in both],
        lines=[wanted[name].line for name in both],
        labels=[labels[name] for name in both],
        slices={column: [wanted[name].fields[column] for name in both] for column in columns},
        outputs=[values[name] for name in both],
    )
    return tables, sorted(set(problems), key=lambda each: (each.file != str(inputs), each.line, each.text))


def _rows(path: Path, columns: Sequence[str], problems: list[Problem]) -> list[Row]:
    found = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            problems += [Problem(str(path), 1, f"missing column {name!r}") for name in columns if name not in header]
            problems += [
                Problem(str(path), 1, f"duplicate column {name!r}")
                for number, name in enumerate(header)
                if name in header[:number]
            ]
            line = reader.line_num
            for fields in reader:
                line, begin = reader.line_num, line + 1
                if not fields:
                    continue
                if len(fields) != len(header):
                    problems.append(Problem(str(path), begin, f"{len(fields)} fields, expected {len(header)}"))
                    continue
                found.append(Row(begin, {name: field.strip() for name, field in zip(header, fields, strict=True)}))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), 1, f"not CSV in UTF-8: {error}"))
    if not found and not problems:
        problems.append(Problem(str(path), 1, "no rows"))
    return [row for row in found if all(name in row.fields for name in columns)]


def _by_image(path: Path, rows: Sequence[Row], problems: list[Problem]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        # ./a.png is a.png.
        name = posixpath.normpath(row.fields[IMAGE]) if row.fields[IMAGE] else ""
        if not name:
            problems.append(Problem(str(path), row.line, "missing image name"))
        elif name in found:
            problems.append(Problem(str(path), row.line, f"{name}: duplicate of line {found[name].line}"))
        else:
            found[name] = row
    return found


def _numbers(
    path: Path, row: Row, before: dict[str, list[float] | None], problems: list[Problem]
) -> list[float] | None:
    text = row.fields.get(OUTPUT, "")
    if not text:
        return None
    try:
        values = json.loads(text)
        numbers = [float(value) for value in values] if isinstance(values, list) else []
    except (ValueError, TypeError):
        numbers = []
    length = next((len(each) for each in before.values() if each is not None), len(numbers))
    if not numbers or not all(map(math.isfinite, numbers)):
        problems.append(Problem(str(path), row.line, f"{row.fields[IMAGE]}: output is no JSON list of finite numbers"))
        return None
    if len(numbers) != length:
        text = f"{row.fields[IMAGE]}: mismatched output, {len(numbers)} numbers; {length} in the lines before"
        problems.append(Problem(str(path), row.line, text))
        return None
    return numbers


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
