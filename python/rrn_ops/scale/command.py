"""``rrn scale``: collections larger than a machine, in stages that can be killed and go on."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrn_native import RrnError
from rrn_native.cli.common import (
    NOTHING_READABLE,
    RUNTIME_ERROR,
    USAGE,
    ProgressLine,
    check_output,
    fail,
    write_json,
)
from rrn_native.cli.parser import Parser, add_engine_options, check_engine_options

if TYPE_CHECKING:
    from rrn_ops.scale import engines

_EPILOG = """examples:
  rrn scale embed photos --output job                        a folder, on this machine
  rrn scale embed 's3://bucket/shards/*.tar' --output s3://bucket/job --address ray://head:10001 --workers 64
  rrn scale embed urls.parquet --path-column url --output job
  rrn scale pairs job --threshold 0.9                        all pairs, exactly
  rrn scale pairs job --cells 1000 --probes 3                most pairs, and how many are missed
  rrn scale groups job
  rrn scale plan --images 1e9                                what it takes

A source is a folder, a file, a .tar (WebDataset) or a .parquet file, or a pattern of them, as a path or a URL of
fsspec. The job's place gets embeddings/, pairs/ and groups.parquet, all of them Parquet, and manifests/. What is
finished is not done again, unless its input, the model or an option that matters has changed. The job holds what the
last run was given. --threads 0 is one for each worker.

Exit codes: 0 done, 2 wrong usage, 3 no picture could be read, 4 model, engine or output failed."""


def parser() -> Parser:
    """Returns the verb's parser."""
    made = Parser(
        prog="rrn scale", description="Embed, compare and group collections larger than a machine.", epilog=_EPILOG
    )
    verbs = made.add_subparsers(dest="what", required=True, metavar="embed|pairs|groups|plan")
    embed = _verb(verbs, "embed", "embed all pictures of the sources")
    embed.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="folder, file, .tar, .parquet, or a pattern of them"
    )
    embed.add_argument("--output", required=True, metavar="PLACE", help="of the job: a folder or a URL")
    _add_sources(embed)
    add_engine_options(embed)
    pairs = _verb(verbs, "pairs", "find the similar pairs of a job")
    groups = _verb(verbs, "groups", "group the images of a job by its pairs")
    for each in (pairs, groups):
        each.add_argument("job", metavar="PLACE", help="of the job")
    _add_pairs(pairs)
    for each in (embed, pairs):
        _add_run(each)
    groups.add_argument("--verified", action="store_true", help="by the pairs that the plug-in kept")
    plan = _verb(verbs, "plan", "bytes, hours and costs of a collection, from measured rates")
    _add_plan(plan)
    for each in (embed, pairs, groups, plan):
        each.add_argument("--json", metavar="FILE", help="what was done; - for standard output, not text")
    return made


def _verb(verbs: argparse._SubParsersAction[Parser], name: str, summary: str) -> Parser:
    return verbs.add_parser(name, prog=f"rrn scale {name}", description=summary, epilog="", help=summary)


def _add_sources(embed: Parser) -> None:
    embed.add_argument(
        "--list", action="append", default=[], metavar="FILE", help="a text file with a path or URL on each line"
    )
    embed.add_argument("--path-column", default="", metavar="NAME", help="of Parquet: paths, URLs, or names")
    embed.add_argument("--bytes-column", default="", metavar="NAME", help="of Parquet: the contents of picture files")
    embed.add_argument(
        "--partition", type=int, default=1024, metavar="N", help="files of a partition, about (default %(default)s)"
    )
    embed.add_argument(
        "--dtype", choices=["float32", "float16"], default="float32", help="of embeddings (default %(default)s)"
    )
    embed.add_argument(
        "--max-megabytes", type=int, default=1024, metavar="N", help="larger files are skipped (default %(default)s)"
    )


