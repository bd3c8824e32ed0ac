"""``rrn quantize``: an 8-bit copy of a model."""

from __future__ import annotations

from pathlib import Path

import rrn_native
from rrn_native._text import counted
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, ProgressLine, fail
from rrn_native.cli.parser import Parser, add_model_options


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn quantize",
        description="""Write an 8-bit copy of a model, calibrated on your own photos; several times as fast on
processors with VNNI or AMX. rrn's own model has one already. Says afterwards how far the similarities moved.""",
        epilog="""examples:
  rrn quantize --images photos/ --model my.onnx        (writes my.int8.onnx)
  rrn quantize --images photos/ --output other.int8.onnx   (of rrn's own model, for photos of a special kind)
  rrn quantize --images photos/ --model my.onnx --validate other/ --groups other/groups.csv
  rrn find photos --model my.onnx --precision int8

The labelled photos are only measured, never calibrated on. Exit codes: 0 written, 2 wrong usage or
files, 4 model, runtime or output failed.""",
    )
    made.add_argument("--images", type=Path, required=True, metavar="DIR", help="photos to calibrate on")
    add_model_options(made)
    made.add_argument(
        "--output",
        type=Path,
        metavar="FILE.onnx",
        help="default: beside the model, with .int8 in its name; required for the model that comes with rrn",
    )
    made.add_argument(
        "--count",
        type=int,
        default=256,
        metavar="N",
        help="use at most N of the photos, evenly spread over the sorted names (default %(default)s)",
    )
    made.add_argument(
        "--method",
        choices=("relative", "minmax"),
        default="relative",
        help="how ranges are chosen (default %(default)s)",
    )
    made.add_argument(
        "--target",
        type=float,
        default=0.006,
        metavar="D",
        help="keep the worst parts in float32 until the cosines of 64 of the photos change by less than this on "
        "average (default %(default)s; 0 quantises everything)",
    )
    made.add_argument(
        "--seven-bits",
        action="store_true",
        help="for other programs on processors without VNNI, whose 8-bit products may overflow there",
    )
    made.add_argument(
        "--validate", type=Path, metavar="DIR", help="compare the models on these photos (default: those of --images)"
    )
    made.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help=f"labels (columns file, group) for F1 at {rrn_native.DEFAULT_THRESHOLD}",
    )
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    import onnx

    from rrn_native.analysis.comparison import compare
    from rrn_native.model import quantize
    from rrn_native.model.activations import QuantizeError

    try:
        model = arguments.model or Path(rrn_native.default_model())
        if arguments.model is None and arguments.output is None:
            raise ValueError("the model that comes with rrn has its int8 copy already; name a --model, or an --output")
        output = arguments.output or model.with_name(f"{model.stem}.int8.onnx")
        if output.resolve() == model.resolve():
            raise ValueError("--output would overwrite the model")
        # The name is how the engine tells that a model is one of 8 bits.
        if not output.name.endswith(".int8.onnx"):
            raise ValueError(f"--output must end in .int8.onnx; got {output}")
        if arguments.count < 2:
            raise ValueError(f"--count must be at least 2; got {arguments.count}")
        images, refused = quantize.readable_images(arguments.images, arguments.count)
        line = ProgressLine("images")
        proto = quantize.quantize(
            model,
            images,
            size=arguments.size,
            method=arguments.method,
            target=arguments.target or None,
            seven_bits=arguments.seven_bits,
            progress=line,
        )
        line.clear()
        quantize.write(proto, output)
        files = images if arguments.validate is None else list(map(Path, rrn_native.find_images(arguments.validate)))
        comparison = compare(
            model, output, files, groups=arguments.groups, folder=arguments.validate, size=arguments.size
        )
        quantize.write(proto, output, comparison)
    except (ValueError, FileNotFoundError, QuantizeError) as error:
        return fail("rrn quantize", error, USAGE)
    except (OSError, rrn_native.RrnError, onnx.checker.ValidationError) as error:
        return fail("rrn quantize", error, RUNTIME_ERROR)
    kept = quantize.details(proto)["float_nodes"]
    skipped = f", {counted(refused, 'file was', 'files were')} not readable" if refused else ""
    print(f"{output}: {proto.ByteSize() / 1e6:.1f} MB, calibrated on {counted(len(images), 'image')}{skipped}")
    if kept:
        print("in float32: " + ", ".join(kept))
    print(comparison.text())
    return 0
