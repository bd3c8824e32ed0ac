"""The template becomes Markdown, and the Markdown a .docx file (pandoc) and a .pdf file (pandoc and typst)."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pypandoc
import typst

from research.common.results import write_bytes
from research.report.results import FILTERS, Missing, Results

HERE = Path(__file__).parent
# A blank line ends a part of the template, and so does an empty comment within a paragraph.
_PARTS = re.compile(r"(\n\n+|\n<!-- -->\n)")
# What goes wrong with a result file that lacks a field or has no rows. A test shows that complete files cause none.
_INCOMPLETE = (jinja2.UndefinedError, LookupError, TypeError, ValueError, ZeroDivisionError)
_SYNTAX: dict[str, Any] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
    "comment_start_string": "<!--",  # {#...} is a label in Markdown
    "comment_end_string": "-->",
}
_KINDS = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "sec": "Section"}
_LABEL = re.compile(r"^(#*).*?\{#(fig|tbl|eq|sec):(\w+)", re.MULTILINE)


def markdown(template: str, results: Results, chart: Callable[[str], str], **names: object) -> tuple[str, list[str]]:
    """Fills the template in.

    Args:
        template: Markdown with Jinja expressions; see README.md.
        results: The numbers.
        chart: Draws the chart of that name; returns the path of the picture, without extension.
        names: What else the template can use.

    Returns:
        The text, in which a sentence stands for each part whose results are missing, and the reasons why they are.
    """
    environment = jinja2.Environment(undefined=Missing, **_SYNTAX)
    environment.filters.update(FILTERS)
    environment.globals.update(results, files=results, chart=chart, **names)
    parts, missing = [], []
    for part in _PARTS.split(template):
        try:
            module = environment.from_string(part).module
            # What a part sets can be used by the following ones.
            environment.globals.update({name: value for name, value in vars(module).items() if name[0] != "_"})
            text = str(module)
        except _INCOMPLETE as error:
            incomplete = "" if isinstance(error, jinja2.UndefinedError) else "a result is incomplete: "
            missing.append(f"{incomplete}{error}")
            text = f"*Not measured*: {re.sub('[{}`*]', ' ', missing[-1])}."
        indent = " " * (len(part) - len(part.lstrip(" ")))
        parts.append(re.sub("^ *(?=[^ \n])", indent, text, flags=re.MULTILINE) if indent else text)
    return "".join(parts), missing


def numbered(text: str, *, typeset: bool) -> str:
    """Numbers figures, tables, equations and sections, and resolves the references (`@fig:KEY`) to them.

    Args:
        text: Markdown with labels ({#fig:KEY}).
        typeset: Whether typst will set the numbers of equations; otherwise they are written into the formulas.
    """
    counts: Counter[str] = Counter()
    numbers = {}
    for level, kind, key in _LABEL.findall(text):
        counts[kind + level] += 1
        if level == "#":
            del counts["sec##"]
        number = f"{counts['sec#']}.{counts['sec##']}" if level == "##" else str(counts[kind + level])
        numbers[f"{kind}:{key}"] = number

    def reference(found: re.Match[str]) -> str:
        kind, key = found[1], f"{found[1]}:{found[2]}"
        if key not in numbers:
            return f"a {_KINDS[kind].lower()} that could not be made"
        name = f"{_KINDS[kind]}\u00a0{numbers[key]}"
        return name if kind == "eq" else f"[{name}](#{key})"

    def formula(found: re.Match[str]) -> str:
        number = "" if typeset else rf"\qquad ({numbers[found[2]]})"
        return f"$${found[1]}{number}$$"

    text = re.sub(r"@(fig|tbl|eq|sec):(\w+)", reference, text)
    text = re.sub(r"\$\$([^$]*)\$\$ \{#(eq:\w+)\}", formula, text)
    for start, end, kind in ((r"!\[", r"\]\([^)]*\)", "fig"), (r"^: ", "", "tbl")):
        captions = rf"({start})((?:.+\n)*?.*?{end} ?\{{#({kind}:\w+))"
        text = re.sub(captions, lambda m: f"{m[1]}**{_KINDS[m[3][:3]]} {numbers[m[3]]}.** {m[2]}", text, flags=re.M)
    return text


def write(text: str, folder: Path) -> None:
    """Writes report.docx and report.pdf into a folder that holds the figures; the same text gives the same bytes."""
    # Word's columns are as wide as a table in Markdown says where it is too wide for the text.
    with tempfile.NamedTemporaryFile(suffix=".docx") as reference:
        reference.write(_word_styles(_pandoc("--print-default-data-file=reference.docx")))
        reference.flush()
        options = ("--to=docx", "--output=-", "--columns=1", f"--reference-doc={reference.name}")
        content = _pandoc(*options, "--default-image-extension=png", text=numbered(text, typeset=False), folder=folder)
    write_bytes(folder / "report.docx", content)
    options = ("--to=typst", "--columns=1000", f"--template={HERE / 'report.typ'}", "--default-image-extension=svg")
    # Any: the types of the package want one type for the source and the folder.
    source: Any = _pandoc(*options, text=numbered(text, typeset=True), folder=folder)
    # Only the fonts within the typst package, which are the same everywhere.
    write_bytes(folder / "report.pdf", typst.compile(source, root=folder, ignore_system_fonts=True, timestamp=0))


def _pandoc(*options: str, text: str = "", folder: Path = HERE) -> bytes:
    program = str(Path(pypandoc.__file__).parent / "files" / "pandoc")
    # By name: pandoc writes the bibliography's path as it is given into the .docx file's properties.
    places = ("--resource-path", os.pathsep.join((".", str(HERE))), "--bibliography=references.bib")
    command = [program, "--citeproc", *places, "--number-sections", *options]
    # The dates in a .docx file are this moment instead of that of its making.
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}
    return subprocess.run(
        command, input=text.encode(), stdout=subprocess.PIPE, cwd=folder, env=variables, check=True
    ).stdout


# Font sizes in half points, by the identifier of the style in pandoc's reference.docx.
_SIZES = {"Title": 36, "Author": 20, "Abstract": 20, "Heading1": 26, "Heading2": 22, "Caption": 19, "Compact": 18}
_PAGE = """<w:sectPr><w:footerReference w:type="default" r:id="footer"/><w:pgSz w:w="11906" w:h="16838"/>
<w:pgMar w:top="1247" w:right="1134" w:bottom="1247" w:left="1134" w:header="600" w:footer="600" w:gutter="0"/>
</w:sectPr>"""
_FOOTER = """<w:ftr xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:p><w:pPr><w:jc
w:val="center"/></w:pPr><w:fldSimple w:instr="PAGE"><w:r><w:t>1</w:t></w:r></w:fldSimple></w:p></w:ftr>"""
_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.footer+xml"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footer"
_EDGES = "".join(f'<w:{edge} w:val="single" w:sz="8" w:space="0"/>' for edge in ("top", "bottom"))
# Member, pattern and replacement.
_EDITS = [
    ("[Content_Types].xml", "(?=</Types>)", f'<Override PartName="/word/f.xml" ContentType="{_TYPE}"/>'),
    ("word/_rels/document.xml.rels", "(?=</R)", f'<Relationship Type="{_RELATION}" Id="footer" Target="f.xml"/>'),
    ("word/document.xml", "<w:sectPr.*(?=</w:body>)", _PAGE),
    ("word/theme/theme1.xml", '<a:latin typeface="[^"]*"', '<a:latin typeface="Times New Roman"'),
    ("word/styles.xml", "<w:color [^>]*/>", ""),
    ("word/styles.xml", 'Consolas(.*?)w:val="22"', r'Courier New\1w:val="18"'),
    ("word/styles.xml", 'w:val="24" />', 'w:val="21" />'),
    ("word/styles.xml", '(w:before|w:after)="(180|200)"', r'\1="90"'),
    ("word/styles.xml", '<w:tblInd w:w="0" w:type="dxa" />', f"<w:tblBorders>{_EDGES}</w:tblBorders>"),
]
for _style, _size in _SIZES.items():
    _pattern = rf'(w:styleId="{_style}"(?:(?!</w:style>|<w:rPr>).)*)(<w:rPr>.*?</w:rPr>)?\s*(?=</w:style>)'
    _look = rf'\1<w:rPr><w:b w:val="{int(_size > 21)}"/><w:sz w:val="{_size}"/></w:rPr>'
    _EDITS.append(("word/styles.xml", _pattern, _look))


def _word_styles(packed: bytes) -> bytes:
    """Pandoc's reference.docx for a black paper in Times on A4 with page numbers, instead of its colours and fonts."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    for name, pattern, replacement in _EDITS:
        members[name], count = re.subn(pattern, replacement, members[name], flags=re.DOTALL)
        if not count:
            raise RuntimeError(f"pandoc's {name} has no {pattern}; another version of pandoc?")
    members["word/f.xml"] = _FOOTER
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return output.getvalue()
