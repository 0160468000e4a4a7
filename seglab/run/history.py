"""The history of a run, ``metrics.csv``: a table that grows by whole rows. Imports no torch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from seglab.errors import RunError
from seglab.run.paths import HISTORY
from seglab.runtime.csv_cells import escape_cell, unescape_cell
from seglab.runtime.files import atomic

MAX_HEAD = 2**20
"""Bytes that the names of the columns may take."""


class History:
    """``metrics.csv``: one row per step with all values that are logged at that step.

    A column's name may contain that of a class; it is escaped so that no spreadsheet runs it:
    :mod:`seglab.runtime.csv_cells`.
    """

    def __init__(self, path: Path, leads: bool = True) -> None:
        """Read the names of the columns.

        Args:
            path: of the file.
            leads: whether this process keeps the history; for others it is empty and stays so.

        Raises:
            RunError: the file is not a history; names it.
        """
        self.path, self.leads = path, leads
        self.columns: list[str] = []
        self.pending: dict[str, Any] = {}
        self.written: dict[str, Any] = {}
        self.size = 0  # of the written row, in bytes
        if leads and path.is_file():
            self.columns = _columns(path)

    def rows(self) -> list[dict[str, str]]:
        """Read the table back."""
        if not (self.leads and self.path.is_file()):
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, _header(file)))

    def last(self, column: str) -> float:
        """Return the latest value of a column; NaN where there is none."""
        self.flush()
        values = [row[column] for row in self.rows() if row.get(column)]
        return float(values[-1]) if values else math.nan

    def rewind(self, step: int) -> None:
        """Delete the rows from ``step`` on: a run that is resumed from a checkpoint repeats them.

        Rows torn by a loss of power come after the checkpoint, because :meth:`sync` comes before
        it, and are deleted too. The last row stays open: its validation may be to come.
        """
        if not self.leads:
            return
        self.pending, self.written = {}, {}
        rows = list(self._rows_before(step))
        self._rewrite(rows)
        if rows:
            last = {name: value for name, value in rows[-1].items() if value}
            self.written = {**last, "step": int(last["step"])}
            self.size = len(self._line(self.written))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to the row of ``step``; steps never decrease."""
        if not self.leads:
            return
        if self.pending and self.pending["step"] != step:
            self.flush()
        if not self.pending and self.written.get("step") == step:
            self.pending = self.written
        self.pending = {**self.pending, "step": step, **values}

    def flush(self) -> None:
        """Write the pending row, which may be added to; a new column rewrites the table."""
        if not self.pending:
            return
        row, self.pending = self.pending, {}
        again = self.size if self.written.get("step") == row["step"] else 0
        if new := [name for name in row if name not in self.columns]:
            before = self.rows()[: -1 if again else None]
            self.columns += new
            self._rewrite([*before, row])
        else:
            _overwrite_end(self.path, again, self._line(row))
        self.written, self.size = row, len(self._line(row))

    def sync(self) -> None:
        """Write the pending row and flush the table to the disk, so that no checkpoint is newer."""
        self.flush()
        if self.leads and self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def _rows_before(self, step: int) -> Iterator[dict[str, str]]:
        last = -1
        with suppress(csv.Error, UnicodeDecodeError):  # torn
            for row in self.rows():
                number = row["step"] or ""
                if not number.isdecimal() or not last < int(number) < step:
                    return
                last = int(number)
                yield row

    def _line(self, row: Mapping[str, Any]) -> bytes:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns).writerow(row)
        return text.getvalue().encode()

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with atomic(self.path) as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writerow({name: escape_cell(name) for name in self.columns})
            writer.writerows(rows)


def validations(folder: Path, name: str) -> list[tuple[int, float]]:
    """Return the epochs after which a run was validated, from 1, and a metric of each validation.

    Empty where there is no history yet, or where it is damaged, which the run itself reports.
    """
    try:
        with (folder / HISTORY).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, _header(file)))
        return [(int(float(row["epoch"])) + 1, float(row[name])) for row in rows if row.get(name)]
    except (OSError, ValueError, TypeError, KeyError, OverflowError, csv.Error):
        return []


def _header(file: IO[str]) -> list[str]:
    """Read the names of the columns as they were logged; none of an empty file."""
    return [unescape_cell(name) for name in next(csv.reader(file), [])]


def _columns(path: Path) -> list[str]:
    """Read the names of the columns; rows torn by a loss of power come after them."""
    with path.open("rb") as file:
        text = file.read(MAX_HEAD).decode(errors="surrogateescape")
    try:
        names = _header(io.StringIO(text, newline=""))
        for name in names:
            name.encode()  # refuses what was not UTF-8
        if names and "step" not in names:
            raise ValueError("no column 'step'")
    except (ValueError, csv.Error) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeError) else error
        raise RunError(
            f"{path}: damaged, or not the history of a run: {reason}; delete it to resume the run "
            "without its history"
        ) from None
    return names


def _overwrite_end(path: Path, count: int, text: bytes) -> None:
    """Replace the last ``count`` bytes of a file by ``text``, or leave it as it was.

    Raises:
        OSError: the disk is full; names ``path``.
    """
    with path.open("r+b", buffering=0) as file:
        at = file.seek(-count, os.SEEK_END)
        before = file.read(count)
        try:
            _write_at(file, at, text)
        except OSError as error:
            _write_at(file, at, before)
            raise OSError(error.errno, error.strerror, str(path)) from error


def _write_at(file: io.FileIO, at: int, text: bytes) -> None:
    file.seek(at)
    done = 0
    while done < len(text):  # an almost full disk takes only a part
        done += file.write(text[done:])
    file.truncate()
