"""A store: embeddings of files, kept on the disk from one run to the next.

    store = Store("photos.store")
    store.update("photos")
    store.search("a.jpg", 5)

It is the folder that ``similarity --store`` and ``rrn index`` use. Files that have not changed are not read again, what
is reported as stored survives a crash, and several processes may use one store at the same time. The page "The format
of a store" says what is in the folder.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rrn_native import _load
from rrn_native._parquet import write_parquet
from rrn_native.arrays import DEFAULT_THRESHOLD, FloatArray, PathLike, Progress, continue_unless_false, nearest
from rrn_native.embedder import Embedder, Keep, PhaseProgress, find_images
from rrn_native.errors import UnreadableError
from rrn_native.files import State, is_gone
from rrn_native.result import SimilarityResult, Skipped

DEFAULT_COUNT = 10


@dataclasses.dataclass(frozen=True)
class Match:
    """A stored image and its similarity (cosine, rounded to 6 decimals) to the image that was asked about."""

    path: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class StoreUse:
    """What a store saved, and what it could not keep.

    Attributes:
        reused: Files that were not read, because what is known of them came from the store.
        computed: Files that were read, because they were new or had changed.
        embedded: Of the computed ones, those that are images, so that they got a row.
        removed: Entries of files that are no longer there.
        damaged: Of the computed ones, those whose row in the store had a wrong checksum.
        skipped: Files that are no readable images, with the reason.
        note: Why what was computed is not all in the store; empty if it is.
    """

    reused: int
    computed: int
    embedded: int
    removed: int
    damaged: int
    skipped: tuple[Skipped, ...]
    note: str


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Rows of files, and where they came from.

    Attributes:
        paths: The files that are images, in the order in which they were given.
        rows: float32 [len(paths), dim], raw.
        use: What the store saved; its `skipped` are the other files.
    """

    paths: list[str]
    rows: FloatArray
    use: StoreUse


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """A file whose row, or reason not to have one, was found out elsewhere.

    Attributes:
        path: The file; the store keeps its absolute path.
        state: What :func:`rrn_native.files.file_state` said of it, before it was read.
        looked_at_ns: When that was, in nanoseconds since 1970. A file that was changed within 20 ms before is not
            trusted, since a later change could have left the same times.
        reason: Why it has no row; empty if it has one.
    """

    path: str
    state: State
    looked_at_ns: int
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class StoreReport:
    """What :meth:`Store.verify`, :meth:`Store.repair` or :meth:`Store.compact` found and did.

    Attributes:
        findings: A line for each thing that is wrong; of many of one kind, the first and a count.
        rows: Rows that were looked at.
        damaged: Entries whose row is missing or has another checksum.
        removed: Entries that were removed (repair), or rows that nothing referred to (compact).
        freed: Bytes that were given back.
    """

    findings: tuple[str, ...]
    rows: int
    damaged: int
    removed: int
    freed: int


@dataclasses.dataclass(frozen=True)
class StoredImage:
    """What a store knows of a file.

    Attributes:
        path: Its absolute path.
        slot: The number of its row; None where it has none.
        reason: Why it has no row; empty if it has one.
        bytes: Its size.
        modified_ns: When it was modified, in nanoseconds since 1970.
        width: Of the upright picture, in pixels; 0 if that is not known.
        height: As `width`.
        captured: When the camera says that it took the picture (EXIF), as seconds since 1970 of its local time.
        content: XXH3 (128 bits) of its bytes, as hexadecimal digits; empty if that is not known.
    """

    path: str
    slot: int | None
    reason: str
    bytes: int
    modified_ns: int
    width: int
    height: int
    captured: int | None
    content: str


