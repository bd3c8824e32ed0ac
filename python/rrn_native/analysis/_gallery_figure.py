"""The gallery: groups as rows of thumbnails."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrn_native._thumbnail import thumbnail
from rrn_native.analysis._drawing import base_name, centred_text, count_text, elide, make_figure, similarity_text, style
from rrn_native.errors import RrnError
from rrn_native.result import SimilarityResult


def gallery_pages(result: SimilarityResult, rows: int = 8) -> int:
    """Returns how many pages :func:`group_gallery` has; 1 where there is no group."""
    return max(1, -(-len(result.groups) // rows))


def group_gallery(result: SimilarityResult, page: int = 1, *, rows: int = 8, columns: int = 7) -> Figure:
    """Draws the groups as rows of thumbnails: the representative, then its members by descending similarity.

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
    with style():
        figure = make_figure(cell * width + 0.3, height, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-0.15, cell * width + 0.15)
        axes.set_ylim(height, 0)
        title = count_text(len(result.groups), "group") + (f", page {page} of {pages}" if pages > 1 else "")
        meaning = f"Similarity to the group's first image above {result.threshold:g}."
        if not result.groups:
            title = "No groups"
            meaning = f"No two of {count_text(result.read, 'image')} have a similarity above {result.threshold:g}."
        axes.text(0, 0.27, title, fontsize=11)
        axes.text(0, 0.47, meaning, fontsize=8.5)
        root = _common_folder([image.path for image in result.images])
        for row, group in enumerate(groups):
            top = 0.58 + row * row_height
            label = f"group {begin + row + 1}: {count_text(1 + len(group.members), 'image')}"
            axes.text(0, top + 0.2, label, fontsize=8.5, fontweight="bold")
            axes.plot([0, cell * width], [top + 0.02] * 2, color="0.7", linewidth=0.6)
            places: list[tuple[str, str]] = [(group.representative, "representative")]
            places += [(member.path, similarity_text(member.similarity)) for member in group.members]
            hidden = len(places) - columns + 1 if len(places) > columns else 0
            for column, (path, caption) in enumerate(places[: len(places) - hidden]):
                _draw_cell(axes, (column * cell, top + head), cell, path, caption, root)
            if hidden:
                lowest = places[-1][1]
                centred_text(
                    axes, (columns - 0.5) * cell, top + head + 0.48, f"and {hidden} more\ndown to {lowest}", size=9
                )
    return figure


def _draw_cell(axes: Axes, corner: tuple[float, float], cell: float, path: str, caption: str, root: str) -> None:
    x, y = corner
    side, high = cell - 0.15, 0.96
    centre = x + side / 2
    try:
        picture = thumbnail(path, 220)
    except (OSError, RrnError):
        axes.add_patch(Rectangle((x, y), side, high, fill=False, linestyle=":"))
        centred_text(axes, centre, y + high / 2, "cannot be read", size=8)
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
    lines = [caption, elide(base_name(path), 23)]
    if folder not in ("", "."):
        lines.append(elide(folder + "/", 23))
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


def _common_folder(paths: list[str]) -> str:
    """The deepest folder that holds all files; "" if they share none."""
    try:
        return os.path.commonpath([os.path.dirname(path) for path in paths]) or "."  # noqa: PTH120
    except ValueError:
        return ""
