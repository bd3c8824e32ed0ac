"""Plain words: what the documentation of a library would not say is in no text of the repository."""

from __future__ import annotations

import re

import pytest
from repository import name_of, tracked_files

# Between two words of a phrase: a space, or a line break with what ends and begins a line of a comment or a string.
_SPACE = r"(?:[ \t]+|[ \t]*(?:\\n)?\"?,?[ \t]*\n[ \t]*(?:///?|#+|\*|\"|--)?[ \t]*)"
# Python's `is None` is no phrase, so "none" alone minds its case.
WORDS = re.compile(
    (
        r"\b(?i:whoever|shall|anew|so many|by heart|in vain|none other|(?:is|are) (?-i:none)|be had|their likes"
        r"|its like|for ever|hearken|lest|thereof|whilst|upon|albeit|what is more,"
        r"|(?:by|in|of|the) falling|falling (?:order|number|similarity|size|count|modification|detail))\b"
    ).replace(" ", _SPACE)
)
TEXTS = (
    *(".cc", ".h", ".cu", ".py", ".pyi", ".sh", ".cmake", ".toml", ".js", ".css", ".html", ".yml", ".json"),
    *(".md", ".jinja", ".typ", ".txt", ".in", ".ipynb"),
)
# Texts of others, results that were measured, and this list.
NOT_OURS = ("LICENSE", "models/LICENSES.md", "findings/", "python/tests/test_words.py")


def word_violations(text: str) -> list[tuple[int, str]]:
    """The line of each phrase and the phrase."""
    return [(text.count("\n", 0, match.start()) + 1, match[0]) for match in WORDS.finditer(text)]


def test_plain_words() -> None:
    found = {}
    for path in tracked_files():
        name = name_of(path)
        if path.suffix in TEXTS and not name.startswith(NOT_OURS):
            for line, words in word_violations(path.read_text(encoding="utf-8")):
                found[f"{name}:{line}"] = words
    assert found == {}


@pytest.mark.parametrize(
    "planted",
    [
        "Whoever reads this shall sort by falling size.",
        "# So many bytes.",
        "SHALL",
        "// by hand where there is\n// none of it",
        "# takes so\n# many bytes",
        'print("there are so "\n      "many files")',
        "<p>so\nmany</p>",
        ' "which is so\\n",\n    "many files"',
    ],
)
def test_planted(planted: str) -> None:
    assert word_violations(planted)


@pytest.mark.parametrize(
    "plain",
    [
        "Readers sort by descending size; None is None.",
        "return found if found is None else first",
        "# It has so\n#\n# Many readers",
        "places shallow",
    ],
)
def test_not_planted(plain: str) -> None:
    assert not word_violations(plain)
