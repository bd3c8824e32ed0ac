"""Does all that this machine can of the network in TensorRT, and says in one line what is missing for the rest.

    python -m research.tensorrt.run                                     # two minutes on two cores
    TENSORRT_INCLUDE=DIR python -m research.tensorrt.run --full         # and builds the plugin for all GPUs

Inlining and its check, the published list, the parser and the builder of NVIDIA's library where there is one, the
embeddings' agreement on the CPU, the plugin where TensorRT's headers are, command lines for trtexec, and the benchmark
where there is a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from research.common import machine, results, timing
from research.common.places import CACHE, RESULTS
from research.tensorrt import bench, build_engine, forms, inline, nvidia, parser_view, plugin_build
from research.tensorrt.nvidia import BuildError, MissingError
from research.tensorrt.pictures import Floats, min_cosine, photos

Json = dict[str, Any]

SHIPPED = "shipped"
SHIPPED_INT8 = "shipped int8"
# Forms that the parser can be given without the plugin.
INLINED = ("fp32", "fp16", "int8")
# Outputs that differ by more are not those of the same network.
TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        batches: Whose outputs are compared before and after inlining.
        size: Height and width of the pictures.
        pictures: Whose embeddings are compared.
        threads: For the CPU's part.
        architectures: That the plugin is built for, as CMake names them; "" for all of the project's.
        bench: What is measured on a GPU.
    """

    batches: tuple[int, ...] = (1, 8)
    size: int = 224
    pictures: int = 36
    threads: int = 2
    architectures: str = "90"
    bench: bench.Effort = dataclasses.field(default_factory=lambda: bench.Effort(rounds=8, seconds=120))


FULL = Effort(batches=(1, 2, 8, 32), pictures=180, architectures="", bench=bench.Effort())


def inlining(shipped: onnx.ModelProto, plain: onnx.ModelProto, effort: Effort) -> Json:
    """Compares the shipped model with the inlined one.

    Raises:
        BuildError: Their outputs differ by more than TOLERANCE.
    """
    found = inline.differences(shipped, plain, effort.batches, effort.size)
    largest = max(value for kind in found.values() for value in kind.values())
    if largest > TOLERANCE:
        raise BuildError(f"inlined: expected the outputs of the shipped model within {TOLERANCE}, got {largest:.1e}")
    return {
        "nodes_before": len(shipped.graph.node),
        "nodes_after": len(plain.graph.node),
        "custom_domains_before": sorted(inline.custom_domains(shipped)),
        "custom_domains_after": sorted(inline.custom_domains(plain)),
        "largest_difference": found,
        "tolerance": TOLERANCE,
    }


def views(models: Mapping[str, onnx.ModelProto]) -> Json:
    """Compares every model with the published list."""
    known = parser_view.published()
    found = {name: parser_view.look(proto, known).to_json() for name, proto in models.items()}
    return {"release": known.release, "source": known.source, "opsets": list(known.opsets), "models": found}


def parsers(models: Mapping[str, onnx.ModelProto], settings: nvidia.Settings) -> Json:
    """Gives every model to NVIDIA's parser, and builds engines of what can be run.

    Returns:
        {"library": null, "reason"} where no library is; otherwise its name, and for each model "accepted", "error",
        "layers", "outputs" and, of the inlined ones, "engine_mb" and "build_seconds".
    """
    try:
        library = nvidia.find()
        found = {}
        for name, proto in models.items():
            content = proto.SerializeToString()
            parsed = nvidia.parse(library, content)
            found[name] = dataclasses.asdict(parsed) | {"engine_mb": None, "build_seconds": None}
            if parsed.accepted and name in INLINED:
                built = nvidia.build(library, content, settings)
                found[name] |= {
                    "engine_mb": timing.significant(len(built.plan) / 1e6),
                    "build_seconds": timing.significant(built.seconds, 2),
                }
            print(f"  {library.name}, {name}: {'accepted' if parsed.accepted else parsed.error[:80]}", flush=True)
    except MissingError as error:
        return {"library": None, "reason": str(error), "models": {}}
    return {"library": library.name, "reason": "", "has_plugins": library.has_plugins, "models": found}


