"""What works on NumPy arrays and single files: pairs of embeddings, the operator, decoding, preprocessing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rrn_native import _load
from rrn_native.errors import CancelledError

FloatArray = npt.NDArray[np.float32]
PixelArray = npt.NDArray[np.uint8]
PathLike = str | os.PathLike[str]
Progress = Callable[[int, int], bool | None]
Item = TypeVar("Item")

DEFAULT_THRESHOLD = 0.75
DEFAULT_MAX_PIXELS = 200_000_000
# Of the default model; sides of inputs that the engine takes.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIZE = 224
MIN_SIZE = 32
MAX_SIZE = 4096
_ELEMENT_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


def continue_unless_false(callback: Callable[..., bool | None] | None) -> Callable[..., bool] | None:
    """A callback that returns nothing means "go on"; only False cancels."""
    if callback is None:
        return None
    return lambda *arguments: callback(*arguments) is not False


def with_progress(items: Sequence[Item], progress: Progress | None) -> Iterator[Item]:
    """Yields the items, and tells how many were worked on when the next one is asked for, and at the end.

    Raises:
        CancelledError: The progress callback returned False.
    """
    call = continue_unless_false(progress)
    for done, item in enumerate(items, start=1):
        yield item
        if call is not None and not call(done, len(items)):
            raise CancelledError("cancelled by the progress callback")


def similar_pairs(
    embeddings: npt.NDArray[Any],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    threads: int | None = None,
    target: str | None = None,
    short_rows: bool | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Finds all pairs of rows whose cosine is above the threshold, exactly.

    Args:
        embeddings: Floating-point [n, dim]; rows need not be normalised.
        threshold: Similar is: cosine > threshold.
        threads: None for one for each core; the result does not depend on it.
        target: The instructions to use, one of :func:`search_targets`; None for the fastest. The result does not depend
            on it.
        short_rows: Whether 64 numbers of each row exclude pairs first, which pays where embeddings lie near a space of
            few dimensions. None: as a sample says. The result does not depend on it.
        progress: Called with (done, total); returning False cancels.

    Returns:
        (i, j, similarity): int64, int64 and float32 arrays of one length, i < j, sorted by (i, j).

    Raises:
        ValueError: Not a matrix, the threshold is not a number, or this machine has no such target.
        CancelledError: The progress callback returned False.
    """
    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, float] = _load.native.similar_pairs(
        rows,
        _load.native.SearchOptions(
            threshold=threshold, threads=checked_threads(threads), target=target or "", short_rows=short_rows
        ),
        continue_unless_false(progress),
    )
    return pairs[:3]


