"""The identity of data: a digest of classes, ids and file bytes, stored next to the stores.

A record is one JSON file, ``v3-KEY.json``, in the folder of the stores. KEY is a digest of classes,
ids, and the files' sizes and times (``SplitFiles.stat_keys``). It contains:

- ``identity``: hex SHA-256 over classes, meaning of mask values, and for each sample its id and
  the SHA-256 of its files. A moved or copied data set has the same identity, whatever its files'
  times.
- ``changes``: a digest of the files' inodes and change times. If it differs, as for a copy, the
  bytes are read again before the record is trusted.
- ``counts``: pixels of each value 0..255 over all class maps; null until all are decoded and
  checked.
- ``files``: the first 16 hex digits of the SHA-256 of each sample's files, one string for images,
  one for class maps, one for instance maps if they are read.
- ``present``: per sample, a bit set of its classes as hex digits; empty until the class maps have
  been read.
- ``ambiguous``: ids of images that EXIF rotates and whose masks fit either orientation.

Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from seglab.data.layouts.base import SplitFiles
from seglab.data.store.digests import SHORT, Record, hash_files, presence_digits
from seglab.errors import DataError
from seglab.runtime.private_folders import check_inside, make_private, store_folder
from seglab.schema import DataConfig

FORMAT = 3
"""Of stores and records, and part of their names: others are rebuilt, never misread."""


class RecordFile:
    """The file of a split's record.

    Args:
        files: the split; its files' stats are read once, here.
        folder: the folder of the stores; None: nothing is stored.

    Raises:
        DataError: a file of the split is inaccessible.
    """

    def __init__(self, files: SplitFiles, folder: Path | None) -> None:
        self.files, self.folder = files, folder
        key, self.changes = files.stat_keys()
        self.name = f"v{FORMAT}-{key[:24]}"
        self.path = folder / f"{self.name}.json" if folder else None

    def read(self) -> Record | None:
        """Return the stored record without checking the files, or None if there is no usable one.

        Raises:
            DataError: it is a link, or others may write to it.
        """
        if self.path is None or not self.path.is_file():
            return None
        check_inside(self.path)
        try:
            record = Record(**json.loads(self.path.read_text(encoding="utf-8")))
            return record if _is_whole(record, self.files) else None
        except (OSError, ValueError, TypeError):
            return None  # torn or from another version: rebuilt

    def find(self) -> Record | None:
        """Return the record if it still matches the files.

        Raises:
            DataError: it is a link, or others may write to it; a file cannot be read.
        """
        record = self.read()
        if record is None or record.changes == self.changes:
            return record
        now = hash_files(self.files).record(self.changes)
        if now.identity == record.identity:
            now = replace(record, changes=self.changes)
        self.write(now)
        return now

    def find_checked(self) -> Record | None:
        """Return the record if all samples were decoded and checked, and are unchanged.

        Raises:
            DataError: see :meth:`find`.
        """
        record = self.find()
        return record if record is not None and record.counts is not None else None

    def write(self, record: Record) -> None:
        """Write ``record`` atomically; does nothing if the folder is not writable."""
        if self.path is None or self.folder is None:
            return
        check_inside(self.path)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with suppress(OSError):
            make_private(self.folder)
            part.write_text(json.dumps(asdict(record)), encoding="utf-8")
            part.chmod(0o644)
            part.replace(self.path)


def _is_whole(record: Record, files: SplitFiles) -> bool:
    """Return whether a stored record has the types and lengths that this split needs."""
    texts = [record.identity, record.changes, record.present, *record.files, *record.ambiguous]
    length = len(files) * SHORT
    return (
        all(isinstance(text, str) for text in texts)
        and re.fullmatch("[0-9a-f]{64}", record.identity) is not None  # it names a folder
        and re.fullmatch("[0-9a-f]*", record.present) is not None
        and len(record.present) in (0, presence_digits(files) * len(files))
        and len(record.files) == len(files.files(0))
        and all(len(digests) == length for digests in record.files)
        and (
            record.counts is None
            or (len(record.counts) == 256 and all(type(count) is int for count in record.counts))
        )
    )


def usable_folder(config: DataConfig) -> Path | None:
    """Return the folder of the records, or None if it is unsafe.

    Raises:
        DataError: it is unsafe, but the store, which needs it, is enabled.
    """
    try:
        return store_folder(config.store.dir)
    except DataError:
        if config.store.enabled:
            raise
        return None


def identity_of(files: SplitFiles, folder: Path | None) -> str:
    """Return the identity of a split: from its record, or by reading the bytes of all its files.

    Raises:
        DataError: a file cannot be read.
    """
    place = RecordFile(files, folder)
    record = place.find()
    if record is None:
        record = hash_files(files).record(place.changes)
        place.write(record)
    return record.identity
