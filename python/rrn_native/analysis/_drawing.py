"""What all figures share: their style, how they are written, and how numbers and names are said in them."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import matplotlib
import matplotlib.style
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rrn_native.files import write_file

FORMATS = (".png", ".svg", ".pdf")
FONT = "DejaVu Sans"  # comes with matplotlib, so figures do not depend on the machine's fonts
_STYLE: dict[str, Any] = {
    "font.family": FONT,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "figure.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "rrn",
    "hatch.linewidth": 0.5,
}


class _NotebookFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png", 100)


def check_format(path: Path) -> None:
    """Raises ValueError unless :func:`save` knows the suffix; for asking before long work."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: the suffix is {path.suffix or 'missing'}, expected one of {', '.join(FORMATS)}")


def save(figure: Figure, path: Path, *, dpi: int = 110) -> None:
    """Writes a figure; the file is complete, or untouched. The same figure and versions give the same bytes.

    Args:
        figure: From one of these functions.
        path: Its suffix is the format: .png, .svg or .pdf.
        dpi: Pixels per inch of .png files, and of pictures inside the others.

    Raises:
        ValueError: Another suffix.
        OSError: The file cannot be written.
    """
    check_format(path)
    write_file(path, rendered(figure, path.suffix.lower()[1:], dpi))


def rendered(figure: Figure, kind: str, dpi: int) -> bytes:
    """Returns a figure as a file: kind is "png", "svg" or "pdf"."""
    buffer = io.BytesIO()
    # No dates, or equal figures would be different files.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The defaults of matplotlib with ours on top, so that no user's settings change a figure."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def make_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Returns an empty figure, sizes in inches; notebooks show it without pyplot."""
    figure = _NotebookFigure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def centred_text(axes: Axes, x: float, y: float, words: str, size: float) -> None:
    """Writes words around a point."""
    axes.text(x, y, words, ha="center", va="center", fontsize=size, parse_math=False)


def base_name(path: str) -> str:
    """Returns a path's last part; the path where it has none."""
    return Path(path).name or path


def elide(name: str, length: int) -> str:
    """Returns at most `length` characters that the font has: the middle is left out, the end (the suffix) stays."""
    glyphs = _glyphs()
    name = "".join(character if ord(character) in glyphs else "\N{REPLACEMENT CHARACTER}" for character in name)
    if len(name) <= length:
        return name
    tail = length // 2
    return f"{name[: length - tail - 1]}…{name[-tail:]}"


@functools.cache
def _glyphs() -> frozenset[int]:
    """The characters that the figures' font can draw; a lone surrogate in a name would stop matplotlib otherwise."""
    font = ft2font.FT2Font(font_manager.findfont(FONT))
    # Control characters would break the line.
    return frozenset(code for code in font.get_charmap() if code >= 32 and not 127 <= code < 160)


def signed_text(value: float) -> str:
    """Returns a number with its sign and three decimals; 0.000 has none."""
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text


def similarity_text(value: float) -> str:
    """Returns a similarity with four decimals, cut instead of rounded near 1: only equal images show 1.0000."""
    text = f"{value:.4f}"
    return "0.9999" if text == "1.0000" and value < 0.9999995 else text


def percent_text(share: float) -> str:
    """Returns a share in percent, with two significant digits at least."""
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def count_text(number: int, noun: str) -> str:
    """Returns "1 image" or "2 images"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
