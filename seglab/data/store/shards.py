"""Writes the files of a store, as far as there is room. Imports no torch.

See :mod:`seglab.data.store.cached` for the format.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.store.index import INDEX, Facts, append_line

ENTRY = re.compile(r"v\d+-[0-9a-f]{24}(\.json)?")
"""What stores and records are called; nothing else in their folder is ever deleted."""

SHARD_BYTES = 64 * 2**20
"""A file of a store is gathered in memory before it is written; this bounds how much."""

RECORD_BYTES = 10**9
"""Records are bounded apart from the stores: without its record, a split is decoded again."""

RESERVE = 10**9
"""What the disk of the stores keeps free, for checkpoints; a twentieth of a small disk."""


STOPS = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""Errors that end the storing, not the run: no space, or another process deleted the store."""


class Room:
    """The room for a store in the folder of stores.

    Args:
        folder: of the stores.
        max_bytes: the limit of all stores together.
        own: the store that is written.
        keep: other stores in use, which are not deleted.
        evict: delete the least recently used other stores where the limit is reached.
    """

    def __init__(
        self, folder: Path, max_bytes: int, own: Path, keep: Sequence[Path], evict: bool
    ) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        others = {path: _bytes(path) for path in _entries(folder) if path.is_dir() and path != own}
        self.used = _bytes(own) + sum(others.values())
        self.old = [(path, size) for path, size in others.items() if evict and path not in keep]

    def has(self, size: int) -> bool:
        """Return whether so many bytes more may be written, deleting old stores if need be.

        Processes that have a deleted store mapped keep its pages, and decode the rest.
        """
        if size > free_bytes(self.folder):
            return False
        while self.used + size > self.max_bytes and self.old:
            path, freed = self.old.pop(0)
            (path / INDEX).unlink(missing_ok=True)  # first: without it, the rest is no store
            shutil.rmtree(path, ignore_errors=True)
            self.used -= freed
        return self.used + size <= self.max_bytes

    def take(self, size: int) -> None:
        """Count bytes that were written."""
        self.used += size


def free_bytes(folder: Path) -> int:
    """Return how many bytes the disk of a folder has for stores."""
    disk = shutil.disk_usage(folder)
    return int(disk.free - min(RESERVE, disk.total // 20))


def _entries(folder: Path) -> list[Path]:
    """Return the stores and records in a folder, least recently used first."""
    times: dict[Path, float] = {}
    for path in folder.glob("v*"):
        if ENTRY.fullmatch(path.name) and not path.is_symlink():
            index = path / INDEX if path.is_dir() else path
            with suppress(FileNotFoundError):  # no store yet, or another process makes room too
                times[path] = index.stat().st_mtime
    return sorted(times, key=times.__getitem__)


def _bytes(path: Path) -> int:
    total = 0
    for file in path.iterdir() if path.is_dir() else [path]:
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def trim_records(folder: Path) -> None:
    """Delete the oldest records until the others fit into their bound."""
    used = 0
    for path in reversed(_entries(folder)):
        if path.is_file():
            used += _bytes(path)
            if used > RECORD_BYTES:
                path.unlink(missing_ok=True)


class Shards:
    """Appends samples to a store until there is no more room.

    Args:
        files: the split.
        store: the folder of the store, which exists.
        room: for it.
        stored, shards: how many samples and files it has.

    Attributes:
        full: nothing more is written.
    """

    def __init__(
        self, files: SplitFiles, store: Path, room: Room, stored: int = 0, shards: int = 0
    ) -> None:
        self.files, self.store, self.room = files, store, room
        self.stored, self.shards, self.full = stored, shards, False
        self._clear()

    def _clear(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self.sizes: list[tuple[int, ...]] = []
        self.facts = Facts()
        self.bytes = 0

    def add(self, pixels: Pixels) -> None:
        """Add the next sample of the split, unless the store is full."""
        if self.full:
            return
        arrays = {"image": pixels.image, "class_map": pixels.class_map}
        if pixels.instance_map is not None:
            arrays["instance_map"] = pixels.instance_map
        size = sum(array.nbytes for array in arrays.values())
        if not self.room.has(self.bytes + size):
            self.flush()
            self.full = True
            return
        index = self.stored + len(self.sizes)
        for name, array in arrays.items():
            self.tensors[f"{index}/{name}"] = np.ascontiguousarray(array)
        self.sizes.append(pixels.class_map.shape)
        self.facts.add(Facts.of(self.files, index, pixels))
        self.bytes += size
        if self.bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered, and then its line of the index."""
        path = self.store / f"{self.shards:05d}.safetensors"
        if self.sizes:
            path.unlink(missing_ok=True)  # of a killed writer; never through a link
            try:
                size = _write(path, self.tensors)
                append_line(self.store / INDEX, json.dumps(self._line()))
            except OSError as error:
                path.unlink(missing_ok=True)
                if error.errno not in STOPS:
                    raise
                self.full = True
            else:
                self.stored, self.shards = self.stored + len(self.sizes), self.shards + 1
                self.room.take(size)
        self._clear()

    def _line(self) -> dict[str, Any]:
        return {"sizes": self.sizes, **self.facts.plain()}


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> int:
    """Write uint8 arrays as safetensors without a copy of them; return the size of the file.

    Source: github.com/huggingface/safetensors, "Format".

    Raises:
        OSError: safetensors itself hides the reason in a text.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "U8", "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data is aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(array.data)
    path.chmod(0o644)
    return 8 + len(text) + end
