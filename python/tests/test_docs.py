"""The documentation: its code runs, its generated parts follow the programs, and the site builds without a warning."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

DOCS = ROOT / "python" / "docs"
PAGES = sorted((DOCS / "pages").glob("*.md"))
# A fenced block: its language, its title if it is a file, its text. `sh`, `text` and `json` are for reading only.
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)

sys.path.insert(0, str(DOCS))
import doxygen_filter  # noqa: E402

try:
    import hooks
except ImportError:  # without mkdocs, which scripts/docs.sh installs
    hooks = None  # type: ignore[assignment]
finally:
    sys.path.remove(str(DOCS))


def headers() -> Path | None:
    """The folder of ONNX Runtime's C++ headers that the build used."""
    cache = ROOT / "build" / "CMakeCache.txt"
    found = (
        re.search(r"^\w*ONNX\w*INCLUDE\w*:\w+=(.+)$", cache.read_text(), re.MULTILINE | re.I)
        if cache.is_file()
        else None
    )
    places = [Path(found[1])] if found else []
    places += [path.parent for path in (ROOT / ".deps").glob("**/onnxruntime_cxx_api.h")]
    return next((place for place in places if (place / "onnxruntime_cxx_api.h").is_file()), None)


def blocks(page: Path) -> list[tuple[int, str, str | None, str]]:
    """The blocks of a page: line, language, title, text."""
    text = page.read_text(encoding="utf-8")
    return [(text[: found.start()].count("\n") + 1, *found.groups()) for found in BLOCK.finditer(text)]  # type: ignore[misc]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_code_runs(page: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the blocks of a page in their order, in a folder with photos/ and the project's build/."""
    if page.stem == "own_operator":
        for package in ("torch", "onnx", "onnxscript"):
            pytest.importorskip(package, reason="scripts/build.sh --torch installs it")
        if headers() is None or shutil.which("g++") is None:
            pytest.skip("no headers of ONNX Runtime, or no compiler")
        monkeypatch.setenv("ONNXRUNTIME_INCLUDE", str(headers()))
    (tmp_path / "build").symlink_to(ROOT / "build")
    # `python` in a block is the one that runs the tests; a link to it would leave the virtual environment.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    (tmp_path / "bin" / "rrn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rrn_native "$@"\n')
    (tmp_path / "bin" / "rrn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    for line, language, title, text in blocks(page):
        where = f"{page.name}:{line}"
        if title:
            Path(title).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile("\n" * line + text, str(page), "exec"), names)
        elif language == "bash":
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{where}: {done.stderr}"


@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a notebook's code cells in their order, in a folder with photos/; the file keeps no outputs."""
    pytest.importorskip("matplotlib")
    if path.stem == "convert_vit":
        pytest.importorskip("rrn_ops.conversion.libraries", reason="timm or transformers is missing")
    if path.stem == "tensor_mechanics":
        pytest.importorskip("torch")
    if path.stem == "serve":
        monkeypatch.setenv("RRN_TRITON", os.environ.get("RRN_TRITON") or str(ROOT / ".deps" / "triton"))
        pytest.importorskip("tritonclient.grpc")
        from rrn_ops.serving import runtime

        if not (found := runtime.Runtime(runtime.default_folder())).program.is_file() or found.why_no_python():
            pytest.skip(f"no Triton server in {found.folder}: scripts/test.sh installs it")
    if path.stem == "watch":
        for module in ("av", "trackers", "paho.mqtt", "starlette", "onnx", "jsonschema"):
            pytest.importorskip(module, reason="the extra 'watch' is not installed")
        from rrn_ops.streaming.local_broker import BrokerError, find_mosquitto

        try:
            find_mosquitto()
        except BrokerError as error:
            pytest.skip(str(error))
    assert photos == tmp_path / "photos"
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": path.stem}
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    for number, cell in enumerate(cells):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), names)
    if path.stem == "similar_photos":
        assert names["result"].read > 2 and names["result"].groups


def test_only_known_languages() -> None:
    known = {"python", "bash", "sh", "text", "json", "cpp", "cmake"}
    for page in PAGES:
        assert page.read_text(encoding="utf-8").count("\n```") % 2 == 0, page
        assert {language for _, language, _, _ in blocks(page)} <= known, page


