"""The map of a collection: similar images near each other."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrn_native._thumbnail import thumbnail
from rrn_native.analysis._drawing import count_text, make_figure, style
from rrn_native.analysis.projection import Method, Projection, method_name, project
from rrn_native.arrays import PathLike
from rrn_native.errors import RrnError
from rrn_native.result import Group

Doubles = npt.NDArray[np.float64]

_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}


def embedding_map(
    embeddings: npt.ArrayLike,
    paths: Sequence[PathLike],
    method: Method = "pca",
    *,
    groups: Sequence[Group] | None = None,
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
    with style():
        figure = make_figure(8, 8.3, layout=None)
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
                    label=f"{int(chosen.sum()):,} {label}" if groups is not None else count_text(len(names), "image"),
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
            picture = thumbnail(names[number], 96)
        except (OSError, RrnError):
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


def _label_map(axes: Axes, laid_out: Projection, images: int, left_out: bool) -> None:
    counted = count_text(images, "image")
    if laid_out.explained is not None:
        first, second = laid_out.explained
        axes.set_xlabel(f"first principal component ({first:.1%} of the variance)", loc="left")
        axes.set_ylabel(f"second principal component ({second:.1%} of the variance)")
        title = f"{counted} by PCA: two axes show {first + second:.0%} of how their embeddings differ"
    else:
        name = method_name(laid_out.method)
        axes.set_xlabel(f"{name}, first axis (no unit)", loc="left")
        axes.set_ylabel(f"{name}, second axis (no unit)")
        axes.set_xticks([])
        axes.set_yticks([])
        title = f"{counted} by {name}: neighbours are alike, distances between clusters mean nothing"
    title += "" if not laid_out.note else f"\n{laid_out.note}"
    title += "" if not left_out else "\nImages without an embedding are left out."
    axes.set_title(title, fontsize=9.5)
