"""CSV files that people open in a spreadsheet: ``compare.csv`` and ``sweep.csv``.

No cell of them is run as a formula; see :mod:`seglab.runtime.csv_cells`. :func:`read_table` undoes
the marks.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seglab.runtime.csv_cells import escape_cell, unescape_cell
from seglab.runtime.files import atomic


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows of numbers and texts, whole or not at all; numbers stay as they are.

    Raises:
        OSError: ``path`` cannot be written.
    """
    with atomic(path) as file:
        csv.writer(file).writerows([escape_cell(value) for value in row] for row in rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file of :func:`write_table` under the names in its first row.

    Raises:
        OSError: ``path`` cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = ([unescape_cell(cell) for cell in row] for row in csv.reader(file))
    return [dict(zip(head, row, strict=True)) for row in rows]
