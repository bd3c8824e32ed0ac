"""The rules of the design, as tests that fail. `test_planted` shows that each check finds what it looks for.

What concerns Python alone (layers, one home for a purpose, extras) is in test_python_rules.py; parity of names and
defaults is in native/test_parity.py.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "inference" / "src"

# Which rooms a room may include from, besides include/rrn.
ROOMS: dict[str, set[str]] = {
    "base": set(),
    "reduction": set(),
    "image": {"base"},
    "search": {"base"},
    "engine": {"base"},
    "similarity": {"base"},
    "onnx_op": {"reduction"},
    "torch_op": {"reduction"},
    "program": {"base"},
}
# Which public headers.
PUBLIC = {
    "base": {"status.h"},
    "reduction": {"reduction.h"},
    "image": {"image.h", "status.h"},
    "search": {"progress.h", "search.h", "status.h"},
    "engine": {"embedder.h", "image.h", "progress.h", "status.h", "version.h"},
    "similarity": {"embedder.h", "image.h", "progress.h", "search.h", "similarity.h", "status.h"},
    "onnx_op": {"reduction.h"},
    "torch_op": {"reduction.h"},
    "program": {"embedder.h", "image.h", "progress.h", "search.h", "similarity.h", "status.h", "version.h"},
}
# Third parties and the rooms that may know them; tests may also know what they make files with.
THIRD_PARTIES = {
    r"onnxruntime": {"engine", "onnx_op"},
    r"torch/|ATen/|c10/": {"torch_op"},
    r"jpeglib|turbojpeg|png\.h|webp/|tiff|gif_lib|libdeflate": {"image"},
    r"hnswlib": {"search"},
    r"nlohmann": {"engine"},
    r"xxhash|xxh3": {"base"},
    r"sqlite": {"store"},
}
# Headers of base with one user so far, each with its reason.
ONE_USER = {
    "cache_folder.h": "the one home of the cache folder, which a store of embeddings will share",
    "hash.h": "the one home of hashing, which a store of embeddings will share",
}
FOLDERS_OF_INCLUDES = {"rrn", "testing", *ROOMS}


def includes(text: str) -> list[tuple[str, str]]:
    """The opening delimiter and the name of each include."""
    return re.findall(r'^#include ([<"])([^>"]+)[>"]', text, re.MULTILINE)


def sources(room: str) -> list[Path]:
    return [path for path in sorted((SOURCE / room).rglob("*")) if path.suffix in (".cc", ".h", ".cu")]


def room_violations(room: str, text: str, is_test: bool = False) -> list[str]:
    found = []
    for quote, name in includes(text):
        folder, _, file = name.partition("/")
        if quote == '"' and folder not in FOLDERS_OF_INCLUDES:
            found.append(f'"{name}" is neither "room/file.h" nor <...>')
        elif folder == "rrn" and file not in PUBLIC[room]:
            found.append(f"public header {name}")
        elif quote == '"' and folder in ROOMS and folder not in ROOMS[room] | {room} and not is_test:
            found.append(f"another room's {name}")
        elif quote == '"' and folder == "testing" and not is_test:
            found.append(f"{name} is for tests")
        for party, rooms in THIRD_PARTIES.items():
            if re.match(party, name) and room not in rooms:
                found.append(f"third party {name}")
    return found


def is_test(path: Path) -> bool:
    return path.stem.endswith("_test") or path.stem.startswith("test_")


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_include_what_they_may(room: str) -> None:
    assert sources(room)
    for path in sources(room):
        # A test may use the public headers of all that its room is linked with.
        text = path.read_text()
        found = room_violations(room, text, is_test(path))
        if is_test(path):
            found = [line for line in found if not line.startswith("public header")]
        assert not found, f"{path.relative_to(ROOT)}: {found}"


def test_every_room_is_known() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir()} == set(ROOMS)


def test_base_is_what_two_rooms_need() -> None:
    users: dict[str, set[str]] = {path.name: set() for path in (SOURCE / "base").glob("*.h")}
    for room in ROOMS:
        for path in sources(room):
            if is_test(path):
                continue
            for _, name in includes(path.read_text()):
                if name.startswith("base/") and room != "base":
                    users[name.removeprefix("base/")].add(room)
    # A header that another one of base includes has that one's users.
    for name in users:
        for path in (SOURCE / "base").glob("*.h"):
            if f'"base/{name}"' in path.read_text() and path.name != name:
                users[name] |= users[path.name]
    assert {name: rooms for name, rooms in users.items() if len(rooms) < 2 and name not in ONE_USER} == {}
    assert all(len(users[name]) < 2 for name in ONE_USER), "an exception that is not needed any more"


def test_public_headers_name_no_third_party_type() -> None:
    headers = sorted((ROOT / "include" / "rrn").glob("*.h"))
    assert headers
    for header in headers:
        code = "\n".join(line.split("//")[0] for line in header.read_text().splitlines())
        for word in ("Ort::", "torch::", "at::", "cv::", "cudaStream_t ", "jpeg_", "png_", "nlohmann", "CLI::"):
            assert word not in code, f"{header.name} mentions {word}"
        for _, name in includes(code):
            assert name.startswith("rrn/") or "." not in name, f"{header.name} includes {name}"


PRINTING = ("std::cout", "std::cerr", "printf", "__printf_chk", "fprintf", "__fprintf_chk", "puts", "fputs", "putchar")
FORBIDDEN = (*PRINTING, "fwrite", "perror", "exit", "_exit", "abort")


def undefined_symbols(library: Path) -> str:
    listing = subprocess.run(["nm", "-uC", str(library)], capture_output=True, text=True, check=True).stdout
    # nvcc's own start-up code in *.cu.o may exit and allocate.
    members = [member for member in listing.split("\n\n") if not member.lstrip().partition(":")[0].endswith(".cu.o")]
    assert members
    return "\n".join(members)


def uses(symbols: str, name: str) -> bool:
    return re.search(rf"^\s+U {re.escape(name)}(\(.*\))?(@.*)?$", symbols, re.MULTILINE) is not None


@pytest.mark.parametrize("name", ["base", "reduction", "image", "search", "engine", "similarity"])
def test_libraries_never_print_exit_or_abort(name: str) -> None:
    symbols = undefined_symbols(ROOT / ("lib" if name == "reduction" else "build/lib") / f"librrn_{name}.a")
    assert not [forbidden for forbidden in FORBIDDEN if uses(symbols, forbidden)]


def test_kernels_allocate_nothing_and_know_no_framework() -> None:
    symbols = undefined_symbols(ROOT / "lib" / "librrn_reduction.a")
    for name in ("operator new", "operator new[]", "malloc", "calloc", "realloc", "aligned_alloc"):
        assert not uses(symbols, name), name
    assert "Ort" not in symbols and "at::" not in symbols and "c10::" not in symbols


def test_one_table_of_cases_for_every_backend() -> None:
    users = {
        "inference/src/reduction/reduction_test.cc",
        "inference/src/onnx_op/onnx_op_test.cc",
        "inference/src/torch_op/torch_op_test.cc",
        "research/gpu/reduction_check.cu",
    }
    for user in users:
        assert '#include "reduction/reduction_cases.h"' in (ROOT / user).read_text(), user


def throw_violations(text: str) -> list[str]:
    code = re.sub(r'//.*|"(\\.|[^"\\])*"', "", text)
    return re.findall(r"\bthrow\b[^;]*;", code)


def test_errors_are_values() -> None:
    # Exceptions of libraries are caught where they arise. The two adapters report errors as their frameworks do; the
    # exception of onnx_op ends before the C interface.
    for room in set(ROOMS) - {"onnx_op", "torch_op"}:
        for path in sources(room):
            if not is_test(path):
                assert not throw_violations(path.read_text()), path.relative_to(ROOT)


@pytest.mark.parametrize("room", ["onnx_op", "torch_op"])
def test_adapters_stay_thin(room: str) -> None:
    for path in sources(room):
        if not is_test(path):
            assert len(path.read_text().splitlines()) <= 110, f"{path.name} does more than adapt"


def test_few_options() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    options = set(re.findall(r"(?:option|set)\((RRN_(?:BUILD|WITH)_\w+)", text))
    assert 0 < len(options) < 10


def test_the_operator_library_exports_one_symbol() -> None:
    library = ROOT / "lib" / "libreduction_op.so"
    names = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in names.stdout.splitlines()] == ["RegisterCustomOps"]


def getenv_violations(text: str) -> list[str]:
    return re.findall(r"\b(?:secure_)?getenv\b", text)


def test_only_the_engine_and_base_read_the_environment() -> None:
    """The cache folder ($XDG_CACHE_HOME, $HOME) and the plugin's place ($RRN_OPENVINO_EP); the search reads none."""
    for room in set(ROOMS) - {"base", "engine", "program"}:
        for path in sources(room):
            if not is_test(path):
                assert not getenv_violations(path.read_text()), path.relative_to(ROOT)


