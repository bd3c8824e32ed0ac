"""``rrn validate``: compares PyTorch, ONNX Runtime and the engine."""

from __future__ import annotations

from pathlib import Path

import rrn_native
from rrn_native._text import counted
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, ProgressLine, fail, write_json
from rrn_native.cli.parser import Parser, add_model_options


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn validate",
        description="Compare PyTorch, ONNX Runtime (with and without libreduction_op.so) and the C++ engine on images.",
        epilog="""examples:
  rrn validate --images photos/
  rrn validate --images photos/ --model models/mine.onnx --weights mine.pth --json result.json

Exit codes: 0 all agree within their limits, 1 some do not, 2 wrong arguments or files, 4 the engine
cannot run the model.""",
    )
    made.add_argument("--images", type=Path, metavar="DIR", help="a folder of images (default: examples/photos)")
    add_model_options(made)
    made.add_argument(
        "--weights",
        metavar="FILE|imagenet",
        help="the weights that the model was exported from, to check the export too (default: those in the model)",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    from rrn_native.model import torch_op, validate

    try:
        model_path = arguments.model or Path(rrn_native.default_model())
        if not model_path.is_file():
            raise ValueError(f"no model {model_path}")
        folder = arguments.images or Path(__file__).resolve().parents[3] / "examples" / "photos"
        if arguments.images is None and not folder.is_dir():
            raise ValueError("there are no example images; name a folder of your own with --images DIR")
        torch_op.load_or_define()
        files, refused = validate.readable_images(folder)
        shown = ProgressLine("batches")
        rows = validate.validate(model_path, files, size=arguments.size, weights_file=arguments.weights, progress=shown)
        shown.clear()
        if arguments.json is not None:
            write_json(arguments.json, validate.summary(model_path, files, rows))
    except rrn_native.RrnError as error:
        return fail("rrn validate", error, RUNTIME_ERROR)
    except (ValueError, OSError, RuntimeError) as error:
        return fail("rrn validate", error, USAGE)
    print(f"{counted(len(files), 'image')}, {model_path.name}")
    for line in refused:
        print(f"left out: {line}")
    print(validate.table(rows))
    return 1 if any(row.verdict == "FAILED" for row in rows) else 0
