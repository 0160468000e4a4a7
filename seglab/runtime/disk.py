"""Errors of a full or read-only disk, as one line that names the file and the fix."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seglab.errors import RunError

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or have the quota raised",
    errno.EROFS: "make it writable, or choose another folder",
    errno.EACCES: "make it writable, or choose another folder",
    errno.EPERM: "make it writable, or choose another folder",
    errno.EIO: "check the disk",
    errno.ENODEV: "check the disk",
    errno.ESTALE: "look after the network disk",
}
"""What a user can do about an error of the disk."""


def explain(error: OSError, place: Path | None = None, then: str = "") -> RunError | None:
    """Describe a disk error in one line; None for any other error.

    Args:
        error: from the system.
        place: the path being written, if not in ``error``.
        then: follows the advice, such as how to resume.
    """
    if error.errno not in ADVICE:
        return None
    where = error.filename or place
    prefix = f"{where}: " if where else ""
    return RunError(f"{prefix}{error.strerror}; {ADVICE[error.errno]}{then}")


@contextmanager
def disk_errors(place: Path | None = None, then: str = "") -> Iterator[None]:
    """Turn disk errors into a RunError; see :func:`explain`."""
    try:
        yield
    except OSError as error:
        explained = explain(error, place, then)
        if explained is None:
            raise
        raise explained from error
