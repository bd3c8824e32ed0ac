"""A document of plain blocks, as one HTML file without a link to elsewhere, or as Markdown with pictures beside it."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Sequence

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .8rem; text-align: left; vertical-align: top; }
.wide { overflow-x: auto; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; background: white; border-radius: 4px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
.good { border-left: 5px solid #2e7d32; padding-left: .8rem; }
.bad { border-left: 5px solid #c62828; padding-left: .8rem; }
"""


@dataclasses.dataclass(frozen=True)
class Heading:
    """The title of a section."""

    text: str


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Without markup.
        mood: "good" or "bad" for what is to be seen first.
    """

    text: str
    mood: str = ""


@dataclasses.dataclass(frozen=True)
class Points:
    """A list."""

    texts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        name: A file name for Markdown, which ends in ``.png``.
        png: Its content.
        caption: What it shows.
    """

    name: str
    png: bytes
    caption: str


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Small pictures beside each other."""

    pictures: Sequence[Picture]


Block = Heading | Text | Points | Table | Picture | Gallery


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Returns one HTML file that needs nothing else, neither files nor a network nor scripts."""
    body = "\n".join(_html(block) for block in blocks)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{html.escape(block.text)}</h2>"
    if isinstance(block, Text):
        mood = f' class="{block.mood}"' if block.mood else ""
        return f"<p{mood}>{html.escape(block.text)}</p>"
    if isinstance(block, Points):
        return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Table):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.header)
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in block.rows)
        return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>'
    if isinstance(block, Gallery):
        return f'<div class="pictures">{"".join(map(_html, block.pictures))}</div>'
    data = base64.b64encode(block.png).decode()
    caption = html.escape(block.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _cell(text: str) -> str:
    number = text.replace(".", "", 1).replace("-", "", 1).isdigit()
    kind = ' class="number"' if number else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Returns Markdown that shows the pictures by their file names."""
    return "\n\n".join([f"# {_plain(title)}", *(_markdown(block) for block in blocks)]) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {_plain(block.text)}"
    if isinstance(block, Text):
        return f"**{_plain(block.text)}**" if block.mood else _plain(block.text)
    if isinstance(block, Points):
        return "\n".join(f"- {_plain(text)}" for text in block.texts)
    if isinstance(block, Table):
        rows = [block.header, ["---"] * len(block.header), *block.rows]
        return "\n".join("| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows)
    if isinstance(block, Gallery):
        return "\n\n".join(_markdown(picture) for picture in block.pictures)
    return f"![{_plain(block.caption)}]({block.name})\n\n{_plain(block.caption)}"


def _plain(text: str) -> str:
    """Text whose signs mean nothing to Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" and text != "---" else sign for sign in text)


def pictures_of(blocks: Sequence[Block]) -> list[Picture]:
    """Returns the pictures that Markdown needs beside it."""
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Gallery):
            found.extend(block.pictures)
    return found
