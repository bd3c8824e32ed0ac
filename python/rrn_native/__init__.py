"""Image similarity with a custom reduction operator.

A ResNet-18's four stage outputs are average-pooled, repeat-interleaved to 512 channels and averaged; two images are
similar when the cosine of these embeddings is above 0.75. All the work is done by the C++ engine; this module converts
arguments and results.

    >>> import rrn_native
    >>> result = rrn_native.find_similar("photos")
    >>> result.unique, [group.representative for group in result.groups]

Heavier tools are modules of their own and verbs of the command line ``rrn``, for example ``rrn export``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

try:
    import numpy as np
    import numpy.typing as npt
except ImportError as error:
    raise ImportError(f"rrn_native needs NumPy, which could not be loaded ({error}): pip install numpy") from error

from rrn_native._load import LazyModule as _LazyModule
from rrn_native.errors import CancelledError, RrnError
from rrn_native.locate import custom_op_library, default_model
from rrn_native.result import (
    Group,
    Image,
    Member,
    Model,
    Redundant,
    Reference,
    SameFile,
    Search,
    SimilarityResult,
    Skipped,
)

if TYPE_CHECKING:
    from rrn_native import _native

    __version__: str
else:
    _native = _LazyModule()

__all__ = [
    "CancelledError",
    "Embedder",
    "Group",
    "Image",
    "Member",
    "Model",
    "Redundant",
    "Reference",
    "RrnError",
    "SameFile",
    "Search",
    "SimilarityResult",
    "Skipped",
    "cosine_similarity",
    "custom_op_library",
    "decode",
    "default_model",
    "find_images",
    "find_similar",
    "preprocess",
    "reduction",
    "similar_pairs",
    "similar_pairs_approximate",
]

FloatArray = npt.NDArray[np.float32]
PixelArray = npt.NDArray[np.uint8]
Progress = Callable[[int, int], bool | None]
PhaseProgress = Callable[[str, int, int], bool | None]
Provider = Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]
Keep = Literal["most-similar", "first", "largest", "sharpest", "newest"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
if TYPE_CHECKING:
    PathLike = str | os.PathLike[str]


def __getattr__(name: str) -> Any:
    """The version, which only the native module knows."""
    if name == "__version__":
        return _native.__version__
    raise AttributeError(f"module 'rrn_native' has no attribute {name!r}")


DEFAULT_THRESHOLD = 0.75
DEFAULT_MAX_PIXELS = 200_000_000
_ELEMENT_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


def _continue_unless_false(callback: Callable[..., bool | None] | None) -> Callable[..., bool] | None:
    """A callback that returns nothing means "go on"; only False cancels."""
    if callback is None:
        return None
    return lambda *arguments: callback(*arguments) is not False


class Embedder:
    """A model, loaded and ready; use one from several threads if you like.

    Args:
        model: ONNX file with one input float32 [N, 3, H, W] and a first output float32 [N, D]; None for the model that
            comes with the package.
        size: Side of the square that images are resized to, in pixels (32 ... 4096).
        threads: Worker threads; None for one for each core. Embeddings do not depend on it.
        provider: Who computes: "auto", "cpu", "openvino", "cuda" or "tensorrt" (ONNX Runtime's execution providers).
            "auto" takes the first one that works here and gains from the precision. Embeddings are the same bits only
            on the same provider.
        precision: "auto", "fp32", "fp16", "bf16" or "int8". "auto" is fp32, except bf16 on a named "openvino" whose CPU
            computes in it, and int8 for a model file called ``*.int8.onnx``. "int8" runs the ``STEM.int8.onnx`` beside
            the model, which ``python -m rrn_native.quantize`` makes and the default model has; it is an error
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
        size: int = 224,
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
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}, expected at least 1, or None for one for each core")
        self._native = _native.Embedder(
            model=os.fsencode(model if model is not None else default_model()),
            op_library=os.fsencode(op_library if op_library is not None else custom_op_library()),
            size=size,
            batch=batch,
            threads=threads or 0,
            provider=provider,
            precision=precision,
            cache=cache,
            max_pixels=max_pixels,
            full_decode=full_decode,
        )
        # The engine may take the 8-bit model beside the one that was named.
        self._model_file = Path(model if model is not None else default_model()).parent / self._native.info.file
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
        callback = _continue_unless_false(progress)
        arrays = [item for item in items if isinstance(item, np.ndarray)]
        if arrays:
            if len(arrays) != len(items):
                raise ValueError("expected either paths or arrays, got both in one call")
            for array in arrays:
                _check_pixels(array)
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
        prepared: FloatArray = self._native.preprocess(_pixels_of(path_or_array, self._max_pixels, self._target))
        return prepared

    def find_similar(
        self,
        directory: PathLike | Sequence[PathLike],
        threshold: float = DEFAULT_THRESHOLD,
        *,
        against: PathLike | None = None,
        keep: Keep = "most-similar",
        recursive: bool = True,
        threads: int | None = None,
        search: Literal["exact", "approximate"] = "exact",
        progress: PhaseProgress | None = None,
    ) -> SimilarityResult:
        """Finds the similar images of a folder with this model; see :func:`find_similar`."""
        if search not in ("exact", "approximate"):
            raise ValueError(f"search is {search!r}, expected 'exact' or 'approximate'")
        if against is not None and not os.fspath(against):
            raise ValueError("against is empty, expected a folder; '.' is the current one")
        approximate = search == "approximate"
        one = isinstance(directory, (str, bytes, os.PathLike))
        json_text, embeddings = self._native.find_similar(
            os.fsencode(directory) if one else b"",  # type: ignore[arg-type]
            None if one else [os.fsencode(path) for path in directory],  # type: ignore[union-attr]
            os.fsencode(against) if against is not None else b"",
            keep,
            threshold,
            recursive,
            threads or 0,
            approximate,
            _continue_unless_false(progress),
        )
        return SimilarityResult.from_json(json_text, embeddings)