class Store:
    """The embeddings of one model in a store; may be used from several threads.

    Args:
        folder: Where the store is; it is made where it is missing or empty.
        embedder: The model; None for the default one, which is loaded when it is first needed. A store can hold rows of
            several models, which never meet.
        create: Make it where it is missing.
        read_only: Write nothing. What is new cannot be added then.
        floats: How new rows are kept. "float32" keeps every bit; "float16" rounds, and takes half the space.

    Raises:
        FileNotFoundError: No such store (with create=False).
        ValueError: The folder holds something else.
        RrnError: It is damaged, or was made by a newer version of rrn; the message says what to do.
    """

    def __init__(
        self,
        folder: PathLike,
        embedder: Embedder | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
        floats: Literal["float32", "float16"] = "float32",
    ) -> None:
        self._native = _load.native.Store(folder=os.fsencode(folder), create=create, read_only=read_only, floats=floats)
        self.folder = Path(folder)
        self._embedder = embedder
        self._matrix: tuple[int, list[str], FloatArray] | None = None

    @classmethod
    def of_folder(cls, directory: PathLike, embedder: Embedder | None = None) -> Store:
        """Opens the store that ``similarity DIRECTORY`` uses by itself, in the user's cache folder."""
        return cls(os.fsdecode(_load.native.default_store_folder(os.fsencode(directory))), embedder)

    @property
    def embedder(self) -> Embedder:
        """The model."""
        if self._embedder is None:
            self._embedder = Embedder()
        return self._embedder

    @property
    def note(self) -> str:
        """What a user should know of how the store was opened; empty if there is nothing."""
        return os.fsdecode(self._native.note)

    def __len__(self) -> int:
        """The number of files that have a row."""
        return sum(image.slot is not None for image in self.images())

    def images(self, directory: PathLike | None = None) -> list[StoredImage]:
        """What the store knows of files, sorted by path; of those in `directory`, at any depth, if it is given."""
        prefix = b"" if directory is None else _folder_prefix(directory)
        found = self._native.entries(self.embedder._native.column(), prefix)
        return [_stored_image(entry) for entry in found]

    def rows(self, images: Sequence[StoredImage]) -> tuple[list[StoredImage], FloatArray]:
        """Reads rows.

        Returns:
            The images whose row is there and undamaged, and their rows: float32 [n, dim], raw.
        """
        with_row = [image for image in images if image.slot is not None]
        slots = [image.slot for image in with_row if image.slot is not None]
        rows, damaged = self._native.rows(self.embedder._native.column(), slots)
        if damaged:
            whole = np.ones(len(slots), bool)
            whole[damaged] = False
            with_row = [image for image, good in zip(with_row, whole, strict=True) if good]
            rows = rows[whole]
        return with_row, rows

    def add(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        recursive: bool = True,
        progress: Progress | None = None,
    ) -> StoreUse:
        """Adds files, or all files of folders; what is known and has not changed is not read again.

        What is found out is stored every few seconds, so a call that is cut short loses no more.

        Args:
            paths: One or more files and folders.
            recursive: Also look into sub-folders.
            progress: Called with (done, total) files; returning False cancels.

        Raises:
            FileNotFoundError: No such file or folder.
            RrnError: Model or runtime failed.
            CancelledError: The progress callback returned False.
        """
        files: list[str] = []
        for path in _several(paths):
            name = os.fsdecode(path)
            if os.path.isdir(name):  # noqa: PTH112 - a path of any bytes
                files += self.list_images(name, recursive)
            elif os.path.exists(name):  # noqa: PTH110 - as there
                files.append(name)
            else:
                raise FileNotFoundError(f"{name}: no such file or folder")
        return self.embed(files, progress=progress).use

    def list_images(self, directory: PathLike, recursive: bool = True) -> list[str]:
        """As :func:`rrn_native.find_images`, without the store's own files where it lies in the folder."""
        own, files = os.path.realpath(self.folder), find_images(directory, recursive)
        if not f"{own}/".startswith(os.path.realpath(os.fsdecode(directory)).rstrip("/") + "/"):
            return files
        return [file for file in files if not absolute_name(file).startswith(f"{own}/")]

    def embed(
        self, paths: Iterable[PathLike], embedder: Embedder | None = None, *, progress: Progress | None = None
    ) -> Embedded:
        """Embeds files: what is known and has not changed is not read again, the rest is added.

        Args:
            paths: Files. What is missing or no image ends in `skipped`.
            embedder: Another model than the store's own.
            progress: Called with (done, total) files; returning False cancels.

        Raises:
            RrnError: Model or runtime failed. What the store refuses is no error; see :attr:`StoreUse.note`.
            CancelledError: The progress callback returned False.
        """
        files = [os.fsdecode(path) for path in paths]
        rows, read, skipped, (reused, computed, refused, damaged, note) = (
            embedder or self.embedder
        )._native.embed_through(self._native, [os.fsencode(file) for file in files], continue_unless_false(progress))
        reasons = tuple(Skipped(os.fsdecode(path), reason) for path, reason in skipped)
        use = StoreUse(reused, computed, computed - refused, 0, damaged, reasons, os.fsdecode(note))
        return Embedded([files[i] for i in read], rows, use)

    def add_rows(self, files: Sequence[KnownFile], rows: FloatArray) -> None:
        """Adds rows that this store's model computed elsewhere, as one change: all of it is stored, or nothing.

        Args:
            files: What the rows are of, and files without one.
            rows: float32 [files without a reason, dim], raw, in the order of the files.

        Raises:
            ValueError: Another number of rows than of files without a reason, or the store is open for reading only.
            RrnError: The disk is full, or another process writes for long.
        """
        given = []
        for file in files:
            size, modified_ns, changed_ns, inode = file.state
            name = os.fsencode(absolute_name(file.path))
            given.append((name, inode, size, modified_ns, changed_ns, file.looked_at_ns, file.reason))
        self._native.add(self.embedder._native.column(), given, np.ascontiguousarray(rows, np.float32))

    def update(self, directory: PathLike, *, recursive: bool = True, progress: Progress | None = None) -> StoreUse:
        """Brings the store up to date with a folder: as :meth:`add`, and entries of files that are gone are removed.

        Raises:
            FileNotFoundError: No such folder; nothing is removed then.
            ValueError: As for :meth:`remove_gone`.
        """
        use = self.add(directory, recursive=recursive, progress=progress)
        return dataclasses.replace(use, removed=self.remove_gone(directory))

    def remove_gone(self, directory: PathLike) -> int:
        """Removes the entries of files in a folder, at any depth, that are no longer there, of all models.

        Files that cannot be looked at, say because of their permissions, are not gone. Returns how many were removed.

        Raises:
            ValueError: The folder is empty, but files of it are stored, as if a disk was not mounted; none is removed.
        """
        known = self._known(_folder_prefix(directory))
        if known and os.path.isdir(directory) and not os.listdir(directory):  # noqa: PTH112, PTH208 - any bytes
            empty = f"{os.fsdecode(directory)}: the folder is empty, but {len(known)} files of it are stored"
            raise ValueError(f"{empty}; nothing was removed, in case it is not mounted (rrn index remove does it)")
        return self._remove({path for path in known if is_gone(path)})

    def remove(self, paths: PathLike | Iterable[PathLike]) -> int:
        """Removes the entries of files, or of all files in folders, of all models; the files themselves stay.

        Returns:
            How many files had one.
        """
        doomed: set[str] = set()
        for path in _several(paths):
            name = absolute_name(path)
            doomed |= {known for known in self._known(os.fsencode(name)) if known == name}
            doomed |= self._known(_folder_prefix(path)) | self._known(os.fsencode(name.rstrip("/") + "/"))
        return self._remove(doomed)

    def search(self, image: PathLike, k: int = DEFAULT_COUNT, *, threshold: float | None = None) -> list[Match]:
        """Finds the stored images that are most similar to an image, exactly.

        The rows are kept in memory until the store changes. The image itself, where it is stored, is left out.

        Args:
            image: The file to ask about; it need not be stored.
            k: The largest number of matches, at least 1.
            threshold: Only matches with a similarity above it (-1 <= threshold < 1); None for no limit.

        Returns:
            The most similar first, equal ones by path.

        Raises:
            FileNotFoundError: No such file.
            UnreadableError: It is no readable image.
            ValueError: An argument out of its range.
        """
        check_limits(k, threshold)
        paths, rows = self._rows()
        name = absolute_name(image)
        asked = self._row_of(image)
        if not paths:
            return []
        # One more, for the image itself.
        indices, similarities = nearest(asked, rows, k + 1, threshold=threshold)
        return _matches(paths, indices[0], similarities[0], name)[:k]

    def neighbours(
        self, images: Sequence[StoredImage], k: int = 1, *, threshold: float | None = None
    ) -> list[tuple[StoredImage, list[Match]]]:
        """Finds, for stored images, the other stored images that are most similar to each; see :meth:`search`.

        No file is read. An image whose row is damaged is left out.
        """
        check_limits(k, threshold)
        found, asked = self.rows(images)
        paths, rows = self._rows()
        if not found or not paths:
            return [(image, []) for image in found]
        indices, similarities = nearest(asked, rows, k + 1, threshold=threshold)
        return [
            (image, _matches(paths, indices[row], similarities[row], image.path)[:k]) for row, image in enumerate(found)
        ]

    def range_search(self, image: PathLike, threshold: float = DEFAULT_THRESHOLD) -> list[Match]:
        """Finds all stored images that are similar to an image; see :meth:`search`."""
        paths, _ = self._rows()
        return self.search(image, max(1, len(paths)), threshold=threshold)

    def group(
        self,
        threshold: float = DEFAULT_THRESHOLD,
        *,
        keep: Keep = "most-similar",
        threads: int | None = None,
        progress: PhaseProgress | None = None,
    ) -> SimilarityResult:
        """Groups all stored files as :func:`rrn_native.find_similar` does; files that have changed are read again."""
        return self.embedder.find_similar(
            [image.path for image in self.images()],
            threshold,
            keep=keep,
            threads=threads,
            store=self,
            progress=progress,
        )

    def to_parquet(self, path: PathLike) -> int:
        r"""Writes what is stored to a Parquet file, which needs pyarrow.

        Columns: path (text; bytes that are no UTF-8 as ``\xNN``), path_bytes, reason, bytes, modified_ns, width,
        height, captured, content and embedding (list of float32; null where there is a reason).

        Returns:
            The number of files in it.
        """
        return write_parquet(Path(path), self)

    def info(self) -> dict[str, Any]:
        """What is in the store: format, files, commits, journal_mode and, for each model, columns."""
        fields: dict[str, Any] = self._native.info()
        return fields

    def verify(self, progress: Progress | None = None) -> StoreReport:
        """Looks at everything: the database's own check, and the checksum of each row."""
        return _report(self._native.verify(continue_unless_false(progress)))

    def repair(self, progress: Progress | None = None) -> StoreReport:
        """Removes what :meth:`verify` complains of; the files are computed again when they are added next."""
        return _report(self._native.repair(continue_unless_false(progress)))

    def compact(self, progress: Progress | None = None) -> StoreReport:
        """Gives back the space of rows that were replaced or removed."""
        return _report(self._native.compact(continue_unless_false(progress)))

    def _known(self, prefix: bytes) -> set[str]:
        """The paths that begin so and have an entry of any model."""
        keys = [
            _load.native.ColumnKey(kind=column["kind"], fingerprint=column["fingerprint"], dim=column["dim"])
            for column in self.info()["columns"]
        ]
        return {os.fsdecode(entry[0]) for key in keys for entry in self._native.entries(key, prefix)}

    def _remove(self, paths: set[str]) -> int:
        if paths:
            self._native.remove([os.fsencode(path) for path in sorted(paths)])
        return len(paths)

    def _row_of(self, image: PathLike) -> FloatArray:
        if not os.path.exists(image):  # noqa: PTH110 - a path of any bytes
            raise FileNotFoundError(f"{os.fsdecode(image)}: no such file")
        row, _, refused = self.embedder._native.embed_files([os.fsencode(image)], None)
        if refused:
            raise UnreadableError(f"{os.fsdecode(image)}: {refused[0][1]}")
        return row

    def _rows(self) -> tuple[list[str], FloatArray]:
        """Paths and rows in memory, as they were at the last change of the store."""
        commits = int(self._native.info()["commits"])
        if self._matrix is None or self._matrix[0] != commits:
            images, rows = self.rows(self.images())
            self._matrix = (commits, [image.path for image in images], rows)
        return self._matrix[1:]


