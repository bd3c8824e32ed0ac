"""Sizes: lines of a file, lines of a function, positional parameters; exceptions are listed with a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import CPP, cpp_code, name_of, tracked_files

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 6
SOURCES = (*CPP, ".py", ".sh", ".js", ".css", ".html", ".jinja", ".cmake")

# Exceptions, each with its reason.
_TABLE = "one table of cases, which reads best in one place"
_DRIVER = "the parameters of the CUDA launch, in its order"
LONG_FILES = {
    "inference/src/image/hostile_test.cc": _TABLE,
    "inference/src/image/image_test.cc": "one case after another for each format",
    "inference/src/reduction/reduction_kernel.h": "the order of every sum, documented where it is computed",
    "research/report/report.md.jinja": "one text from its first to its last section",
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
_TRITON = "inference/src/triton_backend/"
MANY_PARAMETERS = {
    **{
        f"{_TRITON}{file}:TRITONBACKEND_{name}": "the signature of another program"
        for file in ("triton_api.h", "triton_backend_test.cc")
        for name in ("InputProperties", "ModelInstanceReportStatistics")
    },
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
    "research/tensorrt/plugin/plugin_test.cc:ReduceCuda": _DRIVER,
    "research/report/charts.py:box": "the corners and texts of a drawing",
}

Sizes = list[tuple[str, int]]

# A constructor's member that is initialised with braces: `: first_{1}` or `, second_{2}`.
_MEMBER = re.compile(r"\)(?:\s*noexcept)?\s*:(?!:).*[\w>]\s*$", re.DOTALL)
# What opens a scope whose functions are looked at in turn.
_SCOPE = re.compile(
    r"(?:^|\s)(?:namespace|class|struct|union|extern)\b(?!.*\)\s*(?:const|noexcept|override|\s)*$)", re.DOTALL
)


def _matching(code: str, at: int) -> int:
    """The place of the bracket that closes the one at `at`; the end of a text that does not close it."""
    depth = 0
    for place in range(at, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if depth == 0:
            return place
    return len(code) - 1


def cpp_functions(text: str) -> Sizes:
    """The functions of namespaces and classes, methods included, and the lines of each with its head."""
    code = re.sub(
        r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", lambda found: "\n" * found[0].count("\n"), cpp_code(text), flags=re.M
    )
    found = []
    start = at = 0  # the beginning of a declaration, and where the scan is
    while at < len(code):
        char = code[at]
        if char in "([":
            at = _matching(code, at)
        elif char in ";}" or (char == ":" and re.search(r"(?:public|private|protected)\s*$", code[start:at])):
            start = at + 1
        elif char == "{":
            head = code[start:at].strip()
            end = _matching(code, at)
            if _SCOPE.search(head):
                start = at + 1
            elif _MEMBER.search(head):
                at = end
            elif "(" in head and not head.endswith("="):
                first = start + len(code[start:at]) - len(code[start:at].lstrip())
                name = re.search(r"(~?\w+)\s*$", head[: head.index("(")])
                found.append((name[1] if name else head.split("(")[0], code.count("\n", first, end) + 1))
                at, start = end, end + 1
            else:
                at = end
        at += 1
    return found


def laid_out_functions(text: str, head: str) -> Sizes:
    """Functions by their layout: a line that `head` matches, up to the next one that is a brace at the same indent."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if match := re.match(rf"( *){head}", line):
            closing = re.compile(rf"{match[1]}\}}")
            end = next((i for i in range(number + 1, len(lines)) if closing.match(lines[i])), len(lines) - 1)
            found.append((match["name"], end - number + 1))
    return found


def script_functions(text: str) -> Sizes:
    """Functions and arrow functions of JavaScript; what has no name goes by its line."""
    return laid_out_functions(
        text, r"(?!(?:if|for|while|switch|\}) )(?=\S)(?:.*\bfunction\b\*?\s*)?(?P<name>[^{]*).*(?:=>|\)) \{$"
    )


def shell_functions(text: str) -> Sizes:
    return laid_out_functions(text, r"(?:function )?(?P<name>[\w-]+) *\(\) *[{(]$")


def too_long(functions: Sizes) -> Sizes:
    return [(name, lines) for name, lines in functions if lines > MOST_LINES_OF_A_FUNCTION]


def cpp_parameters(text: str) -> Sizes:
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


def python_sizes(text: str) -> tuple[Sizes, Sizes]:
    """Functions that are too long (without their docstring), and those with too many positional parameters."""
    long, many = [], []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
        long.append((node.name, (node.end_lineno or 0) - body[0].lineno + 1))
        names = [
            argument.arg for argument in node.args.posonlyargs + node.args.args if argument.arg not in ("self", "cls")
        ]
        if len(names) > MOST_PARAMETERS:
            many.append((node.name, len(names)))
    return too_long(long), many


