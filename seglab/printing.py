"""Makes untrusted text printable: names in data sets, files, errors, the command line.

A terminal interprets escape sequences, rich interprets brackets (``[/b]``) and colons (``:car:``),
and bidirectional control characters reorder a line. A class name must not trigger any of these.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

JOINERS = {"\u200c", "\u200d"}
"""Zero width, and part of how Persian, Hindi and emoji are written."""


def printable(text: str) -> str:
    """Return one line that a terminal prints literally.

    White space becomes a space. A question mark replaces anything else not printable: control
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


def rounded(value: str) -> str:
    """Return a value with four digits at most if it is a fraction, for a terminal."""
    try:
        return value if value.lstrip("+-").isdecimal() else f"{float(value):.4g}"
    except ValueError:
        return value


def plain(text: str) -> Text:
    """Return text that rich prints literally; see :func:`printable_lines`."""
    return Text(printable_lines(text))


def styled(*parts: tuple[str, str]) -> Text:
    """Return one line of literal texts with their styles, for rich."""
    return Text.assemble(*((printable(text), style) for text, style in parts))


def print_plain(text: str, console: Console) -> None:
    """Print one literal line without wrapping, so that a path in it can be copied."""
    console.print(Text(printable(text)), soft_wrap=True)
