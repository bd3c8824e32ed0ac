"""Stores: what is written is what Triton reads, says what the files say, and appears whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="tritonclient is missing: scripts/build.sh --tests --torch"
)
torch = pytest.importorskip("torch")

import rrn_native  # noqa: E402
from rrn_ops.serving import checks, command, container, description, gallery, runtime, server, store  # noqa: E402
from rrn_ops.serving.description import Model, Step, Tensor  # noqa: E402

MODEL = Path(rrn_native.default_model())
IMAGE = Tensor("image", "BYTES", (1,))
PIXELS = Tensor("pixels", "FP32", (3, 8, 8))
ROW = Tensor("row", "FP32", (4,))
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_0123456789\"'\\{}é ", min_size=1, max_size=12)
TENSORS = st.lists(
    st.builds(
        Tensor,
        NAMES,
        st.sampled_from(["FP32", "BYTES"]),
        st.lists(st.integers(-1, 10**6), min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tensor: tensor.name,
).map(tuple)


@given(
    model=st.builds(
        Model,
        name=NAMES,
        runs_on=st.sampled_from(["rrn", "python", "onnxruntime_onnx", "pytorch_libtorch"]),
        inputs=TENSORS,
        outputs=TENSORS,
        max_batch=st.integers(1, 1000),
        delay_us=st.none() | st.integers(0, 10**9),
        instances=st.integers(1, 64),
        file=NAMES,
        parameters=st.dictionaries(NAMES, st.text(max_size=20), max_size=3),
        op_libraries=st.lists(NAMES, max_size=2).map(tuple),
        warm_up=st.just("") | NAMES,
        versions=st.integers(1, 9),
    )
)
def test_a_config_reads_back(model: Model, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("config") / "config.pbtxt"
    path.write_text(description.to_pbtxt(model))
    config = description.read_pbtxt(path)
    assert (config.name, description.runs_on(config), config.max_batch_size) == (
        model.name,
        model.runs_on,
        model.max_batch,
    )
    assert [(each.name, tuple(each.dims)) for each in config.input] == [(t.name, t.dims) for t in model.inputs]
    assert {name: value.string_value for name, value in config.parameters.items()} == dict(model.parameters)
    assert config.HasField("dynamic_batching") == (model.delay_us is not None)
    assert len(config.model_warmup) == bool(model.warm_up)


def test_a_config_that_is_none_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('name: "a"\nmax_batch: 3\n')
    with pytest.raises(ValueError, match=r"config\.pbtxt: 2:1"):
        description.read_pbtxt(tmp_path / "config.pbtxt")


STEPS = {
    "first": Model("first", "python", (IMAGE,), (PIXELS,)),
    "second": Model("second", "python", (PIXELS,), (ROW,)),
}


def ensemble(*steps: Step, outputs: tuple[Tensor, ...] = (ROW,), max_batch: int = 32) -> Model:
    return Model("both", "ensemble", (IMAGE,), outputs, steps=steps, max_batch=max_batch)


def test_an_ensemble_that_fits() -> None:
    steps = (Step("first", {"image": "image"}, {"pixels": "x"}), Step("second", {"pixels": "x"}, {"row": "row"}))
    description.check_ensemble(ensemble(*steps), STEPS)


FIRST = Step("first", {"image": "image"}, {"pixels": "x"})


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ensemble(Step("third", {}, {})), "there is no model third"),
        (ensemble(FIRST, max_batch=64), "batches of 64, first takes 32"),
        (ensemble(Step("first", {"picture": "image"}, {})), "first has no input picture"),
        (ensemble(Step("first", {"image": "image"}, {"rows": "x"})), "first has no output rows"),
        (ensemble(FIRST, Step("second", {}, {})), "nothing gives pixels of second"),
        (ensemble(Step("second", {"pixels": "image"}, {})), "pixels of second is FP32 [3, 8, 8], image is BYTES [1]"),
        (ensemble(FIRST), "no step gives row FP32 [4]"),
    ],
)
def test_ensembles_that_do_not_fit_are_refused(model: Model, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[").replace("]", r"\]")):
        description.check_ensemble(model, STEPS)


ONNX = Model(
    "m", "onnxruntime_onnx", (Tensor("images", "FP32", (3, 224, 224)),), (Tensor("embedding", "FP32", (512,)),)
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": (Tensor("x", "FP32", (3, 224, 224)),)}, "has images, described are x"),
        ({"inputs": (Tensor("images", "FP32", (3, 224)),)}, "images has rank 4, expected 3"),
        ({"outputs": (Tensor("embedding", "FP32", (128,)),)}, "embedding is"),
        ({"outputs": ()}, "has embedding, described are "),
    ],
)
def test_descriptions_that_the_onnx_file_denies(change: dict[str, tuple[Tensor, ...]], words: str) -> None:
    checks.check_onnx(ONNX, MODEL)
    with pytest.raises(ValueError, match=words):
        checks.check_onnx(dataclasses.replace(ONNX, **change), MODEL)


def test_no_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="ONNX Runtime refuses it"):
        checks.check_onnx(ONNX, tmp_path / "m.onnx")


class Network(torch.nn.Module):
    """[N, 3, 32, 32] to [N, 4], or what a test wants to be refused."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.kind == "double":
            return images.mean((2, 3)).double()
        if self.kind == "one row":
            return images.mean((0, 2, 3))[None]
        if self.kind == "map":
            return images
        return torch.cat([images.mean((2, 3)), images.amax((1, 2, 3))[:, None]], 1)


