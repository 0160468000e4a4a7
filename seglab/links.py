"""No link is followed inside a run folder: a received one could lead to any file of the reader's.

Folders that are named on a command line may be links, or lie behind some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from seglab.errors import RunError

WANDB = "wandb"
"""W&B makes links in its folder of a run, which is never read."""


def first_link(folder: Path) -> Path | None:
    """Return the first symbolic link below ``folder``, by name; None if there is none.

    Raises:
        OSError: a folder that cannot be read.
    """
    return next((Path(entry.path) for entry in _entries(folder) if entry.is_symlink()), None)


def refuse_links(folder: Path) -> None:
    """Refuse a folder with a link in it, or with a pipe, socket or device: to read one may hang.

    Raises:
        RunError: names it.
    """
    try:
        for entry in _entries(folder):
            if entry.is_symlink():
                raise RunError(f"{entry.path}: a link; links in a run folder are not followed")
            if not entry.is_file() and not entry.is_dir():
                raise RunError(f"{entry.path}: neither a file nor a folder")
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read: {error.strerror or error}") from None


def _entries(folder: Path, top: bool = True) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False) and not (top and entry.name == WANDB):
            yield from _entries(Path(entry.path), top=False)
