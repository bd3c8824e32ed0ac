"""``rrn explain``: why two images are similar, as a table and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

import rrn_native
from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, ProgressLine, fail, failure_code
from rrn_native.cli.parser import Parser, add_model_options
from rrn_native.errors import UnreadableError
from rrn_native.files import write_file


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn explain",
        description="Say where the similarity of two images comes from: which layers, which places. The shares sum to "
        "the cosine exactly.",
        epilog="""examples:
  rrn explain a.jpg b.jpg                                    (a table)
  rrn explain a.jpg b.jpg --output why.png --json why.json
  rrn explain a.jpg b.jpg --output why.png --against photos/ (less what all photos share)

Exit codes: 0 done, 2 wrong usage, 3 an image cannot be read, 4 model, runtime or output failed.""",
    )
    made.add_argument("first", type=Path, metavar="A", help="an image")
    made.add_argument("second", type=Path, metavar="B", help="another one")
    made.add_argument(
        "--output", type=Path, metavar="FILE.png", help="draw both images with their shares (.png, .svg, .pdf)"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    made.add_argument(
        "--against",
        type=Path,
        metavar="DIR|FILE.npy",
        help="reference images, or their embeddings: tell what is specific to this pair from what is usual",
    )
    add_model_options(made)
    return made


def _reference(source: Path, model: Path | None, size: int | None) -> npt.NDArray[np.float32]:
    """Embeddings of a folder's readable images, or of a .npy file."""
    if source.is_dir():
        embedder = rrn_native.Embedder(model, size, provider="cpu")
        line = ProgressLine("reference images")
        rows = embedder.embed(rrn_native.find_images(source), on_error="nan", progress=line)
        line.clear()
        rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            raise ValueError(f"no readable image in {source}")
        return rows
    if source.suffix != ".npy":
        raise ValueError(f"--against {source} is neither a folder nor a .npy file of embeddings")
    loaded: npt.NDArray[np.float32] = np.load(source, allow_pickle=False)
    return loaded


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    from rrn_native.analysis import explain

    try:
        if arguments.output is not None:
            from rrn_native.analysis import plots

            plots.check_format(arguments.output)
        for image in (arguments.first, arguments.second):
            if not image.is_file():
                raise FileNotFoundError(f"{image}: no such file")
        if arguments.size is not None and not 32 <= arguments.size <= 4096:
            raise ValueError(f"--size is {arguments.size}, expected 32 to 4096")
        try:
            explainer = explain.Explainer(arguments.model, arguments.size)
        except (OSError, ValueError, rrn_native.RrnError) as error:
            return fail("rrn explain", error, RUNTIME_ERROR)
        against = None
        if arguments.against is not None:
            against = _reference(arguments.against, arguments.model, arguments.size)
        explanation = explainer.explain(arguments.first, arguments.second, against=against)
        if arguments.json is not None:
            write_file(arguments.json, (json.dumps(explanation.to_dict()) + "\n").encode())
        if arguments.output is not None:
            plots.save(plots.explanation_figure(explanation), arguments.output)
    except UnreadableError as error:
        return fail("rrn explain", error, NOTHING_READABLE)
    except (OSError, ValueError, rrn_native.RrnError) as error:
        return fail("rrn explain", error, failure_code(error))
    print(explanation.table())
    return 0
