"""The real server on a real store: the engine's own embeddings, one bad picture alone, killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="tritonclient is missing: scripts/build.sh --tests --torch"
)

import rrn_native
from conftest import make_picture
from repository import ROOT
from rrn_ops.serving import load, runtime, server, store
from rrn_ops.serving.client import Protocol
from rrn_ops.serving.runtime import ServeError

RUNTIME = Path(os.environ.get("RRN_TRITON") or ROOT / ".deps" / "triton")
if not runtime.Runtime(RUNTIME).program.is_file():
    pytest.skip(f"no Triton server in {RUNTIME}: scripts/test.sh installs it", allow_module_level=True)

MODEL = Path(rrn_native.default_model())
SIZE = 64
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")
NO_PYTHON = runtime.find(RUNTIME).why_no_python()
needs_python = pytest.mark.skipif(bool(NO_PYTHON), reason=NO_PYTHON)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of several formats, one of them turned by its EXIF data."""
    made: Path = tmp_path_factory.mktemp("gallery")
    for k in range(8):
        make_picture(k, 300 + 10 * k, 200).save(made / f"{k}.{'png' if k % 2 else 'jpg'}")
    exif = Image.Exif()
    exif[0x0112] = 6
    make_picture(8, 900, 700).save(made / "turned é.jpg", exif=exif)
    make_picture(9).convert("L").save(made / "grey.png")
    return made


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    path = tmp_path_factory.mktemp("serve") / "store"
    store.build(path, store.Options(model=MODEL, size=SIZE, folder=folder, k=3))
    with server.Server(path, runtime.find(RUNTIME), server.ANY_PORT) as running:
        yield running


def expected(files: list[Path]) -> np.ndarray:
    return rrn_native.Embedder(MODEL, SIZE).embed(files)


# ---- The same embedding everywhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_native_backend_is_the_engine(protocol: Protocol, served: server.Server, folder: Path) -> None:
    files = sorted(folder.iterdir())
    with served.client(protocol) as client:
        answer = client.embed(files)
    np.testing.assert_array_equal(answer.rows, expected(files))
    assert answer.errors == [""] * len(files)


@needs_python
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", ["rrn_embed", "rrn_embed_torchscript"])
def test_ensembles_are_the_engine(protocol: Protocol, model: str, served: server.Server, folder: Path) -> None:
    files = sorted(folder.iterdir())
    with served.client(protocol) as client:
        rows = client.embed(files, model).rows
    assert np.abs(rows - expected(files)).max() < 1e-5


@needs_python
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_model_alone(protocol: Protocol, served: server.Server, folder: Path) -> None:
    file = folder / "turned é.jpg"
    row = expected([file])
    with served.client(protocol) as client:
        content = np.array([[file.read_bytes()]], dtype=np.object_)
        (pixels,) = client.infer("rrn_preprocess", {"image": content}, ["pixels"])
        np.testing.assert_array_equal(pixels[0], rrn_native.Embedder(MODEL, SIZE).preprocess(file))
        (onnx,) = client.infer("rrn_onnx", {"images": pixels}, ["embedding"])
        (torchscript,) = client.infer("rrn_torchscript", {"INPUT__0": pixels}, ["OUTPUT__0"])
        names, similarity = client.infer("rrn_nearest", {"embedding": row}, ["names", "similarity"])
    assert np.abs(onnx - row).max() < 1e-5
    assert np.abs(torchscript - row).max() < 1e-5
    assert names[0, 0].decode() == "turned é.jpg"
    assert similarity[0, 0] == pytest.approx(1, abs=1e-6)


@needs_python
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_similar_pictures_are_the_query_s(protocol: Protocol, served: server.Server, folder: Path) -> None:
    files = sorted(folder.iterdir())
    rows = expected(files)
    index, similarity = rrn_native.nearest(rows[:2], rows, 3)
    with served.client(protocol) as client:
        answers = client.similar(files[:2])
    for answer, places, cosines in zip(answers, index, similarity, strict=True):
        assert [name for name, _ in answer.matches] == [files[place].name for place in places]
        assert np.abs(np.array([cosine for _, cosine in answer.matches]) - cosines).max() < 1e-5


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_more_pictures_than_a_batch_may_have(protocol: Protocol, served: server.Server, folder: Path) -> None:
    files = sorted(folder.iterdir()) * 4
    with served.client(protocol) as client:
        answer = client.embed(files)
    np.testing.assert_array_equal(answer.rows, expected(files))


