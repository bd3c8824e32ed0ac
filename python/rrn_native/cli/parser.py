"""The argument parser of the verbs, and the options that several of them take."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import rrn_native
from rrn_native import arrays
from rrn_native.cli.common import USAGE


class Parser(argparse.ArgumentParser):
    """Keeps the line breaks of its description and epilog; wrong usage is one line."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2 and a line without the usage, which --help shows."""
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def size_option(text: str) -> int | None:
    """The value of --size; None for 0, which stands for the model's own size as on the engine's command line."""
    try:
        return arrays.checked_size(int(text) or None) or None
    except ValueError as error:
        expected = f"{arrays.MIN_SIZE} to {arrays.MAX_SIZE}, or 0 for the model's own"
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}") from error


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds --model and --size, which all verbs with a model take."""
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="default: the model that comes with rrn")
    parser.add_argument(
        "--size", type=size_option, metavar="PIXELS", help="input size, 32 ... 4096 (default: 0, the model's own)"
    )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the model and of how the engine runs it, with the names and defaults of ``rrn find``."""
    add_model_options(parser)
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="default 0: one for each core")
    parser.add_argument(
        "--batch", type=int, default=8, metavar="N", help="images per inference call (default %(default)s)"
    )
    parser.add_argument(
        "--provider", default="auto", metavar="NAME", help="auto, cpu, openvino, cuda or tensorrt (default %(default)s)"
    )
    parser.add_argument(
        "--precision", default="auto", metavar="NAME", help="auto, fp32, fp16, bf16 or int8 (default %(default)s)"
    )
    parser.add_argument(
        "--max-megapixels", type=int, default=200, metavar="N", help="larger images are skipped (default %(default)s)"
    )
    parser.add_argument("--full-decode", action="store_true", help="decode large JPEG and WebP files at full size")
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled models for the next start")


def check_engine_options(arguments: argparse.Namespace) -> None:
    """Checks what the engine would call by another name than the command line.

    Raises:
        ValueError: An option is out of its range.
    """
    if arguments.threads < 0:
        raise ValueError(f"--threads is {arguments.threads}, expected at least 0")
    if arguments.max_megapixels < 1:
        raise ValueError(f"--max-megapixels is {arguments.max_megapixels}, expected at least 1")


def make_embedder(program: str, arguments: argparse.Namespace, *, quiet: bool = False) -> rrn_native.Embedder:
    """Loads the model that the options of :func:`add_engine_options` describe.

    A note about what it computes in goes to standard error.

    Args:
        program: What the note begins with, as "rrn query".
        arguments: The parsed options.
        quiet: No note.

    Raises:
        ValueError, FileNotFoundError, RrnError: As for :class:`rrn_native.Embedder`.
    """
    check_engine_options(arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedder = rrn_native.Embedder(
            arguments.model,
            arguments.size,
            arguments.threads or None,
            arguments.provider,
            precision=arguments.precision,
            batch=arguments.batch,
            max_pixels=arguments.max_megapixels * 1_000_000,
            cache=not arguments.no_cache,
            full_decode=arguments.full_decode,
        )
    for warning in caught:
        if not quiet:
            print(f"{program}: note: {warning.message}", file=sys.stderr)
    return embedder
