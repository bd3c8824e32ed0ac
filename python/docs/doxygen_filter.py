"""Turns the headers' plain comments into Doxygen's, so that the headers can stay as people read them.

A block of `//` lines before a declaration becomes `///`, a comment behind a member `///<`, and the first block of a
file its description. Two rules save repetition: a comment stands for all one-line declarations that follow it without a
blank line, and that of a struct for its plain data members. Everything else that is public needs a comment of its own,
or Doxygen fails.

Doxygen calls this as its INPUT_FILTER with a file's name and reads the result from standard output; lines keep their
numbers.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_LEADING = re.compile(r"^(\s*)//(?!/)\s?(.*)$")
_TRAILING = re.compile(r"^(\s*[^\s/#}].*?)\s*//(?!/)\s?(.*)$")
_STRUCT = re.compile(r"^(\s*)struct \w+ \{$")
_DECLARATION = re.compile(
    r"^(\s*)(?!using\b|friend\b|struct\b|class\b|namespace\b|return\b|#|\}|public:|private:).*[;}]$"
)
_DATA = re.compile(r"^\s*(?!using\b|friend\b|static\b)[\w:<>, *]+ \w+( = [^()]+)?;$")
# What is for tools, not for readers.
_FOR_TOOLS = re.compile(r"\s*(NOLINT|namespace\b)")
_ITEM = re.compile(r"^\s{2,}(\w+): ")


def convert(text: str, name: str) -> str:
    """Returns the text of the header `name` with Doxygen's comments; it has as many lines as before."""
    lines: list[str] = []
    started = False  # the file's own description is over
    block: list[str] = []  # the comment that stands for the declarations that follow
    behind = False  # the line before had a comment behind its member, which this one may continue
    structs: list[str] = []  # open structs: the indentation of members that its comment stands for, or nothing
    for line in text.splitlines():
        leading, trailing = _LEADING.match(line), _TRAILING.match(line)
        if leading:
            indent, words = leading[1], leading[2]
            if behind and len(indent) > 8:  # further in than any declaration
                lines.append(f"{indent}///< {_escape(words)}")
                continue
            if not lines or not started:
                lines.append(f"/// {_escape(words)}" if lines else f"/// \\file {name} {_escape(words)}")
                continue
            # A new comment begins; one line of it is kept for those that share it.
            block = [*block, words] if lines[-1].lstrip().startswith("///") and block else [words]
            lines.append(f"{indent}/// {_item(_escape(words))}")
            behind = False
            continue
        started = True
        behind = False
        if trailing and not _FOR_TOOLS.match(trailing[2]):
            lines.append(f"{trailing[1]}  ///< {_escape(trailing[2])}")
            behind = True
            block = []
            continue
        code = trailing[1] if trailing else line
        if not code.strip():
            block = []
        elif found := _STRUCT.match(code):
            structs.append(found[1] + "  " if block else "")
            block = []
        elif structs and re.match(r"^\s*\};", code):
            structs.pop()
        previous = lines[-1].lstrip() if lines else ""
        own = previous.startswith("///") and not previous.startswith("///<")
        if not own and block and _DECLARATION.match(code):
            line = f"{code}  ///< {_escape(' '.join(block))}"
        elif not own and structs and structs[-1] and code.startswith(structs[-1]) and _DATA.match(code):
            line = f"{code}  ///< See the description above."
        lines.append(line)
    return "\n".join(lines) + "\n"


def _escape(words: str) -> str:
    """Protects what Doxygen would take for a command, HTML or a link."""
    return re.sub(r"([\\@<>#&])", r"\\\1", words)


def _item(words: str) -> str:
    """`  name: what it is`, as the headers describe parameters, becomes an item of a list."""
    return _ITEM.sub(r"- `\1`: ", words)


if __name__ == "__main__":
    header = Path(sys.argv[1])
    sys.stdout.write(convert(header.read_text(encoding="utf-8"), header.name))
