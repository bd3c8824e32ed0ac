"""``rrn convert``: models of one library as those of another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrn_native.cli.common import USAGE, fail, write_json
from rrn_native.cli.parser import Parser

NOT_EQUAL = 1


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn convert",
        description="""Convert weights of a timm vision transformer (vit_base_patch16_384 and every other plain ViT with
a class token) into Hugging Face's ViTForImageClassification, and prove that both networks compute the same. The map of
tensors is found in the names and shapes of both; a tensor that fits nowhere, or is missing, ends the conversion.""",
        epilog="""examples:
  rrn convert vit --weights vit_base_patch16_384.safetensors --output my-vit
  rrn convert vit --weights model.pth --labels anger,joy,fear --output my-vit --torchscript --onnx
  rrn convert vit --weights model.pth --output my-vit --images photos/ --json -

--output gets config.json, model.safetensors and preprocessor_config.json, which from_pretrained reads, and with
--torchscript and --onnx model.torchscript.pt and model.onnx. Exit codes: 0 converted and equal, 1 converted, but logits
differ by more than --tolerance, 2 wrong usage or weights of another network, 4 runtime or output failed.""",
    )
    made.add_argument("what", choices=["vit"], help="what to convert")
    made.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="timm's state dict: .safetensors, or from torch.save",
    )
    made.add_argument("--output", type=Path, required=True, metavar="DIR", help="made if it is not there")
    made.add_argument("--heads", type=int, metavar="N", help="of the attention (default: the published number)")
    made.add_argument("--labels", metavar="A,B,...", help="names of the classes (default: LABEL_0, ...)")
    made.add_argument("--images", type=Path, metavar="DIR", help="compare logits on these pictures, too (JPEG and PNG)")
    made.add_argument(
        "--inputs", type=int, default=4, metavar="N", help="random inputs to compare (default %(default)s)"
    )
    made.add_argument(
        "--tolerance", type=float, default=0.0, metavar="D", help="largest difference of a logit (default %(default)s)"
    )
    made.add_argument("--torchscript", action="store_true", help="write model.torchscript.pt as well")
    made.add_argument("--onnx", action="store_true", help="write model.onnx as well")
    made.add_argument("--map", action="store_true", help="print where each tensor comes from")
    made.add_argument("--json", metavar="FILE", help="what was converted and how equal it is; - for standard output")
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    if arguments.inputs < 1:
        return fail("rrn convert", f"--inputs {arguments.inputs}: expected 1 or more", USAGE)
    from rrn_ops.conversion import export, libraries, proof, vit

    libraries.be_quiet()
    say = (lambda _: None) if arguments.json == "-" else print
    try:
        state = vit.read_state(arguments.weights)
        labels = None if arguments.labels is None else arguments.labels.split(",")
        network, entries = vit.convert(state, arguments.heads, labels)
        shape = vit.shape_of(state, arguments.heads)
        files = sorted(path for path in arguments.images.iterdir() if _is_picture(path)) if arguments.images else []
        if arguments.images and not files:
            raise ValueError(f"{arguments.images}: no JPEG or PNG file")
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        return fail("rrn convert", error, USAGE)
    say(str(shape))
    sources = {entry.source for entry in entries}
    say(f"{len(entries)} tensors filled from {len(sources)}: none missing, none unused")
    if arguments.map:
        for entry in entries:
            part = "" if entry.part is None else f" [third {entry.part + 1} of 3]"
            say(f"  {entry.target} <- {entry.source}{part}")
    timm = proof.timm_network(state, shape)
    found = [proof.difference(timm, network, proof.random_inputs(shape, arguments.inputs), "random inputs")]
    if files:
        found.append(proof.difference(timm, network, proof.pictures(files, shape), "pictures"))
    for each in found:
        say(str(each))
    arguments.output.mkdir(parents=True, exist_ok=True)
    export.save(network, shape, arguments.output)
    written = {}
    if arguments.torchscript:
        written["model.torchscript.pt"] = export.torchscript(network, shape, arguments.output / "model.torchscript.pt")
    if arguments.onnx:
        written["model.onnx"] = export.onnx(network, shape, arguments.output / "model.onnx")
    for name, largest in written.items():
        say(f"{name}: largest difference {largest:g}")
    equal = all(each.largest <= arguments.tolerance for each in found)
    say(f"{arguments.output}: {'equal' if equal else f'NOT equal within {arguments.tolerance:g}'}")
    if arguments.json:
        result = {
            "shape": dataclasses.asdict(shape),
            "tensors": len(entries),
            "comparisons": [dataclasses.asdict(each) for each in found],
            "exports": written,
            "equal": equal,
        }
        write_json(arguments.json, result)
    return 0 if equal else NOT_EQUAL


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg", ".png")
