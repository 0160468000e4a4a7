"""Reads small, untrusted text files of a data set, limited in size."""

from __future__ import annotations

import stat
from pathlib import Path

from seglab.errors import DataError


def check_regular(path: Path) -> None:
    """Check that a path is no pipe or device, whose reading might never end.

    Raises:
        FileNotFoundError: there is nothing.
        DataError: it is one.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: not a regular file")


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most ``most`` bytes.

    Raises:
        DataError: it is larger, or not a regular file.
        OSError: it cannot be read.
    """
    check_regular(path)
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path}: more than {most:,} bytes are refused")
    return content


def read_lines(path: Path, most: int, kind: str) -> list[str]:
    """Read the lines of a UTF-8 file of at most ``most`` bytes; ``kind`` names it in errors.

    Raises:
        DataError: it is larger, unreadable, or not text.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from None


def quoted(text: str, most: int = 80) -> str:
    """Quote a text for an error, truncated if long."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}…"
