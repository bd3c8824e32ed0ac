"""The rules of the design for C++, as tests that fail. `test_planted` shows that each check finds what it looks for.

Sizes, words and paths have files of their own; what has one home in C++ is in test_homes.py. What concerns Python alone
(layers, one home for a purpose, extras) is in test_python_rules.py; parity of names and defaults is in
native/test_parity.py.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import BINDINGS, ROOT, SOURCE, cpp_code, cpp_files, is_test, name_of, tracked_files

# Which rooms a room may include from, besides include/rrn.
ROOMS: dict[str, set[str]] = {
    "base": set(),
    "reduction": set(),
    "image": {"base"},
    "search": {"base"},
    "store": {"base"},
    "engine": {"base"},
    "similarity": {"base"},
    "onnx_op": {"reduction"},
    "torch_op": {"reduction"},
    "triton_backend": {"base"},
    "program": {"base"},
    # `rrn find` and `rrn compare` are the program's own command line, so module.cc calls it.
    "bindings": {"program"},
}
# Which public headers.
PUBLIC = {
    "base": {"status.h"},
    "reduction": {"reduction.h"},
    "image": {"image.h", "status.h"},
    "search": {"progress.h", "search.h", "status.h"},
    "store": {"progress.h", "status.h", "store.h"},
    "engine": {"detector.h", "embedder.h", "image.h", "progress.h", "status.h", "version.h"},
    "similarity": {"embedder.h", "image.h", "progress.h", "search.h", "similarity.h", "status.h", "store.h"},
    "onnx_op": {"reduction.h"},
    "torch_op": {"reduction.h"},
    "triton_backend": {"embedder.h", "status.h"},
    "program": {"embedder.h", "image.h", "progress.h", "search.h", "similarity.h", "status.h", "store.h", "version.h"},
    "bindings": {
        "detector.h",
        "embedder.h",
        "image.h",
        "reduction.h",
        "search.h",
        "similarity.h",
        "status.h",
        "store.h",
        "version.h",
    },
}
# Includes against the table, each with its reason.
EXCEPTIONS = {
    "bindings/no_jbig.cc": (
        {"image/no_jbig.h"},
        "a shared library of its own, which the wheel has in place of libjbig",
    ),
}
# bindings/ is one folder outside inference/src, whose files find each other by their bare names.
BARE_NAMES = {"bindings": {path.name for path in BINDINGS.glob("*.h")}}
# Third parties and the rooms that may know them; tests may also know what they make files with.
THIRD_PARTIES = {
    r"onnxruntime|\bort_": {"engine", "onnx_op"},
    r"\bopenvino\b": {"engine"},
    r"\b(?:torch|ATen|c10)/": {"torch_op"},
    r"jpeglib|turbojpeg|\bpng\.h|\bwebp/|tiff|gif_lib|libdeflate": {"image"},
    r"\bopencv": set(),
    r"\bpybind11\b|\bPython\.h": {"bindings"},
    r"hnswlib": {"search"},
    r"nlohmann": {"engine", "triton_backend"},
    r"xxhash|xxh3": {"base"},
    r"sqlite": {"store"},
}
# Headers of base with one user so far, each with its reason.
ONE_USER: dict[str, str] = {}
FOLDERS_OF_INCLUDES = {"rrn", "testing", *ROOMS}


def includes(text: str) -> list[tuple[str, str]]:
    """The opening delimiter and the name of each include; a macro's name has no delimiter."""
    code = cpp_code(text, strings=True)
    found = re.findall(
        r'^[ \t]*#[ \t]*(?:include|include_next|import)\b[ \t]*(?:([<"])([^>"\n]+)[>"]|(\w+))', code, re.M
    )
    return [(quote, name or macro) for quote, name, macro in found]


def sources(room: str) -> list[Path]:
    return cpp_files(BINDINGS if room == "bindings" else SOURCE / room)


