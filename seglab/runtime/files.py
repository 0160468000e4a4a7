"""Atomic file writes. Imports no torch."""

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

from seglab.errors import ConfigError

PART = ".part"
"""How the name of a file ends that is still being written; it also begins with a dot."""

_PART = re.compile(r"\..+\.[a-z0-9_]{8}\.part")  # mkstemp's eight characters


@contextmanager
def atomic(path: Path, *, binary: bool = False, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a text or binary file that appears under ``path`` only when complete.

    Args:
        path: of the file; an existing one is replaced.
        binary: of bytes.
        durable: flushed with its folder, so that it survives a power loss.

    Yields:
        The file; its ``name`` is where it is until it is complete.

    Raises:
        OSError: it could not be written; names ``path`` and leaves the existing file.
    """
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        text: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
        os.close(handle)
        with Path(name).open("wb" if binary else "w", **text) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's files are private; results are shared
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


def check_new_file(output: Path, *suffixes: str) -> None:
    """Check that a command can write its result to ``output``, a new file.

    Raises:
        ConfigError: another suffix, a file that exists, a parent that is no folder, or a name that
            the system does not take.
    """
    if output.suffix not in suffixes:
        raise ConfigError(f"output={output}: must end in {' or '.join(suffixes)}")
    try:
        output.lstat()
    except (FileNotFoundError, NotADirectoryError):
        for folder in output.parents:
            if folder.exists() and not folder.is_dir():
                raise ConfigError(f"output={output}: {folder} is a file, not a folder") from None
    except OSError as error:
        raise ConfigError(f"output={output}: cannot be written: {error.strerror}") from None
    else:
        raise ConfigError(f"output={output}: exists already; give another file, or delete it")


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, if its file system supports that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def delete_parts(folder: Path) -> None:
    """Delete partial files left in a folder by killed processes."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _PART.fullmatch(path.name):
                path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON; NaN and infinity, which JSON lacks, become null."""
    with atomic(path) as file:
        json.dump(nan_to_null(value), file, indent=2, allow_nan=False)
        file.write("\n")


def nan_to_null(value: Any) -> Any:
    """Return plain data with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: nan_to_null(inner) for key, inner in value.items()}
    return [nan_to_null(inner) for inner in value] if isinstance(value, list | tuple) else value


def null_to_nan(value: Any, name: str = "it") -> float:
    """Return a number read from JSON; NaN for null.

    Raises:
        ValueError: it is no finite number; says so of ``name``.
    """
    if value is None:
        return math.nan
    if isinstance(value, str | bool) or not isinstance(value, int | float) or math.isinf(value):
        raise ValueError(f"{name} is {value!r}")
    return float(value)