# ---- Bad pictures --------------------------------------------------------------------------------------------------

MODELS = ["rrn", pytest.param("rrn_embed", marks=needs_python)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", MODELS)
def test_one_bad_picture_of_eight_fails_alone(
    model: str, protocol: Protocol, served: server.Server, folder: Path
) -> None:
    files = sorted(folder.iterdir())[:8]
    contents = [file.read_bytes() for file in files]
    contents[3] = contents[3][:500]
    with served.client(protocol) as client:
        answer = client.embed(contents, model)
        with pytest.raises(ServeError, match=r"not an image|JPEG|PNG"):
            client.embed([contents[3]], model)
    assert [bool(error) for error in answer.errors] == [k == 3 for k in range(8)]
    good = [k for k in range(8) if k != 3]
    assert np.abs(answer.rows[good] - expected([files[k] for k in good])).max() < 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_one_bad_request_of_a_batch_fails_alone(model: str, served: server.Server, folder: Path) -> None:
    """Eight clients at once, whose requests the server puts together."""
    files = sorted(folder.iterdir())[:8]
    found: dict[int, np.ndarray | ServeError] = {}
    together = threading.Barrier(8)

    def ask(k: int) -> None:
        with served.client("grpc") as client:
            content = b"no picture" if k == 5 else files[k].read_bytes()
            together.wait()
            try:
                found[k] = client.embed([content], model).rows[0]
            except ServeError as error:
                found[k] = error

    for _ in range(3):
        threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failed = found.pop(5)
        assert isinstance(failed, ServeError)
        assert "not an image of a known format" in str(failed)
        places = sorted(found)
        assert places == [0, 1, 2, 3, 4, 6, 7]
        rows = np.stack([found[k] for k in places])  # type: ignore[arg-type]
        assert np.abs(rows - expected([files[k] for k in places])).max() < 1e-5
        found.clear()
    with served.client("grpc") as client:
        (counts,) = client.statistics("rrn" if model == "rrn" else "rrn_onnx")
    assert int(counts["execution_count"]) < int(counts["inference_count"]), "requests were put together"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_requests_are_one_line(protocol: Protocol, served: server.Server, folder: Path) -> None:
    file = folder / "grey.png"
    with served.client(protocol) as client:
        for act, words in (
            (lambda: client.embed([file], "nothing"), "nothing"),
            (lambda: client.infer("rrn", {"image": np.zeros((1, 1), np.float32)}, ["embedding"]), "image"),
            (lambda: client.statistics("nothing"), "nothing"),
        ):
            with pytest.raises(ServeError, match=words) as caught:
                act()
            assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match="no pictures"):
            client.embed([])
        with pytest.raises(TypeError, match="sequence"):
            client.embed(file)  # type: ignore[arg-type]
        assert client.embed([file]).errors == [""]


# ---- The server ----------------------------------------------------------------------------------------------------


def test_health_and_numbers(served: server.Server, folder: Path) -> None:
    with served.client("http") as client:
        client.embed([folder / "grey.png"])
        assert client.live()
        assert client.ready()
        assert client.models() == sorted(served.served)
        assert all(client.ready(model) for model in served.served)
        assert "nv_inference_request_success" in client.metrics()


def test_clients_may_not_control_it(served: server.Server) -> None:
    url = f"http://{served.address.host}:{served.address.http}"
    for path in ("v2/repository/models/rrn/unload", "v2/logging", "v2/trace/setting"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{url}/{path}", data=b"{}", method="POST"))
        assert "restricted" in caught.value.read().decode()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url}/v2/systemsharedmemory/status")


