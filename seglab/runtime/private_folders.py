"""The private folders for decoded data: no other user may write to them. Imports no torch."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from seglab.errors import DataError

OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""Write permission for anybody but the owner."""

WAY_OUT = "give data.store.dir=DIR"


def cache_folder() -> Path:
    """Return seglab's private cache folder of the user; it need not exist.

    Raises:
        DataError: it belongs to another user.
    """
    return _closed(user_cache_path("seglab", appauthor=False), "set XDG_CACHE_HOME")


def store_folder(folder: str | Path | None) -> Path:
    """Return the folder of stores and records: ``data.store.dir``, or one in the cache.

    Raises:
        DataError: another user owns it or may write to it, and could forge its content.
    """
    if folder is None:
        return _closed(cache_folder() / "store", WAY_OUT)
    check_private(Path(folder), WAY_OUT)
    return Path(folder)


def make_private(folder: Path) -> None:
    """Create a folder that only this user can access, and the cache above it, if missing."""
    cache = user_cache_path("seglab", appauthor=False)
    if cache in folder.parents:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def check_private(folder: Path, way_out: str, what: str = "the data") -> None:
    """Check that a folder belongs to this user or root, and that no other user may write to it.

    It may be a link, such as one to a scratch disk. A folder that does not exist is fine.

    Args:
        folder: to check.
        way_out: an alternative to name in the error.
        what: the content that others could forge, for the error.

    Raises:
        DataError: it is not private; suggests a fix.
    """
    try:
        status = folder.stat()
    except OSError:
        return
    if status.st_uid not in (os.getuid(), 0):
        raise DataError(f"{folder}: belongs to another user, who could forge {what}; {way_out}")
    if status.st_mode & OTHERS:
        raise DataError(
            f"{folder}: other users may write to it and could forge {what}; run "
            f"chmod go-w {folder}, or {way_out}"
        )


def check_inside(path: Path) -> None:
    """Check that a file or folder within a store folder is private and not a link.

    Raises:
        DataError: it is not.
    """
    check_made(path, WAY_OUT)
    check_private(path, f"delete it, or {WAY_OUT}")


def check_made(path: Path, way_out: str) -> None:
    """Check that ``path``, if it exists, is not a link and belongs to this user or root.

    Raises:
        DataError: it is a link or belongs to another user; suggests a fix, such as ``way_out``.
    """
    try:
        status = path.lstat()
    except OSError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise DataError(f"{path}: a link, which seglab did not make there; delete it")
    if status.st_uid not in (os.getuid(), 0):
        raise DataError(f"{path}: owned by another user; delete it, or {way_out}")


def _closed(folder: Path, way_out: str) -> Path:
    with suppress(OSError):
        status = folder.stat()
        if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    check_private(folder, way_out)
    return folder
