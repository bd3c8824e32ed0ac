"""Text that is to stay on one line."""

from __future__ import annotations


def one_line(text: object) -> str:
    """Returns a message without line breaks; an exception without a message becomes the name of its class."""
    words = " ".join(str(text).split())
    return printable(words) or type(text).__name__


def printable(text: str) -> str:
    """Returns the text, a path for example, with "?" for each control character, any of which would break the line."""
    return "".join("?" if sign < " " or sign == "\x7f" else sign for sign in text)


def counted(count: int, one: str, many: str | None = None) -> str:
    """Returns "1 file", "2 files", "1,000 files".

    Args:
        count: How many.
        one: The word for one.
        many: The word for several, if it is not `one` with an s.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
