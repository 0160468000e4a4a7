"""Paths for many ids in a folder: a million of them open in seconds. Imports no torch."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MANY = 1000
"""Fewer ids are looked for one by one, however many files there are beside theirs."""


class Paths(Sequence[Path]):
    """Lazily created paths: a million of them would take a gigabyte.

    Args:
        folder: the common folder.
        ids: the paths within it, without suffixes.
        suffixes: of each.
    """

    def __init__(self, folder: Path, ids: Sequence[str], suffixes: Sequence[str]) -> None:
        self.folder, self.ids, self.suffixes = folder, ids, suffixes
        self.prefix = posixpath.join(folder, "")

    def __len__(self) -> int:
        """Return their number."""
        return len(self.suffixes)

    def __getitem__(self, index: Any) -> Any:
        """Return one path, or the paths of a slice."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return Path(f"{self.prefix}{self.ids[index]}{self.suffixes[index]}")

    def take(self, indices: Sequence[int], ids: Sequence[str]) -> Paths:
        """Return some of the paths, whose ids are given too so that they are shared."""
        return Paths(self.folder, ids, [self.suffixes[position] for position in indices])

    def texts(self, start: int, end: int) -> list[str]:
        """Return a range of the paths as strings."""
        pairs = zip(self.ids[start:end], self.suffixes[start:end], strict=True)
        return [f"{self.prefix}{name}{suffix}" for name, suffix in pairs]


def listed(folder: Path, ids: Sequence[str]) -> set[str]:
    """List the files in the folders of ``ids``; empty for few ids.

    Listing a folder takes microseconds per file. Testing for a single file takes a round trip to a
    network drive for each possible suffix.
    """
    names: set[str] = set()
    if len(ids) < MANY:
        return names
    # Most data sets have no sub-folders, and then "" is the only prefix.
    nested = [name.rpartition("/")[0] for name in ids if "/" in name]
    for inner in {*nested, *([""] if len(nested) < len(ids) else [])}:
        prefix = posixpath.join(inner, "")
        try:
            with os.scandir(folder / inner) as entries:
                names.update([prefix + entry.name for entry in entries if entry.is_file()])
        except OSError:
            continue  # each of its files is reported as missing
    return names
