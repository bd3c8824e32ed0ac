"""A page of findings with one chart, from one result; and the figures in a study's README."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from research.common import charts, results

Json = dict[str, Any]

# What is between these lines of a README is made from a result.
BEGIN = "<!-- figures: made from the results by scripts/findings.sh -->"
END = "<!-- end of the figures -->"
_FIGURES = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)


def write(
    name: str, measured: Path, folder: Path, *, chart: Callable[[Json], Any], markdown: Callable[[Json], str]
) -> list[Path]:
    """Writes NAME.md and NAME.png from NAME.json; returns them.

    Args:
        name: Of all three, without the ending.
        measured: The folder of results.
        folder: Gets the files.
        chart: Draws a result.
        markdown: Returns the page of a result.

    Raises:
        OSError: The result is missing, or a file cannot be written.
    """
    value = results.read(measured / f"{name}.json")
    page, picture = folder / f"{name}.md", folder / f"{name}.png"
    charts.save(chart(value), picture)
    results.write_bytes(page, markdown(value).encode())
    return [page, picture]


def with_figures(readme: str, lines: Sequence[str]) -> str:
    """Returns the text of a README with these lines in the place of its figures.

    Raises:
        ValueError: The two lines between which they belong are not there, or more than once.
    """
    if len(_FIGURES.findall(readme)) != 1:
        raise ValueError(f"expected the lines {BEGIN!r} and {END!r} once each in a README")
    block = "\n".join([BEGIN, *lines, END])
    return _FIGURES.sub(lambda _: block, readme)
