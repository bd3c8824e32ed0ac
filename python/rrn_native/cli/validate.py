"""``rrn validate``: compares PyTorch, ONNX Runtime and the engine."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import rrn_native
from rrn_native._text import counted
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, ProgressLine, fail, write_json
from rrn_native.cli.parser import Parser, add_model_options

if TYPE_CHECKING:
    from rrn_native.model.runtimes import Result


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn validate",
        description="Compare PyTorch, ONNX Runtime (with and without libreduction_op.so) and the C++ engine on images.",
        epilog="""examples:
  rrn validate --images photos/
  rrn validate --images photos/ --model models/mine.onnx --weights mine.pth --json result.json
  rrn validate --all                     # the first image through every runtime: difference and time

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
    made.add_argument(
        "--all",
        action="store_true",
        help="also take the first image through every runtime that is here: PyTorch, TorchScript, ONNX Runtime, "
        "OpenVINO, the engine from Python and C++, and a Triton server (rrn serve setup)",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    return made


def every_runtime(model: Path, photo: Path, size: int | None) -> list[Result]:
    """Takes one picture through every runtime that is here.

    Raises:
        ValueError, OSError, RrnError: The model cannot be used.
    """
    from rrn_native.model import runtimes

    # By name: the library does not know the programs that are made of it.
    try:
        serve = importlib.import_module("rrn_ops.serving.runtimes").serve(model, size)
    except ImportError as error:
        serve = contextlib.nullcontext({"Triton": f"{error}: pip install onnx 'tritonclient[http,grpc]'"})
    with serve as served:
        return runtimes.compare(runtimes.local(model, size) | served, photo)


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
        timed = every_runtime(model_path, files[0], arguments.size) if arguments.all else []
        if arguments.json is not None:
            more = {"photo": files[0].name, "runtimes": [dataclasses.asdict(each) for each in timed]} if timed else {}
            write_json(arguments.json, validate.summary(model_path, files, rows) | more)
    except rrn_native.RrnError as error:
        return fail("rrn validate", error, RUNTIME_ERROR)
    except (ValueError, OSError, RuntimeError) as error:
        return fail("rrn validate", error, USAGE)
    print(f"{counted(len(files), 'image')}, {model_path.name}")
    for line in refused:
        print(f"left out: {line}")
    print(validate.table(rows))
    if timed:
        from rrn_native.model import runtimes

        print(f"\n{files[0].name} through every runtime, from the file to the embedding, next to the engine's:")
        print(runtimes.table(timed))
    return 1 if any(row.verdict == "FAILED" for row in rows) else 0
