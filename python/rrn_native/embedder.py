"""The engine: a model that embeds images, and the search for similar ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from rrn_native import _load
from rrn_native.arrays import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_THRESHOLD,
    FloatArray,
    PathLike,
    PixelArray,
    Progress,
    check_pixels,
    checked_size,
    checked_threads,
    continue_unless_false,
    pixels_of,
)
from rrn_native.errors import RrnError
from rrn_native.locate import custom_op_library, default_model
from rrn_native.result import Model, SimilarityResult

if TYPE_CHECKING:
    from rrn_native.store import Store

PhaseProgress = Callable[[str, int, int], bool | None]
Provider = Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]
Keep = Literal["most-similar", "first", "largest", "sharpest", "newest"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]


class Embedder:
    """A model, loaded and ready; use one from several threads if you like.

    Args:
        model: ONNX file with one input float32 [N, 3, H, W] and a first output float32 [N, D]; None for the model that
            comes with the package.
        size: Side of the square that images are resized to, in pixels (32 ... 4096); None for the model's own.
        threads: Worker threads; None for one for each core. Embeddings do not depend on it.
        provider: Who computes: "auto", "cpu", "openvino", "cuda" or "tensorrt" (ONNX Runtime's execution providers).
            "auto" takes the first one that works here and gains from the precision. Embeddings are the same bits only
            on the same provider.
        precision: "auto", "fp32", "fp16", "bf16" or "int8". "auto" is fp32, except bf16 on a named "openvino" whose CPU
            computes in it, and int8 for a model file called ``*.int8.onnx``. "int8" runs the ``STEM.int8.onnx`` beside
            the model, which ``rrn quantize`` makes and the default model has; it is an error
            where that is missing.
        batch: Images per inference call (1 ... 1024). Embeddings do not depend on it.
        max_pixels: Larger images are refused before they are decoded.
        full_decode: Decode all files at their full size. Otherwise large JPEG and WebP files are decoded at a fraction
            that leaves at least twice ``size``: faster; cosines of photos change in the fourth decimal, those of
            dithered or very noisy pictures in the second.
        op_library: ``libreduction_op.so``; None for the one that comes with the package.
        cache: Keep compiled models for the next start, in ``$XDG_CACHE_HOME/rrn`` (``~/.cache/rrn``), where compiling
            takes long (openvino int8, tensorrt).

    Warns:
        RuntimeWarning: With provider "auto", nothing here gains from the precision, so fp32 is computed.

    Raises:
        ValueError: An argument is out of its range, or the provider never has the precision.
        FileNotFoundError: No such model or library.
        RrnError: ONNX Runtime refuses the model, or the provider is not installed.
    """

    def __init__(
        self,
        model: PathLike | None = None,
        size: int | None = None,
        threads: int | None = None,
        provider: Provider = "auto",
        *,
        precision: Precision = "auto",
        batch: int = 8,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        op_library: PathLike | None = None,
        cache: bool = True,
        full_decode: bool = False,
    ) -> None:
        self._native = _load.native.Embedder(
            model=os.fsencode(model if model is not None else default_model()),
            op_library=os.fsencode(op_library if op_library is not None else custom_op_library()),
            size=checked_size(size),
            batch=batch,
            threads=checked_threads(threads),
            provider=provider,
            precision=precision,
            cache=cache,
            max_pixels=max_pixels,
            full_decode=full_decode,
        )
        self._max_pixels = max_pixels
        self._target = 0 if full_decode else self.size
        if self._native.info.note:
            warnings.warn(self._native.info.note, RuntimeWarning, stacklevel=2)

    @property
    def size(self) -> int:
        """Side of the input square, in pixels."""
        return int(self._native.info.size)

    @property
    def dim(self) -> int:
        """Length of an embedding; 512 for ReductionResNet-18."""
        return int(self._native.info.dim)

    @property
    def provider(self) -> str:
        """Who computes; never "auto"."""
        return str(self._native.info.provider)

    @property
    def precision(self) -> str:
        """What it computes in; never "auto"."""
        return str(self._native.info.precision)

    @property
    def model(self) -> Model:
        """Which model this is, where it is computed and in which precision."""
        info = self._native.info
        return Model(
            file=info.file,
            weights_origin=info.weights_origin,
            weights_sha256=info.weights_sha256,
            size=info.size,
            embedding_dim=info.dim,
            provider=info.provider,
            precision=info.precision,
        )

    @property
    def fingerprint(self) -> str:
        """Identifies results: 32 hexadecimal digits.

        Embeddings of two models with the same fingerprint may be compared and mixed, those of others may not. It is a
        hash (XXH3) of the model's files with external data, the preprocessing, ``size``, ``provider``, ``precision``,
        and the versions of rrn, ONNX Runtime and the provider's plugin; not a protection against a file that was made
        to deceive.
        """
        return str(self._native.info.fingerprint)

    def embed(
        self,
        paths_or_arrays: Sequence[PathLike | PixelArray],
        *,
        on_error: Literal["raise", "nan"] = "raise",
        progress: Progress | None = None,
    ) -> FloatArray:
        """Embeds images.

        Args:
            paths_or_arrays: File names, or RGB pictures as uint8 [height, width, 3]; not both in one call.
            on_error: What an unreadable file does: "raise" an error that names it and its reason, or leave a row of
                NaN, so that row i always belongs to item i.
            progress: Called with (done, total) after every chunk; returning False cancels.

        Returns:
            float32 [n, dim], raw (not normalised), in the order of the input.

        Raises:
            RrnError: A file is unreadable (with on_error="raise"), or inference failed.
            ValueError: An array is not uint8 [height, width, 3].
            TypeError: One path instead of a sequence.
            CancelledError: The progress callback returned False.
        """
        if on_error not in ("raise", "nan"):
            raise ValueError(f"on_error is {on_error!r}, expected 'raise' or 'nan'")
        if isinstance(paths_or_arrays, (str, os.PathLike)):
            raise TypeError(f"expected a sequence of paths or arrays, got one path; write [{paths_or_arrays!r}]")
        items = list(paths_or_arrays)
        callback = continue_unless_false(progress)
        arrays = [item for item in items if isinstance(item, np.ndarray)]
        if arrays:
            if len(arrays) != len(items):
                raise ValueError("expected either paths or arrays, got both in one call")
            for array in arrays:
                check_pixels(array)
            embedded: FloatArray = self._native.embed_images(arrays, callback)
            return embedded
        paths = [os.fsencode(item) for item in items]  # type: ignore[arg-type]
        rows, read, skipped = self._native.embed_files(paths, callback)
        if not skipped:
            return rows
        if on_error == "raise":
            path, reason = skipped[0]
            more = f" (and {len(skipped) - 1} more files)" if len(skipped) > 1 else ""
            raise RrnError(f"{os.fsdecode(path)}: {reason}{more}")
        full = np.full((len(items), self.dim), np.nan, np.float32)
        full[read] = rows
        return full

    def preprocess(self, path_or_array: PathLike | PixelArray) -> FloatArray:
        """Returns the network's input for one image: float32 [3, size, size], resized and normalised."""
        prepared: FloatArray = self._native.preprocess(pixels_of(path_or_array, self._max_pixels, self._target))
        return prepared

    def find_similar(
        self,
        directory: PathLike | Sequence[PathLike],
        threshold: float = DEFAULT_THRESHOLD,
        *,
        against: PathLike | None = None,
        skip: Sequence[PathLike] = (),
        keep: Keep = "most-similar",
        recursive: bool = True,
        threads: int | None = None,
        search: Literal["exact", "approximate"] = "exact",
        store: Store | None = None,
        progress: PhaseProgress | None = None,
    ) -> SimilarityResult:
        """Finds the similar images of a folder with this model; see :func:`find_similar`."""
        if search not in ("exact", "approximate"):
            raise ValueError(f"search is {search!r}, expected 'exact' or 'approximate'")
        if against is not None and not os.fspath(against):
            raise ValueError("against is empty, expected a folder; '.' is the current one")
        one = isinstance(directory, (str, bytes, os.PathLike))
        json_text, embeddings = self._native.find_similar(
            folder=os.fsencode(directory) if one else b"",  # type: ignore[arg-type]
            files=None if one else [os.fsencode(path) for path in directory],  # type: ignore[union-attr]
            against=os.fsencode(against) if against is not None else b"",
            # The files of a store in the folder are no images.
            skip=[os.fsencode(path) for path in (*skip, *([] if store is None else [store.folder]))],
            keep=keep,
            threshold=threshold,
            recursive=recursive,
            threads=checked_threads(threads),
            approximate=search == "approximate",
            store=None if store is None else store._native,
            progress=continue_unless_false(progress),
        )
        return SimilarityResult.from_json(json_text, embeddings)


def find_similar(
    directory: PathLike | Sequence[PathLike],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    against: PathLike | None = None,
    skip: Sequence[PathLike] = (),
    keep: Keep = "most-similar",
    model: PathLike | None = None,
    size: int | None = None,
    threads: int | None = None,
    provider: Provider = "auto",
    precision: Precision = "auto",
    batch: int = 8,
    recursive: bool = True,
    search: Literal["exact", "approximate"] = "exact",
    store: Store | None = None,
    progress: PhaseProgress | None = None,
) -> SimilarityResult:
    """Finds the similar images of a folder and counts the unique ones.

    Args:
        directory: The folder. Every regular file in it is looked at; what is not an image ends in ``skipped``. Or a
            sequence of files, each looked at once; what is missing or no file ends in ``skipped`` too.
        threshold: Similar is: cosine > threshold (-1 <= threshold < 1).
        against: A reference folder. Images are then compared with its images and with nothing else, groups are a
            reference image and the images most similar to it, and ``result.reference`` says how many images are known
            and how many new. Needs the exact search and no ``keep``.
        skip: Folders that are not looked into, of both folders: for example one that redundant images were moved to.
        keep: Which image represents a group: the one with the most similar images, or the first by path, the largest
            (pixels, then bytes), the sharpest (the most detail, so enlarged copies lose; all files are then decoded at
            full size, as with ``full_decode``) or the newest (modification time). ``result.redundant`` lists the rest.
        model: As for :class:`Embedder`.
        size: As for :class:`Embedder`.
        threads: As for :class:`Embedder`; also of the pair search.
        provider: As for :class:`Embedder`.
        precision: As for :class:`Embedder`.
        batch: As for :class:`Embedder`.
        recursive: Also look into sub-folders.
        search: "exact", or "approximate" for millions of images: it misses some pairs, and ``result.search`` says how
            many, as far as a sample tells.
        store: Where embeddings are kept, and taken from for files that have not changed; None reads every file. The
            result is the same.
        progress: Called with (phase, done, total), phase "images" or "pairs"; returning False cancels.

    Returns:
        The same as ``./build/similarity --json``, as an object.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not a folder, an argument out of its range, or arguments that exclude each other.
        RrnError: The folder cannot be listed, or model or runtime failed.
        CancelledError: The progress callback returned False.
    """
    embedder = Embedder(model, size, threads, provider, precision=precision, batch=batch)
    return embedder.find_similar(
        directory,
        threshold,
        against=against,
        skip=skip,
        keep=keep,
        recursive=recursive,
        threads=threads,
        search=search,
        store=store,
        progress=progress,
    )


def find_images(directory: PathLike, recursive: bool = True) -> list[str]:
    """Lists what :func:`find_similar` would look at: all regular files, sorted by the bytes of their names."""
    return [os.fsdecode(path) for path in _load.native.list_folder(os.fsencode(directory), recursive)]
