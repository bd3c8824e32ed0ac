"""Numbers of the report: read from the JSON files of findings/results by path, formatted, and remembered.

A path names a file, then keys, then a row of a list by some of its fields:

    bench_pairs:rows[rows=100000;way=rrn].median_s

Files of `scripts/bench.sh` hold their numbers under "result"; that key may be left out. In prose a path stands in
braces with a format, two paths with `/` between them are a ratio, with `-` a difference, and `#` before a path counts a
list:

    {bench_pairs:rows[rows=100000;way=rrn].median_s|g3} seconds, {bench_pairs:... / bench_pairs:...|g2} times as fast
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class NotMeasuredError(LookupError):
    """A number that the JSON files do not hold; the message says which."""


def _significant(value: float, digits: int) -> str:
    """Rounds to significant digits, never in scientific notation: the numbers in a text stay comparable at a glance."""
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    return f"{rounded:,.{max(decimals, 0)}f}"


def _fixed(decimals: int, scale: float = 1, unit: str = "") -> Callable[[Any], str]:
    return lambda value: f"{value * scale:,.{decimals}f}{unit}"


FORMATS: dict[str, Callable[[Any], str]] = {
    "t": str,
    "n": lambda value: f"{round(value):,}",
    **{f"f{digits}": _fixed(digits) for digits in range(5)},
    **{f"g{digits}": lambda value, digits=digits: _significant(value, digits) for digits in range(1, 5)},
    **{f"p{digits}": _fixed(digits, 100, " %") for digits in range(4)},
    "ms": lambda value: _significant(value * 1000, 3),
    "e1": lambda value: f"{value:.1e}" if value else "0",
}


@dataclass(frozen=True)
class Number:
    """A formatted number and the paths that it was made from."""

    text: str
    source: str


@dataclass
class Results:
    """The JSON files of a folder.

    Attributes:
        folder: Where they are.
        derived: What was computed from them so far, by expression; `report.py` writes it to derived.json.
    """

    folder: Path
    derived: dict[str, float | int] = field(default_factory=dict)
    _files: dict[str, Any] = field(default_factory=dict, repr=False)

    def get(self, path: str) -> Any:
        """Returns what the path leads to.

        Raises:
            NotMeasuredError: It leads nowhere, or to null.
            ValueError: It is not a path.
        """
        name, found, rest = path.partition(":")
        if not found:
            raise ValueError(f"{path!r} is not a path, expected FILE:key.key[field=value].key")
        value = self._load(name)
        steps = _steps(rest)
        if isinstance(value, dict) and isinstance(value.get("result"), dict) and steps and steps[0][0] not in value:
            value = value["result"]
        elif isinstance(value, dict) and "absent" in value and steps and steps[0][0] not in value:
            raise NotMeasuredError(f"{name}.json: {value['absent']}")
        for key, conditions in steps:
            if not isinstance(value, dict) or value.get(key) is None:
                raise NotMeasuredError(f"{name}.json has no {rest}")
            value = value[key]
            if conditions:
                rows = [row for row in value if all(str(row.get(k)) == v for k, v in conditions.items())]
                if not rows:
                    raise NotMeasuredError(f"{name}.json has no {rest}")
                value = rows[0]
        return value

    def has(self, path: str) -> bool:
        """Tells whether the path leads to something."""
        try:
            self.get(path)
        except NotMeasuredError:
            return False
        return True

    def rows(self, path: str, **wanted: Any) -> list[Json]:
        """Returns the rows of a list that have the wanted fields."""
        return [row for row in self.get(path) if all(row.get(key) == value for key, value in wanted.items())]

    def values(self, path: str, key: str) -> list[Any]:
        """Returns the different values of a field of a list, in their order."""
        return list(dict.fromkeys(row[key] for row in self.get(path) if key in row))

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a path, `path / path`, `path - path` or `#path`.

        What is computed is remembered in `derived`.

        Raises:
            NotMeasuredError: A path leads nowhere.
        """
        expression = " ".join(expression.split())
        for operator in (" / ", " - "):
            left, found, right = expression.partition(operator)
            # A " - " within a name (of a row) is no operator: both sides must be paths.
            if found and ":" in right:
                first, second = self.evaluate(left), self.evaluate(right)
                if operator == " / ":
                    if not second:
                        raise NotMeasuredError(f"{right} is zero")
                    value = first / second
                else:
                    value = first - second
                self.derived[expression] = value
                return value
        if expression.startswith("#"):
            count = len(self.get(expression[1:]))
            self.derived[expression] = count
            return count
        return self.get(expression)

    def number(self, expression: str, style: str) -> Number:
        """Returns an expression's value, formatted; see `FORMATS`."""
        return Number(FORMATS[style](self.evaluate(expression)), expression)

    def _load(self, name: str) -> Any:
        if name not in self._files:
            place = self.folder / f"{name}.json"
            try:
                self._files[name] = json.loads(place.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise NotMeasuredError(f"there is no {name}.json") from None
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise NotMeasuredError(f"{name}.json is not JSON ({error})") from None
        return self._files[name]


_STEP = re.compile(r"([^.\[\]]+)(?:\[([^\]]*)\])?(?:\.|$)")


def _steps(rest: str) -> list[tuple[str, dict[str, str]]]:
    steps, at = [], 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if not found:
            raise ValueError(f"cannot read the path at {rest[at:]!r} of {rest!r}")
        conditions = dict(entry.split("=", 1) for entry in found[2].split(";")) if found[2] else {}
        steps.append((found[1], conditions))
        at = found.end()
    return steps


def words(items: Iterable[str], join: str = "and") -> str:
    """Joins words as people do: a, b and c."""
    listed = list(items)
    return f" {join} ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
