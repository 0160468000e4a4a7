"""The status of a run folder, and whether a run may start there. Imports no torch."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seglab.errors import ConfigError, RunError
from seglab.run.paths import LOCK, PRUNE, SPLITS, STATUS
from seglab.run.untrusted import DamagedError, read_json
from seglab.runtime.files import atomic, write_json
from seglab.runtime.links import refuse_links, refuse_outside

NONE, STARTED, FINISHED = "none", "started", "finished"
FAILED, INTERRUPTED = "failed", "interrupted"
PRUNED = "pruned"
"""A search stopped it, with a checkpoint; ``resume=true`` resumes it."""


DIVERGED = "diverged"
"""The entry of ``status.json`` of a failed run whose loss or weights were not finite."""

SPEED = "speed/images_per_second"
"""The entry of ``status.json`` with the training images per second, over all processes."""

_STATES = (STARTED, FINISHED, INTERRUPTED, PRUNED)


def status(folder: Path) -> str:
    """Return the status of the run in ``folder``; ``none`` where there is no run.

    ``started`` without a lock means the run was killed: it counts as interrupted. A damaged
    ``status.json`` counts as failed.

    Raises:
        RunError: the folder cannot be read.
    """
    recorded = recorded_status(folder)
    if recorded != STARTED:
        return recorded
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return INTERRUPTED
    except Timeout:
        return STARTED
    except OSError:  # a read-only disk: no process can be writing
        return INTERRUPTED


def recorded_status(folder: Path) -> str:
    """Return the status in ``status.json``, whether or not the run is active.

    Raises:
        RunError: the folder cannot be read.
    """
    try:
        recorded = read_json(folder / STATUS).get("status")
    except (FileNotFoundError, NotADirectoryError):
        return NONE
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror or error}") from None
    except DamagedError:
        return FAILED
    return str(recorded) if recorded in _STATES else FAILED


def read_status(folder: Path) -> dict[str, Any]:
    """Read ``status.json``; empty where there is none, or none that can be read."""
    try:
        return read_json(folder / STATUS)
    except (OSError, DamagedError):
        return {}


def check_folder(folder: Path, resume: bool) -> str:
    """Return the status of ``folder`` if a run may start or be resumed there; writes nothing.

    Raises:
        ConfigError: it contains a run and ``resume`` is false, or it cannot be a folder.
        RunError: another process works there, it cannot be written, or it contains a link.
    """
    refuse_links(folder)
    state = status(folder)
    if state == STARTED:
        raise RunError(f"{folder}: another process is working on this run")
    if state != NONE and not resume:
        resume_it = "" if state == FINISHED else "resume=true to resume it, or "
        raise ConfigError(
            f"hydra.run.dir={folder}: already holds a run ({state}); give {resume_it}another folder"
        )
    if state == FINISHED:
        return state  # nothing will be written
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ConfigError(f"hydra.run.dir={folder}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{parent}: not writable; give hydra.run.dir=DIR")
    return state


def mark_failed(folder: Path, error: str) -> None:
    """Mark a run as failed if its process could not: it never started or was killed.

    Finished, pruned and active runs are left alone.
    """
    if status(folder) in (STARTED, FINISHED, PRUNED):
        return
    folder.mkdir(parents=True, exist_ok=True)
    entry = read_status(folder) or {"started": now()}
    entry |= {"status": FAILED, "ended": now(), "error": " ".join(error.split())}
    write_json(folder / STATUS, entry)


def request_prune(folder: Path, reason: str) -> None:
    """Ask the run in ``folder``, wherever its processes are, to save and stop as pruned."""
    with atomic(folder / PRUNE) as file:
        file.write(f"{reason}\n")


def prune_reason(folder: Path) -> str | None:
    """Return why the run in ``folder`` is to stop as pruned; None if it is not."""
    try:
        return " ".join((folder / PRUNE).read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return None


def is_diverged(folder: Path) -> bool:
    """Return whether the run in ``folder`` failed because a number was not finite."""
    return read_status(folder).get(DIVERGED) is True


def now() -> str:
    """Return the current time in the format of ``status.json``: ISO, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def splits_folder(checkpoint: Path) -> Path | None:
    """Return the folder with the split lists of a checkpoint's run, or None.

    Raises:
        RunError: a list is a link, or leads out of the run folder.
    """
    folder = checkpoint.parent.parent / SPLITS
    if not folder.is_dir():
        return None
    refuse_outside(folder, folder.parent)
    refuse_links(folder)
    return folder
