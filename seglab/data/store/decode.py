"""The single pass over a split that decodes, checks and digests every sample. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.prefetch import Progress, no_progress, prefetch
from seglab.data.store.digests import Record, Tally, digest_files
from seglab.data.store.records import RecordFile
from seglab.errors import DataError
from seglab.runtime.private_folders import check_inside, make_private


def decode(files: SplitFiles, tally: Tally, progress: Progress = no_progress) -> Iterator[Pixels]:
    """Decode, check and digest every sample in order, on all cores, and yield its pixels.

    Raises:
        DataError: after the last sample; gives the first problem and the number of others.
    """
    problems: list[DataError] = []

    def load(index: int) -> tuple[Pixels, list[str]] | DataError:
        try:
            return files.read(index), digest_files(files, index)
        except DataError as error:
            return error

    loading = prefetch(load, len(files), files.decoded_bytes)
    for loaded in progress(loading, len(files), f"checking {files.split}"):
        if isinstance(loaded, DataError):
            problems.append(loaded)
            continue
        pixels, digests = loaded
        if not problems:
            tally.add(digests, pixels)
        yield pixels
    if problems:
        more = f" ({len(problems) - 1} more: seglab data check lists them)"
        raise DataError(f"{problems[0]}{more if len(problems) > 1 else ''}")


def checked(files: SplitFiles, folder: Path | None, progress: Progress = no_progress) -> Record:
    """Return the record of a split, decoding all samples unless that was done before.

    Raises:
        DataError: a sample cannot be used.
    """
    place = RecordFile(files, folder)
    record = place.find_checked()
    if record is not None:
        return record
    with exclusive(place):
        record = place.find_checked()  # another process may have written it while this one waited
        if record is None:
            tally = Tally(files)
            for _ in decode(files, tally, progress):
                pass
            record = tally.record(place.changes)
            place.write(record)
        return record


@contextmanager
def exclusive(place: RecordFile) -> Iterator[None]:
    """Hold the lock of a split's record: one process decodes, the others wait.

    If the folder cannot be written, every process decodes for itself.
    """
    if place.folder is None:
        yield
        return
    with ExitStack() as stack:
        with suppress(OSError):
            make_private(place.folder)
            stack.enter_context(store_lock(place.folder, place.name))
        yield


def store_lock(folder: Path, name: str) -> FileLock:
    """Return the lock of a record or a store.

    Raises:
        DataError: it is a symbolic link, or other users may write to it.
    """
    path = folder / f"{name}.lock"
    check_inside(path)
    return FileLock(path)