def native_store(folder: Path) -> Path:
    """A store of the native model alone, which starts in a second."""
    made = store.build(folder / "store", store.Options(model=MODEL, size=SIZE))
    for model in made.models[1:]:
        for path in sorted((made.path / model.name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (made.path / model.name).rmdir()
    return made.path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_killed_in_the_middle(protocol: Protocol, folder: Path, tmp_path: Path) -> None:
    regions = set(Path("/dev/shm").iterdir())
    running = server.Server(native_store(tmp_path), runtime.find(RUNTIME), server.ANY_PORT)
    running.start()
    pid = running.pid
    content = [(folder / "turned é.jpg").read_bytes()] * 32
    failure: list[ServeError] = []
    answered = threading.Event()

    def ask() -> None:
        with running.client(protocol) as client:
            with contextlib.suppress(ServeError):
                client.embed(content[:1])
            answered.set()
            try:
                while True:
                    client.embed(content)
            except ServeError as error:
                failure.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert answered.wait(60)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    thread.join(60)
    assert "the server is not there, or went away" in str(failure[0])
    running.stop()
    running.stop()
    with pytest.raises(ServeError, match="not running"):
        _ = running.pid
    assert set(Path("/dev/shm").iterdir()) <= regions


def alive(group: int) -> list[str]:
    """The states of a group's processes that have not ended; one that nobody waited for is Z."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, number, *_ = path.read_text().rpartition(") ")[2].split()
            if int(number) == group and state != "Z":
                found.append(state)
    return found


@needs_python
def test_nothing_is_left_behind(served: server.Server, tmp_path: Path) -> None:
    path = store.build(tmp_path / "store", store.Options(model=MODEL, size=SIZE)).path
    regions = set(Path("/dev/shm").iterdir())
    running = server.Server(path, runtime.find(RUNTIME), server.ANY_PORT, models=("rrn_preprocess",))
    running.start()
    group = running.pid
    assert set(Path("/dev/shm").iterdir()) > regions
    os.kill(group, signal.SIGKILL)
    running.stop()
    assert set(Path("/dev/shm").iterdir()) == regions
    assert alive(group) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rrn/1/model.onnx", "nothing", "model.onnx"),
        ("rrn/config.pbtxt", None, "unknown parameter colour"),
    ],
)
def test_a_model_that_does_not_load_says_why(name: str, text: str | None, words: str, tmp_path: Path) -> None:
    path = native_store(tmp_path)
    if text is None:
        text = (path / name).read_text() + 'parameters { key: "colour" value { string_value: "red" } }\n'
    (path / name).write_text(text)
    with pytest.raises(ServeError, match=words):
        server.Server(path, runtime.find(RUNTIME), server.ANY_PORT).start()


def test_the_command_stops_when_asked(tmp_path: Path) -> None:
    path = native_store(tmp_path)
    words = [
        "serve",
        "run",
        str(path),
        "--runtime",
        str(RUNTIME),
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--metrics-port",
        "0",
    ]
    process = subprocess.Popen([sys.executable, "-m", "rrn_native", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("ready"):
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert lines[0] == "models: rrn\n"
    assert rest == "stopped\n"
    assert process.returncode == 0


def run_command(path: Path, **more: str) -> subprocess.Popen[str]:
    words = ["serve", "run", str(path), "--runtime", str(RUNTIME)]
    words += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    environment = os.environ | {"TMPDIR": str(path.parent), **more}
    command = [sys.executable, "-m", "rrn_native", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert "ready; Ctrl-C stops it\n" in iter(process.stdout.readline, "")


def left(folder: Path) -> list[Path]:
    return [*folder.glob("rrn-serve-*"), *Path("/dev/shm").glob("rrn_*")]


def nothing_is_left(folder: Path, before: set[Path]) -> bool:
    """Whether what a server leaves is gone, after the seconds that the watchdog may take."""
    end = time.monotonic() + 30
    while time.monotonic() < end and set(left(folder)) - before:
        time.sleep(0.1)
    return not set(left(folder)) - before


@needs_python
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("ready", [True, False])
def test_whatever_ends_the_command_nothing_is_left(number: signal.Signals, ready: bool, tmp_path: Path) -> None:
    before = set(left(tmp_path))
    path = store.build(tmp_path / "store", store.Options(model=MODEL, size=SIZE)).path
    process = run_command(path)
    if ready:
        wait_until_ready(process)
    else:
        end = time.monotonic() + 30
        while time.monotonic() < end and not list(tmp_path.glob("rrn-serve-*/log")):
            time.sleep(0.02)
        time.sleep(0.5)
    process.send_signal(number)
    process.wait(60)
    assert nothing_is_left(tmp_path, before)


@needs_python
def test_a_path_with_spaces_and_other_letters(folder: Path, tmp_path: Path) -> None:
    path = store.build(tmp_path / "a b é" / "st ore", store.Options(model=MODEL, size=SIZE)).path
    with (
        server.Server(path, runtime.find(RUNTIME), server.ANY_PORT, models=("rrn_embed",)) as running,
        running.client("grpc") as client,
    ):
        assert client.embed([folder / "grey.png"], "rrn_embed").errors == [""]


def test_ports_that_are_taken_are_named(served: server.Server, tmp_path: Path) -> None:
    path = native_store(tmp_path)
    taken = served.address
    for address, words in (
        (server.Address(http=taken.http, grpc=0, metrics=0), f"http port {taken.http} of 127.0.0.1: "),
        (server.Address(http=0, grpc=taken.grpc, metrics=0), f"grpc port {taken.grpc} of 127.0.0.1: "),
        (server.Address(http=0, grpc=0, metrics=taken.metrics), f"metrics port {taken.metrics} of 127.0.0.1: "),
        (server.Address(http=70000, grpc=0, metrics=0), "http port 70000: expected 0 to 65535"),
        (server.Address("no.such.host.invalid", 0, 0, 0), "host no.such.host.invalid: no IPv4 address"),
    ):
        with pytest.raises(ServeError, match=words):
            server.Server(path, runtime.find(RUNTIME), address).start()


def test_a_server_outlives_the_thread_that_started_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    running = server.Server(native_store(tmp_path), runtime.find(RUNTIME), server.Address("localhost", 0, 0, 0))
    thread = threading.Thread(target=running.start)
    thread.start()
    thread.join()
    time.sleep(0.5)
    try:
        with running.client("http") as client:
            assert client.embed([folder / "grey.png"]).errors == [""]
            assert "nv_inference_count" in client.metrics()
    finally:
        running.stop()


def test_load_counts_what_was_answered(served: server.Server, folder: Path) -> None:
    pictures = [(folder / "grey.png").read_bytes()]
    target = load.Target(served.address.host, served.address.grpc, "rrn", pictures)
    for concurrency in (1, 4):
        found = load.measure(target, concurrency, window=0.2, most=5)
        assert found.concurrency == concurrency
        assert found.requests > 0
        assert found.p50_ms <= found.p90_ms <= found.p95_ms <= found.p99_ms
        assert found.compute_ms > 0
    with pytest.raises(ServeError, match="not an image"):
        load.measure(load.Target(served.address.host, served.address.grpc, "rrn", [b"none"]), 2, window=0.1)


def test_the_command_asks(served: server.Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rrn_ops.serving import command

    address = served.address
    where = ["--port", str(address.http), "--metrics-port", str(address.metrics)]
    assert command.main(["client", "embed", str(folder / "grey.png"), "--json", "-", *where]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    np.testing.assert_array_equal(np.float32(answer["embedding"]), expected([folder / "grey.png"])[0])
    assert command.main(["client", "health", *where]) == 0
    assert capsys.readouterr().out.startswith("server: ready\n")
    assert command.main(["client", "statistics", "--model", "rrn", *where]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "rrn"
    assert command.main(["client", "metrics", *where]) == 0
    assert "nv_inference_count" in capsys.readouterr().out


def test_one_picture_through_a_server(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rrn_ops.serving import runtimes

    monkeypatch.setenv("RRN_TRITON", str(RUNTIME))
    photo = folder / "turned é.jpg"
    with runtimes.serve(MODEL, SIZE) as found:
        assert list(found) == list(runtimes.MODELS)
        assert not isinstance(found["Triton, native backend"], str)
        for run in found.values():
            if not isinstance(run, str):
                assert np.abs(run(photo) - expected([photo])[0]).max() < 1e-5
    monkeypatch.setenv("RRN_TRITON", str(tmp_path))
    with runtimes.serve(MODEL, SIZE) as found:
        assert all("rrn serve setup" in str(why) for why in found.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_evaluation_may_ask_a_server(protocol: Protocol, served: server.Server, folder: Path) -> None:
    from rrn_ops.evaluation import predictors

    port = served.address.http if protocol == "http" else served.address.grpc
    files = sorted(folder.iterdir())[:3]
    made = predictors.make(f"triton:{protocol}://{served.address.host}:{port}/rrn", folder)
    assert (made.describe().takes, made.describe().outputs) == ("paths", 512)
    np.testing.assert_array_equal(made.predict(files), expected(files))
    if not NO_PYTHON:
        network = predictors.make(f"triton:{protocol}://{served.address.host}:{port}/rrn_onnx", folder)
        assert network.describe().input_shape == (3, SIZE, SIZE)