def find_similar(
    directory: PathLike | Sequence[PathLike],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    against: PathLike | None = None,
    keep: Keep = "most-similar",
    model: PathLike | None = None,
    size: int = 224,
    threads: int | None = None,
    provider: Provider = "auto",
    precision: Precision = "auto",
    batch: int = 8,
    recursive: bool = True,
    search: Literal["exact", "approximate"] = "exact",
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
        keep: Which image represents a group: the one with the most similar images, or the first by path, the largest
            (pixels, then bytes), the sharpest (the most detail, so enlarged copies lose) or the newest (modification
            time). ``result.redundant`` lists the others.
        model: As for :class:`Embedder`.
        size: As for :class:`Embedder`.
        threads: As for :class:`Embedder`; also of the pair search.
        provider: As for :class:`Embedder`.
        precision: As for :class:`Embedder`.
        batch: As for :class:`Embedder`.
        recursive: Also look into sub-folders.
        search: "exact", or "approximate" for millions of images: it misses some pairs, and ``result.search`` says how
            many, as far as a sample tells.
        progress: Called with (phase, done, total), phase "images", "pairs" or (with a ``keep`` that looks at files)
            "properties"; returning False cancels.

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
        keep=keep,
        recursive=recursive,
        threads=threads,
        search=search,
        progress=progress,
    )