def check_limits(k: int, threshold: float | None) -> None:
    """Checks how many matches are asked for, and above what.

    Raises:
        ValueError: One of them is out of its range.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if threshold is not None and not -1 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}, expected -1 <= threshold < 1")


def absolute_name(path: PathLike) -> str:
    """The name under which a file is stored: links of folders are resolved, those of files are not."""
    folder, name = os.path.split(os.fsdecode(path))
    return os.path.join(os.path.realpath(folder or "."), name)  # noqa: PTH118 - as the engine does


def _several(paths: PathLike | Iterable[PathLike]) -> list[PathLike]:
    return [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)


def _matches(paths: list[str], indices: Any, similarities: Any, without: str) -> list[Match]:
    """One row of what :func:`nearest` found, without the image that was asked about."""
    pairs = zip(indices.tolist(), similarities.tolist(), strict=True)
    return [Match(paths[i], round(similarity, 6)) for i, similarity in pairs if i >= 0 and paths[i] != without]


def _folder_prefix(folder: PathLike) -> bytes:
    real = os.path.realpath(os.fsencode(folder))
    return real if real.endswith(b"/") else real + b"/"


def _stored_image(entry: tuple[bytes, int | None, str, int, int, int, int, int | None, bytes]) -> StoredImage:
    path, slot, reason, size, modified_ns, width, height, captured, content = entry
    digits = content.hex() if any(content) else ""
    return StoredImage(os.fsdecode(path), slot, reason, size, modified_ns, width, height, captured, digits)


def _report(fields: dict[str, Any]) -> StoreReport:
    return StoreReport(**{**fields, "findings": tuple(map(os.fsdecode, fields["findings"]))})