def similar_pairs_between(
    rows: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    threads: int | None = None,
    target: str | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Finds all pairs of a row of one matrix and a row of another whose cosine is above the threshold, exactly.

    Pairs inside one side are not looked at. Two embeddings have the same similarity, bit for bit, as in
    :func:`similar_pairs`, so a set may be searched block by block.

    Args:
        rows: Floating-point [n, dim]; they need not be normalised.
        columns: Floating-point [m, dim], the same.
        threshold: As for :func:`similar_pairs`.
        threads: As for :func:`similar_pairs`.
        target: As for :func:`similar_pairs`.
        progress: As for :func:`similar_pairs`.

    Returns:
        (i, j, similarity): int64, int64 and float32 arrays of one length; i is a row of `rows`, j one of `columns`;
        sorted by (i, j).

    Raises:
        ValueError: Not matrices of one width, the threshold is not a number, or this machine has no such target.
        CancelledError: The progress callback returned False.
    """
    pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, float] = _load.native.similar_pairs_between(
        np.ascontiguousarray(rows, dtype=np.float32),
        np.ascontiguousarray(columns, dtype=np.float32),
        _load.native.SearchOptions(threshold=threshold, threads=checked_threads(threads), target=target or ""),
        continue_unless_false(progress),
    )
    return pairs[:3]


def search_targets() -> tuple[str, ...]:
    """Returns the sets of instructions that the exact search can use on this machine, the fastest first.

    The last two are on every machine: "float32" computes all similarities in float32, "portable" without special
    instructions.
    """
    return tuple(_load.native.search_targets())


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
    found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, float] = _load.native.similar_pairs(
        rows,
        _load.native.SearchOptions(
            threshold=threshold, threads=checked_threads(threads), target="", neighbours=neighbours, effort=effort
        ),
        continue_unless_false(progress),
    )
    return found


def nearest(
    rows: npt.NDArray[Any],
    columns: npt.NDArray[Any] | None = None,
    k: int = 10,
    *,
    threshold: float | None = None,
    threads: int | None = None,
    target: str | None = None,
    progress: Progress | None = None,
    overwrite_columns: bool = False,
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Finds the embeddings that are most similar to each of some, exactly.

    Args:
        rows: Floating-point [n, dim]; they need not be normalised.
        columns: Floating-point [m, dim], among which to look. None: among the rows, where a row is not a neighbour of
            itself (m = n - 1).
        k: How many for each row, at least 1.
        threshold: Only those with a cosine above it; None for no limit.
        threads: As for :func:`similar_pairs`.
        target: As for :func:`similar_pairs`.
        progress: As for :func:`similar_pairs`.
        overwrite_columns: ``columns`` may be normalised in place, which saves a copy of them.

    Returns:
        (index, similarity): int64 and float32 [n, min(k, m)], each row in descending order of similarity, equal ones in
        ascending order of index. Where a row has fewer, -1 and NaN follow. A similarity that is not a number is not
        found.

    Raises:
        ValueError: Not matrices of one width, k is below 1, the threshold is not a number, or this machine has no such
            target.
        CancelledError: The progress callback returned False.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    options = _load.native.SearchOptions(threshold=threshold, threads=checked_threads(threads), target=target or "")
    found: tuple[npt.NDArray[np.int64], FloatArray] = _load.native.nearest(
        np.ascontiguousarray(rows, dtype=np.float32),
        None if columns is None else np.ascontiguousarray(columns, dtype=np.float32),
        k,
        options,
        continue_unless_false(progress),
        overwrite_columns,
    )
    return found


class SearchIndex:
    """Rows that are prepared once for many exact searches: one row among a million takes some hundredths of a second.

    It holds a normalised copy of the rows in float32, and 8-bit forms of them: about 1.4 times the memory of the rows.
    Its methods may run on several threads at the same time.
    """

    def __init__(self, rows: npt.NDArray[Any], *, threads: int | None = None, target: str | None = None) -> None:
        """Prepares the rows.

        Args:
            rows: Floating-point [m, dim], dim at least 1; they need not be normalised.
            threads: Of this and of all searches, as for :func:`similar_pairs`.
            target: As for :func:`similar_pairs`.

        Raises:
            ValueError: Not a matrix, or this machine has no such target.
        """
        options = _load.native.SearchOptions(threshold=None, threads=checked_threads(threads), target=target or "")
        self._native = _load.native.SearchIndex(np.ascontiguousarray(rows, dtype=np.float32), options)

    def __len__(self) -> int:
        """The number of rows."""
        return self._native.count

    @property
    def dim(self) -> int:
        """Numbers of a row."""
        return self._native.dim

    def nearest(
        self, rows: npt.NDArray[Any], k: int = 10, *, threshold: float | None = None
    ) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Finds the rows of the index that are most similar to each of some, exactly: ``nearest(rows, columns, k)``.

        Args:
            rows: Floating-point [n, dim]; they need not be normalised.
            k: How many for each row, at least 1.
            threshold: Only those with a cosine above it; None for no limit.

        Returns:
            (index, similarity): as :func:`nearest`, bit for bit.

        Raises:
            ValueError: Not a matrix of the index's width, k is below 1, or the threshold is not a number.
        """
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        return self._native.nearest(np.ascontiguousarray(rows, dtype=np.float32), k, threshold)

    def range_search(
        self, rows: npt.NDArray[Any], threshold: float = DEFAULT_THRESHOLD
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
        """Finds all pairs of one of some rows and a row of the index whose cosine is above the threshold, exactly.

        Args:
            rows: Floating-point [n, dim]; they need not be normalised.
            threshold: Similar is: cosine > threshold.

        Returns:
            (i, j, similarity): int64, int64 and float32 arrays of one length; i is one of the rows, j of the index;
            sorted by (i, j).

        Raises:
            ValueError: Not a matrix of the index's width, or the threshold is not a number.
        """
        return self._native.range(np.ascontiguousarray(rows, dtype=np.float32), threshold)[:3]


def group_pairs(
    count: int,
    pairs: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]],
    *,
    rank: npt.NDArray[Any] | None = None,
) -> tuple[npt.NDArray[np.int64], FloatArray, npt.NDArray[np.int64]]:
    """Groups rows by pairs that were found before, by the rule of the program: nothing is chained through third rows.

    Rows are taken in the order of ``rank``, or without one in descending order of how many others are similar to them.
    A row that is similar to no earlier representative becomes one; every other row joins the representative that it is
    most similar to, the first of equally similar ones.

    Args:
        count: Rows there are, of which all indices are below it.
        pairs: (i, j, similarity), of one length, as :func:`similar_pairs` returns them; i < j, in any order, each pair
            once.
        rank: Integers [count], 0 ... 2**32 - 1: the lowest one first, equal ones in the order of the rows.

    Returns:
        (representative, similarity, similar): int64, float32 and int64 [count]: of each row its representative (itself
        for representatives and rows in no group), the similarity to it (1 for itself), and how many rows are similar
        to it.

    Raises:
        ValueError: The arrays do not fit together, or a pair or rank is not as it should be.
    """
    columns = [np.asarray(column) for column in pairs]
    if len(columns) != 3 or {column.shape for column in columns} != {(len(columns[0]),)}:
        raise ValueError(f"expected three arrays of one length, got shapes {[column.shape for column in columns]}")
    if rank is not None and np.shape(rank) != (count,):
        raise ValueError(f"expected {count} ranks, got shape {np.shape(rank)}")
    grouped: tuple[npt.NDArray[np.int64], FloatArray, npt.NDArray[np.int64]] = _load.native.group_pairs(
        count,
        _unsigned(columns[0]),
        _unsigned(columns[1]),
        np.ascontiguousarray(columns[2], np.float32),
        None if rank is None else _unsigned(np.asarray(rank)),
    )
    return grouped


