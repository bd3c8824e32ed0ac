"""Step 5: metrics against a baseline. Which one fell, by how much, and whether beyond its interval."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from rrn_native.cli.common import write_json

from rrn_ops.evaluation import files
from rrn_ops.evaluation.bootstrap import LEVEL
from rrn_ops.evaluation.options import Options

_DIRECTIONS = ("higher", "lower")


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a baseline says about a metric.

    Attributes:
        value: What it was.
        tolerance: How much worse it may be.
        higher_is_better: Which direction is worse.
    """

    value: float
    tolerance: float
    higher_is_better: bool


def read_baseline(path: Path) -> dict[str, Limit]:
    """Reads ``{"metrics": {"accuracy": {"value": 0.9, "tolerance": 0.01, "direction": "higher"}}}``.

    Raises:
        ValueError: The file has another form.
        OSError: It cannot be read.
    """
    found = files.read_json(path)
    metrics = found.get("metrics") if isinstance(found, dict) else None
    if not isinstance(metrics, dict) or not metrics:
        raise ValueError(f'{path}: expected {{"metrics": {{NAME: {{"value": ..., "tolerance": ...}}}}}}')
    limits = {}
    for name, entry in metrics.items():
        try:
            direction = entry.get("direction", "higher")
            limit = Limit(float(entry["value"]), float(entry.get("tolerance", 0)), direction == "higher")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {name}: expected numbers as value and tolerance") from error
        if direction not in _DIRECTIONS or not math.isfinite(limit.value) or not 0 <= limit.tolerance < math.inf:
            text = "expected a finite value, a tolerance of 0 or more, and the direction higher or lower"
            raise ValueError(f"{path}: {name}: {text}")
        limits[name] = limit
    return limits


def compare(metrics: dict[str, Any], limits: dict[str, Limit]) -> list[dict[str, Any]]:
    """Compares measured metrics with a baseline.

    Args:
        metrics: For each name "value", "lower" and "upper", as in ``measures.json``.
        limits: The baseline.

    Returns:
        For each metric of the baseline: "name", "passed", "beyond" (its interval; None where that is unknown), and
        "text", one line.
    """
    return [_compared(name, metrics.get(name), limit) for name, limit in limits.items()]


def _compared(name: str, found: dict[str, Any] | None, limit: Limit) -> dict[str, Any]:
    if found is None:
        text = f"{name} is in the baseline, but was not measured"
        return {"name": name, "passed": False, "beyond": None, "text": text}
    change = found["value"] - limit.value
    worse = -change if limit.higher_is_better else change
    lower, upper = found["lower"], found["upper"]
    # Decimals that were written and read again may differ in their last bit.
    passed = worse <= limit.tolerance + 1e-12
    beyond = None if lower is None or upper is None else not lower <= limit.value <= upper
    word = "fell" if change < 0 else "rose" if change > 0 else "is unchanged:"
    interval = "unknown" if beyond is None else f"{lower:.3f} ... {upper:.3f}: {'yes' if beyond else 'no'}"
    text = f"{name} {word} {limit.value:.3f} -> {found['value']:.3f} (by {abs(change):.3f}, "
    text += f"tolerance {limit.tolerance:.3f}; beyond the {LEVEL} % interval {interval})"
    return {"name": name, "passed": passed, "beyond": beyond, "text": text}


def run(work: Path, options: Options, key: str) -> None:
    """Writes ``gate.json``.

    Args:
        work: The folder of the run.
        options: Of the run.
        key: The fingerprint of the step.

    Raises:
        ValueError: The baseline has another form.
        OSError: It cannot be read.
    """
    compared = []
    if options.baseline:
        measures = files.read_json(work / "measures.json")
        compared = compare(measures["metrics"], read_baseline(Path(options.baseline)))
    write_json(
        work / "gate.json",
        {
            "key": key,
            "baseline": options.baseline or None,
            "passed": all(each["passed"] for each in compared),
            "metrics": compared,
        },
    )


def baseline_of(measures: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Returns a baseline of what was measured.

    Args:
        measures: The content of ``measures.json``.
        tolerance: Of each metric.
    """
    return {
        "metrics": {
            name: {
                "value": found["value"],
                "tolerance": tolerance,
                "direction": "higher" if found["higher_is_better"] else "lower",
            }
            for name, found in measures["metrics"].items()
        }
    }
