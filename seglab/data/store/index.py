"""The index of a store: a line of JSON for each file, appended once the file is written.

Imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seglab.data.layouts.base import Pixels, SplitFiles
from seglab.data.store.digests import presence
from seglab.errors import DataError

INDEX = "index.jsonl"


class Facts:
    """What a record holds of decoded samples, in the order of the split.

    Attributes:
        counts, present, ambiguous: see :mod:`seglab.data.store.records`.
    """

    def __init__(
        self, counts: Sequence[int] = (0,) * 256, present: str = "", ambiguous: Sequence[str] = ()
    ) -> None:
        self.counts = np.array(counts, np.int64).reshape(256)
        self.present = [present]
        self.ambiguous = list(ambiguous)

    def add(self, other: Facts) -> None:
        """Add those of the samples that follow."""
        self.counts += other.counts
        self.present += other.present
        self.ambiguous += other.ambiguous

    def plain(self) -> dict[str, Any]:
        """Return the arguments of an equal one, as plain data."""
        return {
            "counts": self.counts.tolist(),
            "present": "".join(self.present),
            "ambiguous": self.ambiguous,
        }

    @classmethod
    def of(cls, files: SplitFiles, index: int, pixels: Pixels) -> Facts:
        """Return those of one sample."""
        name = files.ids[index]
        return cls(pixels.counts, presence(files, pixels.counts), [name] * pixels.ambiguous)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file: the whole of it or nothing."""
    before = path.stat().st_size
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError:
        os.truncate(path, before)
        raise


class IndexLine(NamedTuple):
    """The line of one file in the index of a store.

    Attributes:
        sizes: ``(N, 2)`` int32, height and width of its samples.
        facts: of its samples.
        end: the offset after the line.
    """

    sizes: np.ndarray
    facts: Facts
    end: int


def read_index(store: Path, start: int = 0) -> Iterator[IndexLine]:
    """Yield the whole lines of the index of a store from an offset on.

    Raises:
        FileNotFoundError: there is no index.
        DataError: it is damaged.
    """
    try:
        with (store / INDEX).open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written, or its writer was killed
                start += len(line)
                plain = json.loads(line)
                sizes = np.array(plain.pop("sizes"), np.int32).reshape(-1, 2)
                yield IndexLine(sizes, Facts(**plain), start)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{store}: damaged store: {error}; delete it") from None
