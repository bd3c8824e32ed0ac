"""Measures a real server: throughput and latency by the number of requests in flight.

Cases: the native backend and the ensemble of Python models, each with and without batching by the server. All four are
served at the same time, by two servers; one is asked at a time, in turn. Needs `rrn serve setup`. Takes about a
quarter of an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rrn_native
from rrn_ops.serving import load, runtime, server, store
from rrn_ops.serving.runtime import ServeError

from research.common import machine, results, timing
from research.common.places import RESULTS, ROOT

CONCURRENCY = (1, 2, 4, 8, 16, 32)
MODELS = {"native": "rrn", "ensemble": "rrn_embed"}
# An ensemble has no queue and no computation of its own.
STEPS = {"rrn": ("rrn",), "rrn_embed": ("rrn_preprocess", "rrn_onnx")}
BATCHING = {"on": 1000, "off": None}
_NUMBERS = ("per_second", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "queue_ms", "compute_ms", "batch")


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: How often every case is measured.
        window: Seconds of a window.
        concurrency: Requests in flight.
    """

    rounds: int = 3
    window: float = 2.0
    concurrency: tuple[int, ...] = CONCURRENCY


def measure(found: runtime.Runtime, pictures: Sequence[bytes], effort: Effort) -> dict[str, Any]:
    """Compares embeddings with the engine's own, and measures all cases in turn.

    Args:
        found: The server's files.
        pictures: Contents of picture files that are sent in turn.
        effort: How long.

    Returns:
        "difference_to_engine", and "cases", a record for each kind of model, batching and concurrency: medians over the
        rounds.

    Raises:
        ServeError: The server does not start or answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        running = {}
        try:
            for batching, delay in BATCHING.items():
                options = store.Options(model=Path(rrn_native.default_model()), delay_us=delay)
                built = store.build(Path(folder, batching), options)
                names = ("rrn", "rrn_embed", "rrn_preprocess", "rrn_onnx")
                running[batching] = server.Server(built.path, found, server.ANY_PORT, models=names)
                running[batching].start()
            return {
                "difference_to_engine": differences(running["on"], pictures[:8]),
                "cases": _rounds(running, pictures, effort),
            }
        finally:
            for each in running.values():
                each.stop()


def _rounds(running: dict[str, server.Server], pictures: Sequence[bytes], effort: Effort) -> list[dict[str, Any]]:
    cases = [(kind, batching, count) for count in effort.concurrency for kind in MODELS for batching in BATCHING]
    taken: dict[tuple[str, str, int], list[load.Measured]] = {case: [] for case in cases}
    for number, case in timing.turns(cases, effort.rounds):
        kind, batching, count = case
        address = running[batching].address
        target = load.Target(address.host, address.grpc, MODELS[kind], pictures, STEPS[MODELS[kind]])
        taken[case].append(load.measure(target, count, effort.window, most=6))
        found = taken[case][-1]
        print(
            f"{number + 1}  {kind:8} batching {batching:3} {count:2}: {found.per_second:6.1f}/s {found.p50_ms:7.1f} ms"
        )
    return [_record(case, measured) for case, measured in taken.items()]


def _record(case: tuple[str, str, int], measured: Sequence[load.Measured]) -> dict[str, Any]:
    kind, batching, count = case
    record: dict[str, Any] = {"kind": kind, "batching": batching, "concurrency": count}
    for name in _NUMBERS:
        values = [getattr(each, name) for each in measured]
        record[name] = timing.significant(statistics.median(values))
    spread = timing.spread([each.per_second for each in measured])
    record["per_second_low_high"] = [timing.significant(spread.low), timing.significant(spread.high)]
    return record | {"rounds": len(measured), "stable": sum(each.stable for each in measured)}


def differences(running: server.Server, pictures: Sequence[bytes]) -> dict[str, float]:
    """Returns the largest difference of each kind of model's embeddings from the engine's own."""
    embedder = rrn_native.Embedder()
    expected = embedder.embed([rrn_native.decode_bytes(each, target=embedder.size) for each in pictures])
    with running.client() as client:
        return {
            kind: float(np.abs(client.embed(pictures, name).rows - expected).max()) for kind, name in MODELS.items()
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.serving.measure", description="Measure a Triton server.")
    parser.add_argument("--runtime", type=Path, default=ROOT / ".deps" / "triton", metavar="DIR")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="the pictures that are sent")
    parser.add_argument("--output", type=Path, default=RESULTS / "serving.json", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default %(default)s)")
    parser.add_argument("--window", type=float, default=2.0, metavar="SECONDS", help="(default %(default)s)")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    try:
        files = sorted(arguments.photos.glob("*.jpg"))[:64]
        pictures = [path.read_bytes() for path in files]
        if not pictures:
            raise ServeError(f"{arguments.photos}: no .jpg file")
        found = runtime.find(arguments.runtime)
        value = machine.head(machine.command_line("research.serving.measure", words))
        value["pictures"] = {"count": len(pictures), "bytes": sum(map(len, pictures)) // len(pictures)}
        value["server"] = "Triton 2.51.0 (nvidia-pytriton 0.7.0); clients on the same machine, gRPC"
        value |= measure(found, pictures, Effort(arguments.rounds, arguments.window))
    except (ServeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results.write(arguments.output, value)
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