def test_files_that_pages_name_exist() -> None:
    """A path of the repository in a page must be there; built and user's files are named by their place."""
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for name in re.findall(
            r"`((?:scripts|include|inference|python|bindings|findings|models|cmake)/[\w./-]+)`", text
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_filter_documents_what_the_headers_say() -> None:
    header = """// A file.
//
// More of it.
#ifndef A_H_

namespace a {

// Sides.
inline constexpr int kMin = 1;
inline constexpr int kMax = 2;

struct Bare {
  int loose = 0;
};

// Two numbers.
struct Pair {
  int first = 0;
  int second = 0;  // the larger one,
                   // always
  int sum() const;
};

// Adds <two> numbers.
//   first: one of them.
int Add(int first, int second);

int Undocumented();  // NOLINT(nothing)
"""
    lines = doxygen_filter.convert(header, "a.h").splitlines()
    assert len(lines) == len(header.splitlines())
    assert lines[0] == r"/// \file a.h A file."
    assert lines[2] == "/// More of it."
    assert lines[7:10] == [
        "/// Sides.",
        "inline constexpr int kMin = 1;",
        "inline constexpr int kMax = 2;  ///< Sides.",
    ]
    assert lines[12] == "  int loose = 0;"  # without documentation, so Doxygen complains
    assert lines[17] == "  int first = 0;  ///< See the description above."
    assert lines[18:20] == ["  int second = 0;  ///< the larger one,", "                   ///< always"]
    assert lines[20] == "  int sum() const;"  # a function needs a comment of its own
    assert lines[23:25] == [r"/// Adds \<two\> numbers.", "/// - `first`: one of them."]
    assert lines[27] == "int Undocumented();  // NOLINT(nothing)"
    for path in sorted((ROOT / "include" / "rrn").glob("*.h")):
        text = path.read_text(encoding="utf-8")
        converted = doxygen_filter.convert(text, path.name)
        assert len(converted.splitlines()) == len(text.splitlines())
        # Nothing but comments has changed.
        without = [re.sub(r"\s*//.*", "", line).rstrip() for line in text.splitlines()]
        assert [re.sub(r"\s*//.*", "", line).rstrip() for line in converted.splitlines()] == without


@pytest.mark.skipif(hooks is None, reason="mkdocs is missing; scripts/docs.sh installs it")
def test_generated_parts() -> None:
    found = hooks.help_text(["build/similarity"])
    assert "--threshold" in found
    assert all(len(line) <= 108 or " " not in line.strip() for line in found.splitlines())
    assert "--groups" in hooks.help_text(["rrn", "calibrate"])
    with pytest.raises(hooks.PluginError, match="no verb 'nothing'"):
        hooks.help_text(["rrn", "nothing"])
    assert "made without" in hooks.help_text(["build/nothing"])
    assert hooks.verbs("Usage: x\n\nVerbs:\n  find     a folder\n  compare  two images\n\nExamples:\n  rrn find\n") == [
        "find",
        "compare",
    ]
    assert hooks.fold("  --size INT    " + "word " * 40, 60).splitlines()[1].startswith(" " * 16 + "word")
    listed = hooks.on_page_markdown("a\n{{ modules }}\nb")
    assert "::: rrn_native.analysis.calibrate" in listed and "rrn_native._load" not in listed
    shown = hooks.on_page_markdown("{{ section: findings/evaluation.md # Precision and recall by threshold }}")
    assert shown.startswith("Of the row") and "| 0.75 |" in shown and "## " not in shown
    with pytest.raises(hooks.PluginError, match=r"'No such title', which findings/evaluation\.md does not have"):
        hooks.section("findings/evaluation.md", "No such title")
    with pytest.raises(hooks.PluginError, match=r"nothing\.md, which cannot be read"):
        hooks.on_page_markdown("{{ section: findings/nothing.md }}")
    with pytest.raises(hooks.PluginError, match="does not know"):
        hooks.on_page_markdown("{{ nonsense }}")


@pytest.mark.skipif(hooks is None or shutil.which("doxygen") is None, reason="scripts/docs.sh installs what is missing")
def test_an_undocumented_function_fails(tmp_path: Path) -> None:
    """Doxygen is as strict as scripts/docs.sh promises."""
    text = (DOCS / "Doxyfile").read_text(encoding="utf-8")
    (tmp_path / "include" / "rrn").mkdir(parents=True)
    documented = "// A file.\n// Adds one.\nnamespace a {\n\n// Adds one.\nint Add(int number);\n\n}  // namespace a\n"
    header = tmp_path / "include" / "rrn" / "a.h"
    (tmp_path / "Doxyfile").write_text(text.replace("python/docs/doxygen_filter.py", str(DOCS / "doxygen_filter.py")))
    environment = os.environ | {"RRN_PYTHON": sys.executable, "RRN_DOCS_OUTPUT": str(tmp_path)}

    def run() -> subprocess.CompletedProcess[str]:
        command = ["doxygen", "Doxyfile"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    header.write_text(documented)
    assert run().returncode == 0
    header.write_text(documented.replace("// Adds one.\nint", "int"))
    assert run().returncode != 0