def tracked_files() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in run.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


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
    names = [str(path.relative_to(ROOT)) for path in tracked_files()]
    text = (ROOT / "HACKING.md").read_text(encoding="utf-8")
    assert set(missing_paths(text, names)) <= NOT_TRACKED
    planted = "`engine/session.cc` `engine/session.{cc,txt}` `no_such.py` `scripts/` `session.cc`"
    assert missing_paths(planted, names) == ["engine/session.txt", "no_such.py"]


# Sizes. ------------------------------------------------------------------------------------------------------------

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 6

# Exceptions, each with its reason.
_TABLE = "one table of cases, which reads best in one place"
_DRIVER = "the parameters of the CUDA launch, in its order"
LONG_FILES = {
    "inference/src/image/hostile_test.cc": _TABLE,
    "inference/src/image/image_test.cc": "one case after another for each format",
    "inference/src/reduction/reduction_kernel.h": "the order of every sum, documented where it is computed",
}
LONG_FUNCTIONS = {
    "inference/src/image/hostile_test.cc:Samples": _TABLE,
    "inference/src/image/png_inflate.cc:InflatePng": "one pass over the chunks of a file",
    "inference/src/image/test_files.h:EncodeTiff": "one list of tags",
    "inference/src/program/command_line.cc:Find": "the order of the outputs of a run",
    "inference/src/reduction/reduction_index.h:MakeMapsGeometry": "one geometry, step by step",
    "python/tests/native/test_quantize.py:small_network": "one network, layer by layer",
    "research/evaluation/evaluate.py:_parser": "one list of options",
    "research/gpu/reduction_check.cu:RunBench": _TABLE,
    "research/gpu/torch_parts.py:table": _TABLE,
}
MANY_PARAMETERS = {
    "bindings/similarity.cc:Find": "called by keyword only, from one place in Python",
    "include/rrn/reduction.h:ReduceCuda": _DRIVER,
    "inference/src/image/no_jbig.h:jbg_enc_init": "the signature of another library",
    "inference/src/image/test_files.h:AnimatedWebp": "the fields of a frame",
    "inference/src/reduction/reduction.cc:Average": "an inner loop",
    "inference/src/reduction/reduction.cc:ReduceTile": "an inner loop",
    "inference/src/reduction/reduction_cuda.cu:Launch": _DRIVER,
    "inference/src/reduction/reduction_cuda.cu:ReduceCuda": _DRIVER,
    "inference/src/reduction/reduction_emulator.h:EmulateReduction": _DRIVER,
    "inference/src/reduction/reduction_no_cuda.cc:ReduceCuda": _DRIVER,
    "inference/src/search/approximate.cc:PairsOfRows": "an inner loop",
    "inference/src/search/approximate.cc:SearchGraph": "an inner loop",
    "research/gpu/reduction_check.cu:TwoPasses": _DRIVER,
    "research/report/charts.py:box": "the corners and texts of a drawing",
}


