"""From a folder to similar pairs: rrn against a plain script, other tools, and the sum of the best parts."""

from __future__ import annotations

import concurrent.futures
import contextlib
import csv
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import rrn_native

from research.benchmarks import decode, network, peers_setup, planted, process
from research.common import machine, photos, results, timing
from research.common.places import PROGRAM

Json = dict[str, Any]

_HERE = Path(__file__).parent
# Originals in a folder, and how often it is all there; with the planted copies three and a half times as many files.
_COUNTS = {"12 MP": (12, 3), "2 MP": (36, 4), "VGA": (115, 4)}
_BATCHES = (1, 8, 16)
# What rrn offers beside fp32, where it is available.
_FAST = ("bf16", "int8")


class Way:
    """One tool.

    Attributes:
        name: For tables.
        peer: Whether it is another project's.
        note: What a reader has to know; empty if nothing.
        quality: Whether its precision and recall mean anything.
    """

    def __init__(self, name: str, command: Callable[[Path, Path], list[str]], *, peer: bool = False) -> None:
        """`command` makes the command line of the folder to search and the file to write."""
        self.name = name
        self.note = ""
        self.quality = True
        self.peer = peer
        self._command = command

    def run(self, folder: Path, scratch: Path) -> tuple[process.Run, list[list[str]]]:
        """Searches a folder once; returns the run and the pairs it found.

        Raises:
            RuntimeError: The tool failed; the message is its last words.
        """
        output = scratch / "pairs"
        output.unlink(missing_ok=True)
        environment = os.environ | {"SENTRY_OPT_OUT": "1"}
        # The other tools' environments must not see ours.
        if self.peer:
            environment.pop("PYTHONPATH", None)
        run = process.run(self._command(folder, output), folder=scratch, environment=environment)
        if run.status != 0 or not output.is_file():
            raise RuntimeError(f"exit status {run.status}: {(run.error.splitlines() or ['no output'])[-1][:200]}")
        text = output.read_text()
        if text.startswith("{"):
            result = json.loads(text)
            self.note = result.get("note", self.note)
            self.quality = result.get("quality", True)
            return run, result["pairs"]
        lines = list(csv.DictReader(text.splitlines()))
        return run, [[str(Path(line[key]).relative_to(folder)) for key in ("first", "second")] for line in lines]


def ways(model: Path, *, peers: bool) -> tuple[list[Way], dict[str, str]]:
    """Returns the tools that can run, and for the others why not."""
    plain = _HERE / "plain_script.py"
    found = [
        Way("rrn", partial(_ours, model, "fp32")),
        Way(
            "OpenCV + ONNX Runtime script",
            lambda folder, output: [sys.executable, str(plain), str(folder), str(output), str(model)],
        ),
    ]
    missing: dict[str, str] = {}
    for place, precision in enumerate(_FAST, 1):
        try:
            _fast_session(model, precision)
        except LookupError as error:
            missing[f"rrn, {precision}"] = str(error)
        else:
            command = partial(_ours, model, precision)
            found.insert(min(place, len(found) - 1), Way(f"rrn, {precision}", command))
    if not PROGRAM.is_file():
        raise FileNotFoundError("build/similarity is missing: run scripts/build.sh")
    for name, peer in peers_setup.known().items() if peers else ():
        reason = peers_setup.install(name)
        if reason:
            missing[name] = reason
            continue
        for mode in peer.get("modes", [""]):
            found.append(Way(f"{name} {mode}".strip(), partial(_peer_command, name, mode), peer=True))
    return found, missing


def _ours(model: Path, precision: str, folder: Path, output: Path) -> list[str]:
    options = {"--model": model, "--precision": precision, "--pairs": output}
    return [
        str(PROGRAM),
        str(folder),
        "--quiet",
        "--no-store",
        *(str(word) for option in options.items() for word in option),
    ]


def _peer_command(name: str, mode: str, folder: Path, output: Path) -> list[str]:
    adapter = _HERE / "peers" / f"run_{name}.py"
    return [str(peers_setup.python_of(name)), str(adapter), str(folder), str(output), *([mode] if mode else [])]


