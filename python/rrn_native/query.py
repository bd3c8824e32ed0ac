"""Finds the images of a folder that are most similar to one image.

    query("a.jpg", "photos", 5).matches
    query("a.jpg", "photos", threshold=0.9, store=Store.of_folder("photos"))

With a store the embeddings of the folder are kept, so that the next query computes those of new and changed files only.
The command line is ``rrn query``.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from rrn_native.arrays import FloatArray, PathLike, Progress, continue_unless_false, nearest
from rrn_native.embedder import Embedder, find_images
from rrn_native.errors import RrnError, UnreadableError
from rrn_native.result import Model, Skipped
from rrn_native.store import DEFAULT_COUNT, Match, Store, StoreUse, check_limits

__all__ = ["DEFAULT_COUNT", "Match", "QueryResult", "query"]


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """The answer.

    ``read + len(skipped) == files`` always holds.

    Attributes:
        query: The image that was asked about.
        model: Which model made the embeddings, where and in which precision.
        k: How many matches were asked for.
        threshold: What they had to be above; None for no limit.
        files: Files of the folder; without the query's own, where it lies in the folder, and without the store's.
        read: Images among them.
        skipped: The others, with the reason.
        matches: At most k, the most similar first, equal ones by path.
        store: What the store saved; None without one.
    """

    query: str
    model: Model
    k: int
    threshold: float | None
    files: int
    read: int
    skipped: tuple[Skipped, ...]
    matches: tuple[Match, ...]
    store: StoreUse | None

    def to_dict(self) -> dict[str, Any]:
        """Returns what ``--json`` writes."""
        fields = {"version": 2, **dataclasses.asdict(self)}
        if fields["store"] is not None:
            del fields["store"]["skipped"]  # which is in the result itself
        return fields


def query(
    image: PathLike,
    directory: PathLike,
    k: int = DEFAULT_COUNT,
    *,
    threshold: float | None = None,
    embedder: Embedder | None = None,
    store: Store | None = None,
    recursive: bool = True,
    progress: Progress | None = None,
) -> QueryResult:
    """Finds the images of a folder that are most similar to one image.

    The similarities are the engine's own, bit for bit, with or without a store; a store with
    float16 rows has those of the rounded embeddings.

    Args:
        image: The image to ask about. Where it lies in the folder, it is left out of the answer.
        directory: The folder. Every regular file in it is looked at; what is not an image ends in ``skipped``.
        k: The largest number of matches, at least 1.
        threshold: Only matches with a similarity above it (-1 <= threshold < 1); None for no limit.
        embedder: The model; None for the default one.
        store: What keeps the folder's embeddings. It is brought up to date: files that are new or have changed are
            computed, entries of files in the folder that are gone are removed. Files that a query does not look at (the
            image itself, sub-folders with recursive=False) stay in it. None keeps nothing. A store that cannot be
            written is no error; see :attr:`StoreUse.note`.
        recursive: Also look into sub-folders.
        progress: Called with (done, total) files; returning False cancels. What was computed by then is stored, every
            few seconds.

    Returns:
        The matches and what was read.

    Raises:
        FileNotFoundError: No such image or folder.
        ValueError: An argument out of its range.
        UnreadableError: The image cannot be read.
        RrnError: The model or the runtime failed.
        CancelledError: The progress callback returned False.
    """
    check_limits(k, threshold)
    if not Path(image).is_file():
        raise FileNotFoundError(f"{os.fspath(image)}: no such file")
    asked_file = os.path.realpath(image)
    listed = find_images(directory, recursive) if store is None else store.list_images(directory, recursive)
    paths = [path for path in listed if os.path.realpath(path) != asked_file]
    model = embedder or (store.embedder if store is not None else Embedder())
    asked, _, refused = model._native.embed_files([os.fsencode(image)], None)
    if refused:
        raise UnreadableError(f"{os.fspath(image)}: {refused[0][1]}")

    read, rows, skipped, use = _embed(model, paths, Path(directory), store, progress)
    matches: list[Match] = []
    if read:
        # Equal ones come in the order of the rows, which is that of the paths.
        indices, similarities = nearest(asked, rows, k, threshold=threshold, overwrite_columns=True)
        pairs = zip(indices[0].tolist(), similarities[0].tolist(), strict=True)
        matches = [Match(read[i], round(similarity, 6)) for i, similarity in pairs if i >= 0]
    return QueryResult(
        query=os.fspath(image),
        model=model.model,
        k=k,
        threshold=threshold,
        files=len(paths),
        read=len(read),
        skipped=tuple(skipped),
        matches=tuple(matches),
        store=use,
    )


def _embed(
    model: Embedder, paths: list[str], directory: Path, store: Store | None, progress: Progress | None
) -> tuple[list[str], FloatArray, list[Skipped], StoreUse | None]:
    """The files that are images, their rows, the other files, and what the store saved."""
    if store is None:
        encoded = [os.fsencode(path) for path in paths]
        rows, read, refused = model._native.embed_files(encoded, continue_unless_false(progress))
        return [paths[i] for i in read], rows, [Skipped(os.fsdecode(path), reason) for path, reason in refused], None
    found = store.embed(paths, model, progress=progress)
    use = found.use
    try:
        use = dataclasses.replace(use, removed=store.remove_gone(directory))
    except (ValueError, RrnError) as error:
        # The answer does not depend on it.
        use = dataclasses.replace(use, note=use.note or str(error))
    return found.paths, found.rows, list(use.skipped), use