def _unsigned(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """The same integers as the engine takes them."""
    if numbers.size and (numbers.min() < 0 or numbers.max() > np.iinfo(np.uint32).max):
        raise ValueError("expected indices and ranks from 0 to 4294967295")
    return np.ascontiguousarray(numbers, np.uint32)


def cosine_similarity(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Returns the cosine of two embeddings [dim], bit for bit as the engine computes it.

    It is 0 if one of them is zero, and NaN if one of them is not finite.
    """
    return float(_load.native.cosine_similarity(np.stack([first, second]).astype(np.float32)))


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
    output: npt.NDArray[Any] = _load.native.reduction(carried, _ELEMENT_TYPES[dtype.name], channels, carrier)
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
    return decode_bytes(Path(path).read_bytes(), max_pixels, target)


def decode_bytes(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS, target: int = 0) -> PixelArray:
    """Decodes the content of an image file, as :func:`decode` does.

    Args:
        data: The content.
        max_pixels: As for :func:`decode`.
        target: As for :func:`decode`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        RrnError: It is damaged, too large or of an unknown format.
    """
    pixels: PixelArray = _load.native.decode(data, max_pixels, target)
    return pixels


def decode_sized(
    data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS, target: int = 0
) -> tuple[PixelArray, tuple[int, int]]:
    """Decodes the content of an image file, and says how large the whole picture is.

    Args:
        data: The content.
        max_pixels: As for :func:`decode`.
        target: As for :func:`decode`.

    Returns:
        (pixels, (width, height)): as :func:`decode_bytes` returns them, and the sides in pixels of the upright picture
        at its full size, which `pixels` has or is a fraction of.

    Raises:
        RrnError: As for :func:`decode_bytes`.
    """
    pixels, width, height = _load.native.decode_sized(data, max_pixels, target)
    return pixels, (width, height)


def encode_jpeg(pixels: PixelArray, quality: int = 80, *, optimize: bool = True) -> bytes:
    """Encodes a picture as a baseline JPEG file; other threads run meanwhile.

    Args:
        pixels: RGB, uint8 [height, width, 3].
        quality: 1 ... 100, libjpeg's scale. Colour has half the resolution.
        optimize: Tables of the picture's own: some hundredths smaller, several times slower.

    Returns:
        The file. Same arguments, same bytes.

    Raises:
        ValueError: The array is something else, or `quality` is out of its range.
    """
    check_pixels(pixels)
    return _load.native.encode_jpeg(pixels, quality, optimize)


def preprocess(
    path_or_array: PathLike | PixelArray,
    size: int | None = None,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    divisor: float = 255.0,
    bgr: bool = False,
) -> FloatArray:
    """Returns a network's input for one image, by default the default model's: float32 [3, size, size].

    Resized with an antialiased triangle filter without keeping the aspect ratio, then (pixel / divisor - mean) / std.

    Args:
        path_or_array: A file, or uint8 [height, width, 3].
        size: Side of the square in pixels, 32 ... 4096; None for the 224 of the default model.
        mean: Three numbers, in the order of the network's channels; ImageNet's by default.
        std: The same for the standard deviations.
        divisor: Of pixels from 0 to 255.
        bgr: The network's channels are blue, green, red.

    Raises:
        ValueError: An argument or the array is not as it should be.
        OSError, RrnError: As for :func:`decode`.
    """
    side = checked_size(size) or DEFAULT_SIZE
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(f"mean has {len(mean)} and std {len(std)} numbers, expected 3")
    pixels = pixels_of(path_or_array, DEFAULT_MAX_PIXELS, side)
    prepared: FloatArray = _load.native.preprocess(pixels, side, list(mean), list(std), divisor, bgr)
    return prepared


def _native_order(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array, contiguous and in this machine's byte order; a scalar stays one, so that errors can show its shape."""
    ordered = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(ordered) if ordered.ndim else ordered


def pixels_of(path_or_array: PathLike | PixelArray, max_pixels: int, target: int) -> PixelArray:
    """Returns the array, checked, or the decoded file; see :func:`decode`."""
    pixels = path_or_array if isinstance(path_or_array, np.ndarray) else decode(path_or_array, max_pixels, target)
    check_pixels(pixels)
    return pixels


def checked_threads(threads: int | None) -> int:
    """Returns what the engine takes: 0 for one thread for each core.

    Raises:
        ValueError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}, expected at least 1, or None for one for each core")
    return threads or 0


def checked_size(size: int | None) -> int:
    """Returns what the engine takes: 0 for the model's own size.

    Raises:
        ValueError: `size` is outside 32 ... 4096.
    """
    if size is not None and not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size is {size}, expected {MIN_SIZE} to {MAX_SIZE}, or None for the model's own")
    return size or 0


def check_pixels(array: npt.NDArray[Any]) -> None:
    """Raises ValueError unless the array is uint8 [height, width, 3]."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected a uint8 array [height, width, 3], got {array.dtype} {list(array.shape)}")
