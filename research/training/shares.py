"""What each stage adds: the embedding with other shares of the stages in the operator's mean.

    python -m research.training.shares WEIGHTS.pth --data DIR --scenes DIR --labelled DIR --copies-from DIR

One stage's share changes, from 0 to 1 of the last stage's, while the other lower stages keep the share that balancing
gives them; beside them the last stage alone, and the weights as they are. All is computed from what the stages give
once. Writes findings/results/stage_shares.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from research.common import machine, results
from research.common.places import RESULTS
from research.training import balance, judge
from research.training.stages import Sample, averages_of, embedding, look
from research.training.student import load_student, reduction

Json = dict[str, Any]

MODULE = "python -m research.training.shares"
OUTPUT = RESULTS / "stage_shares.json"
SHARES = (0.0, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
# A share of zero would divide the next layer by zero; this much is no part of any cosine's first six digits.
NOTHING = 1e-6


def settings(shares: Sequence[float], usual: float) -> Iterator[tuple[str, float, tuple[float, float, float]]]:
    """Yields (what varies, its share, the shares of the first three stages)."""
    for stage in range(3):
        for share in shares:
            row = [usual] * 3
            row[stage] = share or NOTHING
            yield f"stage {stage + 1}", share, (row[0], row[1], row[2])
    yield "last stage alone", 0.0, (NOTHING,) * 3


def measure(
    means: Sequence[Sample],
    judged: tuple[Sample, Sample],
    groups: Sequence[str],
    shares: Sequence[float],
    fixed: tuple[float, float, float],
) -> list[Json]:
    """Judges all settings.

    Args:
        means: The collections that `balance.fit` takes.
        judged: Labelled photos, and photos with their copies.
        groups: The labels.
        shares: That one stage gets.
        fixed: The share of the others, and `balance.fit`'s cut and exponent.

    Returns:
        A row for each: {"varies", "share", "labelled", "copies"}.
    """
    usual, cut, exponent = fixed
    taken = balance.constants(means, cut)
    known = [averages_of(sample, taken) for sample in means]
    labelled, copied = (averages_of(sample, taken) for sample in judged)
    rows: list[Json] = []
    for name, share, each in settings(shares, usual):
        scales = balance.factors(known, each, exponent)
        found = judge.numbers(embedding(labelled, scales), groups, embedding(copied, scales))
        rows.append({"varies": name, "share": share, **found})
        print(judge.line(f"{name}, {share:g}", found), flush=True)
    plain = [reduction(averages_of(sample, torch.zeros_like(taken))) for sample in judged]
    rows.append({"varies": "nothing balanced", "share": None, **judge.numbers(plain[0], groups, plain[1])})
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=MODULE, description="Measure what each stage adds.")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.pth", help="not balanced")
    balance.add_settings(parser)
    judge.add_pictures(parser)
    parser.set_defaults(output=OUTPUT, half="all")
    given = list(sys.argv[1:] if words is None else words)
    arguments = parser.parse_args(given)
    try:
        if len(set(arguments.shares)) > 1:
            raise ValueError("--shares: expected one number three times, which the stages have that do not vary")
        student = load_student(arguments.weights)
        means = balance.samples(student, arguments)
        pictures = judge.read_pictures(arguments.labelled, arguments.half, arguments.copies_from, arguments.size)
        judged = look(student, pictures.labelled), look(student, pictures.copied)
        usual = (arguments.shares[0], arguments.cut, arguments.exponent)
        rows = measure(means, judged, pictures.groups, SHARES, usual)
    except (OSError, ValueError) as error:
        print(f"shares: {error}", file=sys.stderr)
        return 2
    head = machine.head(machine.command_line(MODULE, given))
    weights = {"weights_sha256": results.sha256(arguments.weights), "half": arguments.half, "size": arguments.size}
    results.write(arguments.output, {**head, **weights, "usual_share": usual[0], "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
