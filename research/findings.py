"""Writes findings/ from findings/results: pages, charts and example figures; measures nothing.

Run by scripts/findings.sh, which sets everything up and makes the report (research/report) too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from research import studies
from research.benchmarks import bench
from research.benchmarks import report as benchmarks_report
from research.common import examples, results, tables
from research.common.places import FINDINGS, RESULTS, ROOT
from research.evaluation import choices
from research.evaluation import report as evaluation_report
from research.examples import draw, record
from research.scale import report as scale_report
from research.serving import report as serving_report
from research.watch import accuracy_report as watch_accuracy_report
from research.watch import latency_report as watch_latency_report
from research.watch import precision_report as watch_precision_report

_HEAD = """\
What was measured, and what is drawn from it. Programs write everything here: `scripts/findings.sh` makes it again
from `results/`, byte for byte with the versions that the script installs. Every number in a text comes from `results/`.
"""
# Files, what they hold, and what measures that.
_FILES = (
    (
        "`evaluation.md`, `evaluation_*.png`",
        "how good the embeddings are, from `results/evaluation.json`",
        "evaluate.sh",
    ),
    (
        "`choices.md`",
        "weights, shares of the stages and input sizes beside each other, from `results/weights_all.json`, "
        "`results/weights_report.json`, `results/stage_shares.json` and `results/sizes.json`; `command` in each file "
        "says how it was made",
        "",
    ),
    ("`benchmarks.md`, `benchmarks_*.png`", "speed and memory, from `results/bench_*.json`", "bench.sh"),
    (
        "`serving.md`, `serving.png`",
        "how fast a Triton server answers, from `results/serving.json`; `command` in the file says how it was made",
        "",
    ),
    (
        "`watch_accuracy.md`, `watch_accuracy.png`",
        "how well people are found and followed, from `results/watch_accuracy.json`; `command` in the file says how it "
        "was made",
        "",
    ),
    (
        "`watch_precision.md`, `watch_precision.png`",
        "what low precision gains and costs the person detectors, from `results/watch_precision.json`; `command` in "
        "the file says how it was made",
        "",
    ),
    (
        "`watch_latency.md`, `watch_latency.png`",
        "how old a live frame is when it is seen, from `results/watch_latency.json`; `command` in the file says how it "
        "was made",
        "",
    ),
    (
        "`tensor_mechanics.md`, `circle.md`, `quantisation.md`, `tuning.md`, `tensorrt.md`, `tensor_mechanics.png`, "
        "`circle*.png`, `quantisation.png`, `tuning*.png`, `tensorrt.png`",
        "the studies that anyone can repeat, from `results/tensor_mechanics.json`, `results/circle.json`, "
        "`results/quantisation.json`, `results/quantisation_served.json`, `results/tuning.json` and "
        "`results/tensorrt.json`",
        "research.sh --findings",
    ),
    (
        "`scale_plan.md`, `scale_plan.png`",
        "what a collection of a billion images takes, from `results/scale_plan.json` and, where it was measured, "
        "`results/scale_throughput.json`; `command` in each file says how it was made",
        "",
    ),
    (
        "`results/watch_light.png`, `results/watch_dark.png`, `results/watch_phone.png`, `results/watch_stale.png`",
        "the live page in a browser: light, dark, on a phone, and after the broker was killed",
        "watch_example.sh --findings",
    ),
    ("`report.docx`, `report.pdf`, `figures/`", "the report, from all results", "report.sh"),
    (
        "`example_map.png`, `example_gallery.png`, `example_explain.png`",
        "what `rrn report` and `rrn explain` draw, from `results/example_figures.json`",
        "findings.sh --measure",
    ),
    ("`graph_tail.png`", "the end of the default model's graph, from its file", ""),
    (
        "`results/example_page.png`",
        "the page of `build/similarity examples/photos --html page.html` in the browser that "
        "`results/example_page.json` names",
        "findings.sh --measure",
    ),
    ("`results/example.json`", "the program on the example photos", "report.sh --measure-examples"),
    (
        "`results/validation.json`",
        "PyTorch, ONNX Runtime and the engine on the example photos, and every runtime on one of them",
        "rrn validate --all --json",
    ),
    (
        "`results/stored_weights.json`",
        "float16 weights against float32 ones; `command` in the file says how it was made",
        "",
    ),
    (
        "`results/bench_real_pairs.json`",
        "the pair search on embeddings of real pictures; `command` in the file says how it was made",
        "",
    ),
    ("`results/nightly.json`", "the last run of every test that there is", "nightly.sh"),
    ("`results/gpu/*.json`", "the checks of a machine with a GPU", "gpu_check.sh"),
    (
        "`results/network_precision.json`, `results/training_runs.json`",
        "what precisions change, and what training reached; `origin` in the file says how it was made",
        "",
    ),
)


def page() -> str:
    """Returns README.md."""
    rows = []
    for files, words, program in _FILES:
        script = f"`{program}`" if program.startswith("rrn ") else f"`scripts/{program}`"
        rows.append([files, words, script if program else "-"])
    return "\n".join([_HEAD, *tables.table(["file", "what", "measured by"], rows, [False] * 3)])


def write(measured: Path, photos: Path, output: Path) -> list[Path]:
    """Writes everything but the report.

    Args:
        measured: The folder of results.
        photos: The folder that holds examples/photos.
        output: Gets the files.

    Returns:
        The files.

    Raises:
        OSError: A result or a photo is missing, or the output cannot be written.
    """
    readme = output / "README.md"
    results.write_bytes(readme, page().encode())
    return [
        readme,
        *benchmarks_report.write(measured, output, list(bench.PARTS)),
        *evaluation_report.write(results.read(measured / "evaluation.json"), output),
        choices.write(measured, output),
        *serving_report.write(measured, output),
        *watch_accuracy_report.write(measured, output),
        *watch_precision_report.write(measured, output),
        *watch_latency_report.write(measured, output),
        *studies.write(measured, output),
        *scale_report.write(measured, output),
        *draw.write(measured, photos, output),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/findings.sh", description="Write findings/ from its results.")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: findings/results")
    parser.add_argument("--output", type=Path, default=FINDINGS, metavar="DIR", help="default: findings/")
    arguments = parser.parse_args(argv)
    try:
        examples.make(ROOT / record.PHOTOS)
        written = write(arguments.results, ROOT, arguments.output)
        if arguments.output == FINDINGS:
            for path, text in studies.readmes(arguments.results).items():
                results.write_bytes(path, text.encode())
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {', '.join(path.name for path in written)} in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