def torchscript(path: Path, kind: str = "good") -> Path:
    torch.jit.save(torch.jit.script(Network(kind)), str(path))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [("double", "expected one tensor of float32"), ("one row", r"batch of 2"), ("map", r"expected \[1, D\]")],
)
def test_torchscript_files_that_do_not_fit(kind: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        checks.torchscript_output(torchscript(tmp_path / "m.pt", kind), (3, 32, 32))


def test_no_torchscript_file(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"m\.pt: "):
        checks.torchscript_output(tmp_path / "m.pt", (3, 32, 32))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> store.Built:
    return store.build(tmp_path_factory.mktemp("store") / "s", store.Options(model=MODEL, size=64))


def test_a_store_has_what_its_configs_name(built: store.Built) -> None:
    assert [model.name for model in built.models] == [
        "rrn",
        "rrn_onnx",
        "rrn_torchscript",
        "rrn_preprocess",
        "rrn_embed",
        "rrn_embed_torchscript",
    ]
    assert built.notes == []
    for model in built.models:
        config = description.read_pbtxt(built.path / model.name / "config.pbtxt")
        assert config == description.to_message(model)
        assert (built.path / model.name / "1").is_dir()
        if not model.is_ensemble:
            assert (built.path / model.name / "1" / model.file).is_file()
        for library in model.op_libraries:
            assert (built.path / model.name / library).is_file()
    assert (built.path / "run_container.sh").stat().st_mode & 0o111


def test_the_traced_network_is_the_engine(built: store.Built) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    embedder = rrn_native.Embedder(MODEL, 64)
    module = torch.jit.load(str(built.path / "rrn_torchscript" / "1" / "model.pt"))
    rows = module(torch.from_numpy(np.stack([embedder.preprocess(each) for each in pixels]))).detach().numpy()
    assert np.abs(rows - embedder.embed(list(pixels))).max() < 1e-5


def test_a_store_of_a_torchscript_file(tmp_path: Path) -> None:
    path = torchscript(tmp_path / "mine.pt")
    made = store.build(tmp_path / "s", store.Options(torchscript=path, size=32, prefix="mine"))
    assert {model.name for model in made.models} == {"mine_torchscript", "mine_preprocess", "mine_embed_torchscript"}
    assert made.models[0].outputs == (Tensor("OUTPUT__0", "FP32", (4,)),)
    assert (made.path / "mine_torchscript" / "1" / "model.pt").read_bytes() == path.read_bytes()


def test_the_model_says_how_pixels_become_its_input(built: store.Built) -> None:
    config = description.read_pbtxt(built.path / "rrn_preprocess" / "config.pbtxt")
    given = {name: value.string_value for name, value in config.parameters.items()}
    assert json.loads(given["mean"]) == pytest.approx([0.485, 0.456, 0.406])
    assert (given["size"], given["channels"], float(given["divisor"])) == ("64", "RGB", 255.0)


def test_a_store_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "s"
    options = store.Options(model=MODEL, size=64)

    def fail(model: Model) -> str:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "to_pbtxt", fail)
        with pytest.raises(OSError, match="disk full"):
            store.build(target, options)
    assert list(tmp_path.iterdir()) == []
    store.build(target, options)
    with pytest.raises(FileExistsError, match="--force"):
        store.build(target, options)
    store.build(target, options, force=True)
    (target / "photos").mkdir()
    with pytest.raises(FileExistsError, match="no model store"):
        store.build(target, options, force=True)


