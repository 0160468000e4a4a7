"""What is written into a run folder appears whole: small files, and the growing history."""

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
from seglab.runtime.cells import marked, unmarked
from seglab.runtime.files import atomic

MAX_HEAD = 2**20
"""Bytes that the names of the columns may take."""


class History:
    """``metrics.csv``: one row a step, whatever is logged at that step, in one growing table.

    A column may have a class's name in its own, which no spreadsheet runs:
    :mod:`seglab.runtime.cells`.
    """

    def __init__(self, path: Path) -> None:
        """Read the names of the columns.

        Raises:
            RunError: the file is not a history; names it.
        """
        self.path = path
        self.columns: list[str] = []
        self.pending: dict[str, Any] = {}
        self.written: dict[str, Any] = {}
        self.size = 0  # of the written row, in bytes
        if path.is_file():
            self.columns = _columns(path)

    def rows(self) -> list[dict[str, str]]:
        """Read the table back."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, _header(file)))

    def last(self, column: str) -> float:
        """Return the latest value of a column; NaN where there is none."""
        self.flush()
        values = [row[column] for row in self.rows() if row.get(column)]
        return float(values[-1]) if values else math.nan

    def rewind(self, step: int) -> None:
        """Forget the rows from ``step`` on: a run that goes on from a checkpoint repeats them.

        What a loss of power has torn comes after the checkpoint, because :meth:`sync` came before
        it, and is forgotten too. The last row kept may be added to: its validation may be to come.
        """
        self.pending, self.written = {}, {}
        rows = list(self._rows_before(step))
        self._rewrite(rows)
        if rows:
            said = {name: value for name, value in rows[-1].items() if value}
            self.written = {**said, "step": int(said["step"])}
            self.size = len(self._line(self.written))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to the row of ``step``; steps never go back."""
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
        """Write the pending row and flush the table to the disk: no checkpoint is ahead of it."""
        self.flush()
        if self.path.is_file():
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
            writer.writerow({name: marked(name) for name in self.columns})
            writer.writerows(rows)


def _header(file: IO[str]) -> list[str]:
    """Read the names of the columns as they were logged; none of an empty file."""
    return [unmarked(name) for name in next(csv.reader(file), [])]


def _columns(path: Path) -> list[str]:
    """Read the names of the columns; what a loss of power has torn comes after them."""
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
    """Put ``text`` in the place of the last ``count`` bytes of a file, or leave it as it was.

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
    while done < len(text):  # an almost full disk takes a part of it
        done += file.write(text[done:])
    file.truncate()
