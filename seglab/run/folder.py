"""Owns a run folder: opens and locks it, keeps its status and history, writes whole files only.

A folder holds ``.hydra/config.yaml``, ``status.json``, ``metrics.csv`` (history), ``metrics.json``
(final), ``checkpoints/`` and ``predictions/``. Knows no torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from filelock import FileLock, Timeout

from seglab.errors import ConfigError, RunError
from seglab.run.history import History
from seglab.run.provenance import version
from seglab.run.received import DamagedError, read_json
from seglab.runtime.disk import disk_errors, explain
from seglab.runtime.files import atomic, delete_parts, write_json
from seglab.runtime.links import refuse_links
from seglab.schema import Mark, marked

NONE, STARTED, FINISHED, FAILED, INTERRUPTED = (
    "none",
    "started",
    "finished",
    "failed",
    "interrupted",
)

WRITTEN = (
    "",
    ".hydra",
    "checkpoints",
    "predictions",
    "samples/fixed",
    "samples/worst",
    "bad_batch",
    "splits",
)
"""Where in its folder a run writes files, each whole or not at all."""

SPLITS = "splits"
"""Where a run keeps the lists of a data set that it divided."""

LOOK = 1.0
"""Seconds that a run waits for its folder's lock."""


def status(folder: Path) -> str:
    """Return what became of the run in ``folder``; ``none`` where there is no run.

    A run that says ``started`` while nobody holds its lock was killed: it counts as interrupted.
    A ``status.json`` that says nothing of use counts as failed.

    Raises:
        RunError: the folder cannot be read.
    """
    said = _said(folder)
    if said != STARTED:
        return said
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(timeout=0):
            return INTERRUPTED
    except Timeout:
        return STARTED
    except OSError:  # a disk that may only be read: nobody works there
        return INTERRUPTED


def _said(folder: Path) -> str:
    """Return what ``status.json`` says, whoever works there."""
    try:
        said = read_json(folder / "status.json").get("status")
    except (FileNotFoundError, NotADirectoryError):
        return NONE
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror or error}") from None
    except DamagedError:
        return FAILED
    return str(said) if said in (STARTED, FINISHED, INTERRUPTED) else FAILED


def check_folder(folder: Path, resume: bool) -> str:
    """Return the status of ``folder`` if a run may start or go on there; nothing is written.

    Raises:
        ConfigError: it holds a run and ``resume`` is false, or it cannot be a folder.
        RunError: another process works there, it cannot be written, or a link is inside it.
    """
    refuse_links(folder)
    there = status(folder)
    if there == STARTED:
        raise RunError(f"{folder}: another process is working on this run")
    if there != NONE and not resume:
        resume_it = "" if there == FINISHED else "resume=true to resume it, or "
        raise ConfigError(
            f"hydra.run.dir={folder}: already holds a run ({there}); give {resume_it}another folder"
        )
    if there == FINISHED:
        return there  # nothing will be written
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ConfigError(f"hydra.run.dir={folder}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{parent}: not writable; give hydra.run.dir=DIR")
    return there