def best_parts(files: list[Path], model: Path, rounds: int, count: int) -> Json:
    """Measures the fastest decoding and the fastest network at hand, each alone with all cores.

    Args:
        files: The folder's pictures.
        model: The model that all run.
        rounds: Measured runs of each.
        count: Pictures that the network runs on in a round.

    Returns:
        Milliseconds for a picture of each part's candidates, and by precision images per second if a program took
        exactly the sum of the best two.
    """
    cores = machine.cores()
    cv2.setNumThreads(1)

    def read_all(read: Callable[[Path], object]) -> None:
        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            list(pool.map(read, files))

    cases: dict[str, Callable[[], object]] = {
        f"decode {name}": partial(read_all, read) for name, read in decode.READERS.items() if name != "Pillow, draft"
    }
    pixels = np.stack([rrn_native.preprocess(files[index % len(files)]) for index in range(count)])
    session = _session(model, cores)
    single = _session(model, 1)
    fast = {}
    for precision in _FAST:
        with contextlib.suppress(LookupError):
            fast[precision] = _fast_session(model, precision)
    name = session.get_inputs()[0].name
    for batch in _BATCHES:
        batches = [pixels[start : start + batch] for start in range(0, count, batch)]
        cases[f"network batch {batch}, all cores a batch"] = partial(_run_all, session, name, batches, 1)
        cases[f"network batch {batch}, one core a batch"] = partial(_run_all, single, name, batches, cores)
        for precision, quick in fast.items():
            label = f"network {precision} batch {batch}, one core a batch"
            cases[label] = partial(_run_all, quick, quick.get_inputs()[0].name, batches, cores)
    times = timing.interleaved(cases, rounds)
    each = {
        case: taken.median / (len(files) if case.startswith("decode") else count) * 1e3 for case, taken in times.items()
    }

    def best(part: str) -> float:
        return min(value for case, value in each.items() if case.startswith(f"{part} "))

    decoding = best("decode")
    result: Json = {
        "ms_per_image": {case: timing.significant(value) for case, value in each.items()},
        "best_decode_ms": timing.significant(decoding),
    }
    for precision in ("fp32", *fast):
        milliseconds = best("network batch" if precision == "fp32" else f"network {precision}")
        result[f"best_network_ms_{precision}"] = timing.significant(milliseconds)
        result[f"images_per_s_{precision}"] = timing.significant(1e3 / (decoding + milliseconds))
    return result


def _session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(rrn_native.custom_op_library())
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _fast_session(model: Path, precision: str) -> onnxruntime.InferenceSession:
    """A session of OpenVINO's in bf16 or int8.

    Raises:
        LookupError: Not available, or no faster than fp32 on this processor.
    """
    instruction = {"bf16": "amx_bf16", "int8": "avx512_vnni"}[precision]
    if instruction not in machine.machine()["instructions"]:
        raise LookupError(f"this processor has no {instruction}")
    return network.open_session(model, "openvino", precision, machine.cores())


def _run_all(session: onnxruntime.InferenceSession, name: str, batches: list[Any], workers: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda batch: session.run(None, {name: batch}), batches))


def measure(quick: bool, *, peers: bool = True, peers_only_once: bool = False, model: Path | None = None) -> Json:
    """Times all tools on folders of 12 MP, 2 MP and VGA pictures with planted near-duplicates.

    Args:
        quick: One folder of a few small pictures, rrn and the plain script only.
        peers: Also the tools of peers.toml; they are installed if necessary.
        peers_only_once: Run those once instead of three times.
        model: For rrn, the plain script and the sum of the best parts; None for the default model.

    Returns:
        {"rows": [...]}: for each size and tool images per second, seconds, peak memory, precision and recall of pairs;
        "best_parts" by size; "ratios" of rrn's images per second to each other tool's and to the best parts';
        "missing" tools and why; "folders".
    """
    used = model or Path(rrn_native.default_model())
    sizes = {"small": (160, 120)} if quick else planted.SIZES
    counts = {"small": (3, 2)} if quick else _COUNTS
    rounds = 2 if quick else 3
    peer_rounds = 1 if peers_only_once else 3
    source = photos.originals(max(count for count, _ in counts.values()), drawn=quick)
    tools, missing = ways(used, peers=peers and not quick)
    result: Json = {
        "model": used.name,
        "threshold": 0.75,
        "missing": missing,
        "folders": {},
        "best_parts": {},
        "rows": [],
    }
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as scratch_name:
        scratch = Path(scratch_name)
        for size_name, size in sizes.items():
            place = scratch / "photos" / size_name.replace(" ", "")
            folder = planted.plant(source, place, size, *counts[size_name])
            result["folders"][size_name] = _describe(folder)
            runs, pairs, failed = _run_tools(tools, folder.folder, scratch / "run", rounds, peer_rounds)
            for tool in tools:
                if tool.name in failed:
                    result["missing"][f"{tool.name}, {size_name}"] = f"failed: {failed[tool.name]}"
                else:
                    result["rows"].append(_row(tool, size_name, folder, runs[tool.name], pairs[tool.name]))
            files = sorted(folder.folder.iterdir())
            result["best_parts"][size_name] = best_parts(files, used, rounds, 4 if quick else 48)
    result["ratios"] = _ratios(result)
    return result


