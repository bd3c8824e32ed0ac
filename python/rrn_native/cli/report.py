"""``rrn report``: a document about a folder."""

from __future__ import annotations

from pathlib import Path

import rrn_native
from rrn_native._text import counted
from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, ProgressLine, fail, failure_code
from rrn_native.cli.parser import Parser, add_engine_options, make_embedder


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn report",
        description="Find the similar images of a folder and write figures, the JSON and a page that shows them.",
        epilog="""examples:
  rrn report photos/ --output report/
  rrn report photos/ --output report/ --threshold 0.9 --map tsne

writes histogram.png, map.png, gallery-1.png ..., similarity.json and index.md. --map tsne needs scikit-learn, umap
needs umap-learn; without them the map is made by PCA, and says so.

Exit codes: 0 written, 2 wrong usage, 3 nothing readable in the folder, 4 model, runtime or output failed.""",
    )
    made.add_argument("directory", type=Path, metavar="DIR", help="the images, sub-folders included")
    made.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the report goes, not in DIR")
    made.add_argument(
        "--threshold",
        type=float,
        default=rrn_native.DEFAULT_THRESHOLD,
        metavar="T",
        help="similar is: cosine > T (default %(default)s)",
    )
    made.add_argument(
        "--map",
        choices=("pca", "tsne", "umap", "auto"),
        default="pca",
        help="how the map is made (default %(default)s; auto: tsne if it can)",
    )
    made.add_argument(
        "--pages", type=int, default=20, metavar="N", help="draw at most N pages of 8 groups (default %(default)s)"
    )
    add_engine_options(made)
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    # Before the long work: is all there that drawing needs?
    from rrn_native.analysis.report import write_report

    line = ProgressLine("")
    try:
        if arguments.pages < 1:
            raise ValueError(f"--pages is {arguments.pages}, expected at least 1")
        # Or the report would be a picture of itself next time.
        if arguments.output.resolve().is_relative_to(arguments.directory.resolve()):
            raise ValueError(
                f"--output {arguments.output} lies in {arguments.directory}, whose pictures are searched; name a "
                "folder outside of it"
            )
        if not arguments.directory.is_dir():
            raise ValueError(f"{arguments.directory}: no such folder")
        try:
            embedder = make_embedder("rrn report", arguments)
        except FileNotFoundError as error:  # of the model, not of the folder
            return fail("rrn report", error, RUNTIME_ERROR)
        result = embedder.find_similar(
            arguments.directory,
            arguments.threshold,
            threads=arguments.threads or None,
            progress=lambda phase, done, total: line.show(f"{phase}  {done} / {total}"),
        )
        written = write_report(
            result,
            arguments.output,
            method=arguments.map,
            pages=arguments.pages,
            progress=lambda name: line.show(f"drawing {name}"),
        )
        line.clear()
    except (OSError, ValueError, rrn_native.RrnError) as error:
        line.clear()
        return fail("rrn report", error, failure_code(error))
    print(
        f"{counted(result.files, 'file')}, {result.read} read, {len(result.skipped)} skipped, "
        f"{counted(len(result.groups), 'group')}, {result.unique} unique"
    )
    print(f"wrote {counted(len(written), 'file')}; start with {written[-1]}")
    if result.read == 0:
        message = f"{arguments.directory}: no readable image among {counted(result.files, 'file')}"
        return fail("rrn report", message, NOTHING_READABLE)
    return 0