def agreement(models: Mapping[str, onnx.ModelProto], effort: Effort) -> Json:
    """Compares the forms' embeddings with the shipped model's, on the CPU by ONNX Runtime.

    This says what the files compute, not what a GPU's kernels make of them.
    """
    images, origin = photos(effort.pictures, effort.size)
    reference = _embeddings(models[SHIPPED], images, effort.threads)
    rows = []
    for name, proto in models.items():
        if name == SHIPPED:
            continue
        output = _embeddings(proto, images, effort.threads)
        moved = np.abs(_cosines(output) - _cosines(reference))
        rows.append(
            {
                "form": name,
                "min_cosine": min_cosine(reference, output),
                "mean_change_of_similarity": timing.significant(float(moved.mean())),
                "largest_change_of_similarity": timing.significant(float(moved.max())),
            }
        )
        print(f"  {name}: least cosine to the shipped model {rows[-1]['min_cosine']:.5f}", flush=True)
    return {"pictures": len(images), "origin": origin, "pairs": len(images) * (len(images) - 1) // 2, "rows": rows}


def _embeddings(proto: onnx.ModelProto, images: Floats, threads: int) -> Floats:
    return np.concatenate([inline.run(proto, images[at : at + 12], threads) for at in range(0, len(images), 12)])


def _cosines(rows: Floats) -> Floats:
    """The cosines of all pairs."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    first, second = np.triu_indices(len(rows), 1)
    cosines: Floats = (unit[first] * unit[second]).sum(1)
    return cosines


def plugin(effort: Effort, note: str) -> Json:
    """Compiles, tests and builds the plugin, and has NVIDIA's library load it; says what of that is missing or failed.

    Args:
        effort: For which GPUs.
        note: What the headers are, where they are not NVIDIA's files.

    Returns:
        "test", "build" and "registered" (see plugin_build; null for what was not reached), "missing", "failed" (the
        error that ended it, "" without any) and "headers_note". The release in "test" and "build" is what the headers
        say; with a note they are not NVIDIA's, so it is never printed without the note.
    """
    found: Json = {"test": None, "build": None, "registered": None, "missing": [], "failed": "", "headers_note": note}
    try:
        folder = plugin_build.headers()
        found["test"] = plugin_build.test(folder)
        against = plugin_build.described(found["test"]["headers"], note)
        print(f"  plugin's test, {against}: {found['test']['failed']} failed", flush=True)
        with tempfile.TemporaryDirectory() as output:
            found["build"] = plugin_build.build(folder, Path(output), effort.architectures)
            print(f"  plugin built in {found['build']['seconds']} s", flush=True)
            found["registered"] = plugin_build.registered(nvidia.find(), Path(output) / plugin_build.LIBRARY)
    except MissingError as error:
        found["missing"].append(str(error))
    except BuildError as error:
        found["failed"] = str(error)
        print(f"  failed: {error}", flush=True)
    return found


def commands(settings: nvidia.Settings) -> Json:
    """Returns the command lines of trtexec, by form and release."""
    folder = Path("engines")
    found: Json = {}
    for form in forms.NAMES:
        plugins = (Path("build/tensorrt") / plugin_build.LIBRARY,) if form.endswith("-plugin") else ()
        chosen = dataclasses.replace(settings, plugins=plugins)
        found[form] = {
            f"build_{release}": shlex.join(build_engine.trtexec_build(folder, form, chosen, release))
            for release in build_engine.RELEASES
        }
        found[form]["measure"] = shlex.join(build_engine.trtexec_run(folder, form, chosen, settings.batches[1]))
    return found


def everything(effort: Effort, *, headers_note: str = "", plugin_file: Path | None = None) -> Json:
    """Does all parts in turn.

    Args:
        effort: How much.
        headers_note: See `plugin`.
        plugin_file: The plugin for the benchmark, built for this machine's GPU.

    Raises:
        BuildError: A part that needs nothing special failed. One of the plugin is noted, see `plugin`.
    """
    settings = nvidia.Settings(size=effort.size)
    shipped = onnx.load(forms.MODEL)
    made = {name: forms.make(name) for name in INLINED}
    print("inlining ...", flush=True)
    found: Json = {"size": effort.size, "batches": list(settings.batches), "forms": dict(forms.NAMES)}
    found["inlining"] = inlining(shipped, made["fp32"], effort)
    print("the published list ...", flush=True)
    quantised = onnx.load(forms.QUANTISED)
    with_shipped = {SHIPPED: shipped, **made, SHIPPED_INT8: quantised}
    # The list has no word on functions: what is looked at is the graph behind them.
    listed = {**made, SHIPPED_INT8: inline.inlined(quantised)}
    found["published"] = views(listed)
    print("NVIDIA's parser ...", flush=True)
    found["parser"] = parsers(with_shipped, settings)
    print("agreement on the CPU ...", flush=True)
    found["agreement"] = agreement(with_shipped, effort)
    print("the plugin ...", flush=True)
    found["plugin"] = plugin(effort, headers_note)
    found["commands"] = commands(settings)
    print("the benchmark ...", flush=True)
    found["bench"] = bench.bench(dataclasses.replace(effort.bench, size=effort.size), plugin_file, CACHE / "tensorrt")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="research.tensorrt.run",
        description="Inline, check, parse, build and measure the network for TensorRT, as far as this machine allows.",
        epilog="TENSORRT_INCLUDE names the folder of TensorRT's headers. What is missing is no error: it is noted.",
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "tensorrt.json", metavar="FILE")
    parser.add_argument("--full", action="store_true", help="more pictures and batches; the plugin for all GPUs")
    parser.add_argument("--plugin", type=Path, metavar="FILE", help="librrn_tensorrt.so for the benchmark on this GPU")
    parser.add_argument(
        "--headers-note", default="", metavar="TEXT", help="what the headers are, if not NVIDIA's files"
    )
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    if arguments.plugin is not None and not arguments.plugin.is_file():
        print(f"error: --plugin {arguments.plugin}: expected a file; build it as the README says", file=sys.stderr)
        return 1
    try:
        results.check_writable(arguments.output)
        value = machine.head(machine.command_line("research.tensorrt.run", words))
        effort = FULL if arguments.full else Effort()
        value |= everything(effort, headers_note=arguments.headers_note, plugin_file=arguments.plugin)
        results.write(arguments.output, value)
    except (BuildError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if line := bench.missing_line(value["bench"]):
        print(line)
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