def room_violations(room: str, text: str, is_test: bool = False) -> list[str]:
    found = []
    for quote, name in includes(text):
        folder, _, file = name.partition("/")
        ours = folder in FOLDERS_OF_INCLUDES
        right = name in BARE_NAMES.get(room, ()) or quote == ('"' if ours else "<")
        if not right or ".." in name.split("/"):
            found.append(f'{name} is neither "room/file.h" nor <...> of others')
        if folder == "rrn" and file not in PUBLIC[room]:
            found.append(f"public header {name}")
        elif folder in ROOMS and folder not in ROOMS[room] | {room} and not is_test:
            found.append(f"another room's {name}")
        elif folder == "testing" and not is_test:
            found.append(f"{name} is for tests")
        # The folder of a file of our own says nothing about others.
        other = file if ours else name
        for party, rooms in THIRD_PARTIES.items():
            if re.search(party, other) and room not in rooms:
                found.append(f"third party {name}")
    return found


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_include_what_they_may(room: str) -> None:
    assert sources(room)
    for path in sources(room):
        # A test may use the public headers of all that its room is linked with.
        found = room_violations(room, path.read_text(), is_test(path))
        if is_test(path):
            found = [line for line in found if not line.startswith("public header")]
        allowed, _ = EXCEPTIONS.get(name_of(path), (set(), ""))
        assert {line.split()[-1] for line in found} == allowed, f"{name_of(path)}: {found}"


def test_every_room_is_known() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir()} | {"bindings"} == set(ROOMS)


def test_base_is_what_two_rooms_need() -> None:
    users: dict[str, set[str]] = {path.name: set() for path in (SOURCE / "base").glob("*.h")}
    for room in set(ROOMS) - {"bindings"}:
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


NAMESPACES = ("Ort::", "torch::", "at::", "cv::", "CLI::")


def test_public_headers_name_no_third_party_type() -> None:
    headers = sorted((ROOT / "include" / "rrn").glob("*.h"))
    assert headers
    for header in headers:
        code = "\n".join(line.split("//")[0] for line in header.read_text().splitlines())
        for word in (*NAMESPACES, "cudaStream_t ", "jpeg_", "png_", "nlohmann", "sqlite"):
            assert not re.search(rf"(?<!\w){re.escape(word)}", code), f"{header.name} mentions {word}"
        for _, name in includes(code):
            if not name.startswith("rrn/"):
                assert "." not in name, f"{header.name} includes {name}"


PRINTF = tuple(f"{kind}printf" for kind in ("", "v", "f", "vf", "d", "vd"))
PRINTING = ("std::cout", "std::cerr", "std::clog", *PRINTF, *(f"__{name}_chk" for name in PRINTF))
ENDING = ("exit", "_exit", "_Exit", "quick_exit", "abort", "std::abort", "__assert_fail")
FORBIDDEN = (*PRINTING, *ENDING, "puts", "fputs", "putchar", "fputc", "fwrite", "perror", "syslog")
# What the CUDA runtime asks for, which is linked statically. (Nothing follows from the symbols of libreduction_op.so,
# which holds libstdc++ too: that one's sources are looked at alone.)
OF_THE_CUDA_RUNTIME = ("fwrite",)
LIBRARIES = ("base", "reduction", "image", "search", "store", "engine", "similarity")


def undefined_symbols(library: Path) -> str:
    if not library.is_file():
        pytest.skip(f"{library} is not built: scripts/build.sh --tests --torch")
    listing = subprocess.run(["nm", "-uC", str(library)], capture_output=True, text=True, check=True).stdout
    # nvcc's own start-up code in *.cu.o may exit and allocate.
    members = [member for member in listing.split("\n\n") if not member.lstrip().partition(":")[0].endswith(".cu.o")]
    assert members
    return "\n".join(members)


def uses(symbols: str, name: str) -> bool:
    return re.search(rf"^\s+U {re.escape(name)}(\(.*\))?(@.*)?$", symbols, re.MULTILINE) is not None


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_never_print_exit_or_abort(name: str) -> None:
    symbols = undefined_symbols(ROOT / ("lib" if name == "reduction" else "build/lib") / f"librrn_{name}.a")
    assert not [forbidden for forbidden in FORBIDDEN if uses(symbols, forbidden)]


def test_the_torch_library_never_prints_or_exits() -> None:
    symbols = undefined_symbols(ROOT / "lib" / "libreduction_torch.so")
    assert not [name for name in FORBIDDEN if name not in OF_THE_CUDA_RUNTIME and uses(symbols, name)]


