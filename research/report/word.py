"""Writes a document as Word's .docx with python-docx."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path
from typing import Any

import docx
from docx.enum.section import WD_SECTION
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_TAB_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor

from research.report.document import Bullets, Document, Equation, Figure, Heading, Paragraph, Table, Text, plain

BODY, CODE = "Times New Roman", "Courier New"
_TEXT_WIDTH = Cm(17)
# Any fixed moment: the same results shall give the same bytes.
_EPOCH = datetime.datetime(2020, 1, 1)


def write(document: Document, path: Path) -> None:
    """Writes the document to `path`, under a temporary name first; the same document gives the same bytes."""
    word = docx.Document()
    _styles(word)
    section = word.sections[0]
    section.start_type = WD_SECTION.NEW_PAGE
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = Cm(2)
    section.top_margin = section.bottom_margin = Cm(2.2)
    _page_number(section.footer.paragraphs[0])

    title = word.add_paragraph(document.title, style="Title")
    title.alignment = WD_ALIGN_PARAGRAPH.CENTER
    authors = word.add_paragraph(document.authors)
    authors.alignment = WD_ALIGN_PARAGRAPH.CENTER
    abstract = word.add_paragraph(style="Abstract")
    abstract.add_run("Abstract. ").bold = True
    _add(abstract, document.abstract)
    for block in document.blocks:
        match block:
            case Heading():
                word.add_heading(f"{block.number} {block.text}".strip(), block.level)
            case Paragraph():
                _add(word.add_paragraph(), block.text)
            case Bullets():
                _bullets(word, block)
            case Table():
                _table(word, block)
            case Figure():
                _figure(word, block)
            case Equation():
                _equation(word, block)

    properties = word.core_properties
    properties.title, properties.author = document.title, "rrn"
    properties.created = properties.modified = _EPOCH
    properties.last_modified_by, properties.revision = "rrn", 1
    properties.comments = ""
    buffer = io.BytesIO()
    word.save(buffer)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(_without_dates(buffer.getvalue()))
    temporary.replace(path)


def _without_dates(packed: bytes) -> bytes:
    """The same ZIP file with one date for all members; python-docx stamps them with the time of day."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            new.writestr(entry, old.read(name))
    return output.getvalue()


def _styles(word: Any) -> None:
    def font(style: Any, name: str, size: float, *, bold: bool | None = None) -> None:
        style.font.name, style.font.size, style.font.color.rgb = name, Pt(size), RGBColor(0, 0, 0)
        style.font.bold = bold
        # Word takes the font of headings from the theme unless every script's font is named.
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for key in ("w:ascii", "w:hAnsi", "w:eastAsia", "w:cs"):
            fonts.set(qn(key), name)
        for key in ("w:asciiTheme", "w:hAnsiTheme", "w:eastAsiaTheme", "w:cstheme"):
            fonts.attrib.pop(qn(key), None)

    styles = word.styles
    font(styles["Normal"], BODY, 10.5)
    styles["Normal"].paragraph_format.space_after = Pt(5)
    font(styles["Title"], BODY, 18, bold=True)
    border = styles["Title"].element.pPr.find(qn("w:pBdr"))
    if border is not None:
        styles["Title"].element.pPr.remove(border)
    for level, size in ((1, 13), (2, 11)):
        font(styles[f"Heading {level}"], BODY, size, bold=True)
        styles[f"Heading {level}"].paragraph_format.space_before = Pt(14 if level == 1 else 9)
        styles[f"Heading {level}"].paragraph_format.space_after = Pt(4)
    font(styles["Caption"], BODY, 9.5, bold=False)
    abstract = styles.add_style("Abstract", 1)
    abstract.base_style = styles["Normal"]
    abstract.paragraph_format.left_indent = abstract.paragraph_format.right_indent = Cm(1)
    abstract.paragraph_format.space_after = Pt(10)
    font(styles["List Bullet"], BODY, 10.5)


def _add(paragraph: Any, text: Text, size: float | None = None) -> None:
    for run in text:
        added = paragraph.add_run(run.text)
        if run.style == "code":
            added.font.name, added.font.size = CODE, Pt((size or 10.5) - 1)
        elif run.style == "emphasis":
            added.italic = True
        if size and run.style != "code":
            added.font.size = Pt(size)


def _field(paragraph: Any, instruction: str) -> None:
    run = paragraph.add_run()
    for kind in ("begin", None, "end"):
        if kind:
            element = OxmlElement("w:fldChar")
            element.set(qn("w:fldCharType"), kind)
        else:
            element = OxmlElement("w:instrText")
            element.set(qn("xml:space"), "preserve")
            element.text = instruction
        run._r.append(element)


def _page_number(paragraph: Any) -> None:
    paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
    _field(paragraph, "PAGE")


