"""The folders in which seglab keeps decoded data: nobody else may write there. Imports no torch."""

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
    """Return this user's cache folder of seglab, closed to others; it need not exist.

    Raises:
        DataError: it belongs to somebody else.
    """
    return _closed(user_cache_path("seglab", appauthor=False), "set XDG_CACHE_HOME")


def store_folder(folder: str | Path | None) -> Path:
    """Return the folder of stores and records: ``data.store.dir``, or one in the cache.

    Raises:
        DataError: somebody else owns it or may write to it, so that what lies there may be forged.
    """
    if folder is None:
        return _closed(cache_folder() / "store", WAY_OUT)
    check_private(Path(folder), WAY_OUT)
    return Path(folder)


def make_private(folder: Path) -> None:
    """Make a folder that only this user can use, unless it is there; so is the cache above it."""
    cache = user_cache_path("seglab", appauthor=False)
    if cache in folder.parents:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def check_private(folder: Path, way_out: str, what: str = "the data") -> None:
    """Check that a folder is ours or root's, and that nobody else may write to it.

    It may be a link, such as one to a scratch disk. A folder that does not exist is fine.

    Args:
        folder: what is checked.
        way_out: one way to do without it, for the error.
        what: others could forge.

    Raises:
        DataError: it is not; says what to do.
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
    """Check a file or folder within a store folder: no link, and as private itself.

    Raises:
        DataError: it is not.
    """
    check_made(path, WAY_OUT)
    check_private(path, f"delete it, or {WAY_OUT}")


def check_made(path: Path, way_out: str) -> None:
    """Check that what is at ``path``, if anything is, is no link and was made by us or root.

    Raises:
        DataError: it is a link, or somebody else's; says what to do, ``way_out`` being one way.
    """
    try:
        status = path.lstat()
    except OSError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise DataError(f"{path}: a link, which seglab did not make there; delete it")
    if status.st_uid not in (os.getuid(), 0):
        raise DataError(f"{path}: made by another user; delete it, or {way_out}")


def _closed(folder: Path, way_out: str) -> Path:
    with suppress(OSError):
        status = folder.stat()
        if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    check_private(folder, way_out)
    return folder
