"""Decoded pixels, memory-mapped: a data set is decoded and checked once, not once per epoch.

A store is a folder ``v3-IDENTITY``, the first 24 hex digits of the data's identity (see
:mod:`seglab.data.store.records`, whose records are in the same folder), so equal data share a store
and different data never do. It contains ``00000.safetensors`` and so on, with the tensors
``INDEX/image`` ``(H, W, C)``, ``INDEX/class_map`` and ``INDEX/instance_map`` ``(H, W)``, all uint8,
and ``index.jsonl``, with a line for each file: ``sizes``, ``[H, W]`` of its samples, and the facts
of a record about them, ``counts``, ``present`` and ``ambiguous``. The samples are the first of the
split, as many as there was room for; the others are decoded from their files whenever they are
used. A store may grow: a file and its line are never changed.

The files are safetensors: memory-mapped without a copy, no pickle, one library that torch's users
know. Of the others looked at, LMDB needs its size declared ahead and misbehaves on network file
systems, Arrow and Zarr are ten times as large to install for the same flat bytes, and the streaming
formats (WebDataset, LitData, FFCV) have no random access without decoding or are no longer
maintained.
"""

from __future__ import annotations

import os
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from torch.utils.data import Dataset

from seglab.data.dataset import Sample, Samples
from seglab.data.prefetch import Progress, no_progress
from seglab.data.store.filling import Filling
from seglab.data.store.index import INDEX, read_index
from seglab.errors import DataError
from seglab.runtime.private_folders import check_inside, store_folder


class _Index(NamedTuple):
    """What is known of the index of a store, never changed.

    Attributes:
        starts: the first sample of each file.
        sizes: ``(N, 2)``, height and width of the samples of each file.
        stored: the number of samples.
        end: the length of the index.
    """

    starts: list[int]
    sizes: list[np.ndarray]
    stored: int
    end: int


NOTHING = _Index([], [], 0, 0)


class Cached(Dataset[Sample]):
    """A data set whose samples are views of memory-mapped uint8 pixels.

    The first use decodes and checks everything and stores what fits under the data's identity;
    later ones open in a few milliseconds. Workers and processes share the pages. If two processes
    need the same store, one writes it and the other waits. What is not stored, or was deleted to
    make room for another store, is decoded from the files: to the same pixels.

    Args:
        files: what to decode.
        folder: of the stores; None means the user's cache folder.
        max_bytes: limit of the whole folder; least recently used stores are deleted.
        progress: shows the pass over the samples.
        keep: the paths of other stores in use, which are not deleted.
        progressive: read the bytes of the files only; :meth:`fill` decodes, checks and stores
            them. A sample that is used before is decoded from its files, and checked.

    Attributes:
        record: of the data; see :mod:`seglab.data.store.records`.
        path: of the store.

    Raises:
        DataError: a sample is unusable, or the folder is not writable or not private.
    """

    def __init__(
        self,
        files: Samples,
        folder: Path | None = None,
        max_bytes: int = 50 * 10**9,
        progress: Progress = no_progress,
        keep: Sequence[Path] = (),
        progressive: bool = False,
    ) -> None:
        self.files = files
        self.ids = files.ids
        self.classes = files.classes
        self.instances = files.instances
        self._filling = Filling(files, store_folder(folder), max_bytes)
        self._grows = progressive
        with self._writing():
            if progressive:
                self.record, self.path = self._filling.identify(progress)
            else:
                self.record, self.path = self._filling.complete(keep, progress)
        self._index = NOTHING
        self._open: dict[int, Any] = {}
        check_inside(self.path / INDEX)
        with suppress(OSError):  # a read-only store works as well
            os.utime(self.path / INDEX)  # its last use
        self.look()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self._filling.folder}: the store cannot be written: {error.strerror or error}; "
                "set data.store.dir=DIR, or data.store.enabled=false to do without"
            ) from None

    def fill(self, keep: Sequence[Path], stop: Event) -> None:
        """Check and store what is not yet, until ``stop`` is set; other threads may read meanwhile.

        Raises:
            DataError: a sample is unusable, or the folder is not writable.
        """
        with self._writing():
            self.record = self._filling.extend(self.record, self.path, keep, stop=stop)

    def look(self) -> None:
        """Read the lines that the index has got since it was last read, from any thread."""
        try:
            self._index = self._extended(self._index)
        except DataError:
            if self._index is NOTHING:
                raise
            self._look_again()

    def _look_again(self) -> None:
        """Read the whole index: the store was deleted to make room, and then written anew."""
        self._index, self._open = self._extended(NOTHING), {}
        self._grows = True

    def _extended(self, known: _Index) -> _Index:
        """Return the index with the lines that follow those known."""
        starts, sizes, stored, end = known
        with suppress(FileNotFoundError):  # deleted to make room for another store
            lines = [*read_index(self.path, end)]
            starts, sizes = [*starts], [*sizes]
            for line in lines:
                check_inside(self._file(len(starts)))
                starts.append(stored)
                sizes.append(line.sizes)
                stored, end = stored + len(line.sizes), line.end
        if stored > len(self.ids):
            raise DataError(
                f"{self.path}: damaged store: {stored} samples of {len(self.ids)}; delete it"
            )
        return _Index(starts, sizes, stored, end) if end > known.end else known

    @property
    def stored(self) -> int:
        """The number of stored samples, when the index was last read."""
        return self._index.stored

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)

    @property
    def identity(self) -> str:
        """The digest of classes, ids and file bytes."""
        return self.record.identity

    def __getitem__(self, index: int) -> Sample:
        """Return a sample; the tensors of a stored one are read-only views of the store."""
        index = range(len(self))[index]  # negative indices and IndexError, as for a list
        if index >= self.stored and self._grows:
            self.look()
        sample = self._read(index)
        if isinstance(sample, DataError):  # damaged, or not the files that the index was of
            self._look_again()
            sample = self._read(index)
        if isinstance(sample, DataError):
            raise sample
        return sample

    def _read(self, index: int) -> Sample | DataError:
        """Return a sample, from the store where it is there; the error of a damaged store."""
        starts, _, stored, _ = self._index
        if index >= stored:
            return self.files[index]
        shard = bisect(starts, index) - 1
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
        except FileNotFoundError:  # deleted to make room for another store
            return self.files[index]
        except (OSError, SafetensorError) as error:
            return DataError(f"{path}: damaged store: {error}; delete {self.path}")

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image without reading its pixels."""
        starts, sizes, stored, _ = self._index
        if index >= stored:
            return self.files.size(index)
        shard = bisect(starts, index) - 1
        height, width = sizes[shard][index - starts[shard]].tolist()
        return height, width

    def _file(self, shard: int) -> Path:
        return self.path / f"{shard:05d}.safetensors"

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open files: each process maps them itself."""
        return {**self.__dict__, "_open": {}}
