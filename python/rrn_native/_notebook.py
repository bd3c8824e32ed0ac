"""What notebooks show of a result: a few groups, with thumbnails where Pillow is installed."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from rrn_native._text import counted
from rrn_native._thumbnail import thumbnail
from rrn_native.errors import RrnError

if TYPE_CHECKING:
    from rrn_native.result import SimilarityResult

# A page of a notebook is kept in its file, pictures included.
GROUPS = 10
IMAGES = 6
_SIDE = 112


def result_html(result: SimilarityResult) -> str:
    """Returns a piece of HTML without scripts or links; pictures are part of it. Files that are gone are named only."""
    counts = f"{counted(result.files, 'file')}, {result.read:,} read, {len(result.skipped):,} skipped, "
    counts += f"<b>{counted(len(result.groups), 'group')}</b>, <b>{counted(result.unique, 'unique image')}</b> "
    counts += f"(similarity above {result.threshold:g})"
    parts = [f"<p>{counts}</p>", "<table>"]
    for number, group in enumerate(result.groups[:GROUPS], start=1):
        cells = [_cell(group.representative, "representative")]
        cells += [_cell(member.path, f"{member.similarity:.4f}") for member in group.members[: IMAGES - 1]]
        more = len(group.members) - (IMAGES - 1)
        if more > 0:
            cells.append(f"<td>and {more:,} more</td>")
        parts.append(f"<tr><td>{number}</td>{''.join(cells)}</tr>")
    parts.append("</table>")
    if len(result.groups) > GROUPS:
        parts.append(f"<p>and {counted(len(result.groups) - GROUPS, 'more group')}</p>")
    return "".join(parts)


def _cell(path: str, caption: str) -> str:
    name = html.escape(Path(path).name.encode("utf-8", "replace").decode())
    title = html.escape(path.encode("utf-8", "replace").decode())
    return f'<td style="text-align: center" title="{title}">{_picture(path)}{caption}<br>{name}</td>'


def _picture(path: str) -> str:
    try:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(thumbnail(path, _SIDE)).save(buffer, "JPEG", quality=80)
    except (OSError, RrnError, ModuleNotFoundError):
        return ""
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}"><br>'