def _add_pairs(pairs: Parser) -> None:
    pairs.add_argument(
        "--threshold", type=float, default=0.75, metavar="T", help="similar is: cosine > T (default %(default)s)"
    )
    pairs.add_argument(
        "--block-rows", type=int, default=100_000, metavar="N", help="a task holds two blocks (default %(default)s)"
    )
    pairs.add_argument("--threads", type=int, default=1, metavar="N", help="of one task (default %(default)s)")
    pairs.add_argument("--cells", type=int, default=0, metavar="K", help="compare within K cells only (default 0: all)")
    pairs.add_argument("--probes", type=int, default=3, metavar="P", help="cells of an image (default %(default)s)")
    pairs.add_argument(
        "--sample",
        type=int,
        default=200,
        metavar="N",
        help="images whose pairs measure the recall (default %(default)s)",
    )
    pairs.add_argument("--seed", type=int, default=0, metavar="N", help="of cells and sample (default %(default)s)")
    pairs.add_argument("--plug-in", default="", metavar="MODULE:FUNCTION", help="a second look at all pairs found")


def _add_run(made: Parser) -> None:
    made.add_argument(
        "--engine", choices=["ray", "daft", "processes"], default="ray", help="what runs it (default %(default)s)"
    )
    made.add_argument("--workers", type=int, metavar="N", help="at once (default: one for each core of this machine)")
    made.add_argument("--address", default="", metavar="A", help="of a Ray cluster (default: one on this machine)")
    made.add_argument(
        "--object-store-megabytes",
        type=int,
        default=256,
        metavar="N",
        help="of the Ray cluster that is started (default %(default)s)",
    )
    again = made.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="keep what is finished (the default)")
    again.add_argument("--again", action="store_true", help="do all of it again")


def _add_plan(plan: Parser) -> None:
    plan.add_argument("--images", type=float, required=True, metavar="N", help="as 1e9")
    plan.add_argument("--results", type=Path, metavar="DIR", help="measured rates: findings/results of a source tree")
    plan.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value of an assumption; see the output",
    )


