"""Builds TensorRT engines of the network by the Python API, and says the equal command lines of trtexec.

    python -m research.tensorrt.build_engine --output engines                    # float32, float16 and 8 bits
    python -m research.tensorrt.build_engine --output engines --form fp16-plugin --plugin librrn_tensorrt.so
    python -m research.tensorrt.build_engine --output engines --dry-run          # anywhere: what would be built

A form of the network is a file (see forms.py): what runs in float16 or in 8 bits stands in the file, and networks are
strongly typed. TensorRT 11 knows no other way, and in 10 it is asked for.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx

from research.common.results import write_bytes
from research.tensorrt import forms, nvidia
from research.tensorrt.nvidia import BuildError, Library, MissingError, Settings

# Releases of trtexec that take different options.
RELEASES = (10, 11)
# The network's input, as `rrn export` names it.
INPUT = "images"


def onnx_file(folder: Path, form: str) -> Path:
    """Returns where the file of a form lies."""
    return folder / f"reduction_resnet18.{form}.onnx"


def engine_file(folder: Path, form: str) -> Path:
    """Returns where the engine of a form lies."""
    return folder / f"reduction_resnet18.{form}.plan"


def trtexec_build(folder: Path, form: str, settings: Settings, release: int) -> list[str]:
    """Returns the command that builds the same engine.

    Args:
        folder: Of the ONNX file and the engine.
        form: One of `forms.NAMES`.
        settings: As for the Python API.
        release: Of TensorRT, 10 or 11.
    """
    words = ["trtexec", f"--onnx={onnx_file(folder, form)}", f"--saveEngine={engine_file(folder, form)}"]
    for option, batch in zip(("min", "opt", "max"), settings.batches, strict=True):
        words.append(f"--{option}Shapes={_shape(settings, batch)}")
    # In release 11 networks are nothing else.
    words += ["--stronglyTyped"] if release < 11 else []
    words += [] if settings.tf32 else ["--noTF32"]
    words += [f"--memPoolSize=workspace:{settings.workspace}"]
    words += [f"--timingCacheFile={settings.timing_cache}"] if settings.timing_cache else []
    words += [f"--dynamicPlugins={path}" for path in settings.plugins]
    words += ["--profilingVerbosity=detailed", "--skipInference"]
    return words


def trtexec_run(folder: Path, form: str, settings: Settings, batch: int) -> list[str]:
    """Returns the command that measures an engine: percentiles of latency, and transfers apart from computing.

    The options are the same in releases 10 and 11.
    """
    words = ["trtexec", f"--loadEngine={engine_file(folder, form)}", f"--shapes={_shape(settings, batch)}"]
    words += [f"--dynamicPlugins={path}" for path in settings.plugins]
    layers = folder / f"reduction_resnet18.{form}.layers.json"
    return [
        *words,
        "--useCudaGraph",
        "--percentile=50,95,99",
        "--warmUp=500",
        "--duration=5",
        f"--exportLayerInfo={layers}",
    ]


def _shape(settings: Settings, batch: int) -> str:
    return f"{INPUT}:{'x'.join(map(str, settings.shape(batch)))}"


def plan(library: Library | str, folder: Path, wanted: Sequence[str], settings: Settings) -> list[str]:
    """Returns what a build would do, in lines; writes nothing.

    Args:
        library: Which library would build, or why no library is there.
        folder: Where files would be.
        wanted: Names of `forms.NAMES`.
        settings: How.
    """
    lines = [library if isinstance(library, str) else f"built by {library.name}, Python API"]
    for form in wanted:
        proto = forms.make(form)
        lines.append(f"{form}: {forms.NAMES[form]}; {len(proto.graph.node)} nodes")
        lines += [f"  would write {onnx_file(folder, form)} and {engine_file(folder, form)}"]
        for release in RELEASES:
            lines.append(f"  TensorRT {release}: {shlex.join(trtexec_build(folder, form, settings, release))}")
        for batch in settings.batches:
            lines.append(f"  measure batch {batch}: {shlex.join(trtexec_run(folder, form, settings, batch))}")
    return lines


def build_all(library: Library, folder: Path, wanted: Sequence[str], settings: Settings) -> None:
    """Writes ONNX files and engines, and says how large they are and how long it took.

    Raises:
        nvidia.MissingError: The library wants a GPU.
        nvidia.BuildError: It refused a form; those before it are written.
        OSError: A file cannot be written.
    """
    for form in wanted:
        print(f"{form}: building with {library.name}", flush=True)
        model: bytes = forms.make(form).SerializeToString(deterministic=True)
        write_bytes(onnx_file(folder, form), model)
        built = nvidia.build(library, model, settings)
        write_bytes(engine_file(folder, form), built.plan)
        print(f"{form}: wrote {engine_file(folder, form)}, {len(built.plan) / 1e6:.1f} MB, {built.seconds:.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="research.tensorrt.build_engine",
        description="Build TensorRT engines of the network, or say with --dry-run how they would be built.",
        epilog="Without a GPU TensorRT builds nothing, but TensorRT for RTX does (pip install tensorrt-rtx).",
    )
    parser.add_argument("--output", type=Path, default=Path("engines"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument(
        "--form", action="append", choices=list(forms.NAMES), help="again for more; default: fp32, fp16 and int8"
    )
    parser.add_argument(
        "--batch", type=int, nargs=3, default=(1, 8, 32), metavar=("MIN", "OPT", "MAX"), help="(default: 1 8 32)"
    )
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS", help="(default: %(default)s)")
    parser.add_argument("--workspace", type=int, default=1024, metavar="MIB", help="(default: %(default)s)")
    parser.add_argument(
        "--tf32", action="store_true", help="round float32 products to TF32, which TensorRT's default is"
    )
    parser.add_argument("--timing-cache", type=Path, metavar="FILE", help="read and write measured times of kernels")
    parser.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help="a library of plugins")
    parser.add_argument("--rtx", action="store_true", help="use TensorRT for RTX even where TensorRT is")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; needs no TensorRT")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    smallest, best, largest = arguments.batch
    if not 1 <= smallest <= best <= largest:
        print(f"error: --batch {smallest} {best} {largest}: expected 1 <= MIN <= OPT <= MAX", file=sys.stderr)
        return 1
    wanted = arguments.form or ["fp32", "fp16", "int8"]
    settings = Settings(
        batches=(smallest, best, largest),
        size=arguments.size,
        workspace=arguments.workspace,
        tf32=arguments.tf32,
        timing_cache=arguments.timing_cache,
        plugins=tuple(arguments.plugin),
    )
    if not settings.plugins and any(form.endswith("-plugin") for form in wanted):
        print(
            "error: this form needs --plugin FILE, built by research/tensorrt/plugin (see its README)", file=sys.stderr
        )
        return 1
    packages = ("tensorrt_rtx",) if arguments.rtx else tuple(nvidia.PRODUCTS)
    try:
        if arguments.dry_run:
            print("\n".join(plan(_found(packages), arguments.output, wanted, settings)))
        else:
            build_all(nvidia.find(packages), arguments.output, wanted, settings)
    except (MissingError, BuildError, OSError, ValueError, onnx.checker.ValidationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _found(packages: Sequence[str]) -> Library | str:
    try:
        return nvidia.find(packages)
    except MissingError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
