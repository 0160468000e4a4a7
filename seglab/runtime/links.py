"""Refuses symbolic links inside untrusted folders. Imports no torch.

A received run folder may contain a link instead of ``samples/worst`` or ``.hydra``, and a run would
write or delete files elsewhere. A folder named on the command line may itself be, or be reached
through, a link, as with scratch disks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from seglab.errors import RunError

TOOLS = {"wandb": "debug-core.log", "slurm": ".submission_file_*"}
"""Folders of W&B and submitit, and the links that they make there and seglab never opens."""


def refuse_links(folder: Path) -> None:
    """Check that ``folder`` contains no links out of it and no files that block a reader.

    Raises:
        RunError: names the link, the pipe or device, or a folder that cannot be listed.
    """
    try:
        for entry in _entries(folder):
            if entry.is_symlink():
                raise RunError(
                    f"{entry.path}: refused: a symbolic link to {Path(entry.path).readlink()}; "
                    "nothing inside such a folder is read or written through a link"
                )
            if not entry.is_file() and not entry.is_dir():
                raise RunError(f"{entry.path}: refused: neither a file nor a folder")
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries below ``folder``, except links created by a tool."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_symlink() and _of_a_tool(Path(entry.path), folder):
                continue
            yield entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))


def _of_a_tool(link: Path, folder: Path) -> bool:
    parts = link.relative_to(folder).parts[:-1]
    for depth, name in enumerate(parts, 1):
        if name in TOOLS:
            home = folder.joinpath(*parts[:depth]).resolve()
            return fnmatch(link.name, TOOLS[name]) or link.resolve().is_relative_to(home)
    return False


def refuse_outside(path: Path, folder: Path) -> None:
    """Check that a file of a received folder, if it exists, resolves to a path within it.

    Raises:
        RunError: names the file and where it really is.
    """
    real = Path(os.path.realpath(path))  # which, unlike Path.resolve, takes loops on any Python
    if not real.is_relative_to(os.path.realpath(folder)):
        raise RunError(f"{path}: refused: a link that leads out of {folder}, to {real}")
