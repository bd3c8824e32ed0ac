"""Writes a small report about a search for similar images: figures, the JSON, and a page that shows them.

    report.write_report(rrn_native.find_similar("photos"), Path("report"))

writes ``histogram.png``, ``map.png``, ``gallery-1.png`` ..., ``similarity.json`` (as ``./build/similarity --json``) and
``index.md``. Files of these names are replaced, one by one and each complete; nothing else in the folder is touched.
The command line is ``rrn report``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import rrn_native
from rrn_native.analysis import plots
from rrn_native.analysis.projection import METHODS, Method
from rrn_native.files import write_file

DEFAULT_PAGES = 20
# More skipped files than this are counted, not listed; the JSON has all.
_LISTED = 50


def write_report(
    result: rrn_native.SimilarityResult,
    output: Path,
    *,
    method: Method = "pca",
    pages: int = DEFAULT_PAGES,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draws a result and writes the report.

    Args:
        result: What :func:`rrn_native.find_similar` returned; its pictures are read again, for thumbnails.
        output: The folder; made if it is not there.
        method: Of the map, see :func:`rrn_native.analysis.projection.project`.
        pages: At most this many pages of groups are drawn, at least 1.
        progress: Called with the name of each file before it is made.

    Returns:
        The files written, ``index.md`` last.

    Raises:
        OSError: The folder cannot be written.
        ValueError: An argument is out of its range.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    if pages < 1:
        raise ValueError(f"pages is {pages}, expected at least 1")
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def announce(name: str) -> Path:
        if progress is not None:
            progress(name)
        written.append(output / name)
        return written[-1]

    write_file(announce("similarity.json"), (json.dumps(result.to_dict(), indent=1) + "\n").encode())
    similar = sum(image.similar for image in result.images) // 2
    # An approximate search does not know all pairs.
    known = similar if result.search.method == "exact" else None
    path = announce("histogram.png")
    plots.save(plots.similarity_histogram(result.embeddings, result.threshold, similar=known), path)
    path = announce("map.png")
    names = [image.path for image in result.images]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = plots.embedding_map(result.embeddings, names, method, groups=result.groups)
    notes = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
    plots.save(figure, path)
    total = plots.gallery_pages(result)
    galleries = []
    for page in range(1, min(pages, total) + 1):
        path = announce(f"gallery-{page}.png")
        plots.save(plots.group_gallery(result, page), path)
        galleries.append(path.name)
    index = _index(result, similar, galleries, total, notes)
    write_file(announce("index.md"), index.encode("utf-8", "replace"))
    return written


def _index(
    result: rrn_native.SimilarityResult, similar: int, galleries: list[str], pages: int, notes: list[str]
) -> str:
    """The page, in Markdown."""
    model = result.model
    lonely = result.unique - len(result.groups)
    lines = [
        "# Similar images",
        "",
        "| | |",
        "|---|---:|",
        f"| files | {result.files:,} |",
        f"| read | {result.read:,} |",
        f"| skipped | {len(result.skipped):,} |",
        f"| groups (similarity to the group's first image above {result.threshold:g}) | {len(result.groups):,} |",
        f"| unique images ({len(result.groups):,} groups + {lonely:,} images in no group) | {result.unique:,} |",
        f"| pairs above {result.threshold:g} | {similar:,} |",
        "",
        f"Model {_code(model.file)}, {model.size} pixels, {model.provider} {model.precision}; "
        f"{result.search.method} search. All numbers are in [similarity.json](similarity.json).",
        "",
        "## How similar are the pairs?",
        "",
        "![histogram](histogram.png)",
        "",
        "The cosine of each pair of images. Counts are logarithmic, because similar pairs are few among all pairs. An "
        "empty stretch at the dashed line is a good sign; where bars stand on both sides of it, the threshold decides "
        "about pairs that look alike to the model. `rrn calibrate` finds a threshold from labelled "
        "images.",
        "",
        "## Map",
        "",
        "![map](map.png)",
        "",
        "Similar images are near each other. Filled dots and thick frames are groups (× counts their images), lines "
        "lead to a group's first image; thumbnails stand where there is room.",
        *[f"\n{note}." for note in notes],
        "",
        "## Groups",
        "",
    ]
    for page, name in enumerate(galleries, start=1):
        lines += [f"![groups, page {page} of {pages}]({name})", ""]
    lines.append(
        "The first image of each row represents its group. The number is the cosine with it; other members of a group "
        "need not be similar to each other."
    )
    if len(galleries) < pages:
        lines += ["", f"{pages - len(galleries):,} more pages of groups are not drawn (`--pages`)."]
    if result.skipped:
        lines += ["", "## Skipped files", ""]
        lines += [f"- {_code(entry.path)}: {_plain(entry.reason)}" for entry in result.skipped[:_LISTED]]
        if len(result.skipped) > _LISTED:
            lines.append(f"- and {len(result.skipped) - _LISTED:,} more, listed in similarity.json")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """A file name that no character of its own can turn into markup."""
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    longest = run = 0
    for character in line:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _plain(text: str) -> str:
    """Words of an error message, without line breaks or markup."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return "".join(f"\\{character}" if character in "\\`*_[]<>&|#" else character for character in line)