# The compiler itself asks for std::terminate, and files are written by write(2), so symbols cannot tell; calls can.
_PRINTS_OR_ENDS = re.compile(
    r"\bstd::(?:cout|cerr|clog|terminate)\b|\b(?:stdout|stderr|STDOUT_FILENO|STDERR_FILENO)\b"
    r"|\b(?:v?[fd]?printf|f?puts|putchar|perror|syslog|quick_exit|_?exit|_Exit|abort|terminate|assert)\s*\("
    r"|\bwrite\s*\(\s*[012]\s*,"
)


def print_violations(text: str) -> list[str]:
    return _PRINTS_OR_ENDS.findall(cpp_code(text))


@pytest.mark.parametrize("room", [*LIBRARIES, "onnx_op", "torch_op", "triton_backend", "bindings"])
def test_sources_of_libraries_never_print_or_exit(room: str) -> None:
    for path in sources(room):
        if not is_test(path):
            assert not print_violations(path.read_text()), name_of(path)


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
    return re.findall(r"\bthrow\b[^;]*;", cpp_code(text))


def test_errors_are_values() -> None:
    # Exceptions of libraries are caught where they arise. The two adapters report errors as their frameworks do; the
    # exception of onnx_op ends before the C interface. The bindings raise.
    for room in set(ROOMS) - {"onnx_op", "torch_op", "bindings"}:
        for path in sources(room):
            if not is_test(path):
                assert not throw_violations(path.read_text()), path.relative_to(ROOT)


@pytest.mark.parametrize("room", ["onnx_op", "torch_op", "triton_backend"])
def test_adapters_stay_thin(room: str) -> None:
    for path in sources(room):
        if not is_test(path):
            assert len(path.read_text().splitlines()) <= 110, f"{path.name} does more than adapt"


# Variables that people set, and that CMake or the place of another library names.
NOT_OUR_OPTIONS = {"ONNXRUNTIME_ROOT", "OnnxRuntime_LIBRARY", "CMAKE_INSTALL_LIBDIR"}


def cmake_options(text: str) -> set[str]:
    """What CMakeLists.txt and modules let people set."""
    code = re.sub(r"#.*", "", text)
    found = re.findall(r"\b(?:cmake_dependent_)?option\s*\(\s*(\w+)", code, re.IGNORECASE)
    found += re.findall(r"\bset\s*\(\s*(\w+)(?:\"[^\"]*\"|[^()\"])*?\sCACHE\s", code, re.IGNORECASE)
    return set(found) - NOT_OUR_OPTIONS


def option_violations(text: str) -> set[str]:
    return {name for name in cmake_options(text) if not re.match(r"RRN_(?:BUILD|WITH)_|RRN_LIB_DIR$", name)}


def test_few_options() -> None:
    texts = [
        path.read_text()
        for path in tracked_files()
        if path.name == "CMakeLists.txt" or path.suffix in (".cmake", ".in")
    ]
    assert len(texts) > 10
    options = set().union(*(cmake_options(text) for text in texts))
    assert not [name for text in texts for name in option_violations(text)]
    assert 5 < len(options) < 10
    named = set(re.findall(r"`(RRN_[A-Z_]+)`", (ROOT / "HACKING.md").read_text().partition("## The rooms")[0]))
    assert options == named - {"RRN_PYTHON"}, "HACKING.md names the options"


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


# What takes long enough that other Python threads have to run meanwhile. Functions of include/rrn that take a callback
# of progress or options of a search are all among them.
LONG_CALLS = {
    *("Create", "FilesFingerprint", "EmbedFiles", "EmbedImages", "Preprocess", "CompareFiles"),
    *("DecodeImage", "ReadImage", "ResizeImage", "EncodeJpeg", "MakeThumbnail", "MeasureDetail", "PreprocessImage"),
    *("FindPairs", "FindNearest", "GroupRows", "GroupPairs", "EstimateSimilarShare", r"UnitRows(?!\(const)"),
    *("Nearest", "Range"),
    *("FindSimilar", "ListFolder", "ListFiles", "RankImages", "WriteText", "WriteJson", "WriteNpy"),
    *("EmbedEncoded", "ReduceCpu", "RunCommandLine", "EmbedThroughStore", "Store::Open", "Verify", "Repair", "Compact"),
}


