"""Digests of a split's files, and the record of a split. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seglab.data.files import MAX_FILE_BYTES
from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.prefetch import Progress, no_progress, prefetch
from seglab.data.text_files import check_regular
from seglab.errors import DataError

SHORT = 16
"""Hex digits that a record keeps of each file's digest."""


@dataclass(frozen=True)
class Record:
    """The stored facts about a split; see :mod:`seglab.data.store.records`."""

    identity: str
    changes: str
    counts: list[int] | None
    files: list[str]
    ambiguous: list[str]
    present: str = ""

    def digests(self, kind: int) -> list[str]:
        """Return the short digests of one kind of file: 0 images, 1 class maps, 2 instances."""
        text = self.files[kind]
        return [text[start : start + SHORT] for start in range(0, len(text), SHORT)]

    def classes_present(self, samples: int) -> Iterator[frozenset[int]]:
        """Yield the classes in each of the samples."""
        digits = len(self.present) // samples
        known: dict[str, frozenset[int]] = {}
        for start in range(0, len(self.present), digits):
            text = self.present[start : start + digits]
            if text not in known:
                bits = int(text, 16)
                places = range(bits.bit_length())
                known[text] = frozenset(label for label in places if bits >> label & 1)
            yield known[text]


def presence_digits(files: SplitFiles) -> int:
    """Return the hex digits of a sample in ``Record.present``."""
    return -(-len(files.classes) // 4)


def presence(files: SplitFiles, counts: Sequence[int]) -> str:
    """Return the entry in ``Record.present`` of a sample, from the counts of its class map."""
    present = sum(1 << label for label in range(len(files.classes)) if counts[label])
    return f"{present:0{presence_digits(files)}x}"


def digest_files(files: SplitFiles, index: int) -> list[str]:
    """Return the hex SHA-256 of the source of each part of a sample.

    Raises:
        DataError: a file that cannot be read.
    """
    return [
        hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else digest_file(source)
        for source in files.files(index)
    ]


def digest_file(path: Path) -> str:
    """Return the hex SHA-256 of a file.

    Raises:
        DataError: it cannot be read or is too large.
    """
    try:
        check_regular(path)
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise DataError(f"{path}: {size:,} bytes; more than {MAX_FILE_BYTES:,} are refused")
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as stream:
            # hashlib.file_digest takes half as long again for small files: it clears a buffer.
            while block := stream.read(2**20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


class Tally:
    """Builds a record, sample by sample in the order of the list."""

    def __init__(self, files: SplitFiles) -> None:
        self.files = files
        meaning = [files.classes, files.meaning(), *files.pixel_format.meaning()]
        self.hash = hashlib.sha256(json.dumps(meaning).encode())
        self.short: list[list[str]] = [[] for _ in files.files(0)]
        self.counts = [0] * 256
        self.decoded = 0
        self.ambiguous: list[str] = []
        self.present: list[str] = []

    def __len__(self) -> int:
        """Return the number of added samples."""
        return len(self.short[0])

    def add(
        self,
        digests: Sequence[str],
        pixels: Pixels | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        """Add the next sample's digests, with its pixels or the counts of its class map."""
        name = self.files.ids[len(self)]
        self.hash.update(json.dumps([name, *digests]).encode())
        for kind, digest in zip(self.short, digests, strict=True):
            kind.append(digest[:SHORT])
        counts = pixels.counts if pixels is not None else counts
        if counts is not None:
            self.present.append(presence(self.files, counts))
        if pixels is not None:
            self.decoded += 1
            self.counts = [a + b for a, b in zip(self.counts, pixels.counts, strict=True)]
            self.ambiguous += [name] * pixels.ambiguous

    def record(self, changes: str) -> Record:
        """Return the record after every sample has been added."""
        assert len(self) == len(self.files)
        return Record(
            self.hash.hexdigest(),
            changes,
            self.counts if self.decoded == len(self.files) else None,
            ["".join(kind) for kind in self.short],
            self.ambiguous,
            "".join(self.present) if len(self.present) == len(self.files) else "",
        )


def hash_files(files: SplitFiles, progress: Progress = no_progress) -> Tally:
    """Read the bytes of all files on all cores, without decoding them.

    Raises:
        DataError: a file that cannot be read.
    """
    tally = Tally(files)
    reading = prefetch(lambda index: digest_files(files, index), len(files))
    for digests in progress(reading, len(files), f"reading {files.split}"):
        tally.add(digests)
    return tally
