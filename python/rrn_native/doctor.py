"""Says what is installed, what works on this machine, and what to do about the rest.

The command line is ``rrn doctor``.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import struct
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import rrn_native
from rrn_native import _load, _machine
from rrn_native._text import one_line
from rrn_native.files import cache_folder

PROVIDERS: tuple[rrn_native.Provider, ...] = ("cpu", "openvino", "cuda", "tensorrt")
PRECISIONS: tuple[rrn_native.Precision, ...] = ("fp32", "fp16", "bf16", "int8")

OK = "ok"
MISSING = "missing"
FAILED = "failed"

# Below that, a provider computes something else than the network. The worst honest one, int8, is at 0.98.
_LOWEST_COSINE = 0.9
_SIDE = 224


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the answer.

    Attributes:
        name: What was looked at.
        status: "ok", "missing" (something optional is not there) or "failed" (it does not work, or rrn cannot
            do without it).
        detail: The version, or what was found.
        advice: What to type; empty if there is nothing to do.
        needed: Whether rrn's own job depends on it.
    """

    name: str
    status: str
    detail: str
    advice: str = ""
    needed: bool = False


@dataclasses.dataclass(frozen=True)
class Run:
    """A provider and a precision, tried.

    Attributes:
        provider: Who computes.
        precision: In what.
        works: A picture was embedded, close to what fp32 on the CPU gives.
        detail: The milliseconds of one picture on one thread, or why it does not work.
        milliseconds: Of one picture after the first; None if it does not work.
        cosine: Of the embedding and that of fp32 on the CPU; None if there is no embedding.
        seconds: That loading the model took; None if it does not work.
        fingerprint: As :attr:`rrn_native.Embedder.fingerprint`; None if there is no embedding.
    """

    provider: str
    precision: str
    works: bool
    detail: str
    milliseconds: float | None = None
    cosine: float | None = None
    seconds: float | None = None
    fingerprint: str | None = None


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        machine: As :func:`rrn_native._machine.describe` returns it.
        checks: What is installed.
        runs: Which providers and precisions work.
    """

    machine: dict[str, Any]
    checks: tuple[Check, ...]
    runs: tuple[Run, ...]

    @property
    def works(self) -> bool:
        """Whether rrn can do its job here: find similar images with the default model in fp32 on the CPU."""
        core = [check.status == OK for check in self.checks if check.needed]
        return all(core) and any(run.works for run in self.runs if (run.provider, run.precision) == ("cpu", "fp32"))

    def to_dict(self) -> dict[str, Any]:
        """Returns what ``--json`` writes."""
        return {"version": 1, "works": self.works, **dataclasses.asdict(self)}


def test_picture(side: int = _SIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Returns a picture of smooth colours and some edges, uint8 [side, side, 3]; always the same one."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float64) / side
    channels = [np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(9 * x * y) * np.sign(np.sin(20 * x))]
    return np.stack([(channel + 1) * 127 for channel in channels], axis=-1).astype(np.uint8)


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]], level: int = 6) -> bytes:
    """Returns the picture, uint8 [height, width, 3], as a PNG file; without an image library.

    Args:
        pixels: RGB.
        level: zlib's, 0 ... 9.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    # Every row begins with its filter: 1, the difference from the pixel on the left.
    left = np.zeros_like(pixels)
    left[:, 1:] = pixels[:, :-1]
    rows = np.concatenate([np.ones((height, 1), np.uint8), (pixels - left).reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), level)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def diagnose() -> Diagnosis:
    """Looks at everything; takes some seconds. Never raises for what is broken: it is in the answer."""
    checks = [_python(), _distribution("numpy", "pip install numpy", needed=True), *_onnxruntime(), _native_module()]
    runs: tuple[Run, ...] = ()
    if checks[-1].status == OK:
        checks += [_operator(), _model(), _int8_model(), _decoding(), _search(), _approximate()]
        runs = try_providers()
    checks += [_openvino(), *_cuda(), *_optional(), _cache()]
    return Diagnosis(_machine.describe(), tuple(checks), runs)


