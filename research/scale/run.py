"""Makes the plan of a billion images from the measured rates, simulates what goes wrong, and writes both."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rrn_ops.scale import plan

from research.common import machine, results, timing
from research.common.places import RESULTS, ROOT
from research.scale import simulation
from research.scale.simulation import Fleet

Json = dict[str, Any]

RATES = ROOT / "python" / "rrn_ops" / "scale" / "rates.json"
IMAGES = (1e6, 1e7, 1e8, 1e9)
# Minutes of a partition, and hours of one machine between two failures (cheap machines that may be taken away: a day).
PARTITIONS = (5, 20, 60, 240)
FAILURES = (2, 24, 720)
# Machines and the minutes that each has to work.
MACHINES = 64
MINUTES = 24 * 60
REPAIR = 5
SLOW = 0.05
SLOW_FACTOR = 3.0
# Standard deviations of the logarithm of cells' sizes.
SPREADS = (0.0, 0.5, 1.0, 1.5)
CELLS = 1000


@dataclasses.dataclass(frozen=True)
class Effort:
    """How often each case is simulated."""

    seeds: int


SHORT, FULL = Effort(10), Effort(50)


def failures(effort: Effort) -> list[Json]:
    """Simulates the embedding for partitions of several lengths and machines that fail more or less often.

    Returns:
        Rows with "partition_min", "failure_h", "time" (times the time without anything going wrong) and "lost" (share
        of the machines' work), see `_range`.
    """
    rows = []
    for minutes in PARTITIONS:
        for hours in FAILURES:
            count = MACHINES * MINUTES // minutes
            fleet = Fleet(MACHINES, hours * 60.0, REPAIR, SLOW, SLOW_FACTOR)
            slow = round(SLOW * MACHINES)
            ideal = count * minutes / (MACHINES - slow + slow / SLOW_FACTOR)
            runs = [simulation.run(np.full(count, float(minutes)), fleet, seed) for seed in range(effort.seeds)]
            rows.append(
                {
                    "partition_min": minutes,
                    "failure_h": hours,
                    "time": _range([each.time / ideal for each in runs]),
                    "lost": _range([each.lost / each.busy for each in runs]),
                }
            )
    return rows


def _range(values: Sequence[float]) -> Json:
    """The median over the seeds as "value", with the smallest as "low" and the largest as "high"."""
    found = timing.spread(values)
    return {
        name: round(each, 4) for name, each in zip(("value", "low", "high"), dataclasses.astuple(found), strict=False)
    }


def cells(effort: Effort) -> list[Json]:
    """Simulates the search in cells of unequal sizes, whole and in chunks of the mean size.

    Returns:
        Rows with "spread", "skew" (work, in times that of equal cells), "largest" (cell, in times the mean) and "time"
        by "whole" and "chunks": times the time of the same work in equal shares on the machines.
    """
    rows = []
    for spread in SPREADS:
        drawn = [simulation.cell_sizes(CELLS, spread, seed) for seed in range(effort.seeds)]
        row: Json = {"spread": spread, "machines": MACHINES}
        row["skew"] = _range([simulation.skew(each) for each in drawn])
        row["largest"] = _range([float(each.max()) for each in drawn])
        row["time"] = {}
        for way, most in (("whole", np.inf), ("chunks", 1.0)):
            ratios = []
            for seed, sizes in enumerate(drawn):
                tasks = simulation.cell_tasks(sizes, most)
                ratios.append(simulation.run(tasks, Fleet(MACHINES), seed).time / (tasks.sum() / MACHINES))
            row["time"][way] = _range(ratios)
        rows.append(row)
    return rows


def measure(effort: Effort, measured: Path) -> Json:
    """Makes the plans and simulates.

    Args:
        effort: How often.
        measured: The folder of results with the rates.

    Returns:
        "plans" by number of images, "band", "failures", "cells" and "settings".
    """
    values = plan.assumptions(measured)
    return {
        "band": plan.BAND,
        "plans": [plan.make(images, values) for images in IMAGES],
        "settings": {
            "machines": MACHINES,
            "hours": MINUTES / 60,
            "repair_min": REPAIR,
            "slow_share": SLOW,
            "slow_factor": SLOW_FACTOR,
            "cells": CELLS,
            "seeds": effort.seeds,
        },
        "failures": failures(effort),
        "cells": cells(effort),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="research.scale.run", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more seeds")
    parser.add_argument(
        "--rates", action="store_true", help="also write the rates that rrn scale plan takes by default"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="of the rates")
    parser.add_argument("--output", type=Path, default=RESULTS / "scale_plan.json", metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    try:
        results.check_writable(arguments.output)
        value = machine.head(machine.command_line("research.scale.run", words))
        value |= measure(FULL if arguments.full else SHORT, arguments.results)
        results.write(arguments.output, value)
        if arguments.rates:
            results.write(RATES, plan.to_json(plan.rates(arguments.results)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
