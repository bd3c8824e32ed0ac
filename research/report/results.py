"""The result files as the template sees them, and the ways in which a number may be written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, StrictUndefined, Undefined

from research.common.results import Json


class Missing(ChainableUndefined, StrictUndefined):
    """A result that is not there: it may be passed on and indexed, but not written, compared or computed with."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        file = getattr(self._undefined_obj, "_file", None)
        return f"{file} has no {self._undefined_name}" if file else f"there is no {self._undefined_name}.json"


class Results(Json):
    """The contents of each JSON file of a folder under the file's name; see `load`."""

    def __missing__(self, name: str) -> Missing:
        return Missing(name=name)


# The last run of all tests: of the tree's state, and no result; the next run writes another one.
NIGHTLY = "nightly.json"


def load(folder: Path) -> Results:
    """Reads all JSON files of a folder.

    Returns:
        The contents by file name without extension; the keys below "result" can be read without naming "result". A
        file that cannot be read, or that says why nothing was measured ("absent"), is a `Missing` with that reason.
    """
    found = Results()
    for path in sorted(folder.glob("*.json")):
        if path.name == NIGHTLY:
            continue
        # Every object knows its file, so that a missing key can be reported with it.
        row = type("Row", (dict,), {"_file": path.name})
        try:
            content = json.loads(path.read_text(encoding="utf-8"), object_hook=row)
        except ValueError as error:
            found[path.stem] = Missing(hint=f"{path.name} is not JSON ({error})")
            continue
        inner = content.get("result")
        merged = row({**content, **inner}) if isinstance(inner, dict) else content
        found[path.stem] = Missing(hint=f"{path.name}: {content['absent']}") if "absent" in content else merged
    return found


def where(rows: Any, /, **wanted: Any) -> Any:
    """The rows that have these values."""
    for missing in (rows, *wanted.values()):
        if isinstance(missing, Undefined):
            return missing
    return [each for each in rows if all(each.get(key) == value for key, value in wanted.items())]


def row(rows: Any, /, **wanted: Any) -> Any:
    """The first row that has these values, or a `Missing` that names them."""
    found = where(rows, **wanted)
    if isinstance(found, Undefined):
        return found
    if found:
        return found[0]
    name = " and ".join(f"{key} {value}" for key, value in wanted.items())
    file = getattr(rows[0], "_file", "") if rows else ""
    return Missing(hint=f"{file or 'a result file'} has no row{f' with {name}' if name else ''}")


def _extreme(choose: Callable[[Iterable[Any]], Any]) -> Callable[[Any, str], Any]:
    def filtered(rows: Any, key: str) -> Any:
        if isinstance(rows, Undefined):
            return rows
        values = [each[key] for each in rows if each.get(key) is not None]
        return where(rows, **{key: choose(values)}) if values else Missing(hint=f"a list of results has no {key}")

    return filtered


def words(items: str | Iterable[str]) -> str:
    """Joins items, or the parts of a text between semicolons, as in a sentence: a, b and c."""
    listed = items.split(";") if isinstance(items, str) else list(items)
    listed = [text for text in (" ".join(each.split()) for each in listed) if text]
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def _significant(digits: int) -> Callable[[Any], str]:
    """Rounds to significant digits, never in scientific notation: numbers in a text can be compared at a glance."""

    def form(value: Any) -> str:
        decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
        return f"{round(value, decimals):,.{max(decimals, 0)}f}"

    return form


def _fixed(digits: int, scale: float = 1, unit: str = "") -> Callable[[Any], str]:
    return lambda value: f"{value * scale:,.{digits}f}{unit}"


FORMATS: dict[str, Callable[[Any], str]] = {
    "n": _fixed(0),
    "e1": lambda value: f"{value:.1e}" if value else "0",
    **{f"f{digits}": _fixed(digits) for digits in (1, 2, 3, 4)},
    **{f"g{digits}": _significant(digits) for digits in (2, 3)},
    # A number and its unit stay on one line.
    **{f"p{digits}": _fixed(digits, 100, "\u00a0%") for digits in (0, 1, 2)},
}


def table(rows: Iterable[Json], *columns: str) -> str:
    """The rows as a table in Markdown.

    Args:
        rows: One for each line of the table.
        columns: "TITLE: KEYS FORMAT" each, with the keys of the value in a row, joined by dots. Without a format it is
            a text; without a title the key is the title. A value that a row lacks becomes a dash.
    """
    split = [column.rpartition(": ") for column in columns]
    sources = [source.partition(" ")[::2] for _, _, source in split]
    titles = [title if colon else keys for (title, colon, _), (keys, _) in zip(split, sources, strict=True)]
    lines = []
    for each in rows:
        values = [_at(each, keys.split(".")) for keys, _ in sources]
        lines.append([_cell(value, form) for value, (_, form) in zip(values, sources, strict=True)])
    # Word's columns are as wide as the number of dashes says.
    longest = [max(map(len, [*title.split(), *column, ""])) for title, *column in zip(titles, *lines, strict=True)]
    rule = [
        f"{'-' if form else ':'}{'-' * size}{':' if form else '-'}"
        for size, (_, form) in zip(longest, sources, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, rule, *lines))


def _cell(value: Any, form: str) -> str:
    return "–" if value in (None, "") else FORMATS[form](value) if form else str(value)


def _at(found: Any, keys: list[str]) -> Any:
    for key in keys:
        found = (found or {}).get(key)
    return found


def _number(form: Callable[[Any], str]) -> Callable[[Any], str]:
    def written(value: Any) -> str:
        if isinstance(value, Undefined):
            return str(value)  # raises, with the reason
        if value is None:
            raise LookupError("a number is null")
        return form(value)

    return written


FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _number(form) for name, form in FORMATS.items()},
    "table": table,
    "where": where,
    "row": row,
    "largest": _extreme(max),
    "smallest": _extreme(min),
    "words": words,
    "name": lambda path: path.rsplit("/", 1)[-1],
    # Copies among the example photos share the beginning of their names.
    "family": lambda path: path.rsplit("/", 1)[-1].split(".")[0].split("_")[0],
    # A library's name within a sentence: "faiss (flat)" instead of "faiss, flat".
    "library": lambda name: "{} ({})".format(*name.split(", ")) if ", " in name else name,
    "ranked": lambda found, key: sorted(found.items(), key=lambda item: item[1][key]),
}
