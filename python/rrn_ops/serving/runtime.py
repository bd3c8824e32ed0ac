"""The server's files on a machine without containers: found, or installed when the user asks for it.

PyPI's nvidia-pytriton brings Triton's own server program and its Python backend, built for Linux on x86-64. The stub
that runs Python models is linked with libpython, and this version of it wants NumPy 1: with NumPy 2, strings and
outputs get lost without a word. So it has a Python environment of its own, whose other packages are those of the Python
that runs rrn.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import rrn_native
from rrn_native.files import cache_folder

SERVER = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
# Of the files that pip may fetch, by SHA-256; pip refuses all others.
_HASHES = {
    SERVER: ["21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"],
    NUMPY: [
        "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
        "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed",
    ],
}
# Versions of Python with both a stub and NumPy 1.26.
STUBS = ("3.11", "3.12")


class ServeError(rrn_native.RrnError):
    """The server or a part of it is not there, does not start, or does not answer; one line that says what to do."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """The server's files.

    Attributes:
        folder: All of them are below it.
    """

    folder: Path

    @property
    def program(self) -> Path:
        """The server."""
        return self.folder / "server" / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def libraries(self) -> Path:
        """The folder of what the server's program is linked with; no other program may see it."""
        return self.folder / "server" / "nvidia_pytriton.libs"

    @property
    def python_backend(self) -> list[Path]:
        """The library that starts stubs, and the module that Python models import."""
        folder = self.program.parents[1] / "backends" / "python"
        return [folder / "libtriton_python.so", folder / "triton_python_backend_utils.py"]

    @property
    def stub(self) -> Path:
        """The program that runs Python models of this version of Python."""
        return self.program.parents[1] / "python_backend_stubs" / _version() / "triton_python_backend_stub"

    @property
    def python(self) -> Path:
        """The virtual environment of Python models."""
        return self.folder / f"python-{_version()}"

    def why_no_python(self) -> str:
        """Why Python models cannot run here; empty if they can."""
        if _version() not in STUBS:
            return f"Python {_version()}: the server's stub with NumPy 1 exists for {' and '.join(STUBS)}"
        if not self.stub.is_file() or not self.python.is_dir():
            return "the Python environment of the server is not set up: rrn serve setup"
        run = subprocess.run(["ldd", str(self.stub)], capture_output=True, text=True, check=False)
        lost = [line.split()[0] for line in run.stdout.splitlines() if line.endswith("not found")]
        if lost:
            return f"{', '.join(lost)} is missing (Debian: apt-get install libpython{_version()})"
        return ""


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def default_folder() -> Path:
    """Where the server is installed: ``$RRN_TRITON``, or ``triton-0.7.0`` in rrn's cache folder.

    Raises:
        ServeError: There is no home folder.
    """
    named = os.environ.get("RRN_TRITON", "")
    if named:
        return Path(named)
    cache = cache_folder()
    if cache is None:
        raise ServeError("there is no cache folder (HOME is not set); name one with --runtime DIR")
    return cache / "triton-0.7.0"


def find(folder: Path | None = None) -> Runtime:
    """Returns the installed server.

    Raises:
        ServeError: It is not installed.
    """
    runtime = Runtime((folder or default_folder()).absolute())
    if not runtime.program.is_file():
        raise ServeError(f"{runtime.folder}: no Triton server; 'rrn serve setup' installs it (55 MB from PyPI)")
    return runtime


def setup(folder: Path | None = None) -> Runtime:
    """Installs the server with pip, and a Python environment for its Python models. Does nothing where that was done.

    Raises:
        ServeError: pip could not install it.
    """
    runtime = Runtime((folder or default_folder()).absolute())
    if not runtime.program.is_file():
        # Under another name until it is complete, so that an installation that was interrupted does not count.
        partial = runtime.folder / "server.part"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(runtime.folder / "server", ignore_errors=True)
        _pip(SERVER, partial)
        partial.rename(runtime.folder / "server")
    # A wheel keeps no permission to execute for files that are data to it.
    for program in (runtime.program, runtime.stub):
        if program.is_file():
            program.chmod(0o755)
    if _version() in STUBS:
        packages = runtime.python / "lib" / f"python{_version()}" / "site-packages"
        if not (packages / "numpy").is_dir():
            venv.create(runtime.python, with_pip=False, clear=True)
            _pip(NUMPY, packages)
        # After its own: NumPy comes from there, all else from the Python that runs rrn.
        own = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(__file__).resolve().parents[2])}
        (packages / "rrn.pth").write_text("".join(f"{path}\n" for path in sorted(own)))
    return runtime


def _pip(requirement: str, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    wanted = target / "requirement.txt"
    wanted.write_text(" ".join([requirement, *(f"--hash=sha256:{each}" for each in _HASHES[requirement])]) + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]
    run = subprocess.run(
        [*command, "--require-hashes", "--upgrade", "--target", str(target), "-r", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    wanted.unlink()
    if run.returncode != 0:
        said = [line for line in run.stderr.splitlines() if line.strip()]
        raise ServeError(
            f"pip could not install {requirement}: {said[-1] if said else f'exit status {run.returncode}'}"
        )