def sizes(path: Path) -> tuple[Sizes, Sizes]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return python_sizes(text)
    if path.suffix in CPP:
        return too_long(cpp_functions(text)), cpp_parameters(text)
    if path.suffix in (".js", ".html"):
        return too_long(script_functions(text)), []
    return (too_long(shell_functions(text)), []) if path.suffix == ".sh" else ([], [])


def source_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix in SOURCES]


def test_files_have_one_purpose() -> None:
    long = {}
    for path in source_files():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            long[name_of(path)] = lines
    assert {name: lines for name, lines in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "an exception that is not needed any more"


def test_functions_fit_on_a_page() -> None:
    long, many = {}, {}
    for path in source_files():
        too_many_lines, too_many_parameters = sizes(path)
        long |= {f"{name_of(path)}:{function}": lines for function, lines in too_many_lines}
        many |= {f"{name_of(path)}:{function}": count for function, count in too_many_parameters}
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert {name: count for name, count in many.items() if name not in MANY_PARAMETERS} == {}
    assert set(LONG_FUNCTIONS) <= set(long) and set(MANY_PARAMETERS) <= set(many), (
        "an exception that is not needed any more"
    )


@pytest.mark.parametrize("suffix", SOURCES)
def test_every_kind_of_source_is_looked_at(suffix: str) -> None:
    assert [path for path in source_files() if path.suffix == suffix]


# The checks themselves. --------------------------------------------------------------------------------------------

LINE = "  a = b;\n"
MANY_CPP = "void Many(int a, int b, std::map<int, int> c, int d, int e, int f, int g);\n"
# What is around a function of 60 lines, and around one of 61; `@` stands for the lines.
CPP_LAYOUTS = {
    "Free": "namespace rrn {\nint Free(int a,\n         int b) {\n@}\n}\n",
    "Method": "class Thing final : public Other {\n public:\n  int Method(int a) const override {\n@\n  }\n};\n",
    "Inner": "struct Outer {\n  struct Deep { // }\n    void Inner() {\n@\n    } };\n};\n",
    "Made": "class Made {\n  explicit Made(int a) noexcept : a_{a}, b_{a} {\n@\n  }\n};\n",
    "TEST": 'TEST(Some, Case) {\n  f("}");  // }\n@}\n',
    "Default": "template <typename T>\nvoid Default(Options o = {}, char c = '}') {\n@}\n",
    "Later": "constexpr int kNumbers[] = {1, 2};\nint Later() {\n@}\n",
}


@pytest.mark.parametrize("name", sorted(CPP_LAYOUTS))
def test_long_cpp_functions_are_found(name: str) -> None:
    layout = CPP_LAYOUTS[name]
    others = {found: lines for found, lines in cpp_functions(layout.replace("@", "")) if found != name}
    assert others == {}
    (lines,) = (lines for found, lines in cpp_functions(layout.replace("@", "")) if found == name)
    assert too_long(cpp_functions(layout.replace("@", LINE * (61 - lines)))) == [(name, 61)]
    assert too_long(cpp_functions(layout.replace("@", LINE * (60 - lines)))) == []


@pytest.mark.parametrize(
    ("check", "head", "end"),
    [
        (script_functions, "function show(a, b = {}) {", "}"),
        (script_functions, "async function show() {", "}"),
        (script_functions, "  const put = (row, other) => {", "  };"),
        (script_functions, "new Observer((entries) => {", "});"),
        (script_functions, "  static show(a) {", "  }"),
        (shell_functions, "show() {", "}"),
        (shell_functions, "function show () {", "}"),
        (lambda text: python_sizes(text)[0], "def f():\n  b = 1", ""),
    ],
)
def test_long_functions_are_found(check: Callable[[str], Sizes], head: str, end: str) -> None:
    line = "    a = b\n" if not head.startswith("def") else "  a = b\n"
    assert too_long(check(f"{head}\n{line * 60}{end}\n"))
    assert not too_long(check(f"{head}\n{line * 58}{end}\n"))


@pytest.mark.parametrize(
    ("check", "many", "few"),
    [
        (cpp_parameters, MANY_CPP, MANY_CPP.replace(", int g", "")),
        (
            lambda text: python_sizes(text)[1],
            "def f(a, b, c, d, e, f, g): ...",
            "def f(a, b, c, d, e, f, *, g): ...",
        ),
    ],
)
def test_many_parameters_are_found(check: Callable[[str], Sizes], many: str, few: str) -> None:
    assert check(many)
    assert not check(few)
