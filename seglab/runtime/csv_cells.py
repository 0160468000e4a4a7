"""Escapes CSV cells so that a spreadsheet does not run them as formulas.

A spreadsheet runs a cell that begins with ``=`` or the like, and the text may come from a class
name, a folder name or an override. A leading apostrophe marks it as text. Where a comma is the
decimal mark, spreadsheets also split at semicolons and ignore quotes, so parts after semicolons,
tabs and line ends are marked too.
"""

from __future__ import annotations

import re
from typing import Any

from seglab.printing import encodable

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, full width too, as East Asian spreadsheets take it."""

MARK = "'"

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_SPLIT = "[;\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]"

_PART = re.compile(rf"({_SPLIT})(?! ?\w|\Z)")
"""Before a part that begins with neither a letter nor a digit: quotes may hide a formula."""

_MARKED_PART = re.compile(f"({_SPLIT}){MARK}")


def escape_cell(value: Any) -> str:
    """Escape a cell: numbers stay, parts of a text that could run get an apostrophe."""
    text = encodable(str(value))
    if not text or _NUMBER.fullmatch(text):
        return text
    # A spreadsheet may strip the space.
    first = text[0] == MARK or not text[0].isprintable() or text.lstrip().startswith(FORMULA)
    return MARK * first + _PART.sub(rf"\1{MARK}", text)


def unescape_cell(cell: str) -> str:
    """Undo :func:`escape_cell`."""
    return _MARKED_PART.sub(r"\1", cell.removeprefix(MARK))
