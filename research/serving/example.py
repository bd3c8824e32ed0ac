"""Serves the example photos with a real server and asks every model: scripts/serve_example.sh."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rrn_native
from rrn_ops.serving import runtime, server, store
from rrn_ops.serving.client import Protocol
from rrn_ops.serving.runtime import ServeError

# Largest difference of an embedding's number: the same code on the same pixels, and other runtimes for the network.
LIMITS = {"rrn": 0.0, "rrn_embed": 1e-5, "rrn_embed_torchscript": 1e-5}
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")


class Tour:
    """What is asked, and whether the answers are as they should be.

    Args:
        running: The server.
        photos: Readable pictures, at least seven.
        broken: A damaged one.
    """

    def __init__(self, running: server.Server, photos: Sequence[Path], broken: Path) -> None:
        self.failures = 0
        self._running = running
        self._photos = photos
        self._broken = broken

    def check(self, what: str, good: bool) -> None:
        """Prints what was found, and counts what is not as it should be."""
        print(f"{'ok    ' if good else 'FAILED'}  {what}", flush=True)
        self.failures += not good

    def embeddings(self) -> None:
        """Compares the answers of all models with the engine's own."""
        photo = self._photos[0]
        expected = rrn_native.Embedder().embed([photo])
        for name, limit in LIMITS.items():
            for protocol in PROTOCOLS:
                if name not in self._running.served:
                    self.check(f"{name} cannot run here", name != "rrn")
                    continue
                with self._running.client(protocol) as client:
                    rows = client.embed([photo], name).rows
                difference = _difference(rows, expected)
                text = f"{name} over {protocol}: {photo.name} differs from the engine's embedding by {difference:.1e}"
                self.check(f"{text} (limit {limit:.0e})", difference <= limit)

    def similar(self) -> None:
        """Asks for the most similar pictures of the gallery."""
        if "rrn_similar" not in self._running.served:
            return
        with self._running.client("grpc") as client:
            (answer,) = client.similar([self._photos[0]])
        print(f"        {self._photos[0].name} is similar to")
        for name, cosine in answer.matches:
            print(f"          {cosine:.4f}  {name}")
        self.check("rrn_similar finds the photo itself first", answer.matches[0][0] == self._photos[0].name)

    def one_bad_picture(self) -> None:
        """Sends eight pictures, of which one is damaged."""
        files = [*self._photos[:3], self._broken, *self._photos[3:7]]
        expected = rrn_native.Embedder().embed(files, on_error="nan")
        for name in ("rrn", "rrn_embed"):
            if name not in self._running.served:
                continue
            for protocol in PROTOCOLS:
                with self._running.client(protocol) as client:
                    answer = client.embed(files, name)
                good = [k for k in range(8) if k != 3]
                right = _difference(answer.rows[good], expected[good]) <= LIMITS[name]
                alone = [k for k in range(8) if answer.errors[k]] == [3]
                self.check(f"{name} over {protocol}: one bad picture of eight: {answer.errors[3]}", right and alone)

    def kill(self, protocol: Protocol) -> None:
        """Kills the server while it works on a batch."""
        failures: list[ServeError] = []

        def ask() -> None:
            with self._running.client(protocol) as client:
                try:
                    while True:
                        client.embed(list(self._photos[:7]) * 4)
                except ServeError as error:
                    failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(1.0)
        os.kill(self._running.pid, signal.SIGKILL)
        thread.join(60)
        clean = bool(failures) and "went away" in str(failures[0])
        self.check(
            f"killed in the middle of a batch, over {protocol}: {failures[0] if failures else 'no error'}", clean
        )


def _difference(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    return float(np.abs(first.astype(np.float64) - second).max())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/serve_example.sh", description="Serve the example photos.")
    parser.add_argument("--runtime", type=Path, required=True, metavar="DIR")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        found = runtime.find(arguments.runtime)
        options = store.Options(model=Path(rrn_native.default_model()), folder=arguments.photos)
        built = store.build(arguments.store, options, force=True)
        for note in built.notes:
            print(f"note: {note}")
        photos = sorted(path for path in arguments.photos.glob("*.*") if path.stem != "broken")
        failures = 0
        for protocol in PROTOCOLS:
            with server.Server(built.path, found, server.ANY_PORT) as running:
                tour = Tour(running, photos, arguments.photos / "broken.jpg")
                if protocol == PROTOCOLS[0]:
                    for part in running.parts:
                        print(f"        {part.model:<22} {part.runs_on:<17} {part.how} {part.why}".rstrip())
                    tour.embeddings()
                    tour.similar()
                    tour.one_bad_picture()
                tour.kill(protocol)
                failures += tour.failures
    except (ServeError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.store}: {'all as it should be' if failures == 0 else f'{failures} failures'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
