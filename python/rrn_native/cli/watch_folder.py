"""``rrn watch-folder``: keeps a store up to date with a folder, as it changes."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rrn_native
from rrn_native._text import counted, printable
from rrn_native.cli.common import RUNTIME_ERROR, ProgressLine, fail, failure_code, note
from rrn_native.cli.parser import Parser, add_engine_options, make_embedder
from rrn_native.errors import CancelledError
from rrn_native.files import file_state
from rrn_native.store import Store, StoredImage, StoreUse

PROGRAM = "rrn watch-folder"
# Changes that come within this time of each other, in milliseconds, are one batch, unless they go on for longer than
# the second one.
_QUIET_MS = 300
_LONGEST_MS = 3_000
# How often, in milliseconds, to look whether the folder is still there when nothing changes.
_LOOK_MS = 500
# What watchfiles says of a name that is no UTF-8.
_UNKNOWN_NAME = "Unable to decode path"
# How often in a row a folder may vanish while it is listed.
_TRIES = 5


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog=PROGRAM,
        description="Bring a folder's store up to date, and keep it so: new and changed files are added, those that "
        "are gone are forgotten.",
        epilog="""examples:
  rrn watch-folder photos                        the store that 'rrn find photos' and 'rrn query' use
  rrn watch-folder photos --store photos.store --similar --threshold 0.9
  rrn watch-folder photos --json                 a JSON object for each batch, a line each
  rrn watch-folder photos --once                 bring it up to date, and end

A line tells what a batch of changes did. The system tells of changes (inotify), but not of those that other machines
make on a network file system, or by another name of a file (a hard link); --rescan finds these. Ctrl-C or SIGTERM ends
it.

