"""The design's rules for the Python package, as tests that fail."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, is_test, name_of, tracked_files

PACKAGE = ROOT / "python" / "rrn_native"
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 40
    return found


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


# ---- Directions ----------------------------------------------------------------------------------------------------


LINT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from importlinter.cli import lint_imports_command
lint_imports_command()
"""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", LINT, str(folder), "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_downwards() -> None:
    pytest.importorskip("importlinter")
    run = lint_imports(ROOT / "python")
    assert run.returncode == 0, run.stdout + run.stderr


# A line planted in a module, and the import that it makes.
PLANTED = {
    "analysis/metrics.py": ("from rrn_native.cli import common", "analysis.metrics -> rrn_native.cli.common"),
    "analysis/explain.py": ("from rrn_native.model import weights", "analysis.explain -> rrn_native.model.weights"),
    "arrays.py": ("from rrn_native import embedder", "arrays -> rrn_native.embedder"),
    "query.py": ("import rrn_native.doctor", "query -> rrn_native.doctor"),
    "cli/find.py": ("from rrn_native.cli import query", "cli.find -> rrn_native.cli.query"),
}


def test_imports_upwards_are_found(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    shutil.copytree(PACKAGE, tmp_path / "rrn_native", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for module, (line, _) in PLANTED.items():
        with (tmp_path / "rrn_native" / module).open("a") as file:
            file.write(f"\n{line}\n")
    run = lint_imports(tmp_path)
    assert run.returncode == 1
    for _, broken in PLANTED.values():
        assert f"rrn_native.{broken}" in run.stdout, run.stdout


def test_every_verb_is_independent_of_the_others() -> None:
    listed = next(each["modules"] for each in CONFIGURATION["tool"]["importlinter"]["contracts"] if "modules" in each)
    from rrn_native import cli

    assert listed == [
        f"rrn_native.cli.{verb.replace('-', '_')}" for verb in sorted(cli.VERBS) if not cli.VERBS[verb].module
    ]


IMPORTED = """
import json, sys
before = set(sys.modules)
import rrn_native
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_import_loads_numpy_and_nothing_else() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        env={"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    outside = {name for name in json.loads(run.stdout) if name not in sys.stdlib_module_names}
    assert outside == {"numpy", "rrn_native"}


OPS = ROOT / "python" / "rrn_ops"


def ops_violations(part: str, code: str) -> list[str]:
    """Imports of a module of rrn_ops that are another part's, or private to rrn_native."""
    found = []
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            words = name.split(".")
            if words[0] == "rrn_ops" and words[1:2] not in ([], [part]):
                found.append(name)
            if words[0] == "rrn_native" and any(word.startswith("_") and word != "__version__" for word in words):
                found.append(name)
    return found


def test_parts_of_rrn_ops_are_independent_and_use_public_names() -> None:
    paths = [path for path in sorted(OPS.rglob("*.py")) if path.parent != OPS]
    assert len(paths) > 15
    for path in paths:
        part = path.relative_to(OPS).parts[0]
        assert ops_violations(part, path.read_text()) == [], path.relative_to(OPS)


@pytest.mark.parametrize(
    "code",
    [
        "from rrn_ops.conversion import vit",
        "import rrn_ops.conversion.vit",
        "from rrn_native._old_index import import_index",
        "from rrn_native import _old_index",
        "import rrn_native._load",
    ],
)
def test_wrong_imports_of_rrn_ops_are_found(code: str) -> None:
    assert ops_violations("serving", code)
    assert not ops_violations("serving", "import rrn_native\nfrom rrn_ops.serving import store\nimport rrn_ops")


# ---- One home ------------------------------------------------------------------------------------------------------


def called(node: ast.AST) -> str:
    return node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""


def replaces_a_file(node: ast.AST) -> bool:
    """os.replace, os.rename, Path.rename, shutil.move, tempfile's names, and Path.replace (str.replace takes two)."""
    if isinstance(node, ast.Call) and called(node) == "replace":
        return (len(node.args) == 1 and not node.keywords) or ast.unparse(node.func) == "os.replace"
    return called(node) in ("rename", "move", "NamedTemporaryFile", "mkstemp")


def imports_hashlib(node: ast.AST) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return "hashlib" in names or (isinstance(node, ast.ImportFrom) and node.module == "hashlib")


def names_the_cache(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("XDG_CACHE_HOME", ".cache", ".cache/rrn", "RRN_CACHE")


def sets_an_exit_code(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        words = ("USAGE", "READABLE", "RUNTIME_ERROR", "INTERRUPTED", "PIPE")
        return any(word in ast.unparse(target).upper() for target in targets for word in words)
    return False


def makes_a_parser(node: ast.AST) -> bool:
    return called(node) == "ArgumentParser" or (
        isinstance(node, ast.ClassDef) and any("ArgumentParser" in ast.unparse(base) for base in node.bases)
    )


def makes_one_line(node: ast.AST) -> bool:
    """ " ".join(text.split()) or splitlines(), white space replaced by re.sub, or control characters taken out."""
    if called(node) == "join" and isinstance(node, ast.Call) and len(node.args) == 1:
        inner = node.args[0]
        return called(inner) == "splitlines" or (called(inner) == "split" and not inner.args)  # type: ignore[attr-defined]
    if called(node) == "sub" and isinstance(node, ast.Call):
        words = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
        return " " in words and any(re.search(r"\\s|\\n|\n", str(each)) for each in words)
    return isinstance(node, ast.Constant) and node.value == "\x7f"


def writes_in_place(node: ast.AST) -> bool:
    """Path.write_bytes, write_text and every open for writing; results.write_bytes of research writes whole files."""
    if not isinstance(node, ast.Call):
        return False
    function = ast.unparse(node.func)
    if called(node) in ("write_bytes", "write_text"):
        return function != "results.write_bytes"
    if function.rpartition(".")[2] not in ("open", "fdopen"):
        return False
    # The first argument is a mode for a method of a path alone.
    first = (
        1 if function in ("open", "io.open", "os.fdopen", "gzip.open", "bz2.open", "lzma.open", "codecs.open") else 0
    )
    modes = [*node.args[first : first + 1], *(each.value for each in node.keywords if each.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant) and re.match(r"(?=.*[wax+])[rwaxbt+]+$", str(mode.value)) for mode in modes
    )


def identifies_a_file(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("st_ino", "st_mtime_ns", "st_ctime_ns", "samefile")


def loads_onnx(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("onnx.load", "onnx.load_model")


HOMES = {
    "write to a temporary name and rename": (replaces_a_file, "files.py"),
    "SHA-256": (imports_hashlib, "files.py"),
    "the cache folder": (names_the_cache, "files.py"),
    "file identity": (identifies_a_file, "files.py"),
    "exit codes": (sets_an_exit_code, "cli/common.py"),
    "the argument parser": (makes_a_parser, "cli/parser.py"),
    "make it one line": (makes_one_line, "_text.py"),
    "read an ONNX file": (loads_onnx, "_onnx.py"),
}


@pytest.mark.parametrize("what", sorted(HOMES))
def test_one_home(what: str) -> None:
    found, home = HOMES[what]
    assert {name(path) for path in modules() if any(found(node) for node in nodes(path))} == {home}


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("write to a temporary name and rename", "partial.replace(path)"),
        ("write to a temporary name and rename", "os.replace(a, b)"),
        ("SHA-256", "from hashlib import sha256"),
        ("the cache folder", "Path.home() / '.cache' / 'rrn'"),
        ("file identity", "found.st_ino"),
        ("exit codes", "_USAGE = 2"),
        ("the argument parser", "argparse.ArgumentParser()"),
        ("make it one line", "' '.join(str(error).split())"),
        ("make it one line", "' '.join(text.splitlines())"),
        ("make it one line", r"re.sub(r'\s+', ' ', text)"),
        ("make it one line", r"re.sub('[\n ]+', ' ', text)"),
        ("read an ONNX file", "onnx.load(path)"),
    ],
)
def test_a_second_home_is_found(what: str, code: str) -> None:
    assert any(HOMES[what][0](node) for node in ast.walk(ast.parse(code)))


_BY_NAME = "the file with a temporary name that replace_file hands out"
WRITERS = {
    "files.py": "the home of writing a file",
    "bench.py": "pictures in a temporary folder",
    "model/runtimes.py": "a list in a temporary folder",
    "model/weights.py": _BY_NAME,
}


def test_results_are_written_whole() -> None:
    assert {name(path) for path in modules() if any(writes_in_place(node) for node in nodes(path))} == set(WRITERS)


# The same in research, whose programs write results: what, and the files that may do it, each with its reason.
_TORCH = "torch.save writes a file of its own under a temporary name"
HOMES_OF_RESEARCH = {
    "write to a temporary name and rename": {
        "research/common/results.py": "the home of writing a result",
        "research/common/downloads.py": "a file that is fetched, which gets its name when its checksum is right",
        "research/common/examples.py": "a folder, which gets its name when it is complete",
        "research/report/document.py": "a file that pandoc reads and that is gone afterwards",
        "research/training/trainer.py": _TORCH,
        "research/tuning/plan.py": "files of a run that is over, moved into a folder beside it",
    },
    "write in place": {
        "research/common/results.py": "the home of writing a result",
        "research/common/downloads.py": "under a temporary name",
        "research/common/examples.py": "in the folder that gets its name when it is complete",
        "research/benchmarks/peers_setup.py": "a mark that packages are installed; without it they are installed again",
        "research/benchmarks/rerun.py": "pictures to measure with, in a temporary folder",
        "research/benchmarks/process.py": "what a program prints, in a temporary folder",
        "research/circle/folders.py": "an empty file, which marks a folder as made by the study",
        "research/circle/unequal.py": "a number for the kernel, which then begins to look for the peak of memory again",
        "research/training/session.py": "a log, which grows by lines",
        "research/tuning/plan.py": "an empty file, for its lock",
        "research/tuning/search.py": "cuts the last line of a journal off that a killed process left incomplete",
    },
    "make it one line": {
        "research/common/results.py": "a list of numbers of JSON on one line",
        "research/report/results.py": "parts of a sentence of the template",
    },
    "the cache folder": {"research/common/places.py": "the one that says where it is"},
    "file identity": {},
}


@pytest.mark.parametrize("what", sorted(HOMES_OF_RESEARCH))
def test_one_home_in_research(what: str) -> None:
    check = writes_in_place if what == "write in place" else HOMES[what][0]
    # peers/ and plain_script.py run under the Python of other tools.
    files = [
        path for path in sorted((ROOT / "research").rglob("*.py")) if path.name not in ("plain_script.py", "tiny.py")
    ]
    files = [path for path in files if path.parent.name != "peers" and not is_test(path) and path.stem != "conftest"]
    assert len(files) > 40
    found = {name_of(path) for path in files if any(check(node) for node in nodes(path))}
    assert found == set(HOMES_OF_RESEARCH[what])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open(path, 'w')", True),
        ("open(path, mode='ab')", True),
        ("io.open(path, 'r+')", True),
        ("os.fdopen(descriptor, 'wb')", True),
        ("(folder / 'log').open('a')", True),
        ("path.open('w', encoding='utf-8')", True),
        ("path.write_text(text)", True),
        ("open('a')", False),
        ("open(path, 'rb')", False),
        ("path.open()", False),
        ("zipfile.ZipFile(path).open('word/document.xml')", False),
        ("results.write_bytes(path, content)", False),
    ],
)
def test_writing_in_place_is_found(code: str, expected: bool) -> None:
    assert any(writes_in_place(node) for node in ast.walk(ast.parse(code))) is expected


def test_exit_codes_have_names() -> None:
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for node in nodes(path):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
                assert node.value.value not in (2, 3, 4, 130, 141), f"{path.name}:{node.lineno}"


# ---- Spellings -----------------------------------------------------------------------------------------------------


def test_a_command_has_one_spelling() -> None:
    for path in tracked_files():
        if name_of(path).startswith(("findings/", "research/report/")) or path == Path(__file__):
            continue
        if path.suffix in (".py", ".md", ".sh", ".cc", ".h"):
            assert "-m rrn_native." not in path.read_text(), name_of(path)


def test_library_modules_are_no_programs() -> None:
    for path in modules():
        if path.name != "__main__.py":
            assert "__main__" not in path.read_text(), name(path)
        if path.parent != PACKAGE / "cli":
            assert "argparse" not in path.read_text(), name(path)


# ---- Tests that can fail -------------------------------------------------------------------------------------------


def alternatives(code: str) -> list[int]:
    """Lines of asserts that one of two things satisfies, so that the other is never tested."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or)
    ]


def test_asserts_have_one_expectation() -> None:
    tests = [path for path in tracked_files() if path.suffix == ".py" and (is_test(path) or path.name == "conftest.py")]
    assert len(tests) > 40
    assert {name_of(path): lines for path in tests if (lines := alternatives(path.read_text()))} == {}


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("assert a or b", [1]),
        ("def test():\n    assert not a or b == 2, 'why'", [2]),
        ("assert (a and b) or c", [1]),
        ("assert all(a or b for a in c)", []),
        ("assert (a or b) == c", []),
        ("if a or b:\n    assert c", []),
    ],
)
def test_an_alternative_is_found(code: str, lines: list[int]) -> None:
    assert alternatives(code) == lines