def main(words: list[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = parser().parse_args(words)
    program = f"rrn scale {arguments.what}"
    if arguments.what == "plan":
        return _plan(program, arguments)
    # What every stage needs: that it is missing is said before anything else.
    for needed in ("pyarrow", "fsspec", *(["ray"] if getattr(arguments, "engine", "") == "ray" else [])):
        importlib.import_module(needed)
    from rrn_ops.scale.storage import ScaleError, absolute

    try:
        check_output(arguments.json)
        arguments.job = absolute(arguments.output if arguments.what == "embed" else arguments.job)
        return _COMMANDS[arguments.what](arguments)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        return fail(program, error, USAGE)
    except (ScaleError, RrnError) as error:
        return fail(program, error, RUNTIME_ERROR)


def _options(arguments: argparse.Namespace) -> engines.Options:
    from rrn_ops.scale import engines

    workers = len(os.sched_getaffinity(0)) if arguments.workers is None else arguments.workers
    least = 0 if arguments.engine == "processes" else 1
    if workers < least:
        raise ValueError(f"--workers {workers}: expected at least {least}")
    if arguments.address and arguments.engine == "processes":
        raise ValueError("--address is of a Ray cluster, and processes run on this machine only")
    memory = arguments.object_store_megabytes * 2**20
    return engines.Options(arguments.engine, workers, arguments.address, memory)


def _at_least(arguments: argparse.Namespace, **least: int) -> None:
    for name, value in least.items():
        if getattr(arguments, name) < value:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: expected at least {value}")


def _finish(arguments: argparse.Namespace, result: dict[str, Any], lines: list[str]) -> None:
    if arguments.json is not None:
        write_json(arguments.json, result)
    if arguments.json != "-":
        print("\n".join(lines))


def _embed(arguments: argparse.Namespace) -> int:
    from rrn_ops.scale import embedding, sources, worker

    _at_least(arguments, partition=1, max_megabytes=1, object_store_megabytes=80)
    check_engine_options(arguments)
    if not arguments.sources and not arguments.list:
        raise ValueError("expected a SOURCE or --list FILE")
    options = _options(arguments)
    columns = sources.Columns(arguments.bytes_column, arguments.path_column)
    settings = worker.Settings(
        model=str(arguments.model.absolute()) if arguments.model else None,
        size=arguments.size,
        provider=arguments.provider,
        precision=arguments.precision,
        batch=arguments.batch,
        # Workers share a machine: each has one thread unless another number is asked for.
        threads=arguments.threads or 1,
        max_pixels=arguments.max_megapixels * 1_000_000,
        full_decode=arguments.full_decode,
        cache=not arguments.no_cache,
        dtype=arguments.dtype,
        max_bytes=arguments.max_megabytes * 2**20,
    )
    progress = ProgressLine("partitions")
    progress.show("looking at the sources")
    files, shards = embedding.gather(arguments.sources, arguments.list, columns)
    partitions = embedding.plan(arguments.job, files, shards, arguments.partition)
    totals = embedding.embed(
        arguments.job, partitions, settings, options, resume=not arguments.again, progress=progress
    )
    progress.clear()
    lines = [
        f"partitions {totals.partitions} ({totals.reused} were finished before, {totals.removed} are gone)",
        f"images     {totals.images}",
        f"skipped    {totals.skipped}",
    ]
    _finish(arguments, dataclasses.asdict(totals), lines)
    return 0 if totals.images or not totals.skipped else NOTHING_READABLE


def _pairs(arguments: argparse.Namespace) -> int:
    from rrn_ops.scale import cells, groups, pairs

    _at_least(arguments, block_rows=1, threads=1, cells=0, sample=1, seed=0, object_store_megabytes=80)
    options = _options(arguments)
    if arguments.plug_in:
        groups.load_plug_in(arguments.plug_in)
    search = pairs.Search(arguments.threshold, arguments.block_rows, arguments.threads, not arguments.again)
    progress = ProgressLine("tasks")
    result: dict[str, Any] = {"method": "cells" if arguments.cells else "exact"}
    if arguments.cells:
        how = cells.Cells(arguments.cells, arguments.probes, arguments.sample, arguments.seed)
        found, recall, sizes = cells.find(arguments.job, search, how, options, progress)
        result |= {"recall": dataclasses.asdict(recall), "cell_rows": sizes}
    else:
        found = pairs.find(arguments.job, search, options, progress)
    progress.clear()
    result |= dataclasses.asdict(found)
    lines = [f"tasks  {found.tasks} ({found.reused} were finished before)", f"images {found.rows}"]
    lines.append(f"pairs  {found.pairs} ({result['method']})")
    if arguments.cells:
        lines += _recall_lines(recall, sizes)
    if arguments.plug_in:
        kept = groups.verify(arguments.job, arguments.plug_in, options, resume=search.resume, progress=progress)
        progress.clear()
        result["verified"] = dataclasses.asdict(kept)
        lines.append(f"kept   {kept.pairs} of {kept.candidates} by {arguments.plug_in}")
    _finish(arguments, result, lines)
    return 0


def _recall_lines(recall: Any, sizes: list[int]) -> list[str]:
    largest = f"largest cell {max(sizes)} images, of {sum(sizes) / len(sizes):.0f} on average"
    if recall.share is None:
        return [f"recall unknown: {recall.rows} sampled images have no pairs", largest]
    share, low, high = (f"{value * 100:.2f} %" for value in (recall.share, recall.low, recall.high))
    return [
        f"recall {share} ({low} to {high}): {recall.found} of {recall.pairs} pairs of {recall.rows} images",
        largest,
    ]


def _groups(arguments: argparse.Namespace) -> int:
    from rrn_ops.scale import groups

    grouped = groups.group(arguments.job, verified=arguments.verified)
    lines = [f"images {grouped.images}", f"pairs  {grouped.pairs}", f"groups {grouped.groups}"]
    lines += [f"unique {grouped.unique}", f"{grouped.file}: a row for each image of a group"]
    _finish(arguments, dataclasses.asdict(grouped), lines)
    return 0


def _plan(program: str, arguments: argparse.Namespace) -> int:
    from rrn_ops.scale import plan

    try:
        check_output(arguments.json)
        assumptions = plan.assumptions(arguments.results, arguments.set)
        made = plan.make(arguments.images, assumptions)
    except (ValueError, OSError) as error:
        return fail(program, error, USAGE)
    _finish(arguments, made, plan.lines(made))
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {"embed": _embed, "pairs": _pairs, "groups": _groups}