class Run:
    """A run folder that this process owns from ``with`` to the end of its block.

    Args:
        folder: made if it is not there.
        config: the resolved configuration, kept as ``.hydra/config.yaml``.
        overrides: the command line's, kept as ``.hydra/overrides.yaml``.
        resume: whether a run found there may be resumed.
        step: that of the checkpoint from which training starts; None where nothing is trained.
        facts: what else ``status.json`` tells from the start.

    Attributes:
        leads: whether it is this process that writes.
    """

    leads = True

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        resume: bool,
        step: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.step, self.facts = folder, step, dict(facts or {})
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
            # Those who only look at a run's status hold the lock for an instant.
            self.lock.acquire(timeout=LOOK)
            self._check_again()
            self.history = History(self.folder / "metrics.csv")
            for name in WRITTEN:
                delete_parts(self.folder / name)
            (self.folder / ".hydra").mkdir(exist_ok=True)
            for name, value in (("config", dict(self.config)), ("overrides", self.overrides)):
                with atomic(self.folder / ".hydra" / f"{name}.yaml") as file:
                    yaml.safe_dump(value, file, sort_keys=False, allow_unicode=True)
            self.started = _now()
            if self.step is not None:
                self.facts["history"] = [*_starts(self.folder), self._start(self.step)]
            self._write_status(STARTED)
        except Timeout:
            raise RunError(f"{self.folder}: another process is working on this run") from None
        except RunError:
            self.lock.release()
            raise
        except OSError as error:
            self.lock.release()
            raise explain(error, self.folder) or RunError(
                f"{self.folder}: not writable: {error.strerror or error}"
            ) from None
        return self

    def _check_again(self) -> None:
        """Look whether another process began and ended between our look and our lock."""
        there = _said(self.folder)
        if there == FINISHED or (there != NONE and not self.resume):
            raise RunError(f"{self.folder}: another process has been at work on this run")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Mark the run as finished, interrupted or failed, and let go of the folder."""
        try:
            if error is not None:
                self._end_wrong(error)
                return
            with disk_errors(self.folder):
                self.history.flush()
                self._write_status(FINISHED)
        except RunError as full:
            self._end_wrong(full)
            raise
        finally:
            self.lock.release()

    def _end_wrong(self, error: BaseException) -> None:
        with suppress(OSError):  # there may be no place left, or none that may be written to
            self.history.flush()
        with suppress(OSError):
            if isinstance(error, KeyboardInterrupt):
                self._write_status(INTERRUPTED)
            else:
                self._write_status(FAILED, " ".join(str(error).split()) or type(error).__name__)

    def write_metrics(self, metrics: Mapping[str, float]) -> None:
        """Write ``metrics.json``."""
        write_json(self.folder / "metrics.json", metrics)

    def write_splits(self, splits: Mapping[str, Sequence[str]]) -> None:
        """Write the ids of each part of a divided data set as a list, ``splits/PART.txt``."""
        for name, ids in splits.items():
            path = self.folder / SPLITS / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            with atomic(path) as file:
                file.writelines(f"{one}\n" for one in ids)

    def _start(self, step: int) -> dict[str, Any]:
        trainer = self.config.get("trainer", {})
        machine = {key: trainer.get(key.removeprefix("trainer.")) for key in marked(Mark.MACHINE)}
        return {"started": self.started, "step": step, **machine}

    def _write_status(self, state: str, error: str | None = None) -> None:
        entry: dict[str, Any] = {"status": state, "started": self.started, "code": version()}
        entry |= self.facts
        if state != STARTED:
            entry["ended"] = _now()
        if error is not None:
            entry["error"] = error
        write_json(self.folder / "status.json", entry)


class _Forgetful(History):
    """A history that is neither written nor read."""

    def rows(self) -> list[dict[str, str]]:
        """Return nothing."""
        return []

    def flush(self) -> None:
        """Forget the pending row."""
        self.pending = {}

    def rewind(self, step: int) -> None:
        """Leave the file to the first process."""


class Follower(Run):
    """A run as all processes but the first see it: nothing is locked, marked or written."""

    leads = False

    def __enter__(self) -> Run:
        """Keep a history that forgets."""
        self.history = _Forgetful(self.folder / "metrics.csv")
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the folder to the first process."""

    def write_metrics(self, metrics: Mapping[str, float]) -> None:
        """Leave ``metrics.json`` to the first process."""


def mark_failed(folder: Path, error: str) -> None:
    """Mark a run as failed whose process could not, because it never began or was killed.

    A finished run, or one that another process works on, is left alone.
    """
    if status(folder) in (STARTED, FINISHED):
        return
    folder.mkdir(parents=True, exist_ok=True)
    entry = read_status(folder) or {"started": _now()}
    entry |= {"status": FAILED, "ended": _now(), "error": " ".join(error.split())}
    write_json(folder / "status.json", entry)


def kept_splits(checkpoint: Path) -> Path | None:
    """Return the folder of the lists of the run that a checkpoint is of; None: it has none.

    Raises:
        RunError: a list is a link.
    """
    folder = checkpoint.parent.parent / SPLITS
    if not folder.is_dir():
        return None
    refuse_links(folder)
    return folder


def read_status(folder: Path) -> dict[str, Any]:
    """Read ``status.json``; empty where there is none, or none that can be read."""
    try:
        return read_json(folder / "status.json")
    except (OSError, DamagedError):
        return {}


def read_metrics(folder: Path) -> dict[str, float]:
    """Read ``metrics.json``; null becomes NaN. Empty where there is none.

    Raises:
        RunError: it cannot be read, is damaged, or contains what is no number; names the file.
    """
    path = folder / "metrics.json"
    try:
        found = read_json(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    return {name: _number(path, name, value) for name, value in found.items()}


def _number(path: Path, name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bool):
            raise ValueError(f"{name} is {value!r}")
        number = math.nan if value is None else float(value)
        if math.isinf(number):
            raise ValueError(f"{name} is {number}")
    except (ValueError, TypeError, OverflowError) as error:
        raise DamagedError(f"{path}: damaged, or not written by seglab: {error}") from None
    return number


def _starts(folder: Path) -> list[dict[str, Any]]:
    """Return the starts of a run so far, each with its step and what it was computed on."""
    history = read_status(folder).get("history")
    return history if isinstance(history, list) else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
