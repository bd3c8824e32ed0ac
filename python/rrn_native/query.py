"""Finds the images of a folder that are most similar to one image.

    query("a.jpg", "photos", 5).matches
    query("a.jpg", "photos", threshold=0.9, index="photos.npz")

With an index the embeddings of the folder are kept in a file, so that the next query computes those of new and changed
files only. The command line is ``rrn query``.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from rrn_native._index import Index, IndexUse, NotAnIndexError, embed_folder
from rrn_native.arrays import PathLike, Progress, nearest
from rrn_native.embedder import Embedder, find_images
from rrn_native.errors import UnreadableError
from rrn_native.result import Model, Skipped

__all__ = ["DEFAULT_COUNT", "IndexUse", "Match", "NotAnIndexError", "QueryResult", "query"]

DEFAULT_COUNT = 10


@dataclasses.dataclass(frozen=True)
class Match:
    """An image of the folder and its similarity (cosine, rounded to 6 decimals) to the query."""

    path: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """The answer.

    ``read + len(skipped) == files`` always holds.

    Attributes:
        query: The image that was asked about.
        model: Which model made the embeddings, where and in which precision.
        k: How many matches were asked for.
        threshold: What they had to be above; None for no limit.
        files: Files of the folder; without the query's own, where it lies in the folder, and without the index.
        read: Images among them.
        skipped: The others, with the reason.
        matches: At most k, the most similar first, equal ones by path.
        index: None without an index.
    """

    query: str
    model: Model
    k: int
    threshold: float | None
    files: int
    read: int
    skipped: tuple[Skipped, ...]
    matches: tuple[Match, ...]
    index: IndexUse | None

    def to_dict(self) -> dict[str, Any]:
        """Returns what ``--json`` writes."""
        return {"version": 1, **dataclasses.asdict(self)}


def query(
    image: PathLike,
    directory: PathLike,
    k: int = DEFAULT_COUNT,
    *,
    threshold: float | None = None,
    embedder: Embedder | None = None,
    index: PathLike | None = None,
    recursive: bool = True,
    progress: Progress | None = None,
) -> QueryResult:
    """Finds the images of a folder that are most similar to one image.

    The similarities are the engine's own, bit for bit, with or without an index.

    Args:
        image: The image to ask about. Where it lies in the folder, it is left out of the answer.
        directory: The folder. Every regular file in it is looked at; what is not an image ends in ``skipped``.
        k: The largest number of matches, at least 1.
        threshold: Only matches with a similarity above it (-1 <= threshold < 1); None for no limit.
        embedder: The model; None for the default one.
        index: A file (.npz) that keeps the folder's embeddings. It is made where it is missing, and brought up to date:
            a file is computed again when its size, its times of change or its inode differ; all are when the model's
            files, its settings, rrn or ONNX Runtime differ. Files that a query does not look at (the image itself,
            sub-folders) stay in it as long as they exist. Paths in it are relative to the folder, so both can be
            renamed; the files of a copied folder are new.
        recursive: Also look into sub-folders.
        progress: Called with (done, total) files to compute; returning False cancels. What was computed by then is in
            the index.

    Returns:
        The matches and what was read.

    Raises:
        FileNotFoundError: No such image or folder.
        ValueError: An argument out of its range, or ``index`` names a file that is no index (it is left alone).
        OSError: The index cannot be written.
        UnreadableError: The image cannot be read.
        RrnError: The model or the runtime failed.
        CancelledError: The progress callback returned False.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if threshold is not None and not -1 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}, expected -1 <= threshold < 1")
    if not Path(image).is_file():
        raise FileNotFoundError(f"{os.fspath(image)}: no such file")
    apart = {os.path.realpath(path) for path in (image, index) if path is not None}
    paths = [path for path in find_images(directory, recursive) if os.path.realpath(path) not in apart]
    model = embedder or Embedder()
    # Before the work begins: an index that cannot be used should not cost an hour.
    known = None if index is None else Index(Path(index), model)
    asked, _, refused = model._native.embed_files([os.fsencode(image)], None)
    if refused:
        raise UnreadableError(f"{os.fspath(image)}: {refused[0][1]}")

    found = embed_folder(model, Path(directory), paths, known, progress)
    matches: list[Match] = []
    if found.read:
        # Equal ones come in the order of the rows, which is that of the paths.
        indices, similarities = nearest(asked, found.rows, k, threshold=threshold, overwrite_columns=True)
        pairs = zip(indices[0].tolist(), similarities[0].tolist(), strict=True)
        matches = [Match(found.read[i], round(similarity, 6)) for i, similarity in pairs if i >= 0]
    return QueryResult(
        query=os.fspath(image),
        model=model.model,
        k=k,
        threshold=threshold,
        files=len(paths),
        read=len(found.read),
        skipped=tuple(found.skipped),
        matches=tuple(matches),
        index=found.use,
    )