def similar_pairs(
    embeddings: npt.NDArray[Any],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Finds all pairs of rows whose cosine is above the threshold, exactly.

    Args:
        embeddings: Floating-point [n, dim]; rows need not be normalised.
        threshold: Similar is: cosine > threshold.
        threads: None for one for each core; the result does not depend on it.
        progress: Called with (done, total); returning False cancels.

    Returns:
        (i, j, similarity): int64, int64 and float32 arrays of one length, i < j, sorted by (i, j).

    Raises:
        ValueError: Not a matrix, or the threshold is not a number.
        CancelledError: The progress callback returned False.
    """
    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, float] = _native.similar_pairs(
        rows, threshold, threads or 0, 0, 0, _continue_unless_false(progress)
    )
    return pairs[:3]


def similar_pairs_approximate(
    embeddings: npt.NDArray[Any],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    neighbours: int = 16,
    effort: int = 64,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, float]:
    """Finds most of the pairs that :func:`similar_pairs` finds, for millions of rows; none that it does not find.

    Args:
        embeddings: As for :func:`similar_pairs`.
        threshold: As for :func:`similar_pairs`.
        neighbours: Similar rows that are looked for from each row (1 ... 10000).
        effort: Rows that are kept in view while looking (1 ... 10000): more is slower and finds more.
        threads: As for :func:`similar_pairs`; one thread prepares the search.
        progress: As for :func:`similar_pairs`.

    Returns:
        (i, j, similarity, recall): as for :func:`similar_pairs`, and the share of the pairs of 256 random rows that was
        found (1 if they have none).

    Raises:
        ValueError: As for :func:`similar_pairs`, or an argument out of its range.
        RrnError: This build has no approximate search.
        CancelledError: The progress callback returned False.
    """
    if neighbours < 1 or effort < 1:
        raise ValueError(f"neighbours is {neighbours} and effort {effort}, expected 1 to 10000 for both")
    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, float] = _native.similar_pairs(
        rows, threshold, threads or 0, neighbours, effort, _continue_unless_false(progress)
    )
    return found


def cosine_similarity(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Returns the cosine of two embeddings [dim], bit for bit as the engine computes it.

    It is 0 if one of them is zero, and NaN if one of them is not finite.
    """
    return float(_native.cosine_similarity(np.stack([first, second]).astype(np.float32)))


def reduction(*layers: npt.NDArray[Any], channels: int = 512) -> npt.NDArray[Any]:
    """The reduction operator on NumPy arrays: the mean of the repeat-interleaved inputs.

    Args:
        *layers: One or more arrays [C_k], [B, C_k], or feature maps [B, C_k, H_k, W_k] (averaged over H_k x W_k first),
            each C_k dividing ``channels``. All float32, all float16 or all bfloat16 (ml_dtypes).
        channels: Width of the output.

    Returns:
        [channels] or [B, channels], of the inputs' dtype; sums are float32.

    Raises:
        ValueError: The shapes do not fit; the message names them all.
        TypeError: Mixed or unsupported dtypes; the message names them all.
    """
    arrays = [_native_order(np.asarray(layer)) for layer in layers]
    names = {array.dtype.name for array in arrays}
    if len(names) > 1 or not names <= _ELEMENT_TYPES.keys():
        found = ", ".join(array.dtype.name for array in arrays)
        raise TypeError(f"reduction: expected all float32, all float16 or all bfloat16; got {found}")
    dtype = arrays[0].dtype if arrays else np.dtype(np.float32)
    # pybind11 knows no bfloat16, so 16-bit types travel as integers of their size.
    carrier = dtype if dtype == np.float32 else np.dtype(np.uint16)
    carried = [array.view(carrier) for array in arrays]
    output: npt.NDArray[Any] = _native.reduction(carried, _ELEMENT_TYPES[dtype.name], channels, carrier)
    return output.view(dtype)


def decode(path: PathLike, max_pixels: int = DEFAULT_MAX_PIXELS, target: int = 0) -> PixelArray:
    """Decodes an image file as the engine does: RGB, upright, alpha on white.

    Args:
        path: The file.
        max_pixels: Larger images are refused before they are decoded.
        target: The side that the picture will be resized to, in pixels: large JPEG and WebP files are then decoded at a
            fraction of their size that leaves at least twice as much. 0 for the full size.

    Returns:
        uint8 [height, width, 3].

    Raises:
        OSError: The file cannot be read.
        RrnError: It is damaged, too large or of an unknown format.
    """
    pixels: PixelArray = _native.decode(Path(path).read_bytes(), max_pixels, target)
    return pixels


def preprocess(path_or_array: PathLike | PixelArray, size: int = 224) -> FloatArray:
    """Returns an ImageNet network's input for one image: float32 [3, size, size].

    Resized with an antialiased triangle filter without keeping the aspect ratio, then (pixel / 255 - mean) / std with
    ImageNet's mean and standard deviation, as the default model wants it.
    """
    prepared: FloatArray = _native.preprocess(_pixels_of(path_or_array, DEFAULT_MAX_PIXELS, size), size)
    return prepared


def find_images(directory: PathLike, recursive: bool = True) -> list[str]:
    """Lists what :func:`find_similar` would look at: all regular files, sorted by the bytes of their names."""
    return [os.fsdecode(path) for path in _native.list_folder(os.fsencode(directory), recursive)]


def _native_order(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array, contiguous and in this machine's byte order; a scalar stays one, so that errors can show its shape."""
    ordered = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(ordered) if ordered.ndim else ordered


def _pixels_of(path_or_array: PathLike | PixelArray, max_pixels: int, target: int) -> PixelArray:
    pixels = path_or_array if isinstance(path_or_array, np.ndarray) else decode(path_or_array, max_pixels, target)
    _check_pixels(pixels)
    return pixels


def _check_pixels(array: npt.NDArray[Any]) -> None:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected a uint8 array [height, width, 3], got {array.dtype} {list(array.shape)}")
