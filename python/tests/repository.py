"""What the tests of the design's rules share: the files of the repository, and C++ without what is not code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "inference" / "src"
BINDINGS = ROOT / "bindings"
CPP = (".cc", ".h", ".cu")

_NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<mark>[^(\s"]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'""",
    re.DOTALL,
)


def tracked_files() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in run.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_test(path: Path) -> bool:
    return path.stem.endswith("_test") or path.stem.startswith("test_")


def cpp_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix in CPP]


def cpp_code(text: str, strings: bool = False) -> str:
    """C++ without comments, and without what is in quotes unless `strings` asks for that; the lines stay."""

    def without(match: re.Match[str]) -> str:
        if match[0].startswith(("//", "/*")):
            return "\n" * match[0].count("\n") or " "
        return match[0] if strings else '""' + "\n" * match[0].count("\n")

    return _NOT_CODE.sub(without, text)