def _bracket_around(code: str, at: int, opening: str) -> int:
    """The place of the bracket that is open at `at`, or -1."""
    closing = {"(": ")", "{": "}"}[opening]
    depth = 0
    for place in range(at - 1, -1, -1):
        depth += (code[place] == closing) - (code[place] == opening)
        if depth < 0:
            return place
    return -1


def _end_of_bracket(code: str, opened: int) -> int:
    depth = 0
    for place in range(opened, len(code)):
        depth += (code[place] in "({") - (code[place] in ")}")
        if depth == 0:
            return place
    return len(code)


def released(code: str) -> list[tuple[int, int]]:
    """Where the interpreter's lock is not held: in a scope after its release, in a guarded function, in MakeInput."""
    spans = []
    for match in re.finditer(r"call_guard<py::gil_scoped_release>|gil_scoped_release \w+;|\bMakeInput(?=\()", code):
        if match[0] == "MakeInput":
            spans.append((match.end(), _end_of_bracket(code, match.end())))
        elif match[0].startswith("call_guard"):
            opened = _bracket_around(code, match.start(), "(")
            spans.append((opened, _end_of_bracket(code, opened)))
        else:
            end = _end_of_bracket(code, _bracket_around(code, match.start(), "{"))
            again = code.find("gil_scoped_acquire", match.end(), end)
            spans.append((match.end(), end if again < 0 else again))
    return spans


def lock_violations(text: str) -> list[str]:
    """Long calls of the engine that are made with the interpreter's lock."""
    code = cpp_code(text)
    free = released(code)
    # `Rows EmbedImages(` defines what Python calls, `return EmbedImages(` calls; a variable is made by its constructor.
    calls = rf"(?:(?P<type>[\w:>&*]+) +)?(?:rrn::|[\w.>*-]*(?:\.|->))?\b(?P<name>{'|'.join(LONG_CALLS)})(?: \w+)?\("
    return [
        match["name"]
        for match in re.finditer(calls, code)
        if (match["type"] in (None, "return", "co_return", "const", "else") or not re.match(r"\w", match["type"]))
        and not any(begin <= match.start("name") < end for begin, end in free)
    ]


def test_long_calls_release_the_lock() -> None:
    seen = ""
    for path in sources("bindings"):
        assert not lock_violations(path.read_text()), f"{name_of(path)} holds the interpreter's lock"
        seen += path.read_text()
    for name in ("EmbedFiles", "EmbedImages", "FindPairs", "FindNearest", "FindSimilar", "RunCommandLine"):
        assert f"{name}(" in seen


def long_functions(header: str) -> set[str]:
    """Functions that take a callback of progress, or the options of a search, which have one."""
    code = cpp_code(header)
    found = re.findall(r"\b(\w+)\((?=[^;{]*?\b(?:Progress|PhaseProgress|SearchOptions)\b)", code)
    return {name for name in found if name != "function"} - {"CheckSearchOptions"}


def test_all_that_reports_progress_counts_as_long() -> None:
    found = set().union(*(long_functions(path.read_text()) for path in (ROOT / "include" / "rrn").glob("*.h")))
    assert len(found) > 5
    assert found <= LONG_CALLS


# The checks themselves. --------------------------------------------------------------------------------------------


def room(name: str) -> Callable[[str], list[str]]:
    return lambda text: room_violations(name, text)


def locked(call: str) -> str:
    return f"py::tuple Bound(const Rows& rows) {{\n  {call}\n}}\n"


RELEASE = "const py::gil_scoped_release nogil;"


