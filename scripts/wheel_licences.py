"""Puts the licences of what is bundled into an unpacked wheel; scripts/wheel.sh calls it.

    python scripts/wheel_licences.py UNPACKED_WHEEL

The texts are those of the packages that the libraries come from. A library whose licence is not found, or that holds
jbigkit's code, is an error.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTATION = Path("/usr/share/doc")
# Compiled in without being a library of their own, and the files by which to tell whether they were there.
HEADERS = {
    "nlohmann/json.hpp": "nlohmann-json",
    "hnswlib/hnswlib.h": "hnswlib",
    "xxhash.h": "xxhash",
}


class LicenceError(Exception):
    """A wheel that must not be given away; the message says why."""


def original_name(bundled: str) -> str:
    """Returns the name that auditwheel changed: libgif.so.7.2.0 for libgif-0df633fa.so.7.2.0."""
    return re.sub(r"-[0-9a-f]{8}(?=\.so)", "", bundled)


def debian_package(path: Path) -> str:
    """Returns the package that a file of the system belongs to.

    Raises:
        LicenceError: The licence is missing, or dpkg is.
    """
    # /lib is a link to /usr/lib; dpkg knows a file by the one that its package names.
    short = "/" + str(path.resolve()).removeprefix("/usr").lstrip("/")
    names = [short, f"/usr{short}"]
    try:
        run = subprocess.run(["dpkg", "-S", *names], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LicenceError(f"{path}: no dpkg to ask for its licence; build the wheel on Debian or Ubuntu") from error
    if not run.stdout:
        raise LicenceError(f"{path}: belongs to no package, so its licence is unknown")
    return run.stdout.split(":", 1)[0]


def licence_of(path: Path) -> tuple[str, bytes]:
    """Returns (package, text) for a file of the system.

    Raises:
        LicenceError: The licence is not found.
    """
    package = debian_package(path)
    text = DOCUMENTATION / package / "copyright"
    if not text.is_file():
        raise LicenceError(f"{path}: expected the licence at {text}")
    return package, text.read_bytes()


def collect(unpacked: Path) -> dict[str, bytes]:
    """Returns the licence texts for the libraries in an unpacked wheel, by file name.

    Args:
        unpacked: The folder that ``wheel unpack`` made.

    Raises:
        LicenceError: Something bundled must not be, or its licence is not found.
    """
    licences: dict[str, bytes] = {}
    folders = library_folders()
    for library in sorted(unpacked.glob("*.libs/*")):
        content = library.read_bytes()
        if b"JBIG-KIT" in content:
            raise LicenceError(f"{library.name} is jbigkit, which is under the GPL")
        name = original_name(library.name)
        if name.startswith("libjbig.so"):
            continue  # the stand-in, our own
        found = [folder / name for folder in folders if (folder / name).exists()]
        if not found:
            raise LicenceError(f"{library.name}: no {name} in {', '.join(map(str, folders))}")
        package, text = licence_of(found[0])
        licences[f"{package}.txt"] = text
    for header, name in HEADERS.items():
        path = Path("/usr/include") / header
        if path.exists():
            licences[f"{name}.txt"] = licence_of(path)[1]
    for folder in (ROOT / ".deps" / "onnxruntime", Path(os.environ.get("ONNXRUNTIME_ROOT", "/nowhere"))):
        for file_name in ("copyright", "LICENSE"):
            if (folder / file_name).is_file():
                licences["onnxruntime-headers.txt"] = (folder / file_name).read_bytes()
    for file in importlib.metadata.files("pybind11") or []:
        if file.name == "LICENSE":
            licences["pybind11.txt"] = Path(str(file.locate())).read_bytes()
    return licences


def library_folders() -> list[Path]:
    """Returns the folders that the dynamic linker looks in, as its cache names them.

    Raises:
        LicenceError: ldconfig failed.
    """
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        if Path(program).exists():
            listing = subprocess.run([program, "-p"], capture_output=True, text=True, check=True).stdout
            found = re.findall(r"=> (/.*)/[^/\n]+$", listing, re.MULTILINE)
            return sorted({Path(folder) for folder in found})
    raise LicenceError("no ldconfig, so the bundled libraries' origin cannot be told")


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    if len(argv) != 1 or not Path(argv[0]).is_dir():
        print("usage: wheel_licences.py UNPACKED_WHEEL", file=sys.stderr)
        return 2
    unpacked = Path(argv[0])
    try:
        licences = collect(unpacked)
    except LicenceError as error:
        print(f"wheel_licences.py: {error}", file=sys.stderr)
        return 1
    (info,) = unpacked.glob("*.dist-info")
    target = info / "licenses" / "third_party"
    target.mkdir(parents=True, exist_ok=True)
    for name, text in licences.items():
        (target / name).write_bytes(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
