"""Figures of similarities, embeddings, groups and explanations.

    result = rrn_native.find_similar("photos")
    plots.similarity_histogram(result.embeddings, result.threshold)
    plots.embedding_map(result.embeddings, [image.path for image in result.images], groups=result.groups)
    plots.save(plots.group_gallery(result), Path("groups.png"))

Every function takes data and returns a matplotlib ``Figure``; none prints, opens a window or touches pyplot's state,
and a notebook shows what a cell returns. The same input gives the same figure, whatever the user's matplotlib settings.
Nothing depends on colour alone. Needs matplotlib: ``pip install 'rrn-native[report]'``. As matplotlib is not
thread-safe, neither is this module.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native import _files

try:
    import matplotlib
    import matplotlib.style
    from matplotlib import font_manager, ft2font
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"rrn_native.analysis.plots needs {error.name}; pip install 'rrn-native[report]'", name=error.name
    ) from error

if TYPE_CHECKING:
    from rrn_native.analysis.explain import Explanation

Doubles = npt.NDArray[np.float64]
Method = Literal["pca", "tsne", "umap", "auto"]
METHODS: tuple[Method, ...] = ("pca", "tsne", "umap", "auto")
FORMATS = (".png", ".svg", ".pdf")

# All pairs of 10,000 images; they take some seconds.
MAX_PAIRS = 50_000_000
SAMPLED_PAIRS = 2_000_000
BINS = 200
# Below, neighbours mean nothing; above, "auto" would take minutes.
FEWEST_FOR_NEIGHBOURS = 5
MOST_FOR_AUTO = 5000
_BLOCK = 1024
_FONT = "DejaVu Sans"  # comes with matplotlib, so figures do not depend on the machine's fonts
_STYLE: dict[str, Any] = {
    "font.family": _FONT,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "figure.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "rrn",
    "hatch.linewidth": 0.5,
}


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Similarities of pairs, counted.

    Attributes:
        edges: float64 [BINS + 1], from -1 to 1. A bin holds its lower edge; the last one its upper edge too.
        counts: int64 [BINS], pairs in each bin.
        above: int64 [BINS], those of them above the threshold.
        pairs: All pairs that there are.
        counted: The sum of ``counts``: equal to ``pairs``, or less where pairs were sampled.
        images: Rows that were compared; None where similarities were given.
        left_out: Rows (or similarities) that are not finite, such as those of unreadable files.
    """

    edges: Doubles
    counts: npt.NDArray[np.int64]
    above: npt.NDArray[np.int64]
    pairs: int
    counted: int
    images: int | None
    left_out: int

    @property
    def share_above(self) -> float:
        """The share of the counted pairs above the threshold; 0 without pairs."""
        return float(self.above.sum()) / self.counted if self.counted else 0.0


@dataclasses.dataclass(frozen=True)
class Projection:
    """Embeddings in the plane.

    Attributes:
        points: float64 [n, 2].
        method: "pca", "tsne" or "umap": what was computed, whatever was asked for.
        explained: For PCA, the shares of the variance along both axes; else None.
        note: Why it is another method than the one asked for; "" if it is not.
    """

    points: Doubles
    method: str
    explained: tuple[float, float] | None
    note: str


class _NotebookFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        return _rendered(self, "png", 100)


def histogram(
    data: npt.ArrayLike, threshold: float = rrn_native.DEFAULT_THRESHOLD, *, max_pairs: int = MAX_PAIRS
) -> Histogram:
    """Counts the similarities of all pairs, or of a sample of them.

    Args:
        data: Embeddings [n, dim], or the similarities of pairs [m].
        threshold: Above is: cosine > threshold.
        max_pairs: With more pairs than this, SAMPLED_PAIRS (or max_pairs, if that is less) of them are drawn without
            repetition, by a generator with a fixed seed.

    Raises:
        ValueError: Another shape.
    """
    array = np.asarray(data, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"expected embeddings [n, dim] or similarities [m], got {list(array.shape)}")
    finite = np.isfinite(array).all(axis=1) if array.ndim == 2 else np.isfinite(array)
    kept = array[finite]
    edges = np.linspace(-1, 1, BINS + 1)
    counts = np.zeros(BINS, np.int64)
    above = np.zeros(BINS, np.int64)
    if array.ndim == 1:
        pairs, blocks = len(kept), iter([kept])
    else:
        n = len(kept)
        pairs = n * (n - 1) // 2
        unit = _unit(kept)
        blocks = _all_pairs(unit) if pairs <= max_pairs else _sampled_pairs(unit, pairs, min(SAMPLED_PAIRS, max_pairs))
    counted = 0
    for block in blocks:
        values = np.clip(block, -1.0, 1.0)
        counts += np.histogram(values, edges)[0]
        above += np.histogram(values[values > threshold], edges)[0]
        counted += len(values)
    images = None if array.ndim == 1 else len(kept)
    return Histogram(edges, counts, above, pairs, counted, images, int((~finite).sum()))


