"""``rrn query``: the images of a folder that are most similar to one image."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import rrn_native
from rrn_native._old_index import import_index
from rrn_native._text import counted, one_line, printable
from rrn_native.cli.common import (
    NOTHING_READABLE,
    RUNTIME_ERROR,
    USAGE,
    ProgressLine,
    check_output,
    fail,
    note,
    write_json,
)
from rrn_native.cli.parser import Parser, add_engine_options, make_embedder
from rrn_native.errors import UnreadableError
from rrn_native.query import DEFAULT_COUNT, QueryResult, query
from rrn_native.store import Store


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn query",
        description="Find the images of a folder that are most similar to one image.",
        epilog="""examples:
  rrn query a.jpg photos                                 the ten most similar ones
  rrn query a.jpg photos -k 3 --threshold 0.9
  rrn query a.jpg photos --json -                        for programs
  rrn query a.jpg photos --store photos.store            keeps the folder's embeddings there

The folder's embeddings are kept in a store, by default the one that 'rrn find FOLDER' uses, in the cache folder. Each
query brings it up to date: new files and those whose size, times of change or inode differ are computed, files that are
gone are forgotten; all are computed again when the model, its settings, rrn or ONNX Runtime differ.

--index puts what an earlier version of rrn kept in FILE.npz into the store, and removes the file.

Exit codes: 0 found, 1 nothing above --threshold, 2 wrong usage, 3 the image cannot be read, or none in the folder,
4 model, runtime or output failed, 130 interrupted.""",
    )
    made.add_argument("image", type=Path, metavar="IMAGE", help="the image to ask about")
    made.add_argument("directory", type=Path, metavar="FOLDER", help="where to look")
    made.add_argument(
        "-k", type=int, default=DEFAULT_COUNT, metavar="N", help="the largest number of matches (default %(default)s)"
    )
    made.add_argument("--threshold", type=float, metavar="T", help="only images more similar than this (-1 <= T < 1)")
    where = made.add_mutually_exclusive_group()
    where.add_argument(
        "--store", type=Path, metavar="DIR", help="keep the folder's embeddings here (default: see below)"
    )
    where.add_argument("--no-store", action="store_true", help="read every file, and keep nothing")
    made.add_argument(
        "--index", type=Path, metavar="FILE.npz", help="deprecated: an old index, which the store takes in"
    )
    made.add_argument("--json", metavar="FILE", help="write the result as JSON; '-' for standard output, not text")
    made.add_argument("--no-recursive", action="store_true", help="do not look into sub-folders")
    made.add_argument("--quiet", action="store_true", help="no text and no progress line; errors are still shown")
    add_engine_options(made)
    return made


def _text(result: QueryResult) -> str:
    lines = [f"{match.similarity:.4f}  {printable(match.path)}" for match in result.matches]
    if result.skipped:
        lines += ["", f"skipped: {len(result.skipped)} of {counted(result.files, 'file')} (--json lists them)"]
    if result.store is not None:
        use = result.store
        lines += ["", f"store: {use.reused} reused, {use.computed} computed, {use.removed} removed"]
        if use.note:
            lines[-1] += f" ({one_line(use.note)})"
    return "\n".join(lines).lstrip("\n")


def _write(result: QueryResult, arguments: argparse.Namespace) -> int:
    """Prints and writes the result; returns the exit code."""
    # As bytes: a path need not be UTF-8. In JSON such a byte is an escape that json.loads and os.fsencode turn back.
    text = _text(result) + "\n" if not arguments.quiet else ""
    if arguments.json is not None:
        write_json(arguments.json, result.to_dict())
        text = "" if arguments.json == "-" else text
        sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.buffer.flush()
    if result.read == 0:
        message = f"{arguments.directory}: no other readable image among {counted(result.files, 'file')}"
        return fail("rrn query", message, NOTHING_READABLE)
    return 0 if result.matches else 1


def _open_store(arguments: argparse.Namespace, embedder: rrn_native.Embedder) -> Store | None:
    """The store that was asked for or, unless that cannot be opened, the folder's."""
    if arguments.no_store:
        return None
    if arguments.store is not None or arguments.index is not None:
        return Store(arguments.store, embedder) if arguments.store else Store.of_folder(arguments.directory, embedder)
    try:
        return Store.of_folder(arguments.directory, embedder)
    except (OSError, ValueError, rrn_native.RrnError) as error:
        note("rrn query", error, quiet=arguments.quiet)
        return None


def _import(arguments: argparse.Namespace, store: Store | None) -> None:
    """Puts an old index into the store, where there is one; the next call will name it, too."""
    if store is None:
        raise ValueError("--index and --no-store: expected one of them, got both")
    if not arguments.index.exists():
        text = f"--index {arguments.index}: no such file, and none is made any more; {store.folder} is the store"
    else:
        found = import_index(arguments.index, arguments.directory, store)
        text = f"--index {arguments.index}: {found.taken} of {counted(found.entries, 'entry', 'entries')} " + (
            f"went into the store {store.folder}, and the file is removed"
            if found.taken or not found.entries
            else f"are of unchanged files of {arguments.directory}, so the file is left as it is"
        )
    note("rrn query", text, quiet=arguments.quiet)


def _answer(arguments: argparse.Namespace, line: ProgressLine) -> QueryResult | int:
    """The result, or the exit code of a model that is not there."""
    check_output(arguments.json)
    if not arguments.directory.is_dir():
        raise ValueError(f"{arguments.directory}: no such folder")
    try:
        embedder = make_embedder("rrn query", arguments, quiet=arguments.quiet)
    except FileNotFoundError as error:  # a model, which is no usage of the folder's
        return fail("rrn query", error, RUNTIME_ERROR)
    # Before an old index is taken in, which is done once.
    if not arguments.image.exists():
        raise FileNotFoundError(f"{arguments.image}: no such file")
    store = _open_store(arguments, embedder)
    if arguments.index is not None:
        _import(arguments, store)
    return query(
        arguments.image,
        arguments.directory,
        arguments.k,
        threshold=arguments.threshold,
        embedder=embedder,
        store=store,
        recursive=not arguments.no_recursive,
        progress=line,
    )


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    line = ProgressLine("images", not arguments.quiet)
    try:
        result = _answer(arguments, line)
    except (ValueError, FileNotFoundError) as error:
        line.clear()
        return fail("rrn query", error, USAGE)
    except UnreadableError as error:
        line.clear()
        return fail("rrn query", error, NOTHING_READABLE)
    except (OSError, rrn_native.RrnError) as error:
        line.clear()
        return fail("rrn query", error, RUNTIME_ERROR)
    line.clear()
    return result if isinstance(result, int) else _write(result, arguments)
