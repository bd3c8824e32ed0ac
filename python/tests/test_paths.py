"""What texts name is there: files in HACKING.md, modules of research in commands; and no large file is tracked."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from repository import ROOT, name_of, tracked_files


def test_no_large_binaries_but_models() -> None:
    for path in tracked_files():
        if path.stat().st_size > 1_000_000:
            assert path.parent == ROOT / "models", f"{path} is over 1 MB"


def missing_paths(text: str, names: list[str]) -> list[str]:
    """Paths in backticks, relative to any folder, that no file of the repository has; `a.{h,cc}` is two of them."""
    missing = []
    for word in re.findall(r"`([\w.{},*/-]+(?:/[\w.{},*-]+)+/?|[\w-]+\.(?:cc|cu|py|sh|toml))`", text):
        braces = re.search(r"\{(.*)\}", word)
        for part in braces[1].split(",") if braces else [""]:
            path = (word[: braces.start()] + part + word[braces.end() :] if braces else word).rstrip("/")
            if not any(fnmatch.fnmatch(f"/{name}/", f"*/{path}/*") for name in names):
                missing.append(path)
    return missing


# What is not in a checkout, or stands for a name.
NOT_TRACKED = {".venv/bin/python", "include/rrn/NAME.h", "inference/src/NAME"}


def test_hacking_names_files_that_exist() -> None:
    names = [name_of(path) for path in tracked_files()]
    text = (ROOT / "HACKING.md").read_text(encoding="utf-8")
    assert set(missing_paths(text, names)) <= NOT_TRACKED
    planted = "`engine/session.cc` `engine/session.{cc,txt}` `no_such.py` `scripts/` `session.cc`"
    assert missing_paths(planted, names) == ["engine/session.txt", "no_such.py"]


# Commands that name a module. --------------------------------------------------------------------------------------

# Names that stand for others: in a test of the function that writes commands, and in the page of all studies.
NO_MODULE = {"research.some.study", "research.STUDY.MODULE"}


def missing_modules(text: str) -> list[str]:
    """Modules of `python -m research...` that are in no file; packages need a __main__.py."""
    missing = []
    for module in re.findall(r"-m\s+(research(?:\.\w+)+)", text):
        place = ROOT / module.replace(".", "/")
        if not place.with_suffix(".py").is_file() and not (place / "__main__.py").is_file():
            missing.append(module)
    return missing


def strings(value: Any) -> Iterator[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def test_commands_name_modules_that_exist() -> None:
    seen, missing = 0, {}
    for path in tracked_files():
        if path.suffix in (".md", ".jinja", ".py", ".sh", ".toml", ".json", ".typ", ".yml", ".ipynb", ".txt"):
            text = path.read_text(encoding="utf-8")
            text = "\n".join(strings(json.loads(text))) if path.suffix == ".json" else text
            seen += len(re.findall(r"-m\s+research\.", text))
            if path.name != "test_paths.py" and (found := set(missing_modules(text)) - NO_MODULE):
                missing[name_of(path)] = found
    assert seen > 20
    assert missing == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("python -m research.network.measure --photos", ["research.network.measure"]),
        (
            "`python3 -m research.benchmarks` and\n.venv/bin/python -m\nresearch.nothing",
            ["research.benchmarks", "research.nothing"],
        ),
        ("python -m research.benchmarks.network; python -m research.training.train.", []),
    ],
)
def test_dead_commands_are_found(text: str, missing: list[str]) -> None:
    assert missing_modules(text) == missing
