"""``rrn watch view``: the live page on the command line."""

from __future__ import annotations

import argparse
import queue
import signal
import sys
from pathlib import Path

from rrn_native.cli.common import RUNTIME_ERROR, USAGE, fail
from rrn_native.cli.parser import Parser

from rrn_ops.streaming.connection import add_connection, broker_of, read_secret
from rrn_ops.streaming.viewer.options import TOKEN_VARIABLE, ViewerOptions, is_loopback

_PROGRAM = "rrn watch view"
_SUMMARY = "show the live pictures of a broker on a web page"
_EPILOG = """examples:
  rrn watch view                                      the broker of this machine, the page on http://127.0.0.1:8090/
  rrn watch view --broker broker.local --tls-ca ca.pem --username rrn --password-file password
  rrn watch view --host 0.0.0.0 --token-file token    for other machines; open /?token=... once

Beside the page: /snapshot and /stream.mjpeg (?camera=NAME) for other tools, /metrics for Prometheus, /healthz,
/api/state. A page listens on 127.0.0.1 alone unless --host says otherwise; then it should have a token.

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 2 wrong usage, 4 the page cannot start."""


def add(verbs: argparse._SubParsersAction[Parser]) -> None:
    """Adds the verb to those of ``rrn watch``; its `run` is a function of the parsed options to the exit code."""
    view = verbs.add_parser(
        "view", prog=_PROGRAM, description=f"{_SUMMARY.capitalize()}.", epilog=_EPILOG, help=_SUMMARY
    )
    add_connection(view)
    view.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="of the page (default %(default)s)")
    view.add_argument("--port", type=int, default=8090, metavar="N", help="0 for a free one (default %(default)s)")
    view.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"a browser has to know it (default: ${TOKEN_VARIABLE})"
    )
    view.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that the page is asked for by; may be repeated (default: this machine's on a loopback address)",
    )
    view.set_defaults(run=run)


def options(arguments: argparse.Namespace) -> ViewerOptions:
    """Returns what the parsed options ask for.

    Raises:
        ValueError, OSError: An option is wrong, or a file cannot be read.
    """
    return ViewerOptions(
        broker=broker_of(arguments),
        host=arguments.host,
        port=arguments.port,
        token=read_secret(arguments.token_file, TOKEN_VARIABLE),
        allowed_hosts=tuple(arguments.allowed_host),
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the viewer until Ctrl-C or SIGTERM; returns the exit code."""
    try:
        wanted = options(arguments)
    except (ValueError, OSError) as error:
        return fail(_PROGRAM, error, USAGE)
    from rrn_ops.streaming.viewer.server import Viewer, ViewerError

    # An Event's lock may be held by the wait that the signal interrupts; this queue may be filled from a handler.
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = {
        number: signal.signal(number, lambda number, _: asked.put(number)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with Viewer(wanted) as viewer:
            token = " (a token is needed: open /?token=TOKEN once)" if wanted.token is not None else ""
            print(f"{viewer.url}{token}", flush=True)
            for note in _notes(wanted):
                print(f"{_PROGRAM}: note: {note}", file=sys.stderr, flush=True)
            asked.get()
    except ValueError as error:
        return fail(_PROGRAM, error, USAGE)
    except ViewerError as error:
        return fail(_PROGRAM, error, RUNTIME_ERROR)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _notes(wanted: ViewerOptions) -> list[str]:
    notes = []
    if wanted.token is None and not is_loopback(wanted.host):
        notes.append("everybody who reaches this address sees the pictures; --token-file asks for a token")
    if wanted.broker.password is not None and wanted.broker.tls is None and not is_loopback(wanted.broker.host):
        notes.append("the password goes to the broker unencrypted; --tls or --tls-ca encrypts it")
    return notes
