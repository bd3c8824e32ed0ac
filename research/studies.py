"""Runs the studies that anyone can repeat, one after the other, and writes their pages and charts.

Run by scripts/research.sh, which sets everything up. Each study runs in a process of its own; one that fails does not
stop the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research.common import pages, results
from research.common.places import FINDINGS, ROOT

_RESEARCH = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Study:
    """A study with `run.py`, `report.py` (write, figures) and a README with figures.

    Attributes:
        needs_data: Whether it takes `--data DIR`.
        has_full: Whether it takes `--full`.
    """

    needs_data: bool = False
    has_full: bool = True


STUDIES: Mapping[str, Study] = {
    "tensor_mechanics": Study(),
    "tensorrt": Study(),
    "circle": Study(),
    "quantisation": Study(needs_data=True),
    "tuning": Study(needs_data=True),
}


def report(name: str) -> Any:
    """Returns a study's module that writes its page."""
    return importlib.import_module(f"research.{name}.report")


def write(measured: Path, folder: Path, names: Sequence[str] = tuple(STUDIES)) -> list[Path]:
    """Writes the pages and charts of studies; returns the files.

    Args:
        measured: The folder of results.
        folder: Gets the files.
        names: Of studies.

    Raises:
        OSError: A result is missing, or a file cannot be written.
    """
    return [path for name in names for path in report(name).write(measured, folder)]


def readmes(measured: Path, names: Sequence[str] = tuple(STUDIES)) -> dict[Path, str]:
    """Returns the READMEs of studies with the figures of these results, by path.

    Raises:
        OSError: A result or a README is missing.
        ValueError: A README has no place for figures.
    """
    made = {}
    for name in names:
        path = _RESEARCH / name / "README.md"
        value = results.read(measured / f"{name}.json")
        made[path] = pages.with_figures(path.read_text(encoding="utf-8"), report(name).figures(value))
    return made


def command(name: str, output: Path, *, data: Path | None, full: bool) -> list[str]:
    """Returns the command that runs a study.

    Args:
        name: Of the study.
        output: Its result, a JSON file.
        data: Labelled pictures; None for those of a package.
        full: The whole instead of the short form.
    """
    study = STUDIES[name]
    words = [sys.executable, "-P", "-m", f"research.{name}.run", "--output", str(output)]
    if study.needs_data and data is not None:
        words += ["--data", str(data)]
    if study.has_full and full:
        words.append("--full")
    return words


def run(names: Sequence[str], output: Path, *, data: Path | None, full: bool) -> dict[str, str]:
    """Runs studies and writes their pages; prints how long each took.

    Returns:
        What went wrong, by study.
    """
    failed: dict[str, str] = {}
    begin = time.monotonic()
    for name in names:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        words = command(name, output / "results" / f"{name}.json", data=data, full=full)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "python"), *filter(None, [os.environ.get("PYTHONPATH")])])
        code = subprocess.run(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, check=False).returncode
        if code == 0:
            write(output / "results", output, [name])
        else:
            failed[name] = f"exit status {code}"
        print(f"-- {name}: {time.monotonic() - start:.0f} s{', failed' if code else ''}", flush=True)
    print(f"-- all: {time.monotonic() - begin:.0f} s", flush=True)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/research.sh", description="Run the studies and write their pages.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"{', '.join(STUDIES)} (default: all)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="cifar100_subset.zip and tinyimagenet32_subset.zip")
    parser.add_argument("--full", action="store_true", help="the whole instead of the short form: hours")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "studies", metavar="DIR")
    arguments = parser.parse_args(argv)
    names = arguments.studies or list(STUDIES)
    unknown = sorted(set(names) - set(STUDIES))
    if unknown:
        parser.error(f"no study {', '.join(unknown)}; there are {', '.join(STUDIES)}")
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"--data: {arguments.data} is no folder")
    output = arguments.output.resolve()
    try:
        for name in names:
            results.check_writable(output / "results" / f"{name}.json")
    except OSError as error:
        parser.error(f"--output: {error}")
    failed = run(names, output, data=arguments.data and arguments.data.resolve(), full=arguments.full)
    if output == FINDINGS:
        done = [name for name in names if name not in failed]
        for path, text in readmes(output / "results", done).items():
            results.write_bytes(path, text.encode())
    print(f"\n{len(names) - len(failed)} of {len(names)} studies: pages and charts in {arguments.output}")
    for name, reason in failed.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