@pytest.mark.parametrize(
    ("check", "bad", "good"),
    [
        (room("image"), '#include "engine/session.h"\n', '#include "base/text.h"\n'),
        (room("image"), "#include <engine/session.h>\n", "#include <cstdio>\n"),
        (room("image"), '  #  include "engine/session.h"\n', '  #  include "base/text.h"\n'),
        (room("image"), '#include"engine/session.h"\n', '// #include "engine/session.h"\n'),
        (room("image"), '#include "image/../engine/session.h"\n', '#include "image/decoders.h"\n'),
        (room("image"), "#include SESSION\n", "#pragma once\n"),
        (room("search"), '#include "rrn/embedder.h"\n', '#include "rrn/search.h"\n'),
        (room("search"), "#include <rrn/embedder.h>\n", '#include "rrn/search.h"\n'),
        (room("search"), "#include <rrn/search.h>\n", '#include "rrn/search.h"\n'),
        (room("image"), '#include "decoders.h"\n', '#include "image/decoders.h"\n'),
        (room("similarity"), "#include <onnxruntime_c_api.h>\n", "#include <string>\n"),
        (room("program"), "#include <core/session/onnxruntime_cxx_api.h>\n", "#include <string>\n"),
        (room("image"), "#include <openvino/openvino.hpp>\n", "#include <jpeglib.h>\n"),
        (room("search"), "#include <libpng16/png.h>\n", "#include <hnswlib/hnswlib.h>\n"),
        (room("engine"), "#include <torch/csrc/api/include/torch/torch.h>\n", "#include <onnxruntime_cxx_api.h>\n"),
        (room("program"), "#include <pybind11/pybind11.h>\n", '#include "program/flags/table.h"\n'),
        (room("base"), '#include "testing/pictures.h"\n', '#include "rrn/status.h"\n'),
        (room("bindings"), '#include "engine/session.h"\n', '#include "program/command_line.h"\n'),
        (room("bindings"), '#include "image/no_jbig.h"\n', '#include "common.h"\n'),
        (room("bindings"), "#include <onnxruntime_cxx_api.h>\n", "#include <pybind11/stl.h>\n"),
        (room("search"), '#include "rrn/store.h"\n', '#include "rrn/search.h"\n'),
        (throw_violations, 'throw std::runtime_error("no");', '// never throw;\nf("throw x;");'),
        (getenv_violations, 'std::getenv("RRN_SEARCH_PATH")', "options.target"),
        (lambda text: uses(text, "printf"), "                 U printf@GLIBC_2.2.5\n", "                 U snprintf\n"),
        (lambda text: uses(text, "operator new"), "                 U operator new(unsigned long)\n", "  U memcpy\n"),
        *(
            (print_violations, bad, "// std::cerr\nout << 1; snprintf(a, 2); write(file, 1, 2); text.exit_code(3);")
            for bad in ("std::clog << 1;", "dprintf(2, text);", "write(2, text, 3);", "::write( 1 , text, 3);")
        ),
        *(
            (print_violations, bad, 'f("std::terminate()"); static_assert(kSize > 2); at_exit(f); t.stdout_text();')
            for bad in (
                "std::terminate();",
                "quick_exit(1);",
                "write(STDERR_FILENO, a, 1);",
                "fwrite(a, 1, 1, stderr);",
            )
        ),
        (option_violations, 'option(WITH_CUDA "c" ON)', 'option(RRN_WITH_CUDA "c" ON)\n# option(NOT_ONE "" ON)'),
        (option_violations, 'set(FAST "a (b)"\n  CACHE STRING "f")', "set(place a)\nunset(RRN_THING CACHE)"),
        (option_violations, "Option( RRN_FAST f OFF )", 'set(RRN_LIB_DIR "a" CACHE PATH "l")'),
        (lock_violations, locked("return FindPairs(rows);"), locked(f"{RELEASE} return FindPairs(rows);")),
        (lock_violations, locked(f"{{ {RELEASE} }} FindPairs(a);"), locked(f"{{ {RELEASE} FindPairs(a); }}")),
        (
            lock_violations,
            locked(f"{RELEASE} const py::gil_scoped_acquire gil; x = embedder.EmbedFiles(a);"),
            locked(f"{RELEASE} x = embedder.EmbedFiles(a); const py::gil_scoped_acquire gil;"),
        ),
        (lock_violations, locked("const UnitRows unit(left);"), locked(f"{RELEASE} const UnitRows unit(left);")),
        (
            lock_violations,
            'm.def("run", [] { return rrn::RunCommandLine(a); });',
            'm.def("run", [] { return rrn::RunCommandLine(a); }, py::call_guard<py::gil_scoped_release>());',
        ),
        (
            lock_violations,
            locked("status = embedder.Preprocess(view, data);"),
            locked("return MakeInput(1, [&](float* data) { return embedder.Preprocess(view, data); });"),
        ),
    ],
)
def test_planted(check: Callable[[str], object], bad: str, good: str) -> None:
    assert check(bad)
    assert not check(good)