def long_cpp_functions(text: str) -> list[tuple[str, int]]:
    """Functions that begin and end in the first column, as clang-format lays out all that are not inside a class."""
    found = []
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines):
        if re.match(r"^[A-Za-z].*[({,]$|^[A-Za-z].*\) (?:const )?(?:noexcept )?\{$", line) and not re.match(
            r"^(?:namespace|class|struct|enum|union|extern|#)", line
        ):
            start = number if start is None else start
        elif line == "}" and start is not None:
            if number - start + 1 > MOST_LINES_OF_A_FUNCTION:
                found.append((lines[start].split("(")[0].split()[-1], number - start + 1))
            start = None
        elif line and not line[0].isspace() and not line.startswith((")", "}", "//")):
            start = number if re.match(r"^[A-Za-z].*\($", line) else None
    return found


def cpp_parameters(text: str) -> list[tuple[str, int]]:
    """Functions that are declared or defined at most one level deep, with their number of parameters."""
    code = re.sub(r'//.*|"(\\.|[^"\\])*"', "", text)
    found = []
    for match in re.finditer(
        r"^ {0,2}(?!return|if|for|while|switch|else)[A-Za-z_][\w:<>,&* ]* [*&]?([\w:~]+)\(", code, re.M
    ):
        depth, count, at, angle = 1, 0, match.end(), 0
        empty = True
        while at < len(code) and depth > 0:
            char = code[at]
            depth += (char in "([{") - (char in ")]}")
            angle += (char == "<") - (char == ">" and code[at - 1] != "-")
            count += char == "," and depth == 1 and angle == 0
            empty = empty and char in " \n)"
            at += 1
        parameters = 0 if empty else count + 1
        if parameters > MOST_PARAMETERS and re.match(r"\s*(?:const)?\s*(?:noexcept)?\s*(?:\{|;|=)", code[at:]):
            found.append((match[1], parameters))
    return found