def test_what_people_put_into_a_store_is_kept_or_protected(tmp_path: Path) -> None:
    target = store.build(tmp_path / "s", store.Options(model=MODEL, size=64)).path
    (target / "rrn-1.whl").write_text("a wheel")
    (tmp_path / "link").symlink_to(target)
    store.build(tmp_path / "link", store.Options(model=MODEL, size=64), force=True)
    assert (target / "rrn-1.whl").read_text() == "a wheel"
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no model store"):
        store.build(target, store.Options(model=MODEL, size=64), force=True)
    assert (target / "thesis.txt").read_text() == "years of work"


def test_external_data_comes_along(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnx.save(onnx.load(MODEL), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=1000)
    made = store.build(tmp_path / "s", store.Options(model=tmp_path / "m.onnx", size=64))
    for name in ("rrn", "rrn_onnx"):
        assert (made.path / name / "1" / "m.data").read_bytes() == (tmp_path / "m.data").read_bytes()


def test_the_same_store_is_the_same_zip(built: store.Built, tmp_path: Path) -> None:
    contents = []
    for name in ("a.zip", "b.zip"):
        store.zip_store(built.path, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert "rrn/config.pbtxt" in archive.namelist()
        assert archive.testzip() is None


def test_a_gallery_says_what_it_left_out(photos: Path, tmp_path: Path) -> None:
    made = gallery.make(photos, rrn_native.Embedder(MODEL, 32))
    assert made.names == ["first.png", "first_small.png", "second.png", "sub/first.jpg", "third.webp"]
    assert [Path(line.partition(": ")[0]).name for line in made.skipped] == ["broken.png", "notes.txt"]
    assert np.abs(np.linalg.norm(made.rows, axis=1) - 1).max() < 1e-6
    made.save(tmp_path / "g.npz")
    again = gallery.load(tmp_path / "g.npz")
    assert again.names == made.names
    np.testing.assert_array_equal(again.rows, made.rows)
    with pytest.raises(ValueError, match="no readable image"):
        (tmp_path / "empty").mkdir()
        gallery.make(tmp_path / "empty", rrn_native.Embedder(MODEL, 32))


def test_the_container_gets_no_more_than_it_needs(built: store.Built) -> None:
    files = container.container_files(built.models)
    assert "127.0.0.1:8000:8000" in files["run_container.sh"]
    assert files["Dockerfile"].count("FROM ") == 1


def test_parts_say_what_stands_in_and_what_is_missing(built: store.Built, tmp_path: Path) -> None:
    nothing = server.check(built.path, runtime.Runtime(tmp_path))
    states = {part.model: part.how for part in nothing}
    assert states["rrn"] == "native"
    assert states["rrn_preprocess"] == "missing"
    assert states["rrn_embed"] == "missing"
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text('name: "m"\nbackend: "tensorrt"\n')
    (part,) = server.check(tmp_path, runtime.Runtime(tmp_path))
    assert part.why == "no such backend outside of containers"


Run = Callable[..., int]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["build", "s", "--model", "nothing.onnx"], 2, "nothing.onnx"),
        (["build", "s", "--max-batch", "0"], 2, "max_batch is 0, expected 1 to 1024"),
        (["build", "s", "--gallery", "nowhere"], 2, "nowhere"),
        (["build", "s", "--prefix", "../s"], 2, "prefix is '../s'"),
        (["build", "s", "--threads", "-3"], 2, "threads is -3"),
        (["build", "s", "--zip", "no/s.zip"], 2, "no such folder"),
        (["load", "--images", ".", "--concurrency", "1,,2"], 2, "--concurrency 1,,2"),
        (["check", "nowhere"], 2, "no model"),
        (["run", "nowhere", "--runtime", "nowhere"], 4, "rrn serve setup"),
        (["client", "embed", "--port", "1"], 2, "takes images"),
        (["client", "health", "a.jpg", "--port", "1"], 2, "takes no images"),
        (["client", "statistics", "--port", "1"], 4, "the server is not there"),
        (["client", "statistics", "--port", "1", "--protocol", "grpc"], 4, "the server is not there"),
        (["client", "metrics", "--metrics-port", "1"], 4, "127.0.0.1:1/metrics"),
        (["client", "embed", "nothing.jpg", "--port", "1"], 2, "nothing.jpg"),
        (["load", "--images", "nowhere"], 2, "nowhere"),
        (["client", "statistics", "--json", "no/where.json"], 2, "no such folder"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f"rrn serve {words[0]}: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
