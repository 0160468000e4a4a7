"""Decoded pixels, memory-mapped: a data set is decoded and checked once, not once per epoch.

A store is a folder ``v2-IDENTITY``, the first 24 hex digits of the data's identity (see
:mod:`seglab.data.records`, whose records are in the same folder), so equal data share a store and
different data never do. It contains ``00000.safetensors`` and so on, with the tensors
``INDEX/image`` ``(H, W, C)``, ``INDEX/class_map`` and ``INDEX/instance_map`` ``(H, W)``, all uint8,
and ``index.json``: ``shards``, the number of the file of each sample, and ``sizes``, ``[H, W]`` of
each.

The files are safetensors: memory-mapped without a copy, no pickle, one library that torch's users
know. Of the others looked at, LMDB needs its size declared ahead and misbehaves on network file
systems, Arrow and Zarr are ten times as large to install for the same flat bytes, and the streaming
formats (WebDataset, LitData, FFCV) have no random access without decoding or are no longer
maintained.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import Dataset

from seglab.data.decode import decode, record_lock
from seglab.data.digests import Record, Tally
from seglab.data.folders import check_inside, make_private, store_folder
from seglab.data.layout import Pixels, SplitFiles
from seglab.data.prefetch import Progress, no_progress
from seglab.data.records import FORMAT, RecordFile
from seglab.data.voc import Sample
from seglab.errors import ConfigError, DataError

ENTRY = re.compile(r"v\d+-[0-9a-f]{24}(\.json)?")
"""What stores and records are called; nothing else in their folder is ever deleted."""

SHARD_BYTES = 64 * 2**20
"""A shard is gathered in memory before it is written; this bounds how much."""


class Cached(Dataset[Sample]):
    """A data set whose samples are views of memory-mapped uint8 pixels.

    The first use decodes and checks everything and stores it under the data's identity; later ones
    open in a few milliseconds. Workers and processes share the pages. If two processes need the
    same store, one writes it and the other waits.

    Args:
        files: what to decode.
        folder: of the stores; None means the user's cache folder.
        max_bytes: limit of the whole folder; least recently used stores are deleted.
        progress: shows the pass over the samples.

    Attributes:
        record: of the data; see :mod:`seglab.data.records`.

    Raises:
        DataError: a sample is unusable, or the folder is not writable or not private.
        ConfigError: the data set alone needs more than ``max_bytes``.
    """

    def __init__(
        self,
        files: SplitFiles,
        folder: Path | None = None,
        max_bytes: int = 50 * 10**9,
        progress: Progress = no_progress,
    ) -> None:
        self.ids = files.ids
        self.classes = files.classes
        self.instances = files.instances
        folder = store_folder(folder)
        try:
            self.record, self.path = _open_or_make(files, folder, max_bytes, progress)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{folder}: the store cannot be written: {reason}; free some space, or set "
                "data.store.dir=DIR, or data.store.enabled=false to do without"
            ) from None
        check_inside(self.path / "index.json")
        with suppress(OSError):  # a read-only store works as well
            os.utime(self.path / "index.json")  # mtime is the last use; see _make_room
        try:
            index = json.loads((self.path / "index.json").read_text())
            self.shards: list[int] = [int(shard) for shard in index["shards"]]
            self.sizes: list[tuple[int, int]] = [(int(h), int(w)) for h, w in index["sizes"]]
            if not len(self.shards) == len(self.sizes) == len(self.ids):
                raise ValueError(f"index.json is not of {len(self.ids)} samples")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: damaged store: {error}; delete it") from None
        for shard in dict.fromkeys(self.shards):
            check_inside(self._file(shard))
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)

    @property
    def identity(self) -> str:
        """The digest of classes, ids and file bytes."""
        return self.record.identity

    def __getitem__(self, index: int) -> Sample:
        """Return a sample whose tensors are read-only views of the store."""
        index = range(len(self))[index]  # negative indices and IndexError, as for a list
        shard = self.shards[index]
        path = self._file(shard)
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(path, framework="pt")
            tensors = self._open[shard]
            return Sample(
                self.ids[index],
                tensors.get_tensor(f"{index}/image").permute(2, 0, 1),
                tensors.get_tensor(f"{index}/class_map"),
                tensors.get_tensor(f"{index}/instance_map") if self.instances else None,
            )
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: damaged store: {error}; delete {self.path}") from None

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image without reading its pixels."""
        return self.sizes[index]

    def _file(self, shard: int) -> Path:
        return self.path / f"{shard:05d}.safetensors"

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open files: each process maps them itself."""
        return {**self.__dict__, "_open": {}}


def _open_or_make(
    files: SplitFiles, folder: Path, max_bytes: int, progress: Progress
) -> tuple[Record, Path]:
    """Return the record of ``files`` and the path of their store, writing it if missing."""
    place = RecordFile(files, folder)

    def find() -> tuple[Record, Path] | None:
        record = place.find_checked()
        path = store_path(folder, record) if record else None
        return (record, path) if record and path and (path / "index.json").is_file() else None

    ready = find()
    if ready is None:
        make_private(folder)
        with record_lock(place, folder):
            ready = find()  # another process may have written it while this one waited
            if ready is None:
                ready = _fill(place, folder, max_bytes, progress)
    return ready


def store_path(folder: Path, record: Record) -> Path:
    """Return the path of the store for a record.

    Raises:
        DataError: it is a link, or other users may write to it.
    """
    path = folder / f"v{FORMAT}-{record.identity[:24]}"
    check_inside(path)
    return path


def _fill(
    place: RecordFile, folder: Path, max_bytes: int, progress: Progress
) -> tuple[Record, Path]:
    """Write the store of a split and its record atomically."""
    files = place.files
    sizes = [_size(files, index) for index in range(len(files))]
    needed = sum(height * width for height, width in sizes) * files.bytes_per_pixel
    if needed > max_bytes:
        raise ConfigError(
            f"data.store.max_gb={max_bytes / 1e9:g}: the {files.split} split needs "
            f"{needed / 1e9:.1f} GB decoded; raise it, or give data.store.enabled=false"
        )
    _make_room(folder, max_bytes - needed)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {free / 1e9:.1f} GB free, the store needs {needed / 1e9:.1f}; set "
            "data.store.dir=DIR, or data.store.enabled=false to do without"
        )
    for left_over in folder.glob(f".{place.name}.*"):
        if left_over.is_dir():  # we hold the lock, so its writer has died
            shutil.rmtree(left_over, ignore_errors=True)
    making = folder / f".{place.name}.{os.getpid()}"
    making.mkdir(mode=0o755)
    try:
        tally = Tally(files)
        shards = _write_shards(decode(files, tally, progress), making)
        (making / "index.json").write_text(json.dumps({"shards": shards, "sizes": sizes}))
        for file in making.iterdir():
            file.chmod(0o644)
        record = tally.record(place.changes)
        path = store_path(folder, record)
        if not (path / "index.json").is_file():  # otherwise a copy of the data has written the same
            shutil.rmtree(path, ignore_errors=True)  # left by a process killed while deleting
            making.rename(path)
        place.write(record)
        return record, path
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _size(files: SplitFiles, index: int) -> tuple[int, int]:
    try:
        return files.size(index)
    except DataError:
        return 0, 0  # decode() reports it with the others


def _write_shards(samples: Iterator[Pixels], folder: Path) -> list[int]:
    """Write the samples in order to numbered files; return the file number of each."""
    shards: list[int] = []
    tensors: dict[str, torch.Tensor] = {}
    shard, gathered = 0, 0
    for index, sample in enumerate(samples):
        arrays = {"image": sample.image, "class_map": sample.class_map}
        if sample.instance_map is not None:
            arrays["instance_map"] = sample.instance_map
        for name, array in arrays.items():
            tensors[f"{index}/{name}"] = torch.from_numpy(array).contiguous()
            gathered += array.nbytes
        shards.append(shard)
        if gathered >= SHARD_BYTES:
            save_file(tensors, folder / f"{shard:05d}.safetensors")
            tensors, shard, gathered = {}, shard + 1, 0
    if tensors:
        save_file(tensors, folder / f"{shard:05d}.safetensors")
    return shards


def _make_room(folder: Path, budget: int) -> None:
    """Delete the least recently used stores and records until the rest fit into ``budget`` bytes.

    Processes that have one mapped keep their pages: on POSIX a deleted file exists until closed.
    """
    entries = {
        path: (path / "index.json" if path.is_dir() else path).stat().st_mtime
        for path in folder.glob("v*")
        if ENTRY.fullmatch(path.name)
        and not path.is_symlink()
        and (path.is_file() or (path / "index.json").is_file())
    }
    used = 0
    for path in sorted(entries, key=entries.__getitem__, reverse=True):
        if path.is_file():
            used += path.stat().st_size
        else:
            used += sum(file.lstat().st_size for file in path.iterdir())
        if used > budget:
            if path.is_file():
                path.unlink(missing_ok=True)
            else:
                shutil.rmtree(path, ignore_errors=True)
