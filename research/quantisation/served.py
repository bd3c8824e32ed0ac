"""The forms that are ONNX files behind a Triton server, measured with the load generator of `rrn serve`.

    .venv/bin/python -m research.quantisation.served --data DIR

Each form is served by an ensemble: a Python model decodes the picture and another one runs the file in ONNX Runtime.
PyTorch's and OpenVINO's forms are left out, because the server's own Python has neither. Needs `rrn serve setup
--runtime .deps/triton`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rrn_native import RrnError
from rrn_ops.serving import load, runtime, server, store

from research.common import machine, results, timing
from research.common.image_sets import Split
from research.common.places import RESULTS, ROOT
from research.quantisation import labelled, networks, onnx_forms
from research.quantisation.labelled import SHORT
from research.quantisation.networks import NETWORKS
from research.quantisation.task import Json, Task
from research.quantisation.variants import VARIANTS, of_network
from research.quantisation.worker import FormError, Worker

MODULE = "research.quantisation.served"
CONCURRENCY = (1, 4)
SHIPPED = {"rrn": onnx_forms.shipped_file, "rrn_int8": onnx_forms.shipped_int8_file}
_ENSEMBLE, _NETWORK = "rrn_embed", "rrn_onnx"


def files(split: Split, count: int) -> list[bytes]:
    """Returns the first pictures of a set as PNG files."""
    made = []
    for pixels in split.pixels[:count]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        made.append(buffer.getvalue())
    return made


def build(name: str, forms: Sequence[str], split: Split, folder: Path, threads: int) -> dict[str, Path]:
    """Exports a network and makes its forms; returns their files.

    Args:
        name: Of the network.
        forms: Names of `variants.VARIANTS` that are ONNX files.
        split: Pictures that ranges are measured on.
        folder: Gets the files.
        threads: That build.

    Raises:
        FormError: A form cannot be built.
    """
    network = NETWORKS[name]
    networks.export(name, network.build(None), folder / "float.onnx")
    np.save(folder / "calibration.npy", labelled.prepared(split, network))
    found = {}
    for form in forms:
        if form in SHIPPED:
            found[form] = SHIPPED[form]()
            continue
        task = Task(name, form, folder, threads)
        with Worker(task):
            found[form] = task.onnx if form == "onnx" else task.file(".onnx")
    return found


def measure(
    made: dict[str, Path], found: runtime.Runtime, pictures: Sequence[bytes], *, rounds: int, window: float
) -> list[Json]:
    """Serves every form by a server of its own, and asks one at a time, in turn.

    Args:
        made: The forms' files.
        found: The server's files.
        pictures: Contents of picture files.
        rounds: How often each is asked.
        window: Seconds of a window.

    Returns:
        A record for each form and number of requests in flight: medians over the rounds.

    Raises:
        ServeError: A server does not start or answer.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        running = {}
        for form, path in made.items():
            built = store.build(Path(folder, form), store.Options(model=path, delay_us=None))
            names = (_ENSEMBLE, "rrn_preprocess", _NETWORK)
            running[form] = stack.enter_context(server.Server(built.path, found, server.ANY_PORT, models=names))
        cases = [(form, count) for count in CONCURRENCY for form in made]
        taken: dict[tuple[str, int], list[load.Measured]] = {case: [] for case in cases}
        for _, case in timing.turns(cases, rounds):
            form, count = case
            address = running[form].address
            target = load.Target(address.host, address.grpc, _ENSEMBLE, pictures, ("rrn_preprocess", _NETWORK))
            taken[case].append(load.measure(target, count, window, most=6))
            print(f"  {form} with {count} in flight: {taken[case][-1].per_second:.1f} a second", flush=True)
    return [_record(form, count, several) for (form, count), several in taken.items()]


def _record(form: str, count: int, several: Sequence[load.Measured]) -> Json:
    record: Json = {"form": form, "words": VARIANTS[form].words, "concurrency": count}
    for name in ("per_second", "p50_ms", "p95_ms", "compute_ms"):
        record[name] = timing.significant(statistics.median(getattr(each, name) for each in several))
    return record | {"rounds": len(several), "stable": sum(each.stable for each in several)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=MODULE, description="Measure forms of networks behind a Triton server.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="holds the two archives (default: handwritten digits)")
    parser.add_argument("--runtime", type=Path, default=ROOT / ".deps" / "triton", metavar="DIR")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["resnet18", "lite0"], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="(default %(default)s)")
    parser.add_argument("--window", type=float, default=1.5, metavar="SECONDS", help="(default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "quantisation_served.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    value = machine.head(machine.command_line(MODULE, words))
    try:
        results.check_writable(arguments.output)
        found = runtime.find(arguments.runtime)
        value["server"] = f"Triton of {runtime.SERVER}, an ensemble of Python models; clients on the same machine"
        value["networks"] = {name: _one(name, found, arguments) for name in arguments.networks}
    except (OSError, ValueError, RrnError, FormError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results.write(arguments.output, value)
    print(f"wrote {arguments.output}")
    return 0


def _one(name: str, found: runtime.Runtime, arguments: Any) -> Json:
    print(f"{name}: {NETWORKS[name].words}", flush=True)
    chosen = labelled.pictures(NETWORKS[name], arguments.data, SHORT)
    with tempfile.TemporaryDirectory() as folder:
        forms = [form for form in of_network(name) if VARIANTS[form].onnx]
        made = build(name, forms, chosen.calibration, Path(folder), machine.cores())
        pictures = files(chosen.test, 64)
        cases = measure(made, found, pictures, rounds=arguments.rounds, window=arguments.window)
    return {"words": NETWORKS[name].words, "pictures": len(pictures), "source": chosen.source, "cases": cases}


if __name__ == "__main__":
    sys.exit(main())
