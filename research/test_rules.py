"""The rules of this folder: public names only, no back doors for imports, a README and tests for each study."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from research.common.places import ROOT

RESEARCH = ROOT / "research"
STUDIES = sorted(path.parent for path in RESEARCH.glob("*/__init__.py") if path.parent.name != "common")
# Run by other tools' Python, or instead of rrn; no modules of the package.
SCRIPTS = {"peers", "plain_script.py"}


def modules(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if not SCRIPTS & set(path.parts)]


def imports(path: Path) -> Iterator[str]:
    """Yields all names that a module imports, as module.name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def private_names(path: Path) -> list[str]:
    return [name for name in imports(path) if name.startswith("rrn_native") and "._" in name]


def test_only_public_names_of_the_package_are_used() -> None:
    assert {str(path): found for path in modules(RESEARCH) if (found := private_names(path))} == {}


def test_a_private_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("import numpy\nfrom rrn_native import _native, Embedder\n")
    assert private_names(tmp_path / "module.py") == ["rrn_native._native"]


def test_nothing_outside_imports_research() -> None:
    folders = [path for path in (ROOT / "python").iterdir() if path.is_dir() and path.name != "tests"]
    outside = [path for folder in (*folders, ROOT / "bindings") for path in modules(folder)]
    assert len(outside) > 20
    assert [str(path) for path in outside if any(name.split(".")[0] == "research" for name in imports(path))] == []


def test_imports_need_no_changed_search_path() -> None:
    words = ("sys.path" + ".", "spec_from_file" + "_location")
    assert [str(path) for path in modules(RESEARCH) if any(word in path.read_text() for word in words)] == []


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_study_has_a_page_tests_and_a_row(study: Path) -> None:
    page = (study / "README.md").read_text().splitlines()
    assert page[0].startswith("# ") and len(page) <= 80, "about a page"
    assert "```" in page, "the command"
    assert list(study.glob("test_*.py"))
    assert f"]({study.name}/README.md)" in (RESEARCH / "README.md").read_text()
