"""A page of findings with one chart, from one result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from research.common import charts, results

Json = dict[str, Any]


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
