"""Sizes, times and inodes of many files, and their digests. Imports no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from seglab.errors import DataError

BLOCK = 500
"""Files are looked at in blocks of so many ids, several at once: a network drive takes its time."""


def file_stats(paths: Sequence[str]) -> np.ndarray:
    """Return size, mtime, device, inode and ctime of each file, ``(N, 5)`` int64.

    Raises:
        DataError: a file is missing.
    """
    numbers: list[int] = []
    for path in paths:
        try:
            stat = os.stat(path)  # noqa: PTH116 (a Path takes twice as long)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from None
        inode = stat.st_ino if stat.st_ino < 2**63 else stat.st_ino - 2**64  # unsigned
        numbers += (stat.st_size, stat.st_mtime_ns, stat.st_dev, inode, stat.st_ctime_ns)
    return np.array(numbers, np.int64).reshape(-1, 5)


class StatDigests:
    """Two digests of files' stats, block by block.

    Attributes:
        own: of ``text``, and the ids, names, sizes and modification times of the files.
        changes: of devices, inodes and change times.
    """

    def __init__(self, text: str) -> None:
        self.own, self.changes = hashlib.sha256(text.encode()), hashlib.sha256()

    def add(self, ids: Sequence[str], columns: Sequence[Sequence[str]], stats: np.ndarray) -> None:
        """Add samples.

        Args:
            ids: of the samples.
            columns: the paths of the samples' files, for each kind of file.
            stats: ``(N, 5 F)`` int64, of :func:`file_stats`, for each kind side by side.
        """
        names = (path.rpartition(os.sep)[2] for column in columns for path in column)
        self.own.update("\0".join([*ids, *names]).encode())
        numbers = stats.reshape(-1, 5)
        self.own.update(numbers[:, :2].tobytes())
        self.changes.update(numbers[:, 2:].tobytes())