def try_providers() -> tuple[Run, ...]:
    """Embeds one picture with every provider and precision; needs the native module."""
    runs: list[Run] = []
    reference: np.ndarray[Any, np.dtype[np.float32]] | None = None
    for provider in PROVIDERS:
        for precision in PRECISIONS:
            run, embedding = _try(provider, precision, reference)
            if reference is None and (provider, precision) == ("cpu", "fp32"):
                reference = embedding
            runs.append(run)
    return tuple(runs)


def _try(
    provider: rrn_native.Provider,
    precision: rrn_native.Precision,
    reference: np.ndarray[Any, np.dtype[np.float32]] | None,
) -> tuple[Run, np.ndarray[Any, np.dtype[np.float32]] | None]:
    picture = test_picture()
    try:
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            embedder = rrn_native.Embedder(provider=provider, precision=precision, threads=1, cache=False)
        loading = time.perf_counter() - begin
        (embedding,) = embedder.embed([picture])
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            embedder.embed([picture])
            times.append(time.perf_counter() - begin)
    except (OSError, ValueError, RuntimeError) as error:
        return Run(provider, precision, False, one_line(error)), None
    milliseconds = round(float(np.median(times)) * 1000, 2)
    cosine = None if reference is None else round(rrn_native.cosine_similarity(reference, embedding), 6)
    good = bool(np.isfinite(embedding).all() and np.abs(embedding).max() > 0)
    if not good or (cosine is not None and cosine < _LOWEST_COSINE):
        run = Run(provider, precision, False, f"gives a wrong embedding (cosine {cosine})", cosine=cosine)
        return dataclasses.replace(run, fingerprint=embedder.fingerprint), embedding
    detail = f"{milliseconds:.1f} ms a picture on one thread"
    run = Run(provider, precision, True, detail, milliseconds, cosine, round(loading, 3), embedder.fingerprint)
    return run, embedding


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _distribution(name: str, advice: str, *, needed: bool = False, why: str = "") -> Check:
    version = _version(name)
    if version is None:
        return Check(name, FAILED if needed else MISSING, f"not installed{why and '; ' + why}", advice, needed)
    return Check(name, OK, version, needed=needed)


def _python() -> Check:
    return Check("Python", OK, f"{platform.python_version()} ({platform.python_implementation()})", needed=True)


