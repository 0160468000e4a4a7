"""Owns a run folder: opens and locks it, keeps its status and history, writes whole files only.

A folder holds ``.hydra/config.yaml``, ``status.json``, ``metrics.csv`` (history), ``metrics.json``
(final), ``checkpoints/`` and ``predictions/``. Knows no torch.
"""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from seglab.errors import ConfigError, RunError

NONE, STARTED, FINISHED, FAILED, INTERRUPTED = (
    "none",
    "started",
    "finished",
    "failed",
    "interrupted",
)


@contextmanager
def atomic(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under ``path`` when it is whole, and not before."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123 (a handle)
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


def status(folder: Path) -> str:
    """Return what became of the run in ``folder``; ``none`` where there is no run.

    A run that says ``started`` while nobody holds its lock was killed: it counts as interrupted.
    A ``status.json`` that says nothing of use counts as failed.

    Raises:
        RunError: the folder cannot be read.
    """
    try:
        said = json.loads((folder / "status.json").read_text(encoding="utf-8"))["status"]
    except (FileNotFoundError, NotADirectoryError):
        return NONE
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        return FAILED
    if said != STARTED:
        return str(said) if said in (FINISHED, INTERRUPTED) else FAILED
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(timeout=0):
            return INTERRUPTED
    except Timeout:
        return STARTED


def check_folder(folder: Path, resume: bool) -> str:
    """Return the status of ``folder`` if a run may start or go on there; nothing is written.

    Raises:
        ConfigError: it holds a run and ``resume`` is false, or it cannot be a folder.
        RunError: another process works there, or it cannot be written.
    """
    there = status(folder)
    if there == STARTED:
        raise RunError(f"{folder}: another process is working on this run")
    if there != NONE and not resume:
        raise ConfigError(
            f"hydra.run.dir={folder}: already holds a run ({there}); give resume=true to go on "
            "with it, or another folder"
        )
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ConfigError(f"hydra.run.dir={folder}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{parent}: not writable; give hydra.run.dir=DIR")
    return there


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


class Run:
    """A run folder that this process owns from ``with`` to the end of its block.

    Args:
        folder: made if it is not there.
        config: the resolved configuration, kept as ``.hydra/config.yaml``.
        overrides: the command line's, kept as ``.hydra/overrides.yaml``.
        resume: whether a run found there may be taken up.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        resume: bool,
    ) -> None:
        self.folder = folder
        self.config, self.overrides, self.resume = config, list(overrides), resume
        self.checkpoints = folder / "checkpoints"
        self.predictions = folder / "predictions"
        self.lock = FileLock(folder / ".lock")

    def __enter__(self) -> Run:
        """Lock the folder and mark the run as started.

        Raises:
            ConfigError, RunError: as :func:`check_folder`.
        """
        check_folder(self.folder, self.resume)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
            (self.folder / ".hydra").mkdir(exist_ok=True)
            for name, value in (("config", dict(self.config)), ("overrides", self.overrides)):
                with atomic(self.folder / ".hydra" / f"{name}.yaml") as file:
                    yaml.safe_dump(value, file, sort_keys=False, allow_unicode=True)
            self.history = History(self.folder / "metrics.csv")
            self.started = _now()
            self._write_status(STARTED)
        except Timeout:
            raise RunError(f"{self.folder}: another process is working on this run") from None
        except OSError as error:
            self.lock.release()
            raise RunError(f"{self.folder}: not writable: {error.strerror or error}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Mark the run as finished, interrupted or failed, and let go of the folder."""
        try:
            self.history.flush()
            if error is None:
                self._write_status(FINISHED)
            elif isinstance(error, KeyboardInterrupt):
                self._write_status(INTERRUPTED)
            else:
                text = " ".join(str(error).split()) or type(error).__name__
                self._write_status(FAILED, text)
        finally:
            self.lock.release()

    def write_metrics(self, metrics: Mapping[str, float]) -> None:
        """Write ``metrics.json``."""
        write_json(self.folder / "metrics.json", metrics)

    def _write_status(self, state: str, error: str | None = None) -> None:
        entry: dict[str, Any] = {"status": state, "started": self.started}
        if state != STARTED:
            entry["ended"] = _now()
        if error is not None:
            entry["error"] = error
        write_json(self.folder / "status.json", entry)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
