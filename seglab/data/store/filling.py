"""Fills the store of a split, while it is checked or after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

from filelock import Timeout

from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.prefetch import Progress, no_progress, prefetch
from seglab.data.store.decode import decode, store_lock
from seglab.data.store.digests import SHORT, Record, Tally, digest_files, hash_files
from seglab.data.store.index import INDEX, Facts, read_index
from seglab.data.store.records import FORMAT, RecordFile
from seglab.data.store.shards import Room, Shards, trim_records
from seglab.errors import DataError
from seglab.runtime.cores import cores
from seglab.runtime.private_folders import check_inside, make_private


def store_path(folder: Path, record: Record) -> Path:
    """Return the path of the store for a record.

    Raises:
        DataError: it is a link, or other users may write to it.
    """
    path = folder / f"v{FORMAT}-{record.identity[:24]}"
    check_inside(path)
    return path


class Filling:
    """Checks the samples of a split and stores those for which there is room.

    Args:
        files: the split.
        folder: of the stores.
        max_bytes: limit of the whole folder; least recently used stores are deleted.

    Raises:
        DataError: a file is missing.
    """

    def __init__(self, files: SplitFiles, folder: Path, max_bytes: int) -> None:
        self.files, self.folder, self.max_bytes = files, folder, max_bytes
        self.place = RecordFile(files, folder)

    def identify(self, progress: Progress) -> tuple[Record, Path]:
        """Return the record of the files, checked or not, and the path of their store.

        Raises:
            DataError: a file cannot be read.
            OSError: the folder cannot be written.
        """
        record = self.place.find()
        if record is None:
            make_private(self.folder)
            with store_lock(self.folder, self.place.name):
                record = self.place.find()  # another process may have written it meanwhile
                if record is None:
                    record = hash_files(self.files, progress).record(self.place.changes)
                    self.place.write(record)
        return record, store_path(self.folder, record)

    def complete(self, keep: Sequence[Path], progress: Progress) -> tuple[Record, Path]:
        """Return the record of the checked files, and the path of their store.

        Args:
            keep: other stores in use, which are not deleted.
            progress: shows the pass over the samples.

        Raises:
            DataError: a sample is unusable.
            OSError: the folder cannot be written.
        """
        place, folder = self.place, self.folder
        record = place.find_checked()
        if record is None or (self._left_over() and os.access(folder, os.W_OK)):
            make_private(folder)
            with store_lock(folder, place.name):
                for path in self._left_over():  # we hold the lock, so its writer has died
                    shutil.rmtree(path, ignore_errors=True)
                record = place.find_checked()  # another process may have written it meanwhile
                if record is None:
                    return self._check_and_store(keep, progress)
        path = store_path(folder, record)
        return self.extend(record, path, keep, progress), path

    def _left_over(self) -> list[Path]:
        return [path for path in self.folder.glob(f".{self.place.name}.*") if path.is_dir()]

    def _check_and_store(self, keep: Sequence[Path], progress: Progress) -> tuple[Record, Path]:
        """Decode and check all samples in one pass; write store and record atomically."""
        files, folder = self.files, self.folder
        making = folder / f".{self.place.name}.{os.getpid()}"
        making.mkdir(mode=0o755)
        try:
            (making / INDEX).touch(0o644)
            room = Room(folder, self.max_bytes, making, keep, evict=True)
            tally, shards = Tally(files), Shards(files, making, room)
            for pixels in decode(files, tally, progress):
                shards.add(pixels)
            shards.flush()
            record = tally.record(self.place.changes)
            path = store_path(folder, record)
            with suppress(Timeout), store_lock(folder, path.name).acquire(timeout=0):
                # Otherwise a copy of the data has made, or is making, the same store.
                if not (path / INDEX).is_file():
                    shutil.rmtree(path, ignore_errors=True)  # of a process killed while deleting
                    making.rename(path)
            self._remember(record)
            return record, path
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _remember(self, record: Record) -> None:
        trim_records(self.folder)
        self.place.write(record)

    def extend(
        self,
        record: Record,
        path: Path,
        keep: Sequence[Path],
        progress: Progress = no_progress,
        stop: Event | None = None,
    ) -> Record:
        """Store further samples, as far as there is room, and check all if that was not done.

        A store that exists already deletes no others: two splits that do not fit together would
        take turns.

        Args:
            record: of the files.
            path: of their store.
            keep: other stores in use, which are not deleted.
            progress: shows the pass over the samples.
            stop: ends the work early; half of the cores work until then.

        Returns:
            The record; of checked files, unless the work was ended early.

        Raises:
            DataError: a sample is unusable, or its files are not those of the record.
            OSError: the folder cannot be written.
        """
        check_inside(path / INDEX)
        exists = (path / INDEX).is_file()
        if record.counts is not None and exists and not self._has_room(path, keep):
            return record
        make_private(self.folder)
        lock = store_lock(self.folder, path.name)
        while True:
            try:
                lock.acquire(timeout=1)
                break
            except Timeout:  # another process fills it
                if stop is not None and stop.is_set():
                    return record
        try:
            return self._extend(self.place.find_checked() or record, path, keep, progress, stop)
        finally:
            lock.release()

    def _extend(
        self,
        record: Record,
        path: Path,
        keep: Sequence[Path],
        progress: Progress,
        stop: Event | None,
    ) -> Record:
        files, new = self.files, not (path / INDEX).is_file()
        if new:
            shutil.rmtree(path, ignore_errors=True)  # left by a process killed while deleting
            path.mkdir(mode=0o755)
            (path / INDEX).touch(0o644)
        stored = count = end = 0
        facts = Facts()
        for line in read_index(path):
            stored, count, end = stored + len(line.sizes), count + 1, line.end
            facts.add(line.facts)
        os.truncate(path / INDEX, end)  # without a line that a killed process began
        room = Room(self.folder, self.max_bytes, path, keep, evict=new)
        shards = Shards(files, path, room, stored, count)

        def load(place: int) -> Pixels:
            return _read(files, record, stored + place)

        def size(place: int) -> int:
            return files.decoded_bytes(stored + place)

        threads = None if stop is None else max(1, cores() // 2)
        loading = prefetch(load, len(files) - stored, size, threads)
        text = f"storing {files.split}"
        for index, pixels in enumerate(progress(loading, len(files) - stored, text), stored):
            if (stop is not None and stop.is_set()) or (shards.full and record.counts is not None):
                break
            facts.add(Facts.of(files, index, pixels))
            shards.add(pixels)
        else:
            if record.counts is None:
                record = replace(record, **facts.plain())
                self._remember(record)
        shards.flush()
        return record

    def _has_room(self, path: Path, keep: Sequence[Path]) -> bool:
        """Return whether a further sample fits into a store that may be written."""
        stored = sum(len(line.sizes) for line in read_index(path))
        if stored >= len(self.files) or not os.access(path, os.W_OK):
            return False
        room = Room(self.folder, self.max_bytes, path, keep, evict=False)
        return room.has(self.files.decoded_bytes(stored))


def _read(files: SplitFiles, record: Record, index: int) -> Pixels:
    """Decode a sample whose files must be those of the record."""
    for kind, digest in enumerate(digest_files(files, index)):
        if digest[:SHORT] != record.files[kind][index * SHORT : (index + 1) * SHORT]:
            raise DataError(
                f"{files.named(files.files(index)[kind], index)}: its content changed after it was "
                "read for the check, though its size and time did not; run touch on it"
            )
    return files.read(index)
