"""``rrn export``: a model with your own weights, as ONNX."""

from __future__ import annotations

from pathlib import Path

from rrn_native.cli.common import RUNTIME_ERROR, USAGE, fail
from rrn_native.cli.parser import Parser, size_option


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn export",
        description="Write ReductionResNet-18 as one ONNX file and a manifest (.json) beside it.",
        epilog="""examples:
  rrn export --weights my_resnet18.pth --output models/reduction_resnet18.onnx
  rrn export --weights imagenet --output models/imagenet.onnx   (fetches 45 MB once)
  rrn export --weights random:7 --output untrained.onnx         (for tests and timing)
  rrn export --weights my_resnet18.pth --store float16 --output small.onnx

The file runs in ONNX Runtime with libreduction_op.so (one custom node) and in any ONNX runtime without it (the node is
a function of standard operators).

Exit codes: 0 written, 2 wrong usage or weights, 4 the export or its output failed.""",
    )
    made.add_argument(
        "--weights",
        required=True,
        metavar="FILE|imagenet|random[:SEED]",
        help="a ResNet-18 state dict with torchvision's names (float32 or float16, with or without fc.*), an ONNX file "
        "that this command has written, torchvision's official ImageNet weights, or untrained weights",
    )
    made.add_argument("--output", required=True, type=Path, metavar="FILE.onnx", help="the file to write")
    made.add_argument(
        "--size",
        type=size_option,
        metavar="PIXELS",
        help="side of the square to which images should be resized, 32 ... 4096, recorded in the file (default: what "
        "an ONNX file records, else 224); the network itself takes any height and width",
    )
    made.add_argument(
        "--store",
        choices=("float32", "float16"),
        default="float32",
        help="type of the weights in the file (default %(default)s); float16 halves the file and rounds each weight by "
        "at most 0.05 %%, computing stays in float32",
    )
    made.add_argument("--origin", metavar="TEXT", help="where the weights come from, recorded in the file")
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    import onnx

    from rrn_native.model import export, onnx_file, torch_op
    from rrn_native.model.network import ReductionResNet18

    try:
        if arguments.output.suffix != ".onnx":
            raise ValueError(f"--output must end in .onnx; got {arguments.output}")
        torch_op.load_or_define()
        source = export.parse_weights(arguments.weights)
        model = ReductionResNet18.from_state_dict(source.state_dict)
    except (ValueError, OSError, RuntimeError) as error:
        return fail("rrn export", error, USAGE)
    origin = arguments.origin or source.origin
    size = arguments.size or (source.recorded_input or {}).get("size") or onnx_file.DEFAULT_SIZE
    try:
        proto = export.to_onnx(model, size=size, origin=origin, weights_sha256=source.sha256, store=arguments.store)
        onnx_file.write(proto, arguments.output)
    except (OSError, RuntimeError, onnx.checker.ValidationError) as error:
        return fail("rrn export", error, RUNTIME_ERROR)
    print(f"{arguments.output}: {proto.ByteSize() / 1e6:.1f} MB, weights: {origin}")
    return 0
