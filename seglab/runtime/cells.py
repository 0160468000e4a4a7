"""A cell of a CSV file that people open in a spreadsheet: text that is not run as a formula.

A spreadsheet runs a cell that begins with ``=`` or the like, whoever wrote it: a class name, a
folder's name, an override. It gets an apostrophe before it, which spreadsheets take for "this is
text". Where a comma is the decimal mark, spreadsheets split at semicolons, and quotes within such
a cell protect nothing: so do the parts behind semicolons, tabs and ends of lines.
"""

from __future__ import annotations

import re
from typing import Any

from seglab.text import encodable

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, full width too, as East Asian spreadsheets take it."""

MARK = "'"

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_SPLIT = "[;\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]"

_PART = re.compile(rf"({_SPLIT})(?! ?\w|\Z)")
"""Before a part that begins with neither a letter nor a digit: quotes may hide a formula."""

_MARKED_PART = re.compile(f"({_SPLIT}){MARK}")


def marked(value: Any) -> str:
    """Return a cell: a number as it is, of a text each part that could be run marked as text."""
    text = encodable(str(value))
    if not text or _NUMBER.fullmatch(text):
        return text
    # A spreadsheet may take the space away.
    first = text[0] == MARK or not text[0].isprintable() or text.lstrip().startswith(FORMULA)
    return MARK * first + _PART.sub(rf"\1{MARK}", text)


def unmarked(cell: str) -> str:
    """Return the text of which :func:`marked` made a cell."""
    return _MARKED_PART.sub(r"\1", cell.removeprefix(MARK))
