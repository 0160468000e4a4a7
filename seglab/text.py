"""Text from elsewhere as text: names in data sets, files of others, errors, the command line.

A terminal obeys escape sequences, rich obeys brackets (``[/b]``) and colons (``:car:``), and a
reader is misled by characters that reorder a line. None of them may come out of a class name.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

JOINERS = {"\u200c", "\u200d"}
"""Zero width, and part of how Persian, Hindi and emoji are written."""


def printable(text: str) -> str:
    """Return one line that a terminal shows as it is.

    White space becomes a space. A question mark stands for whatever else is not printable: control
    characters (C0 and C1), marks and overrides of the writing direction, bytes of a file's name
    that are no UTF-8.
    """
    return "".join(
        c if c.isprintable() or c in JOINERS else " " if c.isspace() else "?" for c in text
    )


def printable_lines(text: str) -> str:
    """Return :func:`printable` of each line; only a line feed ends one."""
    return "\n".join(map(printable, text.split("\n")))


def encodable(text: str) -> str:
    """Return text that can be written as UTF-8: a file's name may hold any bytes."""
    return text.encode("utf-8", "replace").decode()


def plain(text: str) -> Text:
    """Return text for rich that it takes as it is; see :func:`printable_lines`."""
    return Text(printable_lines(text))


def styled(*parts: tuple[str, str]) -> Text:
    """Return one line for rich of texts, each taken as it is, with their styles."""
    return Text.assemble(*((printable(text), style) for text, style in parts))


def print_plain(text: str, console: Console) -> None:
    """Print one line as it is, however long, so that a path in it can be copied."""
    console.print(Text(printable(text)), soft_wrap=True)
