"""The command line ``rrn``: a table of verbs, each in a module of its own that is imported when it is asked for.

rrn find photos
rrn VERB --help
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.metadata
import os
import signal
import sys
from pathlib import Path

import rrn_native
from rrn_native import _load
from rrn_native.cli.common import BROKEN_PIPE, INTERRUPTED, RUNTIME_ERROR, USAGE, fail


@dataclasses.dataclass(frozen=True)
class Verb:
    """What ``rrn NAME`` does; a module has the function ``main(words)`` that does it.

    Attributes:
        summary: One line for ``rrn --help``.
        packages: What pip has to install for it, besides what rrn always needs.
        extra: The name of these packages among rrn's extras.
        module: The module; ``rrn_native.cli.NAME``, with ``_`` for ``-``, where it is empty.
    """

    summary: str
    packages: str = ""
    extra: str = ""
    module: str = ""


_EXPORT = ("torch onnx onnxscript pillow", "export")
_REPORT = ("onnx matplotlib pillow", "report")

VERBS = {
    "find": Verb("the similar images of a folder, and how many are unique"),
    "compare": Verb("the similarity of two images; exit code 0 if similar, 1 if not"),
    "query": Verb("the images of a folder that are most similar to one image"),
    "index": Verb("a store of embeddings: add, update, query, verify"),
    "watch-folder": Verb("keep a folder's store up to date as it changes", "watchfiles", "watch-folder"),
    "report": Verb("a document about a folder", *_REPORT),
    "explain": Verb("why two images are similar, as a picture", *_REPORT),
    "calibrate": Verb("the right threshold, from your own labelled images", "matplotlib", "report"),
    "export": Verb("a model with your own weights, as ONNX", *_EXPORT),
    "validate": Verb("compare PyTorch, ONNX Runtime and the engine", *_EXPORT),
    "quantize": Verb("an 8-bit copy of a model, which is faster", "onnx", "quantize"),
    "convert": Verb(
        "a timm ViT as Hugging Face's, proven equal",
        "torch timm transformers safetensors pillow onnx onnxscript",
        "convert",
        "rrn_ops.conversion.command",
    ),
    "serve": Verb(
        "models in a Triton Inference Server: store, server, client",
        "onnx tritonclient[http,grpc]",
        "serve",
        "rrn_ops.serving.command",
    ),
    "eval": Verb(
        "a model measured on labelled pictures: metrics, report, regression gate",
        "snakemake matplotlib pillow onnx",
        "evaluate",
        "rrn_ops.evaluation.command",
    ),
    "watch": Verb(
        "people in a video or before a camera: boxes, MQTT, a live page",
        "av trackers msgspec pillow onnx paho-mqtt starlette uvicorn websockets prometheus_client",
        "watch",
        "rrn_ops.streaming.command",
    ),
    "scale": Verb(
        "collections larger than a machine: embeddings, pairs, groups, a plan",
        "pyarrow fsspec ray[data]",
        "scale",
        "rrn_ops.scale.command",
    ),
    "bench": Verb("how fast this machine is, and which options to take"),
    "doctor": Verb("what is installed, what works, and what to do about the rest"),
}

_EXAMPLES = """Examples:
  rrn find photos                              groups and totals, for reading
  rrn find photos --json result.json           the same for programs
  rrn compare a.jpg b.jpg
  rrn query a.jpg photos -k 5                  unchanged photos are not read again

Exit codes: 0 done, 2 wrong usage, 3 nothing readable, 4 model, runtime or output failed, 130 interrupted (Ctrl-C); 1 is
a verb's own: not similar, no match, not valid. 'rrn VERB --help' says more."""


def help_text() -> str:
    """Returns what ``rrn --help`` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(["Usage: rrn VERB [OPTIONS]", "", "Image similarity.", "", "Verbs:", *lines, "", _EXAMPLES])


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The words after ``rrn``; None for the process's own, whose end of output then ends the process as it does
            other programs (``rrn find photos | head``).

    Returns:
        The exit code.
    """
    if argv is None:
        argv = sys.argv[1:]
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if not argv:
        print(help_text(), file=sys.stderr)
        return USAGE
    name, words = argv[0], argv[1:]
    if name == "help" and words:
        name, words = words[0], ["--help"]
    if name in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if name == "--version":
        print(_version())
        return 0
    if name not in VERBS:
        return fail("rrn", _unknown(name), USAGE)
    try:
        return _run(name, words)
    except KeyboardInterrupt:
        return fail(f"rrn {name}", "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Python would try to write what is left when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except ImportError as error:
        return fail(f"rrn {name}", _import_failure(VERBS[name], error), RUNTIME_ERROR)
    except (OSError, ValueError, MemoryError, rrn_native.RrnError) as error:
        return fail(f"rrn {name}", error, RUNTIME_ERROR)


def _run(name: str, words: list[str]) -> int:
    module = VERBS[name].module or f"rrn_native.cli.{name.replace('-', '_')}"
    code: int = importlib.import_module(module).main(words)
    sys.stdout.flush()
    return code


def _version() -> str:
    try:
        return f"rrn {rrn_native.__version__}, ONNX Runtime {_load.native.onnxruntime_version()}"
    except ImportError:
        return f"rrn {_installed_version()}, whose native module cannot be loaded (see rrn doctor)"


def _installed_version() -> str:
    try:
        return importlib.metadata.version("rrn-native")
    except importlib.metadata.PackageNotFoundError:
        return "of a source tree"


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, VERBS, n=1)
    # What people who know ./build/similarity will type.
    if not near and Path(name).exists():
        return f"'{name}' is no verb; did you mean 'rrn find {name}'?"
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"there is no verb '{name}'{hint} (see rrn --help)"


def _import_failure(verb: Verb, error: ImportError) -> str:
    missing = (error.name or "").split(".")[0]
    if isinstance(error, ModuleNotFoundError) and missing and verb.packages:
        return f"needs {missing}, which is not installed: pip install {verb.packages} (rrn's extra [{verb.extra}])"
    return str(error)
