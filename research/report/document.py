"""The document: blocks that know nothing of Word or PDF, and the writer that makes them from prose with references.

Markup within prose: `code`, *emphasis*, {path|format} for a number (see results.py), {fig:KEY}, {table:KEY}, {eq:KEY},
{sec:KEY} for cross references, {cite:KEY} for the literature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from research.report.results import NotMeasuredError, Number, Results


@dataclass(frozen=True)
class Run:
    """A piece of text in one style; `number` says where its digits come from, if it is a number from a JSON file."""

    text: str
    style: Literal["plain", "code", "emphasis"] = "plain"
    number: Number | None = None


Text = tuple[Run, ...]


@dataclass(frozen=True)
class Heading:
    """A section's title, with its number; level 1 or 2. Without a number: abstract and references."""

    level: int
    number: str
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: Text


@dataclass(frozen=True)
class Bullets:
    """A list; `numbered` items carry their number in brackets, as the literature does."""

    items: tuple[Text, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, numbers are set to the right."""

    number: int
    caption: Text
    header: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A picture with a caption; `width` is a share of the text's width, `alt` says what is to be seen."""

    number: int
    caption: Text
    picture: Path
    width: float
    alt: str


@dataclass(frozen=True)
class Equation:
    """A formula as a picture, numbered at the right margin; `alt` is the formula in words."""

    number: int
    picture: Path
    inches: float
    alt: str


Block = Heading | Paragraph | Bullets | Table | Figure | Equation


@dataclass(frozen=True)
class Document:
    """A finished document."""

    title: str
    authors: str
    abstract: Text
    blocks: tuple[Block, ...]

    def texts(self) -> list[Text]:
        """All text in order, captions and cells included, headings and the table's headers too."""
        found: list[Text] = [(Run(self.title),), (Run(self.authors),), self.abstract]
        for block in self.blocks:
            match block:
                case Heading():
                    found.append((Run(f"{block.number} {block.text}"),))
                case Paragraph():
                    found.append(block.text)
                case Bullets():
                    found += block.items
                case Table():
                    found += [block.caption, *((Run(cell),) for cell in block.header)]
                    found += [cell for row in block.rows for cell in row]
                case Figure():
                    found.append(block.caption)
                case Equation():
                    found.append((Run(block.alt),))
        return found


def plain(text: Text) -> str:
    """Returns the text without its styles."""
    return "".join(run.text for run in text)


Sentence = str | Callable[[], str]
# Draws a picture and saves it; returns the PNG.
Draw = Callable[[str], Path]

# Besides what says so itself: a result whose rows lack a field, or that has no rows. That nothing of the kind happens
# with complete results is tested.
_INCOMPLETE = (NotMeasuredError, LookupError, ValueError, TypeError, ZeroDivisionError)

_TOKEN = re.compile(r"\{([^{}]+)\}|`([^`]+)`|\*([^*]+)\*")
_REFERENCE = re.compile(r"(fig|table|eq|sec|cite):([\w ,-]+)")
_NAMES = {"fig": "Figure", "table": "Table", "eq": "Equation", "sec": "Section"}


@dataclass
class Writer:
    """Collects blocks. What was not measured becomes a sentence that says so; the rest of the paragraph stays.

    Attributes:
        results: Where numbers come from.
        literature: The references by key, in the order of their numbers.
        missing: What was not measured so far.
    """

    results: Results
    literature: dict[str, str]
    missing: list[str] = field(default_factory=list)
    _blocks: list[Callable[[], Block]] = field(default_factory=list)
    _numbers: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _abstract: Callable[[], Text] | None = None

    def heading(self, level: int, key: str, text: str) -> None:
        """Begins a section (level 1) or a part of one (level 2)."""
        if level == 1:
            self._counts["sec"] = self._counts.get("sec", 0) + 1
            self._counts["part"] = 0
            number = str(self._counts["sec"])
        else:
            self._counts["part"] += 1
            number = f"{self._counts['sec']}.{self._counts['part']}"
        self._numbers[f"sec:{key}"] = number
        self._blocks.append(lambda: Heading(level, number, text))

    def abstract(self, *sentences: Sentence) -> None:
        """Sets the abstract."""
        kept = self._measured(sentences)
        self._abstract = lambda: self._text(kept)

    def paragraph(self, *sentences: Sentence) -> None:
        """Adds a paragraph of sentences; one whose numbers are missing is left out and named at the end."""
        kept = self._measured(sentences)
        self._blocks.append(lambda: Paragraph(self._text(kept)))

    def bullets(self, *items: Sentence | Sequence[Sentence]) -> None:
        """Adds a list, each item a sentence or several."""
        kept = [self._measured([item] if isinstance(item, str) or callable(item) else item) for item in items]
        self._blocks.append(lambda: Bullets(tuple(self._text(item) for item in kept)))

    def table(self, key: str, caption: str, header: Sequence[str], rows: Callable[[], Sequence[Sequence[str]]]) -> None:
        """Adds a table; a cell whose number is missing becomes a dash, a table without rows a sentence."""
        try:
            cells = [[self._cell(cell) for cell in row] for row in rows()]
        except _INCOMPLETE as error:
            self._absent(f"A table ({caption.rstrip('.')})", error)
            return
        number = self._count("table", key)
        self._blocks.append(
            lambda: Table(
                number,
                self._text(caption),
                tuple(header),
                tuple(tuple(self._text(cell) for cell in row) for row in cells),
            )
        )

    def figure(self, key: str, caption: str, draw: Draw, alt: str, width: float = 1) -> None:
        """Adds a figure; one that cannot be drawn becomes a sentence."""
        try:
            picture = draw(key)
        except _INCOMPLETE as error:
            self._absent(f"A figure ({caption.split('.')[0]})", error)
            return
        number = self._count("fig", key)
        self._blocks.append(lambda: Figure(number, self._text(caption), picture, width, alt))

    def equation(self, key: str, picture: Path, inches: float, alt: str) -> None:
        """Adds a formula that was rendered to a picture `inches` wide."""
        number = self._count("eq", key)
        self._blocks.append(lambda: Equation(number, picture, inches, alt))

    def document(self, title: str, authors: str) -> Document:
        """Resolves the cross references and returns the document."""
        blocks = [block() for block in self._blocks]
        blocks.append(Heading(1, "", "References"))
        blocks.append(Bullets(tuple((Run(text),) for text in self.literature.values()), numbered=True))
        return Document(title, authors, self._abstract() if self._abstract else (), tuple(blocks))

    def _count(self, kind: str, key: str) -> int:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._numbers[f"{kind}:{key}"] = str(self._counts[kind])
        return self._counts[kind]

    def _absent(self, what: str, error: Exception) -> None:
        self.missing.append(_reason(error))
        line = f"*Not measured*: {what} is left out, because {_literal(_reason(error))}."
        self._blocks.append(lambda: Paragraph(self._text(line)))

    def _measured(self, sentences: Sequence[Sentence]) -> str:
        kept, lost = [], []
        for sentence in sentences:
            try:
                text = sentence if isinstance(sentence, str) else sentence()
                self._numbers_of(text)
                kept.append(text)
            except _INCOMPLETE as error:
                lost.append(_reason(error))
        if lost:
            self.missing += lost
            kept.append(f"*Not measured*: {_literal('; '.join(dict.fromkeys(lost)))}.")
        return " ".join(text for text in kept if text)

    def _cell(self, template: str) -> str:
        try:
            self._numbers_of(template)
        except NotMeasuredError:
            return "–"
        return template

    def _numbers_of(self, template: str) -> None:
        for found in _TOKEN.finditer(template):
            if found[1] and not _REFERENCE.fullmatch(found[1]):
                self._number(found[1])

    def _number(self, token: str) -> Number:
        expression, found, style = token.rpartition("|")
        return self.results.number(expression, style) if found else self.results.number(token, "t")

    def _text(self, template: str) -> Text:
        runs: list[Run] = []
        at = 0
        for found in _TOKEN.finditer(template):
            if found.start() > at:
                runs.append(Run(template[at : found.start()]))
            at = found.end()
            if found[2]:
                runs.append(Run(found[2], "code"))
            elif found[3]:
                runs.append(Run(found[3], "emphasis"))
            elif reference := _REFERENCE.fullmatch(found[1]):
                runs.append(Run(self._reference(reference[1], reference[2])))
            else:
                number = self._number(found[1])
                runs.append(Run(number.text, "plain", number))
        if at < len(template):
            runs.append(Run(template[at:]))
        return tuple(runs)

    def _reference(self, kind: str, keys: str) -> str:
        if kind == "cite":
            order = list(self.literature)
            return "[" + ", ".join(str(order.index(key.strip()) + 1) for key in keys.split(",")) + "]"
        number = self._numbers.get(f"{kind}:{keys}")
        if number is not None:
            return f"{_NAMES[kind]} {number}"
        return f"a {_NAMES[kind].lower()} that could not be made"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, NotMeasuredError) else f"a result is incomplete ({error})"


def _literal(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"[{}`*]", " ", text)


def blocks_of(document: Document, kind: type[Any]) -> list[Any]:
    """Returns the blocks of one kind."""
    return [block for block in document.blocks if isinstance(block, kind)]
