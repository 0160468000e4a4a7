"""What data is: a digest of classes, ids and file bytes, remembered next to the stores.

A record is one JSON file, ``v2-KEY.json``, in the folder of the stores. KEY follows from classes,
ids, and the files' sizes and times (``SplitFiles.stat_keys``). It contains:

- ``identity``: hex SHA-256 over classes, meaning of mask values, and for each sample its id and
  the SHA-256 of its files. A moved or copied data set has the same, whatever its files' times.
- ``changes``: when the files' inodes last changed. Where it is another now, the bytes are read
  again before the record is believed.
- ``counts``: pixels of each value 0..255 over all class maps; null until all have been decoded
  and checked.
- ``files``: the first 16 hex digits of the SHA-256 of each sample's files, one string for images,
  one for class maps, one for instance maps if they are read.
- ``ambiguous``: ids of images that EXIF turns and whose masks would fit either way.

Knows no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from seglab.data.folders import check_inside, make_private, store_folder
from seglab.data.layout import Pixels, SplitFiles, split_files
from seglab.errors import DataError
from seglab.schema import DataConfig

FORMAT = 2
"""Of stores and records, and part of their names: others are made anew, never misread."""

AHEAD = 32
"""How many results may wait for a slow consumer; decoded samples are large."""

SHORT = 16
"""Hex digits that a record keeps of each file's digest."""

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """What is remembered of a split; see the top of this module."""

    identity: str
    changes: str
    counts: list[int] | None
    files: list[str]
    ambiguous: list[str]

    def digests(self, kind: int) -> list[str]:
        """Return the short digests of one kind of file: 0 images, 1 class maps, 2 instances."""
        text = self.files[kind]
        return [text[start : start + SHORT] for start in range(0, len(text), SHORT)]


def digest_files(files: SplitFiles, index: int) -> list[str]:
    """Return the hex SHA-256 of each file of a sample.

    Raises:
        DataError: a file that cannot be read.
    """
    digests = []
    for path in files.files(index):
        try:
            with path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digests


class Tally:
    """Gathers what a record contains, sample by sample in the order of the list."""

    def __init__(self, files: SplitFiles) -> None:
        self.files = files
        meaning = [files.classes, files.table and files.table.meaning()]
        self.hash = hashlib.sha256(json.dumps(meaning).encode())
        self.short: list[list[str]] = [[] for _ in files.files(0)]
        self.counts = [0] * 256
        self.decoded = 0
        self.ambiguous: list[str] = []

    def add(self, digests: Sequence[str], pixels: Pixels | None = None) -> None:
        """Take the next sample's digests, and what was seen when it was decoded."""
        name = self.files.ids[len(self.short[0])]
        self.hash.update(json.dumps([name, *digests]).encode())
        for kind, digest in zip(self.short, digests, strict=True):
            kind.append(digest[:SHORT])
        if pixels is not None:
            self.decoded += 1
            self.counts = [a + b for a, b in zip(self.counts, pixels.counts, strict=True)]
            self.ambiguous += [name] * pixels.ambiguous

    def record(self, changes: str) -> Record:
        """Return the record, once every sample has been added."""
        assert len(self.short[0]) == len(self.files)
        return Record(
            self.hash.hexdigest(),
            changes,
            self.counts if self.decoded == len(self.files) else None,
            ["".join(kind) for kind in self.short],
            self.ambiguous,
        )


class RecordFile:
    """The place of a split's record.

    Args:
        files: the split; its files' stats are read once, here.
        folder: the folder of the stores; None: nothing is remembered.

    Raises:
        DataError: a file of the split cannot be looked at.
    """

    def __init__(self, files: SplitFiles, folder: Path | None) -> None:
        self.files, self.folder = files, folder
        key, self.changes = files.stat_keys()
        self.name = f"v{FORMAT}-{key[:24]}"
        self.path = folder / f"{self.name}.json" if folder else None

    def read(self) -> Record | None:
        """Return the record as it stands, or None where there is none that can be used.

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
            return None  # cut off or of another make: it is made anew

    def find(self) -> Record | None:
        """Return the record if the files still are what it says.

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
        """Return the record if all samples have been decoded and checked, and still are the same.

        Raises:
            DataError: as :meth:`find`.
        """
        record = self.find()
        return record if record is not None and record.counts is not None else None

    def write(self, record: Record) -> None:
        """Remember ``record``, whole or not at all; a folder that cannot be written is none."""
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
    """Tell whether a record read from a file has the types and lengths of this split's."""
    texts = [record.identity, record.changes, *record.files, *record.ambiguous]
    length = len(files) * SHORT
    return (
        all(isinstance(text, str) for text in texts)
        and len(record.files) == len(files.files(0))
        and all(len(digests) == length for digests in record.files)
        and (
            record.counts is None
            or (len(record.counts) == 256 and all(type(count) is int for count in record.counts))
        )
    )


def hash_files(files: SplitFiles) -> Tally:
    """Read the bytes of all files on all cores, without decoding them.

    Raises:
        DataError: a file that cannot be read.
    """
    tally = Tally(files)
    for digests in in_order(lambda index: digest_files(files, index), len(files)):
        tally.add(digests)
    return tally


def in_order(function: Callable[[int], T], length: int) -> Iterator[T]:
    """Yield ``function(0), function(1), …``, computed on all cores, a bounded number ahead."""
    indices = iter(range(length))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque(pool.submit(function, index) for index in islice(indices, AHEAD))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, index) for index in islice(indices, 1))
            yield result


def usable_folder(config: DataConfig) -> Path | None:
    """Return the folder of the records, or None where it must not be used.

    Raises:
        DataError: it must not be used, but the store, which needs it, is enabled.
    """
    try:
        return store_folder(config.store.dir)
    except DataError:
        if config.store.enabled:
            raise
        return None


def data_identity(config: DataConfig, split: str, *, instances: bool) -> str:
    """Return the identity of a split of the configured data set: 64 hex digits.

    From the record, or by reading the bytes of all files once; then it is remembered.

    Raises:
        ConfigError, DataError: the data set cannot be used; says which key or file.
    """
    files = split_files(config, split, instances=instances)
    place = RecordFile(files, usable_folder(config))
    record = place.find()
    if record is None:
        record = hash_files(files).record(place.changes)
        place.write(record)
    return record.identity