def similarity_histogram(
    data: npt.ArrayLike,
    threshold: float = rrn_native.DEFAULT_THRESHOLD,
    *,
    similar: int | None = None,
    max_pairs: int = MAX_PAIRS,
) -> Figure:
    """Draws how similar the pairs are, on a logarithmic scale, with the threshold and the share above it.

    Args:
        data: Embeddings [n, dim], or the similarities of pairs [m]; what is not finite is left out.
        threshold: Above is: cosine > threshold.
        similar: The number of pairs above the threshold, where it is known: half the sum of ``similar`` over a result's
            images. It replaces the estimate if pairs are sampled.
        max_pairs: As for :func:`histogram`.

    Raises:
        ValueError: As for :func:`histogram`.
    """
    bins = histogram(data, threshold, max_pairs=max_pairs)
    with _style():
        figure = _figure(7, 4.2)
        axes = figure.subplots()
        used = np.flatnonzero(bins.counts)
        first = min(int(used[0]) if len(used) else BINS // 2, int(np.searchsorted(bins.edges, threshold)) - 5)
        first = max(0, first - first % 5)
        shown = slice(first, BINS)
        left, width = bins.edges[:-1][shown], 2 / BINS
        style: dict[str, Any] = {"width": width, "align": "edge", "linewidth": 0.3}
        axes.bar(left, bins.counts[shown], color="0.82", edgecolor="0.45", label="other pairs", **style)
        sampled = bins.counted < bins.pairs
        if sampled and similar is not None:
            share, known = similar / bins.pairs, f"{similar:,} pairs, {_percent(similar / bins.pairs)} of all"
        else:
            share, known = bins.share_above, f"{int(bins.above.sum()):,} pairs, {_percent(bins.share_above)}"
            known += " (estimated)" if sampled and share else ""
        axes.bar(left, bins.above[shown], color="0.25", edgecolor="black", label=f"similar: {known}", **style)
        axes.axvline(threshold, 0, 0.88, color="black", linestyle="--", linewidth=1.2, label=f"threshold {threshold:g}")
        axes.set_xlim(bins.edges[first], 1.0)
        if len(used):
            axes.set_yscale("log")
            # Half a pair below one, so that a single pair is a visible bar; head room for the legend.
            axes.set_ylim(0.5, float(bins.counts.max()) * 8)
        axes.set_xlabel("cosine similarity of two images")
        axes.set_ylabel(f"pairs in each {width:g} (logarithmic)")
        of = "" if bins.images is None else f" of {_count(bins.images, 'image')}"
        what = f"{bins.counted:,} of the {bins.pairs:,} pairs" if sampled else f"All {_count(bins.pairs, 'pair')}"
        out = f"; {_count(bins.left_out, 'row')} without values left out" if bins.left_out else ""
        axes.set_title(what + of + (" (a fixed random sample)" if sampled else "") + out)
        axes.legend(loc="upper center", frameon=False, fontsize=8, ncols=3)
    return figure


def project(embeddings: npt.ArrayLike, method: Method = "pca") -> Projection:
    """Lays embeddings out in the plane, by the directions of the vectors only, as the cosine does.

    "pca" shows distances as they are, as far as two axes can; its axes point so that the largest coefficient is
    positive. "tsne" (scikit-learn) and "umap" (umap-learn) keep neighbours together and give distances between
    clusters no meaning; both have a fixed seed and run on one thread, so that the same input and versions give the same
    map. Where the package is missing, or there are fewer than 5 images, PCA takes their place. "auto" is t-SNE from 5
    to 5000 images where scikit-learn is installed, else PCA.

    Args:
        embeddings: Finite [n, dim], n >= 0.
        method: One of METHODS.

    Raises:
        ValueError: Another shape, values that are not finite or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"expected finite embeddings [n, dim], got {list(rows.shape)}")
    unit = _unit(rows)
    points, explained = _pca(unit)
    note = ""
    if method in ("tsne", "umap") and len(unit) < FEWEST_FOR_NEIGHBOURS:
        note = f"{_method_name(method)} needs at least {FEWEST_FOR_NEIGHBOURS} images; this is PCA"
    elif method == "umap" or method == "tsne" or (method == "auto" and 5 <= len(unit) <= MOST_FOR_AUTO):
        try:
            found = _umap(unit) if method == "umap" else _tsne(unit, points)
            return Projection(found, "umap" if method == "umap" else "tsne", None, "")
        except ModuleNotFoundError as error:
            package = "umap-learn" if method == "umap" else "scikit-learn"
            if method != "auto":
                missing = (error.name or package).partition(".")[0]
                missing = package if missing in ("umap", "sklearn") else missing
                note = f"{_method_name(method)} needs {missing} (pip install {package}); this is PCA"
    return Projection(points, "pca", explained, note)


def embedding_map(
    embeddings: npt.ArrayLike,
    paths: Sequence[rrn_native.PathLike],
    method: Method = "pca",
    *,
    groups: Sequence[rrn_native.Group] | None = None,
    thumbnails: bool = True,
) -> Figure:
    """Draws a map of images on which similar ones are near each other.

    Every image is a dot: filled if it is in a group, and joined by a line to its group's representative. Thumbnails
    stand where there is room, representatives first, then by path; only those are read. A representative's label counts
    its group. Files that cannot be read stay dots.

    Args:
        embeddings: [n, dim]; images whose row is not finite are left out.
        paths: n files, one for each row.
        method: As for :func:`project`.
        groups: Such as ``result.groups``; paths that are not among ``paths`` are ignored.
        thumbnails: False draws dots only, and reads no file.

    Warns:
        RuntimeWarning: PCA takes the place of the method.

    Raises:
        ValueError: As for :func:`project`, or not as many paths as rows.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(paths):
        raise ValueError(f"expected embeddings [n, dim] and n paths, got {list(rows.shape)} and {len(paths)} paths")
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    names = [os.fsdecode(path) for path, usable in zip(paths, finite, strict=True) if usable]
    laid_out = project(rows[finite], method)
    if laid_out.note:
        warnings.warn(laid_out.note, RuntimeWarning, stacklevel=2)
    points = laid_out.points
    number = {name: position for position, name in enumerate(names)}
    stars: list[tuple[int, list[int]]] = []
    for group in groups or ():
        members = [number[member.path] for member in group.members if member.path in number]
        if group.representative in number and members:
            stars.append((number[group.representative], members))
    with _style():
        figure = _figure(8, 8.3, layout=None)
        axes = figure.add_axes((0.09, 0.07, 0.89, 0.89 * 8 / 8.3))
        middle, half = _square(points)
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] - half, middle[1] + half)
        grouped = np.zeros(len(names), bool)
        for centre, members in stars:
            grouped[[centre, *members]] = True
            for member in members:
                axes.plot(*points[[centre, member]].T, color="0.35", linewidth=0.8, zorder=1)
        size = float(np.clip(4000 / max(len(names), 1), 2, 22))
        for chosen, face, label in ((~grouped, "white", "in no group"), (grouped, "black", "in a group")):
            if chosen.any():
                axes.scatter(
                    points[chosen, 0],
                    points[chosen, 1],
                    size,
                    facecolor=face,
                    edgecolor="black",
                    linewidth=0.6,
                    zorder=2,
                    label=f"{int(chosen.sum()):,} {label}" if groups is not None else _count(len(names), "image"),
                )
        if thumbnails:
            sizes = {centre: 1 + len(members) for centre, members in stars}
            order = sorted(range(len(names)), key=lambda k: (k not in sizes, os.fsencode(names[k])))
            # As a share of the map's side; small enough for many to find room.
            share = float(np.clip(0.8 / max(len(names), 1) ** 0.5, 0.06, 0.11))
            _draw_thumbnails(axes, points, names, order, 2 * half * share, sizes)
        if names:
            # Below the map, where no image can be.
            axes.legend(loc="upper right", bbox_to_anchor=(1, -0.035), fontsize=8, frameon=False, ncols=2)
        _label_map(axes, laid_out, len(names), len(names) < len(rows))
    return figure


