"""Step 1: the two tables, checked before anything else runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import rrn_native
from rrn_native.cli.common import one_line, write_json

from rrn_ops.evaluation import files, tables
from rrn_ops.evaluation.options import Options
from rrn_ops.evaluation.tables import Problem, TableError, Tables


@dataclasses.dataclass(frozen=True)
class Examined:
    """Tables without a problem, and what identifies their images.

    Attributes:
        tables: The rows.
        digests: For each row, the fingerprint of its image's content.
    """

    tables: Tables
    digests: list[str]


def examine(inputs: Path, outputs: Path, classes: Sequence[str] | None, work: Path | None = None) -> Examined:
    """Reads both tables and decodes every image once.

    Args:
        inputs: As for :func:`rrn_ops.evaluation.tables.read`.
        outputs: Likewise.
        classes: Likewise.
        work: Where it is kept which contents were decoded before; None to decode all.

    Raises:
        TableError: There are problems; it has all of them.
        OSError: A table cannot be read.
    """
    found, problems = tables.read(inputs, outputs, classes)
    known = set(files.read_json(work / "readable.json")) if work and (work / "readable.json").is_file() else set()
    digests, content, good = [], dict[str, int](), set[str]()
    for line, name, path in zip(found.lines, found.names, found.images, strict=True):
        digest, problem = _readable(name, path, known | good)
        if not problem and content.setdefault(digest, line) != line:
            # The same picture twice counts twice in every metric, and finds itself in a search.
            problem = f"{name}: duplicate content, the same file as in line {content[digest]}"
        if problem:
            problems.append(Problem(str(inputs), line, problem))
        else:
            good.add(digest)
        digests.append(digest)
    if not problems and len(found.names) < 2:
        problems.append(Problem(str(inputs), 2, "expected two images or more"))
    if problems:
        raise TableError(sorted(problems, key=lambda each: (each.file != str(inputs), each.line, each.text)))
    if work is not None and not good <= known:
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / "readable.json", sorted(good))
    return Examined(found, digests)


def _readable(name: str, path: Path, known: set[str]) -> tuple[str, str]:
    """An image's fingerprint, and what is wrong with it or nothing."""
    try:
        digest = files.digest_of_file(path)
        if digest not in known:
            rrn_native.decode(path)
    except FileNotFoundError:
        return "", f"{name}: missing file"
    except (OSError, rrn_native.RrnError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return "", f"{name}: unreadable: {one_line(reason)}"
    return digest, ""


def run(work: Path, options: Options, key: str) -> None:
    """Writes ``images.json`` and ``labels.json``.

    Args:
        work: The folder of the run.
        options: Of the run.
        key: The fingerprint of the step.

    Raises:
        TableError: There are problems.
        OSError: A file cannot be read or written.
    """
    found = examine(options.inputs, options.outputs, options.classes or None, work)
    rows = found.tables
    write_json(work / "labels.json", {"key": key, "labels": rows.labels, "outputs": rows.outputs})
    write_json(
        work / "images.json",
        {
            "key": key,
            "names": rows.names,
            "images": [str(path) for path in rows.images],
            "lines": rows.lines,
            "slices": rows.slices,
        },
    )