Exit codes: 0 ended as it was asked to, 2 wrong usage, 4 the folder disappeared, or model, runtime or store failed.""",
    )
    made.add_argument("directory", metavar="FOLDER", help="the folder, sub-folders included")
    made.add_argument("--store", type=Path, metavar="DIR", help="default: the folder's own, in the cache folder")
    made.add_argument("--once", action="store_true", help="bring the store up to date, and end")
    made.add_argument(
        "--rescan",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="look at the whole folder so often, whatever the system tells (default %(default)g; 0: never)",
    )
    made.add_argument("--similar", action="store_true", help="name the most similar stored image of each new one")
    made.add_argument(
        "--threshold",
        type=float,
        default=rrn_native.DEFAULT_THRESHOLD,
        metavar="T",
        help="with --similar: only if it is more similar than this (default %(default)s)",
    )
    made.add_argument("--json", action="store_true", help="a JSON object for each batch, a line each, not text")
    made.add_argument("--quiet", action="store_true", help="no text and no progress line; errors are still shown")
    add_engine_options(made)
    return made


@dataclasses.dataclass(frozen=True)
class _Batch:
    """What one batch of changes did; `first` is of the start."""

    first: bool
    use: StoreUse
    similar: list[tuple[str, str, float]]

    def text(self, directory: str) -> str:
        """For people, without line breaks in names."""
        refused, files = self.use.computed - self.use.embedded, self.use.reused + self.use.computed
        counts = [f"+{self.use.embedded} embedded"]
        counts += [f"{refused} skipped"] if refused else []
        counts += [f"{self.use.removed} removed"] if self.use.removed or self.first else []
        line = ", ".join(counts)
        lines = [f"{printable(directory)}: {counted(files, 'file')}, {line}" if self.first else line]
        lines += [f"  {printable(new)} is like {printable(known)} ({value:.4f})" for new, known, value in self.similar]
        return "\n".join(lines)

    def fields(self) -> dict[str, Any]:
        """For programs."""
        similar = [{"path": new, "match": known, "similarity": value} for new, known, value in self.similar]
        return {"version": 1, "first": self.first, **_counts(self.use), "similar": similar}


def _counts(use: StoreUse) -> dict[str, Any]:
    fields = dataclasses.asdict(use)
    fields["skipped"] = use.computed - use.embedded
    return fields


class _Watch:
    """A folder and its store."""

    def __init__(self, arguments: argparse.Namespace, store: Store, stop: threading.Event) -> None:
        self.directory: str = arguments.directory
        self._arguments = arguments
        self._store = store
        self._stop = stop
        self._inode = file_state(self.directory)[3]

    def check_folder(self) -> None:
        """Raises OSError where the folder is gone, or another one stands in its place, which nobody tells of."""
        if not os.path.isdir(self.directory):  # noqa: PTH112 - a path of any bytes
            raise OSError(f"{self.directory}: the folder is gone")
        if file_state(self.directory)[3] != self._inode:
            raise OSError(f"{self.directory}: another folder has taken its place; start again to watch that one")

    def update(self, folder: str, *, first: bool = False) -> _Batch | None:
        """Brings the store up to date with a part of the folder; None if nothing had changed."""
        line = ProgressLine("images", not self._arguments.quiet and not self._arguments.json)

        def progress(done: int, total: int) -> bool:
            line(done, total)
            return not self._stop.is_set()

        before = {image.path: image.slot for image in self._stored(folder)}
        try:
            use = self._store.update(folder, progress=progress)
        finally:
            line.clear()
        if use.note:
            note(PROGRAM, f"not all of it is stored: {use.note}", quiet=self._arguments.quiet)
        if not first and not use.computed and not use.removed:
            return None
        fresh = [image for image in self._stored(folder) if before.get(image.path) != image.slot]
        return _Batch(first, use, [] if first or not use.embedded else self._similar(fresh))

    def _stored(self, folder: str) -> list[StoredImage]:
        """The images of a folder that have a row; for --similar only, since there may be many."""
        images = self._store.images(folder) if self._arguments.similar else []
        return [image for image in images if image.slot is not None]

    def _similar(self, fresh: list[StoredImage]) -> list[tuple[str, str, float]]:
        found = self._store.neighbours(fresh, 1, threshold=self._arguments.threshold)
        return [(image.path, match.path, match.similarity) for image, matches in found for match in matches]

    def smallest_folder(self, changed: Iterable[str]) -> str:
        """The smallest folder in which all changes are; the whole one where a name is not known exactly.

        Names come as text, in which bytes that are no UTF-8 are lost, so they only tell where to look.
        """
        folders = [os.path.dirname(path) for path in changed]  # noqa: PTH120 - as the names come
        common = os.path.commonpath(folders) if folders else self.directory
        inside = f"{common}/".startswith(f"{os.path.realpath(self.directory)}/")
        return common if inside and os.path.isdir(common) else self.directory  # noqa: PTH112


def _changes(watch: _Watch, store: Store, stop: threading.Event) -> Iterator[set[str]]:
    """Names of what changed, in batches; nothing at first, when watching has begun, and when nothing changes."""
    watchfiles: Any = importlib.import_module("watchfiles")
    own, watched = os.path.realpath(store.folder), os.path.realpath(watch.directory)
    if not watched.isprintable() and "\ufffd" in os.fsencode(watched).decode(errors="replace"):
        raise OSError(f"{watch.directory}: the name is no UTF-8, so the system cannot be asked for changes")
    lost = False
    while not stop.is_set():
        batches = watchfiles.watch(
            watched,
            watch_filter=lambda _, path: path != own and not path.startswith(f"{own}/"),
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            stop_event=stop,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        try:
            for batch in batches:
                # Only now, since what is not watched yet is not seen.
                yield {path for _, path in batch} | ({f"{watched}/."} if lost else set())
                lost = False
        except RuntimeError as error:
            # It ends at a name that is no UTF-8, with all changes that it has not told of yet.
            if _UNKNOWN_NAME not in str(error):
                raise
            lost = True


def _tell(batch: _Batch | None, arguments: argparse.Namespace) -> None:
    if batch is None or (arguments.quiet and not arguments.json):
        return
    text = json.dumps(batch.fields()) if arguments.json else batch.text(arguments.directory)
    # As bytes: a path need not be UTF-8. In JSON such a byte is an escape that json.loads and os.fsencode turn back.
    sys.stdout.buffer.write(os.fsencode(f"{text}\n"))
    sys.stdout.buffer.flush()


def _run(watch: _Watch, store: Store, arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Watches until `stop` is set.

    Raises:
        OSError: The folder disappeared, or cannot be watched.
        RrnError: The model or the store failed.
    """
    # What is still to be looked at. Watching begins before the first look, so that nothing falls between them.
    pending: str | None = None
    first, failures, last_look = True, 0, time.monotonic()
    for changed in _changes(watch, store, stop):
        watch.check_folder()
        if first:
            pending = watch.directory
        elif changed:
            pending = watch.smallest_folder(changed) if pending is None else watch.directory
        elif 0 < arguments.rescan < time.monotonic() - last_look:
            pending = watch.directory
        if pending is None:
            continue
        try:
            _tell(watch.update(pending, first=first), arguments)
        except (FileNotFoundError, NotADirectoryError):
            # A sub-folder went away while it was listed.
            watch.check_folder()
            failures += 1
            if failures == _TRIES:
                raise
            pending = watch.directory
            continue
        if pending == watch.directory:
            last_look = time.monotonic()
        first, failures, pending = False, 0, None


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(arguments: argparse.Namespace) -> Store:
    if not os.path.isdir(arguments.directory):  # noqa: PTH112 - a path of any bytes
        raise ValueError(f"{arguments.directory}: no such folder")
    if not -1 <= arguments.threshold < 1:
        raise ValueError(f"--threshold is {arguments.threshold}, expected -1 <= T < 1")
    if not arguments.rescan >= 0:
        raise ValueError(f"--rescan is {arguments.rescan:g}, expected at least 0 seconds")
    try:
        embedder = make_embedder(PROGRAM, arguments, quiet=arguments.quiet)
    except FileNotFoundError as error:  # a model, which is no usage of the folder's
        raise rrn_native.RrnError(str(error)) from error
    if arguments.store is not None:
        return Store(arguments.store, embedder)
    return Store.of_folder(arguments.directory, embedder)


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    importlib.import_module("watchfiles")  # before the model is loaded
    stop = threading.Event()
    with _stopped_by_signals(stop):
        try:
            store = _start(arguments)
        except (OSError, ValueError, rrn_native.RrnError) as error:
            return fail(PROGRAM, error, failure_code(error))
        try:
            watch = _Watch(arguments, store, stop)
            if arguments.once:
                _tell(watch.update(arguments.directory, first=True), arguments)
            else:
                _run(watch, store, arguments, stop)
        except CancelledError:
            return 0
        # RuntimeError: what watchfiles raises, for one where the system's limit of watches is reached.
        except (OSError, RuntimeError) as error:
            return fail(PROGRAM, error, RUNTIME_ERROR)
    return 0