def gallery_pages(result: rrn_native.SimilarityResult, rows: int = 8) -> int:
    """Returns how many pages :func:`group_gallery` has; 1 where there is no group."""
    return max(1, -(-len(result.groups) // rows))


def group_gallery(result: rrn_native.SimilarityResult, page: int = 1, *, rows: int = 8, columns: int = 7) -> Figure:
    """Draws the groups as rows of thumbnails: the representative, then its members by falling similarity.

    Under each picture stand its name, its folder (from the common one) and its similarity to the representative. Where
    a group has more members than columns, the last place counts the rest. Only pictures that are shown are read; one
    that cannot be read is an empty frame that says so.

    Args:
        result: What :func:`rrn_native.find_similar` returned. Relative paths start from the current folder.
        page: From 1 to ``gallery_pages(result, rows)``.
        rows: Groups on a page, at least 1.
        columns: Pictures in a row, at least 2.

    Raises:
        ValueError: An argument is out of its range.
    """
    if rows < 1 or columns < 2:
        raise ValueError(f"rows is {rows} and columns {columns}, expected at least 1 and 2")
    pages = gallery_pages(result, rows)
    if not 1 <= page <= pages:
        raise ValueError(f"page is {page}, expected 1 to {pages}")
    begin = (page - 1) * rows
    groups = result.groups[begin : begin + rows]
    widest = max((min(1 + len(group.members), columns) for group in groups), default=3)
    width = max(widest, 4)
    cell, head, row_height = 1.35, 0.3, 1.78  # inches
    height = 0.62 + row_height * max(len(groups), 0.2)
    with _style():
        figure = _figure(cell * width + 0.3, height, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-0.15, cell * width + 0.15)
        axes.set_ylim(height, 0)
        title = _count(len(result.groups), "group") + (f", page {page} of {pages}" if pages > 1 else "")
        meaning = f"Similarity to the group's first image above {result.threshold:g}."
        if not result.groups:
            title = "No groups"
            meaning = f"No two of {_count(result.read, 'image')} have a similarity above {result.threshold:g}."
        axes.text(0, 0.27, title, fontsize=11)
        axes.text(0, 0.47, meaning, fontsize=8.5)
        root = _common_folder([image.path for image in result.images])
        for row, group in enumerate(groups):
            top = 0.58 + row * row_height
            label = f"group {begin + row + 1}: {_count(1 + len(group.members), 'image')}"
            axes.text(0, top + 0.2, label, fontsize=8.5, fontweight="bold")
            axes.plot([0, cell * width], [top + 0.02] * 2, color="0.7", linewidth=0.6)
            places: list[tuple[str, str]] = [(group.representative, "representative")]
            places += [(member.path, _similarity(member.similarity)) for member in group.members]
            hidden = len(places) - columns + 1 if len(places) > columns else 0
            for column, (path, caption) in enumerate(places[: len(places) - hidden]):
                _draw_cell(axes, column * cell, top + head, cell, path, caption, root)
            if hidden:
                lowest = places[-1][1]
                _words(axes, (columns - 0.5) * cell, top + head + 0.48, f"and {hidden} more\ndown to {lowest}", size=9)
    return figure


def layer_contributions(explained: Explanation) -> Figure:
    """Draws the share that each layer has in the similarity of two images.

    Args:
        explained: From :func:`rrn_native.analysis.explain.explain`.
    """
    with _style():
        figure = _figure(7, 4.2)
        _draw_layers(figure.subplots(), explained)
        axes = figure.axes[0]
        axes.set_title(f"{_sum_of_shares(explained)}\n{_reading(explained)}", fontsize=9)
    return figure


def explanation_figure(explained: Explanation) -> Figure:
    """Draws why two images are similar: both pictures, where their similarity comes from, and from which layers.

    Each row is an image: the picture, the sum of all layers over it, and each layer. Bright places contribute, dark
    ones do not, on one scale in each column; under each map stands its sum. The bars are those of
    :func:`layer_contributions`. With reference images, the maps show what is specific to the pair; places that are less
    similar than usual are as dark as those that contribute nothing, and lie behind a dashed line (in layers with a
    hundredth of the similarity, at least).

    Args:
        explained: From :func:`rrn_native.analysis.explain.explain`.
    """
    layers = len(explained.shares)
    specific = explained.reference_images > 0
    sides = (explained.first, explained.second)
    pictures = [_files.thumbnail(side.pixels, 320) for side in sides]
    heights = [1.75 * float(np.clip(picture.shape[0] / picture.shape[1], 0.5, 1.6)) + 0.4 for picture in pictures]
    with _style():
        figure = _figure(1.75 * (layers + 2) + 0.6, sum(heights) + 3.9)
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(sum(heights) + 0.9, 3.0))[:, 0]
        grid = upper.subplots(2, layers + 2, squeeze=False, height_ratios=heights)
        heats = []
        for side, picture in zip(sides, pictures, strict=True):
            small = dataclasses.replace(side, pixels=picture)
            heats.append([small.heat_map(k, specific=specific) for k in (None, *range(layers))])
        tops = [max(float(heat.max()) for heat in column) for column in zip(*heats, strict=True)]
        for row, (side, picture) in enumerate(zip(sides, pictures, strict=True)):
            grid[row, 0].imshow(picture)
            grid[row, 0].set_ylabel(_elide(_basename(side.name), 24), parse_math=False)
            shares = [float(each.sum()) for each in (side.specific_maps() if specific else side.maps)]
            for column, (heat, share) in enumerate(zip(heats[row], [sum(shares), *shares], strict=True)):
                axes = grid[row, column + 1]
                shown = axes.imshow(_overlay(picture, heat, tops[column]), cmap=_HEAT, vmin=0, vmax=1)
                # A layer that hardly counts would only add noise.
                counts = column == 0 or explained.shares[column - 1] >= 0.01 * explained.similarity
                if counts and heat.min() < 0 < heat.max():
                    axes.contour(heat, levels=[0.0], colors="white", linewidths=0.7, linestyles="--")
                axes.set_xlabel(_signed(share) if specific else f"{share:.3f}")
        for column, title in enumerate(["image", "all layers", *explained.layer_names]):
            grid[0, column].set_title(title, fontsize=8.5)
        for axes in grid.flat:
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        bar = upper.colorbar(shown, ax=grid, ticks=[0, 1], fraction=0.012, pad=0.01)
        bar.ax.set_yticklabels(["0", "most in\nthe column"], fontsize=7.5)
        what = "specific similarity" if specific else "similarity"
        upper.suptitle(
            f"{_sum_of_shares(explained)}\n"
            f"Bright: where the {what} comes from. The number below is the map's sum, its share of the cosine.",
            fontsize=9.5,
        )
        _draw_layers(lower.subplots(), explained)
        lower.axes[0].set_title(_reading(explained), fontsize=8.5)
    return figure


def check_format(path: Path) -> None:
    """Raises ValueError unless :func:`save` knows the suffix; for asking before long work."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: the suffix is {path.suffix or 'missing'}, expected one of {', '.join(FORMATS)}")


def save(figure: Figure, path: Path, *, dpi: int = 110) -> None:
    """Writes a figure; the file is complete, or untouched. The same figure and versions give the same bytes.

    Args:
        figure: From one of these functions.
        path: Its suffix is the format: .png, .svg or .pdf.
        dpi: Pixels per inch of .png files, and of pictures inside the others.

    Raises:
        ValueError: Another suffix.
        OSError: The file cannot be written.
    """
    check_format(path)
    _files.write_file(path, _rendered(figure, path.suffix.lower()[1:], dpi))


def _rendered(figure: Figure, kind: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    # No dates, or equal figures would be different files.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with _style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """The defaults of matplotlib with ours on top, so that no user's settings change a figure."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    figure = _NotebookFigure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _unit(rows: Doubles) -> Doubles:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1.0))


def _all_pairs(unit: Doubles) -> Iterator[Doubles]:
    """The cosines of all pairs i < j, in blocks that bound the memory."""
    for begin in range(0, len(unit), _BLOCK):
        rows = unit[begin : begin + _BLOCK]
        inside = rows @ rows.T
        yield inside[np.triu_indices(len(rows), 1)]
        for other in range(begin + _BLOCK, len(unit), _BLOCK):
            yield (rows @ unit[other : other + _BLOCK].T).ravel()


def _sampled_pairs(unit: Doubles, pairs: int, count: int) -> Iterator[Doubles]:
    """The cosines of `count` different pairs, each as likely as any other."""
    numbers = np.sort(np.random.default_rng(0).choice(pairs, count, replace=False, shuffle=False))
    # Pair number p is (i, j) with i < j and p = j (j - 1) / 2 + i.
    j = ((1 + np.sqrt(1 + 8 * numbers.astype(np.float64))) / 2).astype(np.int64)
    # The root may be off by one in either direction where p is large.
    j -= j * (j - 1) // 2 > numbers
    j += j * (j + 1) // 2 <= numbers
    i = numbers - j * (j - 1) // 2
    for begin in range(0, count, 1 << 14):
        part = slice(begin, begin + (1 << 14))
        yield np.einsum("nd,nd->n", unit[i[part]], unit[j[part]])


def _pca(unit: Doubles) -> tuple[Doubles, tuple[float, float]]:
    """The first two principal components, and their shares of the variance."""
    n, dim = unit.shape
    if n < 2 or dim < 1:
        return np.zeros((n, 2)), (0.0, 0.0)
    centred = unit - unit.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    total = float(np.trace(centred.T @ centred))
    # Rounding leaves a little where all images are the same.
    if total <= n * dim * np.finfo(np.float64).eps ** 2 * 16:
        return np.zeros((n, 2)), (0.0, 0.0)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    points = np.zeros((n, 2))
    points[:, : axes.shape[1]] = centred @ axes
    shares = [max(0.0, float(value)) / total for value in values[::-1][:2]] + [0.0]
    return points, (shares[0], shares[1])


def _tsne(unit: Doubles, start: Doubles) -> Doubles:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    spread = float(start[:, 0].std())
    model = TSNE(
        perplexity=min(30.0, (len(unit) - 1) / 3),
        # scikit-learn's own initial size; where all images are equal any start will do.
        init=(start / spread * 1e-4).astype(np.float32) if spread > 0 else "random",
        random_state=0,
    )
    with threadpool_limits(1):  # sums over threads would depend on their number
        return np.asarray(model.fit_transform(unit.astype(np.float32)), dtype=np.float64)


def _umap(unit: Doubles) -> Doubles:
    from umap import UMAP

    model = UMAP(n_neighbors=min(15, len(unit) - 1), random_state=0, n_jobs=1, init="pca")
    return np.asarray(model.fit_transform(unit.astype(np.float32)), dtype=np.float64)


def _method_name(method: str) -> str:
    return {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[method]


def _square(points: Doubles) -> tuple[Doubles, float]:
    """The centre and half the side of a square with all points and room for thumbnails at its edges."""
    if not len(points):
        return np.zeros(2), 1.0
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    return (low + high) / 2, half * 1.16 if half > 0 else 1.0


def thin_out(points: Doubles, order: Sequence[int], side: float) -> list[int]:
    """Chooses points, in the given order, whose squares of this side do not overlap those of the ones chosen before.

    Args:
        points: float64 [n, 2].
        order: Positions in ``points``, the most wanted first.
        side: Above 0, in the points' unit.

    Returns:
        The chosen positions, in the order of ``order``.
    """
    cells: dict[tuple[int, int], list[int]] = {}
    chosen = []
    for number in order:
        x, y = (int(value) for value in np.floor(points[number] / side))
        near = [k for dx in (-1, 0, 1) for dy in (-1, 0, 1) for k in cells.get((x + dx, y + dy), ())]
        if all(np.abs(points[number] - points[k]).max() >= side for k in near):
            cells.setdefault((x, y), []).append(number)
            chosen.append(number)
    return chosen


def _draw_thumbnails(
    axes: Axes, points: Doubles, names: list[str], order: list[int], side: float, group_sizes: dict[int, int]
) -> None:
    # A little apart, and with a line of text below.
    for number in thin_out(points, order, side * 1.18):
        try:
            picture = _files.thumbnail(names[number], 96)
        except (OSError, rrn_native.RrnError):
            continue
        height, width = picture.shape[:2]
        half_width, half_height = (side / 2 * length / max(height, width) for length in (width, height))
        x, y = points[number]
        box = (x - half_width, x + half_width, y - half_height, y + half_height)
        axes.imshow(picture, extent=box, zorder=3, aspect="auto", interpolation="antialiased")
        size = group_sizes.get(number)
        line = 1.4 if size else 0.5
        frame = Rectangle((box[0], box[2]), 2 * half_width, 2 * half_height, fill=False, linewidth=line, zorder=4)
        axes.add_patch(frame)
        if size:
            axes.text(x, box[2], f"×{size}", ha="center", va="top", fontsize=7, zorder=5, bbox=_LABEL_BOX)


_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}


def _label_map(axes: Axes, laid_out: Projection, images: int, left_out: bool) -> None:
    if laid_out.explained is not None:
        first, second = laid_out.explained
        axes.set_xlabel(f"first principal component ({first:.1%} of the variance)", loc="left")
        axes.set_ylabel(f"second principal component ({second:.1%} of the variance)")
        title = f"{_count(images, 'image')} by PCA: two axes show {first + second:.0%} of how their embeddings differ"
    else:
        name = _method_name(laid_out.method)
        axes.set_xlabel(f"{name}, first axis (no unit)", loc="left")
        axes.set_ylabel(f"{name}, second axis (no unit)")
        axes.set_xticks([])
        axes.set_yticks([])
        title = f"{_count(images, 'image')} by {name}: neighbours are alike, distances between clusters mean nothing"
    title += "" if not laid_out.note else f"\n{laid_out.note}"
    title += "" if not left_out else "\nImages without an embedding are left out."
    axes.set_title(title, fontsize=9.5)


def _draw_cell(axes: Axes, x: float, y: float, cell: float, path: str, caption: str, root: str) -> None:
    side, high = cell - 0.15, 0.96
    centre = x + side / 2
    try:
        picture = _files.thumbnail(path, 220)
    except (OSError, rrn_native.RrnError):
        axes.add_patch(Rectangle((x, y), side, high, fill=False, linestyle=":"))
        _words(axes, centre, y + high / 2, "cannot be read", size=8)
    else:
        height, width = picture.shape[:2]
        scale = min(side / width, high / height)
        half_width, half_height = width * scale / 2, height * scale / 2
        middle = y + high / 2
        box = (centre - half_width, centre + half_width, middle + half_height, middle - half_height)
        axes.imshow(picture, extent=box, aspect="auto", interpolation="antialiased")
        line = 1.4 if caption == "representative" else 0.5
        axes.add_patch(Rectangle((box[0], box[3]), 2 * half_width, 2 * half_height, fill=False, linewidth=line))
    folder = os.path.relpath(Path(path).parent, root) if root else ""
    lines = [caption, _elide(_basename(path), 23)]
    if folder not in ("", "."):
        lines.append(_elide(folder + "/", 23))
    for position, words in enumerate(lines):
        weight = "bold" if position == 0 else "normal"
        axes.text(
            centre,
            y + high + 0.06 + 0.125 * position,
            words,
            ha="center",
            va="top",
            fontsize=6.5,
            fontweight=weight,
            color="black" if position < 2 else "0.35",
            parse_math=False,
        )


def _words(axes: Axes, x: float, y: float, words: str, size: float) -> None:
    axes.text(x, y, words, ha="center", va="center", fontsize=size, parse_math=False)


def _draw_layers(axes: Axes, explained: Explanation) -> None:
    """Bars of the layers' shares; beside them what is usual, on them the two directions."""
    position = np.arange(len(explained.shares), dtype=np.float64)
    usual = explained.usual_shares
    width = 0.5 if usual is None else 0.38
    shift = 0.0 if usual is None else width / 2
    shown = axes.bar(position - shift, explained.shares, width, color="0.75", edgecolor="black", label="this pair")
    axes.bar_label(shown, [f"{share:.3f}" for share in explained.shares], padding=7, fontsize=8)
    if usual is not None:
        count = _count(explained.reference_images, "reference image")
        label = f"usual: mean with {count}"
        bars = axes.bar(position + shift, usual, width, color="white", edgecolor="black", hatch="////", label=label)
        axes.bar_label(bars, [f"{share:.3f}" for share in usual], padding=3, fontsize=8)
    for side, marker, label in ((explained.first, "<", "first"), (explained.second, ">", "second")):
        axes.plot(
            position - shift,
            side.shares,
            marker,
            color="black",
            markersize=5,
            markerfacecolor="black" if marker == "<" else "white",
            label=f"seen from the {label} image",
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(position, explained.layer_names)
    axes.set_ylabel("share of the cosine (no unit)")
    axes.set_xlabel("layer (height × width of its feature map)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    axes.margins(x=0.05)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _sum_of_shares(explained: Explanation) -> str:
    terms = " ".join(f"{'-' if share < 0 else '+'} {abs(share):.3f}" for share in explained.shares).removeprefix("+ ")
    text = f"similarity {_similarity(explained.similarity)} = {terms}"
    usual = explained.usual_shares
    if usual is not None:
        text += f"; usual {usual.sum():.3f}, specific to this pair {_signed(explained.specific_shares.sum())}"
    return text


def _reading(explained: Explanation) -> str:
    if explained.reference_images:
        return "What a layer shares with the reference images too (hatched) says nothing about this pair."
    return "A layer that is strong in every image has a large share in every pair; reference images (against) tell."


_HEAT = matplotlib.colormaps["inferno"]  # its lightness rises all the way, so a grey print reads the same


def _overlay(picture: rrn_native.PixelArray, heat: npt.NDArray[np.float32], top: float) -> npt.NDArray[np.uint8]:
    """The heat, from 0 to `top`, in colours over a pale grey copy of the picture; uint8 [height, width, 3]."""
    level = np.clip(heat / top, 0.0, 1.0) if top > 0 else np.zeros_like(heat)
    # ITU-R BT.601 luma.
    grey = (picture @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    # Enough of the picture to see where one is, little enough to leave the heat its order of lightness.
    mixed = _HEAT(level)[:, :, :3] * 255 * 0.68 + grey * 0.32
    return np.asarray(mixed.round().clip(0, 255)).astype(np.uint8)


def _common_folder(paths: list[str]) -> str:
    """The deepest folder that holds all files; "" if there is none."""
    try:
        return os.path.commonpath([os.path.dirname(path) for path in paths]) or "."  # noqa: PTH120
    except ValueError:
        return ""


def _basename(path: str) -> str:
    return Path(path).name or path


def _elide(name: str, length: int) -> str:
    """At most `length` characters that the font has: the middle is left out, the end (the suffix) stays."""
    glyphs = _glyphs()
    name = "".join(character if ord(character) in glyphs else "\N{REPLACEMENT CHARACTER}" for character in name)
    if len(name) <= length:
        return name
    tail = length // 2
    return f"{name[: length - tail - 1]}…{name[-tail:]}"


def _glyphs() -> frozenset[int]:
    """The characters that the figures' font can draw; a lone surrogate in a name would stop matplotlib otherwise."""
    global _known_glyphs
    if _known_glyphs is None:
        font = ft2font.FT2Font(font_manager.findfont(_FONT))
        # Control characters would break the line.
        _known_glyphs = frozenset(code for code in font.get_charmap() if code >= 32 and not 127 <= code < 160)
    return _known_glyphs


_known_glyphs: frozenset[int] | None = None


def _signed(value: float) -> str:
    """With its sign and three decimals; 0.000 has none."""
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def _similarity(value: float) -> str:
    """Four decimals, cut rather than rounded near 1, so that only equal images show 1.0000."""
    text = f"{value:.4f}"
    return "0.9999" if text == "1.0000" and value < 0.9999995 else text


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