def _onnxruntime() -> list[Check]:
    found = {name: _version(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    both = [f"{name} {version}" for name, version in found.items() if version is not None]
    library = _load.onnxruntime_library()
    if library is None:
        why = "not installed" if not both else f"{', '.join(both)} without its library"
        return [Check("onnxruntime", FAILED, why, "pip install --force-reinstall onnxruntime", needed=True)]
    if len(both) > 1:
        advice = "pip uninstall onnxruntime onnxruntime-gpu, then pip install the one you want"
        return [Check("onnxruntime", FAILED, f"{' and '.join(both)} are in each other's way", advice, needed=True)]
    return [Check("onnxruntime", OK, ", ".join(both) or library.name, needed=True)]


def _native_module() -> Check:
    try:
        detail = f"{rrn_native.__version__}, runs on ONNX Runtime {_load.native.onnxruntime_version()}"
    except ImportError as error:
        return Check("rrn", FAILED, one_line(error), "see the causes in this line", needed=True)
    return Check("rrn", OK, detail, needed=True)


def _operator() -> Check:
    try:
        return Check("libreduction_op.so", OK, rrn_native.custom_op_library())
    except FileNotFoundError as error:
        return Check("libreduction_op.so", MISSING, one_line(error), "models run without it, a little slower")


def _model() -> Check:
    try:
        path = Path(rrn_native.default_model())
    except FileNotFoundError as error:
        return Check("model", FAILED, one_line(error), "install rrn again", needed=True)
    return check_model(path, needed=True)


def check_model(path: Path, *, needed: bool = False) -> Check:
    """Compares a model's files with the fingerprint in the manifest beside it.

    Args:
        path: The ONNX file; the manifest has its name, with .json.
        needed: As for :class:`Check`.
    """
    manifest = path.with_suffix(".json")
    try:
        wanted = str(json.loads(manifest.read_text())["files_fingerprint"])
        found = _load.native.files_fingerprint(os.fsencode(path))
    except (OSError, ValueError, KeyError, TypeError, rrn_native.RrnError) as error:
        return Check("model", FAILED, f"{path.name} or its manifest cannot be read: {one_line(error)}", "", needed)
    if found != wanted:
        detail = f"{path} has the fingerprint {found}, {manifest.name} says {wanted}"
        return Check("model", FAILED, detail, "the file is damaged or was replaced: install rrn again", needed)
    return Check("model", OK, f"{path.name}, fingerprint as in its manifest ({found})", needed=needed)


def _int8_model() -> Check:
    try:
        model = Path(rrn_native.default_model())
    except FileNotFoundError:
        return Check("int8 model", MISSING, "no default model either")
    path = model.with_name(f"{model.stem}.int8.onnx")
    if path.is_file():
        return Check("int8 model", OK, path.name)
    return Check("int8 model", MISSING, f"no {path.name}", "install rrn again, or rrn quantize --output (needs onnx)")


def _decoding() -> Check:
    """A picture goes through a file, the decoder and back."""
    pixels = test_picture(64)
    try:
        decoded = _load.native.decode(png(pixels), rrn_native.DEFAULT_MAX_PIXELS, 0)
    except RuntimeError as error:
        return Check("decoding", FAILED, one_line(error), needed=True)
    if not np.array_equal(decoded, pixels):
        return Check("decoding", FAILED, "a PNG file came out with other pixels", needed=True)
    return Check("decoding", OK, "a PNG file came out as it went in", needed=True)


def _search() -> Check:
    """The fastest instructions against plain ones, on some random embeddings."""
    fastest, *_, plain = rrn_native.search_targets()
    rows = np.random.default_rng(7).standard_normal((200, 100), dtype=np.float32)
    try:
        found = [rrn_native.similar_pairs(rows, 0.1, target=target) for target in (fastest, plain)]
    except RuntimeError as error:
        return Check("pair search", FAILED, one_line(error), needed=True)
    if not all(np.array_equal(first, second) for first, second in zip(*found, strict=True)):
        return Check("pair search", FAILED, f"{fastest} and {plain} instructions find other pairs", needed=True)
    return Check("pair search", OK, f"{fastest} instructions", needed=True)


def _approximate() -> Check:
    if _load.native.approximate_search_available():
        return Check("approximate search", OK, "built in")
    advice = "apt-get install libhnswlib-dev, then build rrn again"
    return Check("approximate search", MISSING, "not in this build (--search approximate)", advice)


def _openvino() -> Check:
    name = "OpenVINO plugin"
    advice = "pip install onnxruntime-ep-openvino (rrn's extra [openvino]); for bf16 and int8"
    named = os.environ.get("RRN_OPENVINO_EP")
    plugin = Path(named) if named else _load.openvino_plugin()
    if plugin is None or not plugin.is_file():
        return Check(name, MISSING, f"RRN_OPENVINO_EP={named}: no such file" if named else "not installed", advice)
    return Check(name, OK, _version("onnxruntime-ep-openvino") or str(plugin))


def _cuda() -> list[Check]:
    advice = "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'; with an NVIDIA driver"
    folder = _load.package_folder("onnxruntime")
    checks = []
    for provider, file in (("CUDA", "cuda"), ("TensorRT", "tensorrt")):
        library = folder / "capi" / f"libonnxruntime_providers_{file}.so" if folder else None
        if library is not None and library.is_file():
            checks.append(Check(f"{provider} provider", OK, library.name))
        else:
            checks.append(Check(f"{provider} provider", MISSING, "not in this ONNX Runtime", advice))
    driver = Path("/proc/driver/nvidia/version")
    checks.append(
        Check("NVIDIA driver", OK, driver.read_text().splitlines()[0])
        if driver.is_file()
        else Check("NVIDIA driver", MISSING, "none; needed for cuda and tensorrt only")
    )
    return checks


def _optional() -> list[Check]:
    export = "pip install torch onnx onnxscript pillow (rrn's extra [export])"
    return [
        _distribution("torch", export, why="for rrn export and validate"),
        _distribution("onnx", "pip install onnx", why="for rrn explain, quantize, export and validate"),
        _distribution("onnxscript", export, why="for rrn export"),
        _distribution(
            "matplotlib",
            "pip install onnx matplotlib pillow (rrn's extra [report])",
            why="for rrn report, rrn explain --output and rrn calibrate --plot",
        ),
        *(
            _distribution(
                name, "pip install timm transformers safetensors (rrn's extra [convert])", why="for rrn convert"
            )
            for name in ("timm", "transformers", "safetensors")
        ),
        _distribution(
            "tritonclient", "pip install onnx 'tritonclient[http,grpc]' (rrn's extra [serve])", why="for rrn serve"
        ),
        _distribution(
            "snakemake",
            "pip install snakemake pygments matplotlib pillow onnx (rrn's extra [evaluate])",
            why="for rrn eval",
        ),
        *(
            _distribution(
                name,
                "pip install av trackers msgspec pillow onnx paho-mqtt starlette uvicorn websockets prometheus_client "
                "(rrn's extra [watch])",
                why="for rrn watch",
            )
            for name in (
                *("av", "trackers", "msgspec", "paho-mqtt"),
                *("starlette", "uvicorn", "websockets", "prometheus_client"),
            )
        ),
        _distribution("watchfiles", "pip install watchfiles (rrn's extra [watch-folder])", why="for rrn watch-folder"),
        _distribution(
            "pyarrow", "pip install pyarrow (rrn's extra [parquet])", why="for rrn index export and rrn scale"
        ),
        *(
            _distribution(name, "pip install pyarrow fsspec 'ray[data]' (rrn's extra [scale])", why="for rrn scale")
            for name in ("fsspec", "ray")
        ),
        _distribution("pillow", "pip install pillow", why="for rrn report, explain, validate and bench"),
    ]


def _cache() -> Check:
    folder = cache_folder()
    if folder is None:
        return Check("cache", MISSING, "no place for it: neither XDG_CACHE_HOME nor HOME is set", "export HOME=...")
    size = count = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                size += (Path(root) / name).lstat().st_size
                count += 1
            except OSError:
                continue
    if count == 0:
        return Check("cache", OK, f"{folder}, empty (compiled models will be kept there)")
    return Check("cache", OK, f"{folder}, {size / 1e6:.1f} MB in {count} files; may be deleted at any time")


def table(diagnosis: Diagnosis) -> str:
    """Returns the answer for people."""
    machine = diagnosis.machine
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}",
        f"instructions: {' '.join(machine['instructions']) or 'none that matter'}",
        "",
    ]
    width = max(len(check.name) for check in diagnosis.checks)
    for check in diagnosis.checks:
        lines.append(f"{check.status:<8} {check.name:<{width}}  {check.detail}")
        if check.advice and check.status != OK:
            lines.append(f"{'':<8} {'':<{width}}  -> {check.advice}")
    if diagnosis.runs:
        lines += ["", "The default model, one picture:"]
    for run in diagnosis.runs:
        near = "" if run.cosine is None or not run.works else f", cosine to fp32 {run.cosine:.4f}"
        lines.append(f"{'ok' if run.works else 'no':<8} {run.provider:<9} {run.precision:<5}  {run.detail}{near}")
    lines += [
        "",
        "rrn works here." if diagnosis.works else "rrn does not work here; see the lines that say failed or no.",
    ]
    return "\n".join(lines)
