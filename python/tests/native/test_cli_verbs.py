"""The command line rrn, run as users run it."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import rrn_native
from blob_detector import blob_model
from conftest import ROOT, RunSimilarity, make_picture, read_all
from rrn_native import _load, cli, doctor

PACKAGE = ROOT / "python" / "rrn_native"
SMALL = ("--size", "64")

RunRrn = Callable[..., "subprocess.CompletedProcess[bytes]"]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "python")} | more


@pytest.fixture(scope="session")
def rrn() -> RunRrn:
    def run(*words: object, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "rrn_native", *map(str, words)]
        settings = {"env": environment(), "capture_output": True, "check": False, "timeout": 300} | options
        return subprocess.run(command, **settings)  # type: ignore[call-overload, no-any-return]

    return run


def test_find_is_the_program(rrn: RunRrn, run_similarity: RunSimilarity, photos: Path, tmp_path: Path) -> None:
    for words in ((photos, *SMALL, "--json", "-"), (photos, *SMALL), (photos, *SMALL, "--threshold", 0.99)):
        ours, program = rrn("find", *words, "--no-store"), run_similarity(*words, "--no-store")
        assert (ours.returncode, ours.stdout) == (program.returncode, program.stdout) == (0, program.stdout)
        assert ours.stderr == program.stderr.replace(b"similarity: ", b"rrn find: ")
    assert rrn("find", photos, *SMALL, "--json", tmp_path / "r.json").returncode == 0
    assert json.loads((tmp_path / "r.json").read_text())["files"] == 7


# A folder without images has a result, which says so; nothing else prints one.
NO_IMAGES = ("find", "{photos}/sub2")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("find", "{photos}", "--no-such-option"), 2),
        (("find", "/nowhere/at/all"), 2),
        (("find", "{photos}/first.png", "{photos}/second.png"), 2),
        (NO_IMAGES, 3),
        (("find", "{photos}", "--model", "/nowhere.onnx"), 4),
        (("compare", "{photos}/first.png", "{photos}/broken.png", *SMALL), 3),
        (("compare", "{photos}", "--size", "64"), 2),
        (("compare", "{photos}/first.png"), 2),
        (("query", "{photos}/first.png"), 2),
        (("query", "{photos}/first.png", "{photos}", "-k", "0"), 2),
        (("index", "grow", "{photos}"), 2),
        (("index", "info", "{photos}"), 2),
        (("bench", "--json", "/nowhere/at/all.json"), 2),
        (("doctor", "--no-such-option"), 2),
    ],
)
def test_failures_are_one_line_and_a_code(rrn: RunRrn, photos: Path, words: tuple[str, ...], code: int) -> None:
    (photos / "sub2").mkdir()
    run = rrn(*(word.format(photos=photos) for word in words))
    assert run.returncode == code, run.stderr
    if words == NO_IMAGES:
        assert b"\nread     0\n" in run.stdout
    else:
        assert run.stdout == b""
    (line,) = run.stderr.decode().splitlines()
    # A verb with verbs of its own says which one.
    assert re.match(rf"rrn {words[0]}( {words[1]})?: ", line)


def test_compare(rrn: RunRrn, photos: Path) -> None:
    same = rrn("compare", photos / "first.png", photos / "first_small.png", *SMALL)
    assert same.returncode == 0
    assert b" similar" in same.stdout
    other = rrn("compare", photos / "first.png", photos / "second.png", *SMALL, "--threshold", 0.9999)
    assert other.returncode == 1
    assert b"not similar" in other.stdout


def test_help_and_version(rrn: RunRrn) -> None:
    text = rrn("--help").stdout.decode()
    assert all(f"  {name} " in text for name in cli.VERBS)
    assert rrn("help").stdout.decode() == text
    nothing = rrn()
    assert (nothing.returncode, nothing.stdout) == (2, b"")
    assert nothing.stderr.decode() == text
    assert rrn("--version").stdout.decode().startswith(f"rrn {rrn_native.__version__}, ONNX Runtime ")
    assert b"rrn find" in rrn("help", "find").stdout


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_verb_teaches(rrn: RunRrn, name: str) -> None:
    run = rrn(name, "--help")
    assert run.returncode == 0, run.stderr
    # The first two are the program's own.
    usage = "Usage:" if name in ("find", "compare") else "usage:"
    assert run.stdout.decode().startswith(f"{usage} rrn {name} ")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("fnd", "did you mean 'find'?"), ("reprot", "did you mean 'report'?"), ("x7", "no verb 'x7' (see")],
)
def test_unknown_verbs(rrn: RunRrn, word: str, hint: str) -> None:
    run = rrn(word)
    assert run.returncode == 2
    assert hint in run.stderr.decode()
    assert run.stderr.count(b"\n") == 1


def test_a_folder_is_no_verb(rrn: RunRrn, photos: Path) -> None:
    run = rrn(photos)
    assert run.returncode == 2
    assert f"did you mean 'rrn find {photos}'?" in run.stderr.decode()


PACKAGES = ("torch", "onnx", "onnxscript", "matplotlib", "PIL", "sklearn", "umap", "ml_dtypes", "onnx_ir")
PACKAGES += ("timm", "transformers", "safetensors")


def without(packages: Iterable[str], *words: object) -> subprocess.CompletedProcess[str]:
    """Runs rrn where some packages cannot be imported."""
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({tuple(packages)!r}))\n"
        "from rrn_native.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_help_needs_no_package(name: str) -> None:
    # find and compare are the engine's own command line, whose library onnxruntime brings.
    run = without((*PACKAGES, *(["onnxruntime"] if name not in ("find", "compare") else [])), name, "--help")
    assert run.returncode == 0, run.stderr
    assert f"rrn {name}" in run.stdout


def timm_weights(folder: Path) -> Path:
    """A small ViT's weights, as timm names them; of zeros, so that everything is equal."""
    import torch

    shapes = {
        "cls_token": (1, 1, 8),
        "pos_embed": (1, 2, 8),
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "norm.weight": (8,),
    }
    shapes |= {"norm.bias": (8,), "patch_embed.proj.bias": (8,), "head.weight": (3, 8), "head.bias": (3,)}
    for layer, shape in {"norm1": (8,), "norm2": (8,), "attn.qkv": (24, 8), "attn.proj": (8, 8)}.items():
        shapes |= {f"blocks.0.{layer}.weight": shape, f"blocks.0.{layer}.bias": shape[:1]}
    for layer, shape in {"mlp.fc1": (16, 8), "mlp.fc2": (8, 16)}.items():
        shapes |= {f"blocks.0.{layer}.weight": shape, f"blocks.0.{layer}.bias": shape[:1]}
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, folder / "vit.pth")
    return folder / "vit.pth"


