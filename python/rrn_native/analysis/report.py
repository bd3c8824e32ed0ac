"""Finds the similar images of a folder and writes a small report: figures, the JSON, and a page that shows them.

    rrn report photos/ --output report/

writes ``histogram.png``, ``map.png``, ``gallery-1.png`` ..., ``similarity.json`` (as ``./build/similarity --json``) and
``index.md``. Files of these names are replaced, one by one and each complete; nothing else in the folder is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rrn_native
from rrn_native._files import write_file
from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, fail, failure_code

if TYPE_CHECKING:
    from rrn_native.analysis.plots import Method

METHODS = ("pca", "tsne", "umap", "auto")
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
        method: Of the map, see :func:`rrn_native.analysis.plots.project`.
        pages: At most this many pages of groups are drawn, at least 1.
        progress: Called with the name of each file before it is made.

    Returns:
        The files written, ``index.md`` last.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says how to install it.
        OSError: The folder cannot be written.
        ValueError: An argument is out of its range.
    """
    from rrn_native.analysis import plots

    if method not in plots.METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(plots.METHODS)}")
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rrn report",
        description="Find the similar images of a folder and write figures, the JSON and a page that shows them.",
        epilog="""examples:
  rrn report photos/ --output report/
  rrn report photos/ --output report/ --threshold 0.9 --map tsne

writes histogram.png, map.png, gallery-1.png ..., similarity.json and index.md. --map tsne needs scikit-learn, umap
needs umap-learn; without them the map is made by PCA, and says so.

Exit codes: 0 written, 2 wrong usage, 3 nothing readable in the folder, 4 model, runtime or output failed.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the images, sub-folders included")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="where the report goes, not in DIR"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=rrn_native.DEFAULT_THRESHOLD,
        metavar="T",
        help="similar is: cosine > T (default %(default)s)",
    )
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS", help="input size (default %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: one for each core")
    parser.add_argument(
        "--map", choices=METHODS, default="pca", help="how the map is made (default %(default)s; auto: tsne if it can)"
    )
    parser.add_argument(
        "--pages",
        type=int,
        default=DEFAULT_PAGES,
        metavar="N",
        help="draw at most N pages of 8 groups (default %(default)s)",
    )
    return parser


def _show_progress(phase: str, done: int, total: int) -> None:
    print(f"\r{phase}: {done} / {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    shown = sys.stderr.isatty()
    try:
        # Before the long work: is all there that drawing needs, and will the report be a picture of itself next time?
        from rrn_native.analysis import plots  # noqa: F401

        if arguments.pages < 1:
            raise ValueError(f"--pages is {arguments.pages}, expected at least 1")
        folder, output = arguments.directory.resolve(), arguments.output.resolve()
        if output.is_relative_to(folder):
            raise ValueError(
                f"--output {arguments.output} lies in {arguments.directory}, whose pictures are searched; name a "
                "folder outside of it"
            )
        if not arguments.directory.is_dir():
            raise ValueError(f"{arguments.directory}: no such folder")
        try:
            embedder = rrn_native.Embedder(arguments.model, arguments.size, arguments.threads)
        except FileNotFoundError as error:  # of the model, not of the folder
            return fail("rrn report", error, RUNTIME_ERROR)
        result = embedder.find_similar(
            arguments.directory,
            arguments.threshold,
            threads=arguments.threads,
            progress=_show_progress if shown else None,
        )
        written = write_report(
            result,
            arguments.output,
            method=arguments.map,
            pages=arguments.pages,
            progress=(lambda name: print(f"drawing {name}", file=sys.stderr)) if shown else None,
        )
    except (OSError, ValueError, rrn_native.RrnError) as error:
        return fail("rrn report", error, failure_code(error))
    print(
        f"{result.files} files, {result.read} read, {len(result.skipped)} skipped, {len(result.groups)} groups, "
        f"{result.unique} unique"
    )
    print(f"wrote {len(written)} files; start with {written[-1]}")
    if result.read == 0:
        message = f"{arguments.directory}: no readable image among {result.files} files"
        return fail("rrn report", message, NOTHING_READABLE)
    return 0
