"""``rrn watch``: people in a video or before a camera."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import rrn_native
from rrn_native.cli.common import NOTHING_READABLE, RUNTIME_ERROR, USAGE, check_output, fail
from rrn_native.cli.parser import Parser

from rrn_ops.streaming import live, offline
from rrn_ops.streaming.deploy import command as deploy
from rrn_ops.streaming.models import command as models
from rrn_ops.streaming.viewer import command as viewer

_EPILOG = """examples:
  rrn watch models add fast                           once: fetches a detector from npm, checks its SHA-256, converts it
  rrn watch video.mp4 --output boxes.jsonl            the people and the main person of every frame
  rrn watch video.mp4 --annotate out.mp4 --sheet sheet.png
  rrn watch run video.mp4                             broker, publisher and live page on this machine
  rrn watch run /dev/video0 --fps 15
  rrn watch publish rtsp://camera/stream --broker broker.local --camera door
  rrn watch view --broker broker.local                the live page
  rrn watch init deploy                               container, compose and systemd files

Messages follow a JSON Schema (rrn watch schema); boxes are in pixels of the published picture, 427x240 by default. The
main person is chosen by score, size and place in the frame, and stays for a while (--main largest: the largest person
above 0.9 of each frame).

Exit codes: 0 done, 2 wrong usage, 3 the source gives no frame, 4 a model, broker or output failed, 130 interrupted."""

_VERBS = ("file", "publish", "view", "run", "models", "init", "schema")


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn watch", description="Watch people: a video or camera in, the main person out.", epilog=_EPILOG
    )
    verbs = made.add_subparsers(dest="what", required=True, metavar="|".join(_VERBS))
    offline.add(verbs)
    live.add_publish(verbs)
    viewer.add(verbs)
    live.add_run(verbs)
    models.add(verbs)
    deploy.add(verbs)
    schema = verbs.add_parser(
        "schema",
        prog="rrn watch schema",
        description="Print the JSON Schema of the messages.",
        epilog="",
        help="print the JSON Schema of the messages",
    )
    schema.set_defaults(run=_schema)
    return made


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    from rrn_ops.streaming.local_broker import BrokerError
    from rrn_ops.streaming.sources import SourceError

    if words and words[0] not in _VERBS and not words[0].startswith("-"):
        # A name that is also a verb's is written ./view.
        words = ["file", *words]
    arguments = parser().parse_args(words)
    if arguments.what in ("view", "publish", "run"):
        # Browsers and brokers go away at any moment, and that must not end a server.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        # Until the verb has its own handlers: what was started is ended.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    program = "rrn watch" if arguments.what == "file" else f"rrn watch {arguments.what}"
    try:
        check_output(getattr(arguments, "json", None))
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        if arguments.what in ("publish", "run"):
            return 0
        raise
    except SourceError as error:
        return fail(program, error, NOTHING_READABLE)
    except (rrn_native.RrnError, BrokerError) as error:
        return fail(program, error, RUNTIME_ERROR)
    except (ValueError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        return fail(program, error, USAGE)
    except OSError as error:
        return fail(program, error, RUNTIME_ERROR)


def _schema(_arguments: argparse.Namespace) -> int:
    text = Path(__file__).with_name("schema").joinpath("frame.1.schema.json").read_text(encoding="utf-8")
    sys.stdout.write(text)
    return 0
