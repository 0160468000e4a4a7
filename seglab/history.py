"""What is written into a run folder appears whole: small files, and the growing history."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file, of text or bytes, that appears under ``path`` when it is whole, not before."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        text: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
        with open(handle, "wb" if binary else "w", **text) as file:  # noqa: PTH123 (a handle)
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's files are private; results are to be shared
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON; NaN and infinity, which JSON lacks, become null."""

    def clean(item: Any) -> Any:
        if isinstance(item, float) and not math.isfinite(item):
            return None
        if isinstance(item, Mapping):
            return {key: clean(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [clean(inner) for inner in item]
        return item

    with atomic(path) as file:
        json.dump(clean(value), file, indent=2, allow_nan=False)
        file.write("\n")


class History:
    """``metrics.csv``: one row a step, whatever is logged at that step, in one growing table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self.pending: dict[str, Any] = {}
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self.columns = list(csv.DictReader(file).fieldnames or [])

    def rows(self) -> list[dict[str, str]]:
        """Read the table back."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def last(self, column: str) -> float:
        """Return the latest value of a column; NaN where there is none."""
        self.flush()
        values = [row[column] for row in self.rows() if row.get(column)]
        return float(values[-1]) if values else math.nan

    def rewind(self, step: int) -> None:
        """Forget the rows from ``step`` on: a run that goes on from a checkpoint repeats them."""
        self.pending = {}
        self._rewrite([row for row in self.rows() if int(row["step"]) < step])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to the row of ``step``; steps never go back."""
        if self.pending and self.pending["step"] != step:
            self.flush()
        self.pending = {**self.pending, "step": step, **values}

    def flush(self) -> None:
        """Write the pending row; a new column rewrites the table under a wider head."""
        if not self.pending:
            return
        row, self.pending = self.pending, {}
        if new := [name for name in row if name not in self.columns]:
            before = self.rows()
            self.columns += new
            self._rewrite(before)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with atomic(self.path) as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
