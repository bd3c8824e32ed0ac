"""``rrn index``: a store of embeddings, which grows with what it is of."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rrn_native
from rrn_native._text import counted, one_line, printable
from rrn_native.cli.common import (
    NOTHING_READABLE,
    RUNTIME_ERROR,
    ProgressLine,
    check_output,
    fail,
    failure_code,
    write_json,
)
from rrn_native.cli.parser import Parser, add_engine_options, make_embedder
from rrn_native.errors import UnreadableError
from rrn_native.store import DEFAULT_COUNT, Store, StoreReport, StoreUse, check_limits

# Found by verify, or nothing found by query.
_FINDINGS = 1

_EPILOG = """examples:
  rrn index add photos.store photos more/a.jpg      files and folders; those that have not changed are not read again
  rrn index update photos.store photos              the same, and files of the folder that are gone are forgotten
  rrn index query photos.store a.jpg -k 5           the most similar stored images
  rrn index verify photos.store                     every checksum; --repair removes what is damaged
  rrn index export photos.store --parquet photos.parquet

A store is a folder: 'rrn find photos --store photos.store' and 'rrn query' use it, too. One store can hold several
models, which never meet; the options of the model (rrn index add --help) say which one is meant. What is reported as
stored survives a crash, and several processes may use a store at the same time.

Exit codes: 0 done, 1 query: no match, or verify: something is damaged, 2 wrong usage, 3 nothing readable, 4 model,
runtime, store or output failed, 130 interrupted."""


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What a command found out: for programs, for people, and its exit code with a line of what went wrong."""

    fields: dict[str, Any]
    lines: list[str]
    code: int = 0
    failure: str = ""


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(prog="rrn index", description="Keep the embeddings of files in a store, and ask it.", epilog=_EPILOG)
    verbs = made.add_subparsers(dest="what", required=True, metavar="|".join(_COMMANDS))
    _add_growing(verbs)
    _add_asking(verbs)
    remove = _verb(verbs, "remove", "forget files, or all files of folders; the files themselves stay")
    remove.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    verify = _verb(verbs, "verify", "look at everything, and compare all checksums")
    verify.add_argument(
        "--repair", action="store_true", help="remove what is damaged, which the next add computes again"
    )
    _verb(verbs, "compact", "give the space of rows back that were replaced or removed")
    _verb(verbs, "info", "say what is in a store")
    return made


def _verb(verbs: argparse._SubParsersAction[Parser], name: str, summary: str) -> Parser:
    made = verbs.add_parser(
        name, prog=f"rrn index {name}", description=f"{summary[0].upper()}{summary[1:]}.", epilog="", help=summary
    )
    made.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    made.add_argument("--json", metavar="FILE", help="write the answer as JSON; '-' for standard output, not text")
    made.add_argument("--quiet", action="store_true", help="no text and no progress line; errors are still shown")
    return made


def _add_growing(verbs: argparse._SubParsersAction[Parser]) -> None:
    add = _verb(verbs, "add", "add files, or all files of folders; what has not changed is not read again")
    add.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    update = _verb(verbs, "update", "add what is new or has changed in folders, and forget what is gone")
    update.add_argument("paths", nargs="+", metavar="FOLDER", help="folders")
    for each in (add, update):
        each.add_argument("--no-recursive", action="store_true", help="do not look into sub-folders")
        each.add_argument(
            "--floats",
            choices=("float32", "float16"),
            default="float32",
            help="how a new store keeps embeddings: every bit, or rounded in half the space (default %(default)s)",
        )
        add_engine_options(each)


def _add_asking(verbs: argparse._SubParsersAction[Parser]) -> None:
    query = _verb(verbs, "query", "find the stored images that are most similar to an image")
    query.add_argument("image", metavar="IMAGE", help="the image to ask about; it need not be stored")
    query.add_argument(
        "-k", type=int, default=DEFAULT_COUNT, metavar="N", help="the largest number of matches (default %(default)s)"
    )
    query.add_argument("--threshold", type=float, metavar="T", help="only images more similar than this (-1 <= T < 1)")
    export = _verb(verbs, "export", "write what is stored to a file for other programs")
    export.add_argument(
        "--parquet", type=Path, required=True, metavar="FILE", help="needs pyarrow (rrn's extra [parquet])"
    )
    for each in (query, export):
        add_engine_options(each)


def _open(arguments: argparse.Namespace, *, read_only: bool = False) -> Store:
    """Opens a store that is there, for what needs no model."""
    return Store(arguments.store, create=False, read_only=read_only)


def _open_with_model(arguments: argparse.Namespace, *, create: bool) -> Store:
    try:
        embedder = make_embedder(f"rrn index {arguments.what}", arguments, quiet=arguments.quiet)
    except FileNotFoundError as error:  # a model, which is no usage of the store's
        raise rrn_native.RrnError(str(error)) from error
    if create:
        return Store(arguments.store, embedder, floats=arguments.floats)
    return Store(arguments.store, embedder, create=False, read_only=True)


def _reasons(use: StoreUse) -> str:
    """Such as ": 2 not an image of a known format, 1 an empty file"."""
    counts = collections.Counter(one_line(file.reason) for file in use.skipped)
    return ": " + ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) if counts else ""


def _grown(use: StoreUse) -> _Answer:
    files = use.reused + use.computed
    fields = {"files": files, **dataclasses.asdict(use)}
    lines = [
        f"files     {files}",
        f"reused    {use.reused}",
        f"embedded  {use.embedded}",
        f"skipped   {len(use.skipped)}{_reasons(use)}",
        f"removed   {use.removed}",
    ]
    if use.damaged:
        lines.append(f"damaged   {use.damaged} (computed again)")
    if use.note:
        return _Answer(fields, lines, RUNTIME_ERROR, f"not all of it is stored: {use.note}")
    return _Answer(fields, lines)


