"""Symbolic links inside folders that may come from a stranger: none is followed. Knows no torch.

A run folder that was handed on may hold a link in the place of ``samples/worst`` or ``.hydra``:
what a run then writes or deletes lies elsewhere. A folder that the command line names may itself
be a link, or lie behind one, as scratch disks do.
"""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

from seglab.errors import RunError

TOOLS = {"wandb": "debug-core.log", "slurm": ".submission_file_*"}
"""Folders of W&B and submitit, and the links that they make there and seglab never opens."""


def first_link(folder: Path) -> Path | None:
    """Return a symbolic link somewhere below ``folder``; None where there is none.

    Links that W&B or submitit made in a folder of their own are left out.

    Raises:
        OSError: a folder cannot be listed.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = Path(entry.path)
                    if entry.is_symlink():
                        if not _of_a_tool(path, folder):
                            return path
                    elif entry.is_dir():
                        waiting.append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None


def refuse_links(folder: Path) -> None:
    """Check that nothing below ``folder`` leads out of it.

    Raises:
        RunError: names the link, or a folder that cannot be listed.
    """
    try:
        link = first_link(folder)
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if link is not None:
        raise RunError(
            f"{link}: refused: a symbolic link to {link.readlink()}; nothing inside a folder of "
            "results is read or written through a link"
        )


def _of_a_tool(link: Path, folder: Path) -> bool:
    parts = link.relative_to(folder).parts[:-1]
    for depth, name in enumerate(parts, 1):
        if name in TOOLS:
            home = folder.joinpath(*parts[:depth]).resolve()
            return fnmatch(link.name, TOOLS[name]) or link.resolve().is_relative_to(home)
    return False