def _run_tools(
    tools: list[Way], folder: Path, scratch: Path, rounds: int, peer_rounds: int
) -> tuple[dict[str, list[process.Run]], dict[str, list[list[str]]], dict[str, str]]:
    """Runs all tools in turn; returns, by name, their runs, the pairs that they found, and why a tool failed."""
    runs: dict[str, list[process.Run]] = {}
    pairs: dict[str, list[list[str]]] = {}
    failed: dict[str, str] = {}
    for number, tool in timing.turns(tools, rounds):
        if tool.name in failed or (tool.peer and number >= peer_rounds):
            continue
        try:
            run, pairs[tool.name] = tool.run(folder, scratch)
        except RuntimeError as error:
            failed[tool.name] = str(error)
            continue
        runs.setdefault(tool.name, []).append(run)
    return runs, pairs, failed


def _describe(folder: planted.Planted) -> Json:
    return {
        "files": folder.files,
        "megabytes": round(folder.megabytes, 1),
        "files_with_truth": len(folder.families),
        "pairs": len(folder.truth()),
        "origin": folder.origin,
    }


def measure_found(before: Json, model: Path | None = None) -> Json:
    """Measures again what rrn and the plain script find, after a change of weights; speeds do not depend on weights.

    A row of theirs that cannot run any more keeps its times and loses its precision and recall.

    Args:
        before: What `measure` returned. The other tools' rows, and all times, stay as they are.
        model: As for `measure`.

    Returns:
        The same with new precision and recall, and "found_by": the model they are from.

    Raises:
        RuntimeError: A tool failed, or the folders are not those of before.
    """
    used = model or Path(rrn_native.default_model())
    result = before | {
        "rows": [],
        "found_by": {"model": used.name, "sha256": results.sha256(used), "commit": machine.commit()},
    }
    source = photos.originals(max(count for count, _ in _COUNTS.values()), drawn=False)
    found, why = ways(used, peers=False)
    tools = {tool.name: tool for tool in found}
    result["missing"] = before["missing"] | {f"{name}, with these weights": reason for name, reason in why.items()}
    with tempfile.TemporaryDirectory(prefix="rrn-bench-") as scratch_name:
        scratch = Path(scratch_name)
        for size_name, folder in before["folders"].items():
            place = scratch / "photos" / size_name.replace(" ", "")
            made = planted.plant(source, place, planted.SIZES[size_name], *_COUNTS[size_name])
            if _describe(made) != folder:
                raise RuntimeError(f"{size_name}: the folder is {_describe(made)}, it was {folder}")
            for row in (row for row in before["rows"] if row["size"] == size_name):
                tool = tools.get(row["tool"])
                if tool is not None:
                    _, pairs = tool.run(place, scratch / "run")
                    result["rows"].append(row | _quality(pairs, made))
                elif row["tool"].startswith("rrn,"):
                    result["rows"].append({key: row[key] for key in row if key not in ("precision", "recall")})
                else:
                    result["rows"].append(row)
    return result


def _ratios(result: Json) -> list[Json]:
    """How many times as many images per second as each other tool, and the share of the sum of the best parts."""
    ratios = []
    for size, parts in result["best_parts"].items():
        speed = {row["tool"]: row["images_per_s"] for row in result["rows"] if row["size"] == size}
        for ours, precision in (("rrn", "fp32"), *((f"rrn, {name}", name) for name in _FAST)):
            if ours in speed:
                ratio = {name: timing.significant(speed[ours] / other) for name, other in speed.items() if name != ours}
                share = timing.significant(speed[ours] / parts[f"images_per_s_{precision}"])
                ratios.append({"size": size, "of": ours, "best parts": share, **ratio})
    return ratios


def _row(tool: Way, size: str, folder: planted.Planted, runs: list[process.Run], pairs: list[list[str]]) -> Json:
    taken = timing.spread([run.seconds for run in runs])
    row: Json = {
        "size": size,
        "tool": tool.name,
        "images_per_s": timing.significant(folder.files / taken.median),
        **taken.to_json("s"),
        "peak_mib": round(timing.spread([run.peak_mib for run in runs]).median, 1),
    }
    if tool.quality:
        row |= _quality(pairs, folder)
    return row | ({"note": tool.note} if tool.note else {})


def _quality(pairs: list[list[str]], folder: planted.Planted) -> Json:
    precision, recall = planted.precision_recall(pairs, folder)
    return {"precision": None if precision is None else round(precision, 4), "recall": round(recall, 4)}
