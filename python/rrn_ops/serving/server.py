"""Starts the server on a store and stops it, and leaves nothing behind: no process, no shared memory, no file."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import rrn_native

from rrn_ops.serving import description, watchdog
from rrn_ops.serving.client import Client, Protocol, direct
from rrn_ops.serving.runtime import Runtime, ServeError

HOST = "127.0.0.1"
# The backends that only containers have, and the classes of python_models that take their place.
STAND_INS = {"onnxruntime": "OnnxRuntime", "pytorch": "TorchScript"}
_DEFAULT_FILES = {"python": "model.py", "pytorch": "model.pt"}
_BACKEND_OF = {"onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch"}
# Parts of the protocol with which a client could change the server or map memory, by their names in HTTP and gRPC.
_RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
_EXIT_SECONDS = 5
# The server itself may hang when it is at its end.
_STOP_SECONDS = _EXIT_SECONDS + 5
_LISTENS = ("Started GRPCInferenceService", "Started HTTPService", "Started Metrics Service")
_NO_GPU = ("CudaDriverHelper", "CUDA driver", "NVML", "DCGM")
# Of an installed wheel; nothing is there in a source tree.
WHEEL_LIBRARIES = Path(rrn_native.__path__[0]).parent / "rrn_native.libs"


@dataclasses.dataclass(frozen=True)
class Part:
    """How a model of a store runs on this machine.

    Attributes:
        model: Its name.
        runs_on: Its platform or backend.
        how: "native", "stand-in" or "missing".
        why: What stands in, or what is missing and what to do.
    """

    model: str
    runs_on: str
    how: str
    why: str = ""


def backend_library() -> Path:
    """Returns rrn's backend, `libtriton_rrn.so`.

    Raises:
        ServeError: It is not built.
    """
    path = Path(rrn_native.custom_op_library()).with_name("libtriton_rrn.so")
    if not path.is_file():
        raise ServeError(f"{path} is not there; scripts/build.sh makes it")
    return path


def link_backend(folder: Path) -> None:
    """Makes a folder with rrn's backend and ONNX Runtime's library, as links.

    Raises:
        ServeError: They are not there.
        OSError: The folder cannot be made.
    """
    import onnxruntime

    found = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        raise ServeError("the onnxruntime package has no libonnxruntime.so; install it again")
    folder.mkdir(parents=True, exist_ok=True)
    links = {folder / "libtriton_rrn.so": backend_library(), folder / "libonnxruntime.so.1": found[0]}
    if WHEEL_LIBRARIES.is_dir():
        # Where the library of a wheel looks for them, from wherever it lies.
        links[folder.absolute().parents[1] / "rrn_native.libs"] = WHEEL_LIBRARIES
    for link in links:
        if link.exists() and not link.is_symlink():
            raise ServeError(f"{link} is there and no link, so it is not replaced")
    for link, target in links.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def check(store: Path, runtime: Runtime) -> list[Part]:
    """Says of each model of a store how it would run here.

    Raises:
        ValueError: A config.pbtxt cannot be read, or there is no model.
        OSError: The folder cannot be read.
    """
    paths = sorted(path for path in store.glob("*/config.pbtxt") if path.is_file())
    configs = [description.read_pbtxt(path) for path in paths]
    if not configs:
        raise ValueError(f"{store}: no model (NAME/config.pbtxt); rrn serve build makes a store")
    no_python = runtime.why_no_python()
    parts = [_part(config, path.parent, no_python) for config, path in zip(configs, paths, strict=True)]
    state = {part.model: part.how for part in parts}
    for k, config in enumerate(configs):
        lost = [
            step.model_name
            for step in config.ensemble_scheduling.step
            if state.get(step.model_name) in (None, "missing")
        ]
        if lost:
            parts[k] = dataclasses.replace(parts[k], how="missing", why=f"its step {lost[0]} cannot run")
    return parts


def _part(config: Any, folder: Path, no_python: str) -> Part:
    runs_on = description.runs_on(config)
    if config.name != folder.name:
        return Part(folder.name, runs_on, "missing", f"its config.pbtxt is that of '{config.name}'")
    if runs_on == "ensemble":
        return Part(config.name, runs_on, "native")
    backend = _BACKEND_OF.get(runs_on, runs_on)
    if backend not in ("rrn", "python", *STAND_INS):
        return Part(config.name, runs_on, "missing", "no such backend outside of containers")
    file = config.default_model_filename or _DEFAULT_FILES.get(backend, "model.onnx")
    if not list(folder.glob(f"[0-9]*/{file}")):
        return Part(config.name, runs_on, "missing", f"there is no {config.name}/1/{file}")
    if runs_on == "rrn":
        try:
            backend_library()
        except ServeError as error:
            return Part(config.name, runs_on, "missing", str(error))
        return Part(config.name, runs_on, "native")
    if no_python:
        return Part(config.name, runs_on, "missing", no_python)
    if backend == "python":
        return Part(config.name, runs_on, "native")
    return Part(config.name, runs_on, "stand-in", "a Python model; NVIDIA's backend is in containers only")


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        host: An address of this machine; the default is not reachable from others.
        http: The port of HTTP; 0 takes a free one.
        grpc: The port of gRPC; likewise.
        metrics: The port of the metrics; likewise.
    """

    host: str = HOST
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    def resolved(self) -> Address:
        """Returns an address of numbers: of the host, and of free ports in the place of zeros.

        Raises:
            ServeError: The host is unknown, or a port is out of range or taken.
        """
        try:
            host = socket.gethostbyname(self.host)
        except OSError as error:
            raise ServeError(f"host {self.host}: no IPv4 address ({error})") from error
        ports: list[int] = []
        with contextlib.ExitStack() as held:
            for name, port in (("http", self.http), ("grpc", self.grpc), ("metrics", self.metrics)):
                if not 0 <= port <= 65535:
                    raise ServeError(f"{name} port {port}: expected 0 to 65535")
                probe = held.enter_context(socket.socket())
                # As the server will: a port whose last connection is not quite gone is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                    probe.listen()
                except OSError as error:
                    raise ServeError(f"{name} port {port} of {host}: {error.strerror}; choose another, or 0") from error
                ports.append(probe.getsockname()[1])
        return Address(host, *ports)


