"""Fills the store of a split, while it is checked or after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from seglab.data.decode import decode, store_lock
from seglab.data.digests import SHORT, Record, Tally, digest_files
from seglab.data.folders import check_inside, make_private
from seglab.data.layout import Pixels, SplitFiles
from seglab.data.prefetch import Progress, prefetch
from seglab.data.records import FORMAT, RecordFile
from seglab.data.shards import INDEX, Room, Shards, read_index, trim_records
from seglab.errors import DataError


def store_path(folder: Path, record: Record) -> Path:
    """Return the path of the store for a record.

    Raises:
        DataError: it is a link, or other users may write to it.
    """
    path = folder / f"v{FORMAT}-{record.identity[:24]}"
    check_inside(path)
    return path


def open_or_fill(
    files: SplitFiles, folder: Path, max_bytes: int, keep: Sequence[Path], progress: Progress
) -> tuple[Record, Path]:
    """Return the record of ``files`` and the path of their store, filled as far as there is room.

    Args:
        files: the split.
        folder: of the stores.
        max_bytes: limit of the whole folder; least recently used stores are deleted.
        keep: stores that are not deleted.
        progress: shows the pass over the samples.

    Raises:
        DataError: a sample is unusable.
        OSError: the folder cannot be written.
    """
    place = RecordFile(files, folder)
    record = place.find_checked()
    if record is None or (_left_over(place, folder) and os.access(folder, os.W_OK)):
        make_private(folder)
        with store_lock(folder, place.name):
            for path in _left_over(place, folder):  # we hold the lock, so its writer has died
                shutil.rmtree(path, ignore_errors=True)
            record = place.find_checked()  # another process may have written it meanwhile
            if record is None:
                return _check_and_store(place, folder, max_bytes, keep, progress)
    path = store_path(folder, record)
    _continue(files, record, path, max_bytes, keep, progress)
    return record, path


def _left_over(place: RecordFile, folder: Path) -> list[Path]:
    return [path for path in folder.glob(f".{place.name}.*") if path.is_dir()]


def _check_and_store(
    place: RecordFile, folder: Path, max_bytes: int, keep: Sequence[Path], progress: Progress
) -> tuple[Record, Path]:
    """Decode and check all samples, store those that fit; write store and record atomically."""
    making = folder / f".{place.name}.{os.getpid()}"
    making.mkdir(mode=0o755)
    try:
        (making / INDEX).touch(0o644)
        room = Room(folder, max_bytes, making, keep, evict=True)
        tally, shards = Tally(place.files), Shards(place.files, making, room)
        for pixels in decode(place.files, tally, progress):
            shards.add(pixels)
        shards.flush()
        record = tally.record(place.changes)
        path = store_path(folder, record)
        if not (path / INDEX).is_file():  # otherwise a copy of the data has written the same
            shutil.rmtree(path, ignore_errors=True)  # left by a process killed while deleting
            making.rename(path)
        trim_records(folder)
        place.write(record)
        return record, path
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _continue(
    files: SplitFiles,
    record: Record,
    path: Path,
    max_bytes: int,
    keep: Sequence[Path],
    progress: Progress,
) -> None:
    """Store further samples of checked files, as far as there is room.

    A store that exists already deletes no others: two splits that do not fit together would take
    turns.
    """
    check_inside(path / INDEX)
    folder, new = path.parent, not (path / INDEX).is_file()
    if not new and not (os.access(path, os.W_OK) and _has_room(files, path, max_bytes, keep)):
        return
    make_private(folder)
    with store_lock(folder, path.name):
        if not (path / INDEX).is_file():
            shutil.rmtree(path, ignore_errors=True)  # left by a process killed while deleting
            path.mkdir(mode=0o755)
            (path / INDEX).touch(0o644)
        stored, count, end = _stored(path)
        os.truncate(path / INDEX, end)  # without a line that a killed process began
        room = Room(folder, max_bytes, path, keep, evict=new)
        shards = Shards(files, path, room, stored, count)

        def load(place: int) -> Pixels:
            return _read(files, record, stored + place)

        def size(place: int) -> int:
            return files.decoded_bytes(stored + place)

        left = len(files) - stored
        for pixels in progress(prefetch(load, left, size), left, f"storing {files.split}"):
            shards.add(pixels)
            if shards.full:
                break
        shards.flush()


def _stored(path: Path) -> tuple[int, int, int]:
    """Return how many samples and files a store has, and the length of its whole index."""
    stored = count = end = 0
    for line in read_index(path):
        stored, count, end = stored + len(line.sizes), count + 1, line.end
    return stored, count, end


def _has_room(files: SplitFiles, path: Path, max_bytes: int, keep: Sequence[Path]) -> bool:
    stored, *_ = _stored(path)
    if stored >= len(files):
        return False
    return Room(path.parent, max_bytes, path, keep, evict=False).has(files.decoded_bytes(stored))


def _read(files: SplitFiles, record: Record, index: int) -> Pixels:
    """Decode a sample that has been checked; its files must be those that were."""
    for kind, digest in enumerate(digest_files(files, index)):
        if digest[:SHORT] != record.files[kind][index * SHORT : (index + 1) * SHORT]:
            raise DataError(
                f"{files.named(files.files(index)[kind], index)}: its content changed after it was "
                "checked, though its size and time did not; run touch on it"
            )
    return files.read(index)