def python_violations(text: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Functions that are too long (without their docstring), and those with too many positional parameters."""
    long, many = [], []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
        length = (node.end_lineno or 0) - body[0].lineno + 1
        if length > MOST_LINES_OF_A_FUNCTION:
            long.append((node.name, length))
        names = [
            argument.arg for argument in node.args.posonlyargs + node.args.args if argument.arg not in ("self", "cls")
        ]
        if len(names) > MOST_PARAMETERS:
            many.append((node.name, len(names)))
    return long, many


def source_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix in (".cc", ".h", ".cu", ".py", ".sh", ".js", ".cmake")]


def test_files_have_one_purpose() -> None:
    long = {}
    for path in source_files():
        lines = len(path.read_text().splitlines())
        if lines > MOST_LINES:
            long[path.relative_to(ROOT).as_posix()] = lines
    assert {name: lines for name, lines in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "an exception that is not needed any more"


def test_functions_fit_on_a_page() -> None:
    long, many = {}, {}
    for path in source_files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            too_long, too_many = python_violations(path.read_text())
        elif path.suffix in (".cc", ".h", ".cu"):
            too_long, too_many = long_cpp_functions(path.read_text()), cpp_parameters(path.read_text())
        else:
            continue
        long |= {f"{name}:{function}": lines for function, lines in too_long}
        many |= {f"{name}:{function}": count for function, count in too_many}
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert {name: count for name, count in many.items() if name not in MANY_PARAMETERS} == {}
    assert set(LONG_FUNCTIONS) <= set(long) and set(MANY_PARAMETERS) <= set(many), (
        "an exception that is not needed any more"
    )


# Words. ------------------------------------------------------------------------------------------------------------

WORDS = re.compile(
    r"\b([Ww]hoever|[Ss]hall|[Aa]new|so many|by heart|in vain|none other|(?:is|are) none|be had|their likes|its like"
    r"|for ever|hearken|lest|thereof|whilst|upon|albeit|what is more,"
    r"|(?:by|in|of|the) falling|falling (?:order|number|similarity|size|count|modification|detail))\b"
)
TEXTS = (
    ".cc",
    ".h",
    ".cu",
    ".py",
    ".pyi",
    ".md",
    ".sh",
    ".cmake",
    ".txt",
    ".toml",
    ".js",
    ".html",
    ".yml",
    ".ipynb",
    ".json",
)
# Texts of others, results that were measured, and this list.
NOT_OURS = ("LICENSE", "models/LICENSES.md", "findings/", "python/tests/test_rules.py")


def word_violations(text: str) -> list[str]:
    return [match[0] for match in WORDS.finditer(text)]


def test_plain_words() -> None:
    found = {}
    for path in tracked_files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in TEXTS and not name.startswith(NOT_OURS):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if words := word_violations(line):
                    found[f"{name}:{number}"] = words
    assert found == {}


# The checks themselves. --------------------------------------------------------------------------------------------

LONG_CPP = "int Long(int a,\n         int b) {\n" + "  a = b;\n" * 60 + "}\n"
MANY_CPP = "void Many(int a, int b, std::map<int, int> c, int d, int e, int f, int g);\n"


@pytest.mark.parametrize(
    ("check", "bad", "good"),
    [
        (lambda text: room_violations("image", text), '#include "engine/session.h"\n', '#include "base/text.h"\n'),
        (lambda text: room_violations("search", text), '#include "rrn/embedder.h"\n', '#include "rrn/search.h"\n'),
        (lambda text: room_violations("image", text), '#include "decoders.h"\n', '#include "image/decoders.h"\n'),
        (lambda text: room_violations("similarity", text), "#include <onnxruntime_c_api.h>\n", "#include <string>\n"),
        (lambda text: room_violations("base", text), '#include "testing/pictures.h"\n', '#include "rrn/status.h"\n'),
        (throw_violations, 'throw std::runtime_error("no");', '// never throw;\nf("throw x;");'),
        (getenv_violations, 'std::getenv("RRN_SEARCH_PATH")', "options.target"),
        (lambda text: uses(text, "printf"), "                 U printf@GLIBC_2.2.5\n", "                 U snprintf\n"),
        (lambda text: uses(text, "operator new"), "                 U operator new(unsigned long)\n", "  U memcpy\n"),
        (long_cpp_functions, LONG_CPP, LONG_CPP.replace("  a = b;\n" * 60, "  a = b;\n")),
        (cpp_parameters, MANY_CPP, MANY_CPP.replace(", int g", "")),
        (lambda text: python_violations(text)[0], "def f():\n" + "    x = 1\n" * 61, "def f():\n" + "    x = 1\n" * 60),
        (
            lambda text: python_violations(text)[1],
            "def f(a, b, c, d, e, f, g): ...",
            "def f(a, b, c, d, e, f, *, g): ...",
        ),
        (
            word_violations,
            "Whoever reads this shall sort by falling size.",
            "Readers sort by descending size; None is None.",
        ),
    ],
)
def test_planted(check: Callable[[str], object], bad: str, good: str) -> None:
    assert check(bad)
    assert not check(good)
