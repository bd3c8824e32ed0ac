"""What the site takes from the project when it is built: help texts, lists of modules, figures.

Pages hold markers, a line each:

    {{ help: build/similarity }}       what the command prints with --help, from the repository's root
    {{ rrn }}                          the same for `rrn` and each of its verbs, as far as they exist
    {{ file: scripts/run.sh }}         that file's text, for use within a fenced block
    {{ section: FILE.md # TITLE }}     what stands below that heading, up to the next one
    {{ notebook: FILE.ipynb }}         the text and the code of its cells
    {{ modules }}                      mkdocstrings for every public module of rrn_native but the package itself
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
# The package itself offers what these define.
INNER_MODULES = {"arrays", "detections", "detector", "embedder", "errors", "locate", "result"}
FIGURES = ("architecture.svg",)
_MARKER = re.compile(r"^\{\{ *([a-z]+)(?:: *([^}]*?))? *\}\}$", re.MULTILINE)


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds the figures of the report."""
    for name in FIGURES:
        files.append(File.generated(config, f"figures/{name}", abs_src_path=str(ROOT / "findings" / "figures" / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the markers."""
    return _MARKER.sub(lambda found: _replacement(found[1], found[2] or ""), markdown)


def _replacement(name: str, argument: str) -> str:
    match name:
        case "help":
            return _fenced(help_text(argument.split()))
        case "file":
            return _text(argument).rstrip()
        case "section":
            return section(*argument.partition(" # ")[::2])
        case "notebook":
            return notebook(ROOT / argument)
        case "rrn":
            return rrn()
        case "modules":
            return modules()
    raise PluginError(f"a page has the marker {name!r}, which hooks.py does not know")


def _text(file: str) -> str:
    try:
        return (ROOT / file).read_text(encoding="utf-8")
    except OSError as error:
        raise PluginError(f"a page shows {file}, which cannot be read: {error.strerror}") from error


def section(file: str, title: str) -> str:
    """Returns the text below a heading of a Markdown file, relative to the repository's root."""
    _, found, below = _text(file).partition(f"\n## {title}\n")
    if not found:
        raise PluginError(f"a page shows the section {title!r}, which {file} does not have")
    return below.partition("\n## ")[0].strip()


def notebook(path: Path) -> str:
    """Returns a notebook's cells as Markdown, headings one level lower.

    Args:
        path: A notebook of format 4, without outputs.
    """
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```py\n{text}\n```" if cell["cell_type"] == "code" else re.sub(r"^#", "##", text))
    return "\n\n".join(parts)


def help_text(command: list[str]) -> str:
    """Returns what a command prints with --help, or a line that says why there is nothing.

    Args:
        command: A program relative to the repository's root, or `rrn`, and arguments.
    """
    shown = " ".join(command)
    if command[0] == "rrn":
        command = [sys.executable, "-m", "rrn_native", *command[1:]]
    elif not (ROOT / command[0]).is_file():
        return f"(These pages were made without {shown}; run it with --help.)"
    else:
        command = [str(ROOT / command[0]), *command[1:]]
    path = os.pathsep.join(filter(None, [str(ROOT / "python"), os.environ.get("PYTHONPATH")]))
    # A help text is as wide as the terminal, and argparse colours it from Python 3.14 on.
    environment = os.environ | {"COLUMNS": "108", "NO_COLOR": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [*command, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise PluginError(f"{shown} --help ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    # Neither a path of this machine nor escape sequences.
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).replace(str(ROOT) + os.sep, "")
    return "\n".join(fold(line) for line in text.rstrip().splitlines())


def fold(line: str, width: int = 108) -> str:
    """Breaks a long line; what follows is indented as far as the description that it belongs to."""
    if len(line) <= width:
        return line
    found = re.match(r"\s*\S.*?\s{2,}(?=\S)|\s*", line)
    indent = len(found[0]) if found and len(found[0]) < width // 2 else 0
    return "\n".join(
        textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            replace_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def rrn() -> str:
    """Returns the help of `rrn` and of every verb that it lists."""
    main = help_text(["rrn"])
    parts = [_fenced(main)]
    for verb in verbs(main):
        parts += [f"### rrn {verb}", _fenced(help_text(["rrn", verb]))]
    return "\n\n".join(parts)


def verbs(text: str) -> list[str]:
    """Returns the verbs of a help text: the first words of the indented lines below "Verbs:"."""
    _, found, below = text.partition("\nVerbs:\n")
    if not found:
        return []
    listed = below.split("\n\n", 1)[0]
    return re.findall(r"^ {2,}([a-z]+) {2,}", listed, re.MULTILINE)


def modules() -> str:
    """Returns mkdocstrings for the public modules."""
    package = ROOT / "python" / "rrn_native"
    names = [
        ".".join(path.relative_to(package).with_suffix("").parts)
        for folder in (package, package / "analysis", package / "model")
        for path in sorted(folder.glob("*.py"))
        if path.stem[0] != "_" and path.stem not in INNER_MODULES
    ]
    return "\n\n".join(f"::: rrn_native.{name}" for name in names)


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"