def _bullets(word: Any, block: Bullets) -> None:
    for number, item in enumerate(block.items, 1):
        if not plain(item):
            continue
        if block.numbered:
            paragraph = word.add_paragraph()
            paragraph.paragraph_format.left_indent = Cm(0.9)
            paragraph.paragraph_format.first_line_indent = Cm(-0.9)
            paragraph.paragraph_format.tab_stops.add_tab_stop(Cm(0.9))
            paragraph.paragraph_format.space_after = Pt(2)
            paragraph.add_run(f"[{number}]\t").font.size = Pt(9.5)
            _add(paragraph, item, 9.5)
        else:
            paragraph = word.add_paragraph(style="List Bullet")
            paragraph.paragraph_format.space_after = Pt(3)
            _add(paragraph, item)


def _caption(word: Any, label: str, caption: Text, *, keep_with_next: bool) -> None:
    paragraph = word.add_paragraph(style="Caption")
    paragraph.paragraph_format.keep_with_next = keep_with_next
    paragraph.paragraph_format.space_after = Pt(4 if keep_with_next else 10)
    paragraph.add_run(f"{label}. ").bold = True
    _add(paragraph, caption, 9.5)


def _border(cell: Any, **edges: int) -> None:
    borders = OxmlElement("w:tcBorders")
    for edge, size in edges.items():
        element = OxmlElement(f"w:{edge}")
        element.set(qn("w:val"), "single")
        element.set(qn("w:sz"), str(size))
        borders.append(element)
    cell._tc.get_or_add_tcPr().append(borders)


def _table(word: Any, block: Table) -> None:
    _caption(word, f"Table {block.number}", block.caption, keep_with_next=True)
    table = word.add_table(rows=1 + len(block.rows), cols=len(block.header))
    table.alignment = WD_TABLE_ALIGNMENT.CENTER
    table.autofit = True
    numeric = right_aligned(block)
    last = len(block.rows)
    for index, row in enumerate(table.rows):
        cells = (
            [((text,), True) for text in block.header] if index == 0 else [(c, False) for c in block.rows[index - 1]]
        )
        cannot_split = OxmlElement("w:cantSplit")
        row._tr.get_or_add_trPr().append(cannot_split)
        for column, (cell, (content, bold)) in enumerate(zip(row.cells, cells, strict=True)):
            paragraph = cell.paragraphs[0]
            paragraph.paragraph_format.space_after = Pt(1)
            paragraph.paragraph_format.keep_with_next = index < min(last, 12)
            if numeric[column]:
                paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
            if bold:
                run = paragraph.add_run(content[0])
                run.bold, run.font.size = True, Pt(8.5)
                _border(cell, top=8, bottom=4)
            else:
                _add(paragraph, content, 8.5)
                if index == last:
                    _border(cell, bottom=8)
    header = OxmlElement("w:tblHeader")
    header.set(qn("w:val"), "true")
    table.rows[0]._tr.get_or_add_trPr().append(header)
    word.add_paragraph().paragraph_format.space_after = Pt(2)


def right_aligned(block: Table) -> list[bool]:
    """Tells for each column whether it holds numbers; the first one never does."""

    def is_number(text: str) -> bool:
        return text == "–" or text[:1].isdigit() or (text[:1] == "-" and text[1:2].isdigit())

    columns = range(len(block.header))
    numbers = [all(is_number(plain(row[column])) for row in block.rows) for column in columns]
    return [
        column > 0 and numbers[column] and any(any(run.number for run in row[column]) for row in block.rows)
        for column in columns
    ]


def _picture(paragraph: Any, path: Path, width: int, alt: str) -> None:
    shape = paragraph.add_run().add_picture(str(path), width=width)
    shape._inline.docPr.set("descr", alt)
    shape._inline.docPr.set("name", path.name)


def _figure(word: Any, block: Figure) -> None:
    paragraph = word.add_paragraph()
    paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
    paragraph.paragraph_format.keep_with_next = True
    _picture(paragraph, block.picture, int(_TEXT_WIDTH * block.width), block.alt)
    _caption(word, f"Figure {block.number}", block.caption, keep_with_next=False)


def _equation(word: Any, block: Equation) -> None:
    paragraph = word.add_paragraph()
    stops = paragraph.paragraph_format.tab_stops
    stops.add_tab_stop(Cm(8.5), WD_TAB_ALIGNMENT.CENTER)
    stops.add_tab_stop(_TEXT_WIDTH, WD_TAB_ALIGNMENT.RIGHT)
    paragraph.add_run("\t")
    _picture(paragraph, block.picture, int(block.inches * 914400), block.alt)
    paragraph.add_run(f"\t({block.number})")
