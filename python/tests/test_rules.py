"""The design's rules, as tests that fail."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "inference" / "src"

# Which rooms a room may include from, besides include/rrn.
ROOMS = {
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


def includes(path: Path) -> list[str]:
    return re.findall(r'#include [<"]([^>"]+)[>"]', path.read_text())


def sources(room: str) -> list[Path]:
    return [path for path in sorted((SOURCE / room).rglob("*")) if path.suffix in (".cc", ".h", ".cu")]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_dependencies_point_downwards(room: str) -> None:
    assert sources(room)
    for path in sources(room):
        for name in includes(path):
            folder, _, file = name.partition("/")
            if folder == "rrn":
                assert file in PUBLIC[room], f"{path.name} includes {name}"
            elif folder in ROOMS:
                assert folder in ROOMS[room] | {room}, f"{path.name} includes {name}"


def test_every_room_is_known() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir()} == set(ROOMS)


def test_public_headers_name_no_third_party_type() -> None:
    headers = sorted((ROOT / "include" / "rrn").glob("*.h"))
    assert headers
    for header in headers:
        text = header.read_text()
        for word in ("Ort::", "torch::", "at::", "cv::", "cudaStream_t ", "jpeg_", "png_", "nlohmann", "CLI::"):
            code = "\n".join(line.split("//")[0] for line in text.splitlines())
            assert word not in code, f"{header.name} mentions {word}"
        for name in includes(header):
            assert name.startswith("rrn/") or "." not in name, f"{header.name} includes {name}"


PRINTING = ("std::cout", "std::cerr", "printf", "__printf_chk", "fprintf", "__fprintf_chk", "puts", "fputs", "putchar")
FORBIDDEN = (*PRINTING, "fwrite", "perror", "exit", "_exit", "abort")


@pytest.mark.parametrize("name", ["base", "reduction", "image", "search", "engine", "similarity"])
def test_libraries_never_print_exit_or_abort(name: str) -> None:
    library = ROOT / ("lib" if name == "reduction" else "build/lib") / f"librrn_{name}.a"
    listing = subprocess.run(["nm", "-uC", str(library)], capture_output=True, text=True, check=True).stdout
    # nvcc's own start-up code in *.cu.o may exit.
    members = [member for member in listing.split("\n\n") if not member.lstrip().partition(":")[0].endswith(".cu.o")]
    assert members
    symbols = "\n".join(members)
    for forbidden in FORBIDDEN:
        assert not re.search(rf"^\s+U {re.escape(forbidden)}(@.*)?$", symbols, re.MULTILINE), f"{name}: {forbidden}"


@pytest.mark.parametrize("room", ["onnx_op", "torch_op"])
def test_adapters_stay_thin(room: str) -> None:
    for path in sources(room):
        if not path.stem.endswith("_test"):
            assert len(path.read_text().splitlines()) <= 130, f"{path.name} does more than adapt"


def test_few_options() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    options = set(re.findall(r"(?:option|set)\((RRN_(?:BUILD|WITH)_\w+)", text))
    assert 0 < len(options) < 10


def test_the_operator_library_exports_one_symbol() -> None:
    library = ROOT / "lib" / "libreduction_op.so"
    names = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in names.stdout.splitlines()] == ["RegisterCustomOps"]


def tracked_files() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in run.stdout.decode().split("\0") if name]


def test_no_large_binaries_but_models() -> None:
    for path in tracked_files():
        if path.is_file() and path.stat().st_size > 1_000_000:
            assert path.parent == ROOT / "models", f"{path} is over 1 MB"
