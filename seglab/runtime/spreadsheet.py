"""CSV files that people open in a spreadsheet: ``compare.csv`` and ``sweep.csv``.

A spreadsheet runs a cell that begins with ``=`` or the like, whoever wrote it: a class name, a
folder's name, an override. Such a cell is written with an apostrophe before it, which spreadsheets
take for "this is text"; :func:`read_table` takes it off.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seglab.runtime.files import atomic
from seglab.text import encodable

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, full width too, as East Asian spreadsheets take it."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

MARK = "'"


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows of numbers and texts, whole or not at all; numbers stay as they are.

    Raises:
        OSError: ``path`` cannot be written.
    """
    with atomic(path) as file:
        csv.writer(file).writerows([_cell(value) for value in row] for row in rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file of :func:`write_table` under the names in its first row.

    Raises:
        OSError: ``path`` cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = ([cell.removeprefix(MARK) for cell in row] for row in csv.reader(file))
    return [dict(zip(head, row, strict=True)) for row in rows]


def _cell(value: Any) -> str:
    """Return a cell: text that begins as a formula, a control character or the mark is marked."""
    text = encodable(str(value))
    if not text or NUMBER.fullmatch(text):
        return text
    # A spreadsheet may take the space away.
    marked = text[0] == MARK or not text[0].isprintable() or text.lstrip().startswith(FORMULA)
    return MARK + text if marked else text
