"""Options that several verbs of ``rrn watch`` take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rrn_ops.streaming.main_person import RULES
from rrn_ops.streaming.sources import DEFAULT_SIZE, parse_size

if TYPE_CHECKING:
    from rrn_native import Detector

    from rrn_ops.streaming.watcher import Watcher


def _size(text: str) -> tuple[int, int]:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_watching(made: argparse.ArgumentParser) -> None:
    """Adds what says how people are found and followed."""
    made.add_argument(
        "--model", default="fast", metavar="NAME", help="a detector of 'rrn watch models', or FILE.onnx (default fast)"
    )
    made.add_argument("--provider", default="auto", metavar="NAME", help="as in rrn find (default %(default)s)")
    made.add_argument("--precision", default="auto", metavar="NAME", help="as in rrn find (default %(default)s)")
    made.add_argument("--threads", type=int, default=0, metavar="N", help="default 0: one for each core")
    made.add_argument(
        "--size",
        type=_size,
        default=DEFAULT_SIZE,
        metavar="WxH",
        help="of boxes and pictures, in pixels (default 427x240)",
    )
    made.add_argument("--score", type=float, metavar="X", help="least score of a person (default: the model's own)")
    made.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="detect in every K-th frame, predict the others; 0: as this machine can (default %(default)s)",
    )
    made.add_argument("--main", choices=RULES, default=RULES[0], help="which person is the main one (default steady)")


def make_watcher(arguments: argparse.Namespace) -> tuple[Detector, Watcher]:
    """Returns what the options of :func:`add_watching` ask for.

    Raises:
        ValueError, FileNotFoundError, RrnError: An option is wrong, or the model cannot be loaded.
    """
    # The tracker's library takes two seconds to import.
    from rrn_ops.streaming.models.store import path_of
    from rrn_ops.streaming.watcher import Watcher, WatchOptions, make_detector

    options = WatchOptions(score=arguments.score, every=arguments.every, rule=arguments.main)
    detector = make_detector(
        str(path_of(arguments.model)),
        provider=arguments.provider,
        precision=arguments.precision,
        threads=arguments.threads or None,
    )
    return detector, Watcher(detector, options)
