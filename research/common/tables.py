"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None) -> list[str]:
    """Returns the lines of a table and an empty one after them.

    Args:
        header: Names of the columns.
        rows: As many cells as the header has names.
        right: Which columns are aligned to the right; None for all but the first.
    """
    aligned = [column > 0 for column in range(len(header))] if right is None else right
    ruler = ["---:" if each else "---" for each in aligned]
    lines = [[cell.replace("|", "/") for cell in cells] for cells in (header, ruler, *rows)]
    return ["| " + " | ".join(cells) + " |" for cells in lines] + [""]