# Of this machine alone, on ports that are free.
ANY_PORT = Address(http=0, grpc=0, metrics=0)


class Server:
    """A running server; a context manager that stops it.

    Args:
        store: The model store.
        runtime: The server's files.
        address: Where to listen.
        models: Serve only these, and the steps of ensembles among them; empty for all that can run here.
        allow_control: Clients may load and unload models, change logging and tracing, and map shared memory.

    Attributes:
        address: Where it listens.
        parts: How each model runs.
    """

    def __init__(
        self,
        store: Path,
        runtime: Runtime,
        address: Address | None = None,
        *,
        models: tuple[str, ...] = (),
        allow_control: bool = False,
    ) -> None:
        self.address = address or Address()
        self.parts = check(store, runtime)
        self._store = store.absolute()
        self._runtime = runtime
        self._allow_control = allow_control
        self._models = models or tuple(part.model for part in self.parts if part.how != "missing")
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._region = f"rrn_{os.getpid()}_{secrets.token_hex(4)}_"
        self._folder: Path | None = None

    @property
    def served(self) -> tuple[str, ...]:
        """The names of the models that it serves."""
        return self._models

    @property
    def pid(self) -> int:
        """The process of the server, which leads a group of its own.

        Raises:
            ServeError: It is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ServeError("the server is not running")
        return self._process.pid

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout: float = 120.0) -> None:
        """Starts it and waits until every model is ready.

        Args:
            timeout: In seconds.

        Raises:
            ServeError: It ended, or is not ready in time; ends with the log's last lines of trouble.
        """
        missing = [part for part in self.parts if part.model in self._models and part.how == "missing"]
        unknown = set(self._models) - {part.model for part in self.parts}
        if unknown or missing:
            text = "; ".join(
                [*(f"no model {name}" for name in sorted(unknown)), *(f"{p.model}: {p.why}" for p in missing)]
            )
            raise ServeError(f"{self._store}: {text}")
        if not self._models:
            raise ServeError(f"{self._store}: no model can run here: {self.parts[0].why}")
        self.address = self.address.resolved()
        self._folder = _plain_folder()
        try:
            # The server starts Python models through a shell that knows neither spaces nor, there, other letters.
            (self._folder / "store").symlink_to(self._store)
            self._make_backends(self._folder / "backends")
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    self._command(self._folder),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(self._folder),
                    start_new_session=True,
                )
            self._watchdog = subprocess.Popen(
                [sys.executable, watchdog.__file__, str(self._process.pid), self._region, str(self._folder)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            self._wait(timeout)
        except BaseException:
            self.stop()
            raise

    def client(self, protocol: Protocol = "grpc", timeout: float = 60.0) -> Client:
        """Returns a connection to it.

        Args:
            protocol: "http" or "grpc".
            timeout: How long an answer may take, in seconds.
        """
        where = self.address
        port = where.http if protocol == "http" else where.grpc
        return Client(where.host, port, protocol=protocol, timeout=timeout, metrics_port=where.metrics)

    def log(self) -> str:
        """Returns what the server has printed so far; nothing before it was started or after it was stopped."""
        return (self._folder / "log").read_text(errors="replace") if self._folder is not None else ""

    def wait(self, seconds: float | None = None) -> int | None:
        """Waits until the server ends.

        Args:
            seconds: At most; None for no limit.

        Returns:
            Its exit code; None where it goes on.
        """
        if self._process is None:
            return 0
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Ends the server and its Python models at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stops it: requests that run are finished, for at most a few seconds. Does nothing where it is stopped."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                process.terminate()
                process.wait(_STOP_SECONDS)
            # The processes of Python models end with the server, except where it was killed.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._folder is not None:
            watchdog.remove(self._region, self._folder)
            self._folder = None
        if self._watchdog is not None and self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.write(b"stopped\n")
                self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _make_backends(self, folder: Path) -> None:
        link_backend(folder / "rrn")
        if all(part.runs_on in ("rrn", "ensemble") or part.how == "missing" for part in self.parts):
            return
        (folder / "python").mkdir()
        # The server wants them inside of the folder, not as links.
        for file in (*self._runtime.python_backend, self._runtime.stub):
            shutil.copy2(file, folder / "python" / file.name)
        for backend, name in STAND_INS.items():
            (folder / backend).mkdir()
            text = f"from rrn_ops.serving.python_models import {name} as TritonPythonModel\n"
            (folder / backend / "model.py").write_text(text)

    def _command(self, folder: Path) -> list[str]:
        address = self.address
        words = {
            "model-repository": str(folder / "store"),
            "backend-directory": str(folder / "backends"),
            "http-address": address.host,
            "http-port": str(address.http),
            "grpc-address": address.host,
            "grpc-port": str(address.grpc),
            "metrics-address": address.host,
            "metrics-port": str(address.metrics),
            "allow-gpu-metrics": "false",
            "exit-timeout-secs": str(_EXIT_SECONDS),
            "backend-config": f"python,shm-region-prefix-name={self._region}",
            # Only what is asked for; whatever else is in the store stays unloaded.
            "model-control-mode": "explicit",
        }
        command = [str(self._runtime.program), *(f"--{name}={value}" for name, value in words.items())]
        command += ["--disable-auto-complete-config", *(f"--load-model={name}" for name in self._models)]
        if not self._allow_control:
            # Behind a key that nobody knows.
            key = secrets.token_hex(16)
            command += [f"--http-restricted-api={','.join(_RESTRICTED)}:rrn-key={key}"]
            command += [f"--grpc-restricted-protocol={','.join(_RESTRICTED)}:rrn-key={key}"]
        return command

    def _environment(self, folder: Path) -> Mapping[str, str]:
        # The folder of rrn's backend, where a link to ONNX Runtime's library lies beside it, and what a wheel brings.
        libraries = [self._runtime.libraries, folder / "backends" / "rrn", WHEEL_LIBRARIES]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
        environment["VIRTUAL_ENV"] = str(self._runtime.python)
        environment["PATH"] = f"{self._runtime.python / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
        return environment

    def _wait(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                raise ServeError(f"the server ended ({self._process.returncode}): {trouble(self.log())}")
            # Another program may answer on the port, so the server itself has to say that it listens.
            log = self.log()
            if all(name in log for name in _LISTENS) and all(
                self._is_ready(f"v2/models/{name}/ready") for name in self._models
            ):
                return
            time.sleep(0.1)
        raise ServeError(f"the server is not ready after {timeout:g} s: {trouble(self.log())}")

    def _is_ready(self, path: str) -> bool:
        try:
            with direct().open(f"http://{self.address.host}:{self.address.http}/{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False


def _plain_folder() -> Path:
    """Makes a temporary folder whose name any shell takes as it is."""
    folder = tempfile.mkdtemp(prefix="rrn-serve-")
    if re.fullmatch(r"[\w./+-]+", folder, re.ASCII):
        return Path(folder)
    Path(folder).rmdir()
    return Path(tempfile.mkdtemp(prefix="rrn-serve-", dir="/tmp"))


def trouble(log: str) -> str:
    """Returns the lines of a server's log that say what went wrong, as one line; its first where no line says so."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.partition('] "')[2].rstrip('"') or line for line in lines if line[0] in "EF" and line[1:5].isdigit()]
    errors += [line for line in lines if line.startswith("error: ")]
    # What a machine without a GPU says in any case, and where in Python an error arose.
    told = [line.split("\\n\\nAt:")[0] for line in errors if not any(word in line for word in _NO_GPU)]
    return " | ".join(list(dict.fromkeys(told))[:4] or lines[:1]) or "its log is empty"


def hold(server: Server, ready: Callable[[], None]) -> int:
    """Waits until SIGINT or SIGTERM asks to stop, or the server ends.

    After the first signal the server has some seconds to answer what it has begun; a second one ends it at once.

    Args:
        server: A running server.
        ready: Called once, when these signals are waited for.

    Returns:
        The server's exit code; 0 after a signal.
    """
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        del frame
        asked.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ready()
        code = None
        while code is None and not asked:
            code = server.wait(0.2)
        end = time.monotonic() + _STOP_SECONDS
        if code is None:
            os.kill(server.pid, signal.SIGTERM)
        while code is None:
            code = server.wait(0.2)
            if code is None and (len(asked) > 1 or time.monotonic() > end):
                server.kill()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        return 0
    print(f"rrn serve: the server ended ({code}): {trouble(server.log())}", file=sys.stderr)
    return code
