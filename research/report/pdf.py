"""Writes a document as PDF with ReportLab."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image as Pillow
from reportlab.lib.colors import black
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import cm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Spacer,
)
from reportlab.platypus import Paragraph as PdfParagraph
from reportlab.platypus import Table as PdfTable

from research.report.document import Bullets, Document, Equation, Figure, Heading, Paragraph, Table, Text, plain
from research.report.word import right_aligned

_MARGIN = 2 * cm
_WIDTH = A4[0] - 2 * _MARGIN
# They come with matplotlib, so the PDF looks the same everywhere.
_FONTS = {
    "Body": "STIXGeneral.ttf",
    "Body-Bold": "STIXGeneralBol.ttf",
    "Body-Italic": "STIXGeneralItalic.ttf",
    "Body-BoldItalic": "STIXGeneralBolIta.ttf",
    "Code": "DejaVuSansMono.ttf",
}


def write(document: Document, path: Path) -> None:
    """Writes the document to `path`, under a temporary name first; the same document gives the same bytes."""
    for name, file in _FONTS.items():
        pdfmetrics.registerFont(TTFont(name, Path(matplotlib.get_data_path(), "fonts", "ttf", file)))
    pdfmetrics.registerFontFamily("Body", "Body", "Body-Bold", "Body-Italic", "Body-BoldItalic")
    buffer = io.BytesIO()
    template = _Template(buffer, document)
    template.build(_story(document))
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)


class _Template(BaseDocTemplate):  # type: ignore[misc]
    """Pages with a number, and headings as bookmarks."""

    def __init__(self, output: io.BytesIO, document: Document) -> None:
        # `invariant` leaves dates and random identifiers out.
        super().__init__(output, pagesize=A4, title=document.title, author="rrn", creator="rrn", invariant=1, lang="en")
        frame = Frame(_MARGIN, 2 * cm, _WIDTH, A4[1] - 4 * cm, 0, 0, 0, 0, id="page")
        self.addPageTemplates(PageTemplate("page", [frame], onPage=self._footer))
        self._bookmarks = 0

    @staticmethod
    def _footer(canvas: Any, template: Any) -> None:
        canvas.setFont("Body", 9)
        canvas.drawCentredString(A4[0] / 2, 1.2 * cm, str(template.page))

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802
        level = getattr(flowable, "rrn_level", None)
        if level is not None:
            key = f"heading{self._bookmarks}"
            self._bookmarks += 1
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.getPlainText(), key, level - 1, closed=False)


def _style(name: str, size: float, **options: Any) -> ParagraphStyle:
    return ParagraphStyle(
        name, fontName="Body", fontSize=size, leading=size * 1.28, textColor=black, splitLongWords=0, **options
    )


_STYLES = {
    "title": _style("title", 17, alignment=TA_CENTER, spaceAfter=6),
    "authors": _style("authors", 9.5, alignment=TA_CENTER, spaceAfter=10),
    "abstract": _style("abstract", 9.8, alignment=TA_JUSTIFY, leftIndent=1 * cm, rightIndent=1 * cm, spaceAfter=6),
    "body": _style("body", 10.3, alignment=TA_JUSTIFY, spaceAfter=5),
    "bullet": _style("bullet", 10.3, leftIndent=0.5 * cm, bulletIndent=0.1 * cm, spaceAfter=3),
    "reference": _style("reference", 9.3, leftIndent=0.8 * cm, bulletIndent=0, spaceAfter=2),
    "caption": _style("caption", 9.3, spaceAfter=4),
    "cell": _style("cell", 8.3),
    "number": _style("number", 8.3, alignment=2),
    "heading1": _style("heading1", 13, spaceBefore=11, spaceAfter=4, keepWithNext=1),
    "heading2": _style("heading2", 11, spaceBefore=7, spaceAfter=3, keepWithNext=1),
    "equation": _style("equation", 10.3, alignment=2),
}


def _story(document: Document) -> list[Flowable]:
    story: list[Flowable] = [
        PdfParagraph(f"<b>{escape(document.title)}</b>", _STYLES["title"]),
        PdfParagraph(escape(document.authors), _STYLES["authors"]),
        PdfParagraph(f"<b>Abstract.</b> {_markup(document.abstract)}", _STYLES["abstract"]),
    ]
    for block in document.blocks:
        match block:
            case Heading():
                heading = PdfParagraph(
                    f"<b>{escape(f'{block.number} {block.text}'.strip())}</b>", _STYLES[f"heading{block.level}"]
                )
                heading.rrn_level = block.level
                story += [CondPageBreak(2.5 * cm), heading]
            case Paragraph():
                story.append(PdfParagraph(_markup(block.text), _STYLES["body"]))
            case Bullets():
                for number, item in enumerate(block.items, 1):
                    if plain(item):
                        name, sign = ("reference", f"[{number}]") if block.numbered else ("bullet", "•")
                        story.append(PdfParagraph(_markup(item), _STYLES[name], bulletText=sign))
            case Table():
                story += _table(block)
            case Figure():
                story.append(KeepTogether([_picture(block), _caption("Figure", block), Spacer(0, 5)]))
            case Equation():
                story.append(_equation(block))
    return story


def _markup(text: Text) -> str:
    parts = []
    for run in text:
        escaped = escape(run.text, quote=False)
        if run.style == "code":
            escaped = f'<font name="Code" size="-1.6">{escaped}</font>'
        elif run.style == "emphasis":
            escaped = f"<i>{escaped}</i>"
        elif run.number:
            # A number and its unit stay on one line.
            escaped = escaped.replace(" %", "\u00a0%")
        parts.append(escaped)
    return "".join(parts)


def _caption(label: str, block: Table | Figure) -> PdfParagraph:
    return PdfParagraph(f"<b>{label} {block.number}.</b> {_markup(block.caption)}", _STYLES["caption"])


def _image(path: Path, width: float) -> Image:
    with Pillow.open(path) as picture:
        pixels, rows = picture.size
    image = Image(str(path), width, width * rows / pixels)
    image.hAlign = "CENTER"
    return image


def _picture(block: Figure) -> Image:
    return _image(block.picture, _WIDTH * block.width)


def _equation(block: Equation) -> PdfTable:
    image = _image(block.picture, block.inches * 72)
    number = PdfParagraph(f"({block.number})", _STYLES["equation"])
    table = PdfTable([["", image, number]], colWidths=[1.5 * cm, _WIDTH - 3 * cm, 1.5 * cm])
    table.setStyle([("VALIGN", (0, 0), (-1, -1), "MIDDLE"), ("ALIGN", (1, 0), (1, 0), "CENTER")])
    return table


def _table(block: Table) -> list[Flowable]:
    numeric = right_aligned(block)
    rows = [
        [
            PdfParagraph(f"<b>{escape(text)}</b>", _STYLES["number" if right else "cell"])
            for text, right in zip(block.header, numeric, strict=True)
        ]
    ]
    for row in block.rows:
        rows.append(
            [
                PdfParagraph(_markup(cell), _STYLES["number" if right else "cell"])
                for cell, right in zip(row, numeric, strict=True)
            ]
        )
    table = PdfTable(rows, colWidths=_column_widths(block, numeric), repeatRows=1)
    # A column of text beside one of numbers, which end at its edge, needs air.
    air = [("LEFTPADDING", (at, 0), (at, -1), 9) for at, right in enumerate(numeric) if at and not right]
    table.setStyle(
        [
            ("LINEABOVE", (0, 0), (-1, 0), 0.9, black),
            ("LINEBELOW", (0, 0), (-1, 0), 0.4, black),
            ("LINEBELOW", (0, -1), (-1, -1), 0.9, black),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
            *air,
        ]
    )
    parts = [_caption("Table", block), table, Spacer(0, 8)]
    # A long table may break; its caption must not be left behind on a page.
    return [KeepTogether(parts)] if len(block.rows) <= 14 else [CondPageBreak(4 * cm), *parts]


def _column_widths(block: Table, numeric: list[bool]) -> list[float]:
    """As wide as the longest cell asks for; where that is too much, the columns of text give way."""

    def wide(text: Text) -> float:
        size = float(_STYLES["cell"].fontSize)
        return sum(
            pdfmetrics.stringWidth(
                run.text, "Code" if run.style == "code" else "Body", size - (1.6 if run.style == "code" else 0)
            )
            for run in text
        )

    size = _STYLES["cell"].fontSize
    widths = []
    for column, title in enumerate(block.header):
        longest_word = max((pdfmetrics.stringWidth(word, "Body-Bold", size) for word in title.split()), default=0)
        widths.append(
            max([longest_word, *(wide(row[column]) for row in block.rows)])
            + (8 if numeric[column] or not column else 14)
        )
    spare = _WIDTH - sum(widths)
    if spare < 0:
        texts = sum(width for width, right in zip(widths, numeric, strict=True) if not right)
        return [width if right else width + spare * width / texts for width, right in zip(widths, numeric, strict=True)]
    # What is left over goes to all columns, up to a width at which a row is still easy to follow.
    extra = min(spare / len(widths), 12)
    return [width + extra for width in widths]