def eval_words(folder: Path) -> list[object]:
    """Evaluates the engine on two pictures of each of two groups."""
    (folder / "eval").mkdir(exist_ok=True)
    for k in range(4):
        make_picture(k).save(folder / "eval" / f"{k}.png")
    (folder / "inputs.csv").write_text("image\n" + "".join(f"eval/{k}.png\n" for k in range(4)))
    (folder / "outputs.csv").write_text("image,label\n" + "".join(f"eval/{k}.png,{k % 2}\n" for k in range(4)))
    tables = ["--inputs", folder / "inputs.csv", "--outputs", folder / "outputs.csv"]
    return ["run", *tables, "--model", "engine", "--resamples", "20", "--work", folder / "work"]


def words_for(name: str, photos: Path) -> list[object]:
    """A command line that does the verb's work, and needs all of its packages."""
    first, output = photos / "first.png", photos.parent
    table = output / "groups.csv"
    table.write_text("file,group\nphotos/first.png,1\nphotos/first_small.png,1\nphotos/second.png,2\n")
    return {
        "report": [photos, "--output", output / "report", *SMALL],
        "explain": [first, photos / "second.png", "--output", output / "why.png", *SMALL],
        "calibrate": ["--groups", table, "--plot", output / "plot.png", *SMALL],
        "export": ["--weights", "random", "--output", output / "m.onnx"],
        "validate": ["--images", photos, *SMALL],
        "convert": ["vit", "--weights", timm_weights(output), "--output", output / "vit", "--heads", "2"],
        "eval": eval_words(output),
        "serve": ["build", output / "store", *SMALL],
        "watch-folder": [photos, "--once", *SMALL],
        "scale": ["embed", photos, "--output", output / "job", "--engine", "processes", "--workers", "0", *SMALL],
        "watch": [photos, "--model", blob_model(output / "blob.onnx"), "--output", output / "rows.jsonl"],
        "quantize": ["--images", photos, "--output", output / "m.int8.onnx", "--target", "0", *SMALL],
    }[name]


NEEDY = sorted(name for name, verb in cli.VERBS.items() if verb.packages)


@pytest.mark.parametrize("name", NEEDY)
def test_the_packages_of_a_verb_are_all_it_needs(name: str, photos: Path) -> None:
    """Without the first of them it says what to install; with them, and nothing else, it works."""
    packages = [package.partition("[")[0] for package in cli.VERBS[name].packages.split()]
    imported = [{"pillow": "PIL", "paho-mqtt": "paho"}.get(package, package) for package in packages]
    words = words_for(name, photos)
    if all(importlib.util.find_spec(package) for package in imported):
        # What these import themselves comes with them.
        brought = {"onnxscript": ["onnx_ir", "ml_dtypes"], "onnx": ["ml_dtypes"], "matplotlib": ["PIL"]}
        there = {*imported, *(name for package in imported for name in brought.get(package, []))}
        run = without([package for package in PACKAGES if package not in there], name, *words)
        assert run.returncode == 0, run.stderr
    run = without(imported, name, *words)
    assert run.returncode == 4, run.stderr
    assert run.stderr.startswith(f"rrn {name}: needs ")
    assert run.stderr.endswith(f"pip install {cli.VERBS[name].packages} (rrn's extra [{cli.VERBS[name].extra}])\n")
    assert run.stderr.count("\n") == 1