def _sum(uses: Sequence[StoreUse]) -> StoreUse:
    numbers = {
        name: sum(getattr(use, name) for use in uses)
        for name in ("reused", "computed", "embedded", "removed", "damaged")
    }
    skipped = tuple(file for use in uses for file in use.skipped)
    return StoreUse(**numbers, skipped=skipped, note=next((use.note for use in uses if use.note), ""))


def _add(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    for path in arguments.paths:
        if not os.path.exists(path):  # noqa: PTH110 - a path of any bytes
            raise FileNotFoundError(f"{path}: no such file or folder")
    store = _open_with_model(arguments, create=True)
    use = store.add(arguments.paths, recursive=not arguments.no_recursive, progress=line)
    answer = _grown(use)
    if answer.code == 0 and use.reused + use.computed == len(use.skipped):
        failure = f"no readable image among {counted(len(use.skipped), 'file')}"
        return dataclasses.replace(answer, code=NOTHING_READABLE, failure=failure)
    return answer


def _update(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    for path in arguments.paths:
        if not os.path.isdir(path):  # noqa: PTH112 - a path of any bytes
            raise FileNotFoundError(f"{path}: no such folder")
    store = _open_with_model(arguments, create=True)
    recursive = not arguments.no_recursive
    return _grown(_sum([store.update(path, recursive=recursive, progress=line) for path in arguments.paths]))


def _remove(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    del line
    removed = _open(arguments).remove(arguments.paths)
    return _Answer({"removed": removed}, [f"removed   {removed}"])


def _query(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    del line
    check_limits(arguments.k, arguments.threshold)
    store = _open_with_model(arguments, create=False)
    matches = store.search(arguments.image, arguments.k, threshold=arguments.threshold)
    fields = {
        "query": arguments.image,
        "k": arguments.k,
        "threshold": arguments.threshold,
        "matches": [dataclasses.asdict(match) for match in matches],
    }
    lines = [f"{match.similarity:.4f}  {printable(match.path)}" for match in matches]
    return _Answer(fields, lines, 0 if matches else _FINDINGS)


def _report(report: StoreReport, totals: str) -> _Answer:
    return _Answer(dataclasses.asdict(report), [*(one_line(finding) for finding in report.findings), totals])


def _verify(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    if arguments.repair:
        repaired = _open(arguments).repair(line)
        return _report(
            repaired, f"{counted(repaired.rows, 'row')}, {repaired.damaged} damaged, {repaired.removed} removed"
        )
    report = _open(arguments, read_only=True).verify(line)
    if not report.findings:
        return _report(report, f"{counted(report.rows, 'row')}, nothing wrong")
    answer = _report(report, f"{counted(report.rows, 'row')}, {report.damaged} damaged; --repair removes what is")
    return dataclasses.replace(answer, code=_FINDINGS)


def _compact(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    report = _open(arguments).compact(line)
    return _report(report, f"{counted(report.removed, 'row')} removed, {report.freed:,} bytes freed")


def _info(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    del line
    store = _open(arguments, read_only=True)
    fields = store.info()
    lines = [f"format    {fields['format']}", f"files     {fields['files']}"]
    for column in fields["columns"]:
        lines.append(
            f"{column['kind']}  {column['fingerprint']}: {counted(column['rows'], 'row')} of {column['dim']} "
            f"{column['floats']}, {column['skipped']} skipped, {column['dead']} to compact, {column['bytes']:,} bytes"
        )
    return _Answer({**fields, "note": store.note}, lines + ([one_line(store.note)] if store.note else []))


def _export(arguments: argparse.Namespace, line: ProgressLine) -> _Answer:
    del line
    if not arguments.parquet.absolute().parent.is_dir():
        raise ValueError(f"--parquet {arguments.parquet}: no such folder to write to")
    written = _open_with_model(arguments, create=False).to_parquet(arguments.parquet)
    name = os.fspath(arguments.parquet)
    return _Answer({"file": name, "files": written}, [f"{printable(name)}: {counted(written, 'file')}"])


_COMMANDS: dict[str, Callable[[argparse.Namespace, ProgressLine], _Answer]] = {
    "add": _add,
    "update": _update,
    "remove": _remove,
    "query": _query,
    "verify": _verify,
    "compact": _compact,
    "info": _info,
    "export": _export,
}


def _needs_pyarrow(error: ImportError) -> str:
    return f"needs {error.name}, which is not installed: pip install pyarrow (rrn's extra [parquet])"


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    program = f"rrn index {arguments.what}"
    line = ProgressLine("rows" if arguments.what in ("verify", "compact") else "images", not arguments.quiet)
    try:
        check_output(arguments.json)
        answer = _COMMANDS[arguments.what](arguments, line)
    except UnreadableError as error:
        line.clear()
        return fail(program, error, NOTHING_READABLE if arguments.what == "query" else RUNTIME_ERROR)
    except ModuleNotFoundError as error:
        line.clear()
        return fail(program, _needs_pyarrow(error), RUNTIME_ERROR)
    except (OSError, ValueError, rrn_native.RrnError) as error:
        line.clear()
        return fail(program, error, failure_code(error))
    line.clear()
    text = "".join(f"{each}\n" for each in answer.lines) if not arguments.quiet else ""
    if arguments.json is not None:
        fields = {"version": 1, "command": arguments.what, "store": os.fspath(arguments.store), **answer.fields}
        write_json(arguments.json, fields)
        text = "" if arguments.json == "-" else text
        sys.stdout.flush()
    # As bytes: a path need not be UTF-8.
    sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.buffer.flush()
    return fail(program, answer.failure, answer.code) if answer.failure else answer.code
