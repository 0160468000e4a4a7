"""Files that appear whole or not at all. Knows no torch."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

PART = ".part"
"""How the name of a file ends that is still being written; it also begins with a dot."""


_PART = re.compile(r"\.(.+\.[a-z0-9_]{8}|previous\.ckpt\.\d+)\.part")  # mkstemp's eight characters


@contextmanager
def atomic(path: Path, *, binary: bool = False, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a file, of text or bytes, that appears under ``path`` when it is whole, not before.

    Args:
        path: where it appears; what was there is replaced.
        binary: of bytes.
        durable: flushed with its folder, so that it outlives a loss of power too.

    Raises:
        OSError: it could not be written; names ``path``, and leaves what was there.
    """
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        text: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
        with open(handle, "wb" if binary else "w", **text) as file:  # noqa: PTH123 (a handle)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's files are private; results are to be shared
        Path(name).replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException as error:
        if name is not None:
            with suppress(OSError):
                Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder to the disk, where its file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def delete_parts(folder: Path) -> None:
    """Delete what killed processes have left half written among the files of a folder."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _PART.fullmatch(path.name):
                path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON; NaN and infinity, which JSON lacks, become null."""

    def clean(item: Any) -> Any:
        if isinstance(item, float) and not math.isfinite(item):
            return None
        if isinstance(item, Mapping):
            return {key: clean(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [clean(inner) for inner in item]
        return item

    with atomic(path) as file:
        json.dump(clean(value), file, indent=2, allow_nan=False)
        file.write("\n")
