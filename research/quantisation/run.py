"""Measures every form of every network of the study, in turn.

    .venv/bin/python -m research.quantisation.run --data DIR

DIR holds `cifar100_subset.zip` and `tinyimagenet32_subset.zip`; without it the pictures are scikit-learn's handwritten
digits. DINOv2 has no weights that a package could bring: `--weights FILE` or `--download` gives it some, else they are
drawn from a seed and only times and agreement mean something.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.common import machine, results, timing
from research.common.places import RESULTS
from research.quantisation import choose, dinov2, labelled, measure
from research.quantisation.labelled import FULL, SHORT
from research.quantisation.measure import Effort
from research.quantisation.networks import NETWORKS, is_trained
from research.quantisation.variants import BASE, VARIANTS, of_network
from research.quantisation.worker import FormError

MODULE = "research.quantisation.run"
_SECONDS = {False: 40.0, True: 120.0}
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_PACKAGES = ("torchao", "openvino", "nncf", "transformers", "timm", "scikit-learn")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=MODULE,
        description="Measure faster forms of vision networks: times, size, accuracy, agreement, and what really ran.",
        epilog=f"Networks: {', '.join(NETWORKS)}. Forms: {', '.join(VARIANTS)}.",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="holds the two archives (default: handwritten digits)")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--forms", nargs="+", choices=list(VARIANTS), metavar="NAME", help="(default: all)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of DINOv2 ViT-S/14: Torch Hub's or transformers'")
    parser.add_argument("--download", action="store_true", help="fetch Torch Hub's weights of DINOv2 (88 MB)")
    parser.add_argument("--full", action="store_true", help="2,000 test pictures instead of 400, and longer timing")
    parser.add_argument("--seconds", type=float, metavar="S", help="of timing for each network (default: 40, full 120)")
    parser.add_argument("--threads", type=int, default=machine.cores(), metavar="N", help="(default: the cores)")
    parser.add_argument("--output", type=Path, default=RESULTS / "quantisation.json", metavar="FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(words)
    try:
        results.check_writable(arguments.output)
        weights = dinov2.download() if arguments.download else arguments.weights
        value = _head(words, arguments)
        for line in first_lines(arguments.data, arguments.networks, weights):
            print(line, flush=True)
        value["networks"] = {name: _one(name, arguments, weights) for name in arguments.networks}
    except (OSError, ValueError, FormError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    value["conclusion"] = choose.sentences(value)
    value["load_after"] = timing.significant(os.getloadavg()[0], 3)
    results.write(arguments.output, value)
    print(f"wrote {arguments.output}")
    return 0


def first_lines(data: Path | None, names: Sequence[str], weights: Path | None) -> list[str]:
    """Returns what has to be known before any number: which pictures and weights are not the real ones."""
    lines = []
    if "dinov2" in names and not is_trained("dinov2", weights):
        lines.append("DINOv2 has weights from a seed: its rows say times and agreement, and nothing about accuracy.")
    if data is None:
        lines.append("No --data: accuracy is that of handwritten digits, which are easy.")
    return lines


def _head(words: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    value = machine.head(machine.command_line(MODULE, words))
    for name in _PACKAGES:
        try:
            value["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    value["machine"]["governor"] = _GOVERNOR.read_text().strip() if _GOVERNOR.is_file() else "unknown"
    value["full"] = arguments.full
    return value


def _one(name: str, arguments: argparse.Namespace, weights: Path | None) -> Any:
    """Measures one network; every process is held to the cores that this one may use."""
    print(f"{name}: {NETWORKS[name].words}", flush=True)
    amount = FULL if arguments.full else SHORT
    seconds = arguments.seconds if arguments.seconds is not None else _SECONDS[arguments.full]
    pictures = labelled.pictures(NETWORKS[name], arguments.data, amount)
    chosen = [form for form in of_network(name) if arguments.forms is None or form in (BASE, *arguments.forms)]
    effort = Effort(amount, seconds, arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        own = weights if name == "dinov2" else None
        return measure.measure(name, pictures, Path(folder), effort, chosen=chosen, weights=own)


if __name__ == "__main__":
    sys.exit(main())