def test_doctor_names_the_packages_of_the_verbs() -> None:
    advised = {word for check in doctor._optional() for word in (check.name, *check.advice.split())}
    run = without(PACKAGES, "doctor", "--json", "-")
    assert run.returncode == 0, "none of them is needed for the engine"
    for name in NEEDY:
        named = {package.strip("'").partition("[")[0] for package in cli.VERBS[name].packages.split()}
        names = {word.strip("'").partition("[")[0] for word in advised}
        assert named <= names | {check.name for check in doctor._optional()}


def test_nothing_heavy_is_imported_for_nothing(photos: Path) -> None:
    heavy = ("torch", "onnx", "onnxruntime", "matplotlib", "PIL", "argparse")
    script = "import sys; from rrn_native.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    for words in (["--help"], ["find", str(photos), *SMALL, "--quiet"]):
        command = [sys.executable, "-c", script, *words]
        run = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        imported = set(run.stderr.split())
        assert "rrn_native.cli" in imported
        assert not imported & set(heavy)
        assert ("rrn_native._native" in imported) == (words[0] == "find")


def test_without_the_native_module(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "rrn_native", ignore=shutil.ignore_patterns("*.so", "__pycache__"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rrn_native", *words],
            env=environment(PYTHONPATH=str(tmp_path)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("--help").returncode == 0
    query = run("query", "a.jpg", ".")
    assert query.returncode == 4
    assert query.stderr.startswith("rrn query: rrn_native's native module could not be loaded")
    doctor = run("doctor", "--json", "-")
    assert doctor.returncode == 1
    found = json.loads(doctor.stdout)
    assert found["works"] is False
    (native,) = [check for check in found["checks"] if check["name"] == "rrn"]
    assert native["status"] == "failed"
    assert "Likely causes" in native["detail"]
    version = run("--version")
    assert version.returncode == 0
    assert "see rrn doctor" in version.stdout
    use = subprocess.run(
        [sys.executable, "-c", "import rrn_native; rrn_native.decode('/dev/null')"],
        env=environment(PYTHONPATH=str(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ImportError: rrn_native's native module could not be loaded" in use.stderr
    assert "install rrn's wheel again" in use.stderr


def test_a_reader_that_leaves_ends_it_quietly(photos: Path) -> None:
    for words in (["--help"], ["find", str(photos), *SMALL], ["doctor"]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "rrn_native", *words]
        run = subprocess.run(command, env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert run.returncode == -signal.SIGPIPE
        assert run.stderr == b""


@pytest.mark.parametrize("verb", ["find", "query"])
def test_interrupt(photos: Path, verb: str) -> None:
    for i in range(400):
        make_picture(i % 7, 300, 200).save(photos / f"{i}.jpg")
    words = [photos] if verb == "find" else [photos / "first.png", photos]
    command = [sys.executable, "-m", "rrn_native", verb, *map(str, words), "--threads", "1"]
    master, slave = pty.openpty()  # the progress line tells that the work has begun
    # Background jobs of scripts ignore Ctrl-C, and what they start does so too.
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=slave,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(slave)
    shown = b""
    while b"images" not in shown:
        shown += os.read(master, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    shown += read_all(master)
    assert f"rrn {verb}: interrupted".encode() in shown
    assert b"Traceback" not in shown


def test_stubs_name_what_the_module_has() -> None:
    stubs = ast.parse((PACKAGE / "_native.pyi").read_text())
    module = _load.load()

    def public(names: object) -> set[str]:
        return {name for name in names if not name.startswith("_")}  # type: ignore[attr-defined]

    described = {node.name: node for node in stubs.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert public(described) == public(vars(module))
    assert isinstance(module.__version__, str)
    for name, node in described.items():
        if isinstance(node, ast.ClassDef):
            members = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            assert public(members) == public(vars(getattr(module, name))), name


def test_export_without_the_library_for_pytorch(tmp_path: Path) -> None:
    """An installed wheel has no libreduction_torch.so, and writes the same model."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    package = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, package / "rrn_native", ignore=shutil.ignore_patterns("__pycache__"))
    library = os.environ.get("RRN_TORCH_OP_LIBRARY", str(ROOT / "lib" / "libreduction_torch.so"))
    plain = {name: value for name, value in os.environ.items() if name != "RRN_TORCH_OP_LIBRARY"}
    written = []
    for name, settings in (
        ("with", {"RRN_TORCH_OP_LIBRARY": library} if Path(library).is_file() else {}),
        ("without", {"PYTHONPATH": str(package)}),
    ):
        command = [sys.executable, "-m", "rrn_native", "export", "--weights", "random:7", "--output", f"{name}.onnx"]
        run = subprocess.run(
            command,
            env=plain | {"PYTHONPATH": str(ROOT / "python")} | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        written.append((tmp_path / f"{name}.onnx").read_bytes())
    assert written[0] == written[1]
