"""What a collection takes: bytes, hours and costs as a function of measured rates and of assumptions that are named.

A rate comes from a result of the source tree's benchmarks; ``rates.json`` holds those of the release. Everything else
is an assumption with a default, which ``--set NAME=VALUE`` replaces. Rates were measured on other machines than yours,
so every figure has a band of a factor of two to both sides.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# To both sides of each figure.
BAND = 2.0
_RATES = Path(__file__).with_name("rates.json")


@dataclasses.dataclass(frozen=True)
class Value:
    """A number that figures are computed from.

    Attributes:
        value: The number.
        unit: Of it.
        source: The result it was measured in, or why it is assumed.
        measured: Whether it is a measurement.
    """

    value: float
    unit: str
    source: str
    measured: bool = False


Values = Mapping[str, Value]

# What is assumed; --set replaces a value.
ASSUMED: Values = {
    "dim": Value(512, "numbers", "length of an embedding of the default model"),
    "row_bytes": Value(150, "bytes", "path, sides, size, hash and state of an image, compressed"),
    "pq_bytes": Value(64, "bytes", "a product-quantised embedding; rrn makes none"),
    "cell_rows": Value(1e6, "images", "of a cell on average"),
    "probes": Value(3, "cells", "of an image"),
    "skew": Value(2, "times", "mean square of the cells' sizes by the square of their mean"),
    "sample": Value(1000, "images", "searched exactly to measure the recall"),
    "pairs_per_image": Value(1, "pairs", "similar pairs by images"),
    "pair_bytes": Value(56, "bytes", "of a pair in memory while they are grouped"),
    "network_bytes_s": Value(1.25e8, "bytes/s", "of one machine: a gigabit a second"),
    "deadline_h": Value(72, "hours", "of each stage, for the number of machines"),
    "machine_price_h": Value(0.1, "money/hour", "of a machine like the one the rates were measured on"),
    "storage_price_gb_month": Value(0.02, "money/GB/month", "of an object store"),
    "network_price_gb": Value(0.0, "money/GB", "within a region; between clouds it is not free"),
}


def rates(results: Path) -> dict[str, Value]:
    """Reads what was measured.

    Args:
        results: The folder findings/results of a source tree.

    Raises:
        OSError: A result is missing.
        ValueError: A result has no such row.
    """
    ends = _result(results, "bench_end_to_end")
    row = _row(ends["rows"], "bench_end_to_end", size="2 MP", tool="rrn")
    folder = ends["folders"]["2 MP"]
    searched = _result(results, "bench_pairs")
    most = max(each["rows"] for each in searched["rows"] if each["way"] == "rrn")
    pairs = _row(searched["rows"], "bench_pairs", rows=most, way="rrn")
    return {
        "images_per_s": Value(
            row["images_per_s"], "images/s", "bench_end_to_end.json: rrn, fp32, photos of 2 MP", True
        ),
        "image_bytes": Value(
            folder["megabytes"] * 1e6 / folder["files"], "bytes", "bench_end_to_end.json: photos of 2 MP", True
        ),
        "pairs_per_s": Value(
            most * (most - 1) / 2 / pairs["median_s"], "pairs/s", f"bench_pairs.json: rrn, {most:,} embeddings", True
        ),
    }


def _result(folder: Path, name: str) -> Json:
    value = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    found: Json = value.get("result", value)
    return found


def _row(rows: Sequence[Json], name: str, /, **wanted: object) -> Json:
    for row in rows:
        if all(row.get(key) == value for key, value in wanted.items()):
            return row
    raise ValueError(f"{name}.json has no row with {wanted}")


def to_json(values: Values) -> Json:
    """Returns values as JSON."""
    return {name: dataclasses.asdict(value) for name, value in values.items()}


def assumptions(results: Path | None, given: Sequence[str] = ()) -> dict[str, Value]:
    """Returns all numbers that a plan is made of.

    Args:
        results: Of the rates; None for those of the release.
        given: NAME=VALUE, which replace any of them.

    Raises:
        OSError: A result is missing.
        ValueError: There is no such name, or a value is not a number above 0 (prices: 0 or above).
    """
    if results is None:
        found = {name: Value(**value) for name, value in json.loads(_RATES.read_text(encoding="utf-8")).items()}
    else:
        found = rates(results)
    values = {**found, **ASSUMED}
    for each in given:
        name, _, text = each.partition("=")
        if name not in values:
            raise ValueError(f"--set {each}: expected one of {', '.join(values)}")
        number = _number(f"--set {each}", text, zero="price" in name)
        values[name] = Value(number, values[name].unit, "given on the command line")
    return values


def _number(what: str, text: str, *, zero: bool) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{what}: {text!r} is no number") from error
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{what}: expected a number {'of 0 or more' if zero else 'above 0'}")
    return value


class _Seen(dict[str, float]):
    """Knows which of its values were asked for, so that a figure names what it comes from."""

    def __init__(self, values: Mapping[str, float]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> float:
        self.names.add(name)
        return super().__getitem__(name)


@dataclasses.dataclass(frozen=True)
class _Figure:
    """A line of the plan: what it says, its unit, and how it follows from the values."""

    stage: str
    words: str
    unit: str
    formula: str
    compute: Callable[[dict[str, float]], float]


def _cells(of: dict[str, float]) -> float:
    return max(1.0, math.ceil(of["images"] / of["cell_rows"]))


def _compared(of: dict[str, float]) -> float:
    """Comparisons in cells: half a square of those that live in a cell, and they with those that visit."""
    rows = min(of["cell_rows"], of["images"])
    return of["images"] * rows * (min(of["probes"], _cells(of)) - 0.5) * (of["skew"] if _cells(of) > 1 else 1)


# In the order of the work. `images` is the number of images.
FIGURES: tuple[_Figure, ...] = (
    _Figure(
        "read",
        "compressed images over the network",
        "bytes",
        "images x image_bytes",
        lambda of: of["images"] * of["image_bytes"],
    ),
    _Figure(
        "read",
        "machine time of the transfer",
        "hours",
        "images x image_bytes / network_bytes_s",
        lambda of: of["images"] * of["image_bytes"] / of["network_bytes_s"] / 3600,
    ),
    _Figure(
        "embed", "machine time", "hours", "images / images_per_s", lambda of: of["images"] / of["images_per_s"] / 3600
    ),
    _Figure(
        "store",
        "embeddings in float32",
        "bytes",
        "images x (4 dim + row_bytes)",
        lambda of: of["images"] * (4 * of["dim"] + of["row_bytes"]),
    ),
    _Figure(
        "store",
        "embeddings in float16",
        "bytes",
        "images x (2 dim + row_bytes)",
        lambda of: of["images"] * (2 * of["dim"] + of["row_bytes"]),
    ),
    _Figure(
        "store",
        "product-quantised embeddings",
        "bytes",
        "images x (pq_bytes + row_bytes)",
        lambda of: of["images"] * (of["pq_bytes"] + of["row_bytes"]),
    ),
    _Figure(
        "pairs, exact",
        "machine time",
        "hours",
        "images^2 / 2 / pairs_per_s",
        lambda of: of["images"] ** 2 / 2 / of["pairs_per_s"] / 3600,
    ),
    _Figure("pairs, cells", "cells", "cells", "images / cell_rows", _cells),
    _Figure(
        "pairs, cells",
        "machine time to find each image's cells",
        "hours",
        "images x cells / pairs_per_s",
        lambda of: of["images"] * _cells(of) / of["pairs_per_s"] / 3600,
    ),
    _Figure(
        "pairs, cells",
        "float16 embeddings sorted by cell",
        "bytes",
        "images x probes x 2 dim",
        lambda of: of["images"] * of["probes"] * 2 * of["dim"],
    ),
    _Figure(
        "pairs, cells",
        "machine time in the cells",
        "hours",
        "images x cell_rows x (probes - 1/2) x skew / pairs_per_s",
        lambda of: _compared(of) / of["pairs_per_s"] / 3600,
    ),
    _Figure(
        "pairs, cells",
        "machine time to measure the recall",
        "hours",
        "images x sample / pairs_per_s",
        lambda of: of["images"] * of["sample"] / of["pairs_per_s"] / 3600,
    ),
    _Figure(
        "groups",
        "memory of one machine",
        "bytes",
        "images x pairs_per_image x pair_bytes",
        lambda of: of["images"] * of["pairs_per_image"] * of["pair_bytes"],
    ),
)


def make(images: float, values: Values) -> Json:
    """Makes a plan.

    Args:
        images: How many, at least 1.
        values: Of :func:`assumptions`.

    Returns:
        "images"; "values", see :class:`Value`; "figures", a list of {"stage", "words", "unit", "formula", "from",
        "value", "low", "high", "shown" (these three as text)} and, of those in hours, "machines" for the deadline and
        "cost"; of bytes that are kept, "cost_month"; and "cost", the sum of reading, embedding, float16 storage for a
        month, and cells.

    Raises:
        ValueError: There are no images.
    """
    if not (math.isfinite(images) and images >= 1):
        raise ValueError(f"--images {images}: expected at least 1")
    of = {name: each.value for name, each in values.items()} | {"images": images}
    figures = []
    for each in FIGURES:
        seen = _Seen(of)
        value = each.compute(seen)
        used = [name for name in values if name in seen.names]
        exact = each.unit == "cells"
        line: Json = {"stage": each.stage, "words": each.words, "unit": each.unit, "formula": each.formula}
        line |= {
            "from": used,
            "value": value,
            "low": value if exact else value / BAND,
            "high": value if exact else value * BAND,
        }
        line["shown"] = {end: shown(line[end], each.unit) for end in ("value", "low", "high")}
        if each.unit == "hours":
            line["machines"] = math.ceil(value / of["deadline_h"])
            # Pictures arrive while others are embedded, by the same machines.
            if each.stage != "read":
                line["cost"] = value * of["machine_price_h"]
        elif each.stage == "store":
            line["cost_month"] = value / 1e9 * of["storage_price_gb_month"]
        elif each.stage == "read":
            line["cost"] = value / 1e9 * of["network_price_gb"]
        figures.append(line)
    paid = [each for each in figures if each["stage"] != "pairs, exact"]
    kept = next(each["cost_month"] for each in figures if each["words"].endswith("float16"))
    cost = sum(each.get("cost", 0.0) for each in paid) + kept
    return {
        "images": images,
        "values": to_json(values),
        "figures": figures,
        "cost": {"value": cost, "low": cost / BAND, "high": cost * BAND},
    }


_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def shown(value: float, unit: str) -> str:
    """Returns a number of two digits with its unit: "1.0 TB", "3.1 years"."""
    if unit == "bytes":
        size, letter = next(((size, letter) for size, letter in _SCALES if value >= size), (1.0, ""))
        return f"{_two(value / size)} {letter}B"
    if unit == "hours":
        size, word = next(
            ((size, word) for size, word in ((8760, "years"), (48, "days"), (1, "hours")) if value >= size),
            (1 / 60, "minutes"),
        )
        return f"{_two(value / size)} {word}"
    return f"{value:,.0f} {unit}"


def _two(value: float) -> str:
    decimals = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def lines(plan: Json) -> list[str]:
    """Returns a plan as text for reading."""
    out = [f"{plan['images']:,.0f} images", ""]
    for each in plan["figures"]:
        band = (
            ""
            if each["unit"] == "cells"
            else f"  ({shown(each['low'], each['unit'])} to {shown(each['high'], each['unit'])})"
        )
        more = f", {each['machines']:,} machines for the deadline" if "machines" in each else ""
        paid = {key: each[key] for key in ("cost", "cost_month") if each.get(key)}
        costs = "".join(
            f", costs {value:,.0f}{' a month' if key == 'cost_month' else ''}" for key, value in paid.items()
        )
        out += [
            f"{each['stage']:<13} {each['words']}: {shown(each['value'], each['unit'])}{band}{more}{costs}",
            f"{'':<13}   = {each['formula']}",
        ]
    cost = plan["cost"]
    out += [
        "",
        f"cost with cells and a month of float16: {cost['value']:,.0f} ({cost['low']:,.0f} to {cost['high']:,.0f})",
        "",
        "from:",
    ]
    for name, value in plan["values"].items():
        kind = "measured" if value["measured"] else "assumed"
        out.append(f"  {name:<23} {value['value']:>16,.6g} {value['unit']:<15} {kind}: {value['source']}")
    return out
