"""Reads small, untrusted text files of a data set, limited in size."""

from __future__ import annotations

import stat
from collections.abc import Sequence
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


def list_text(ids: Sequence[str]) -> str:
    """Return the text of a list, from which :func:`list_entries` reads the same ids.

    Raises:
        DataError: an id that no list can hold.
    """
    text = "".join(f"{name}\n" for name in ids)
    if list_entries(text.splitlines()) != [*ids]:
        odd = next(name for name in ids if list_entries(name.splitlines()) != [name])
        raise DataError(
            f"{odd!r}: a list of ids cannot hold this name: it has a line break, a space at an end "
            "or quotes around it; rename the image and its mask"
        )
    return text


def list_entries(lines: Sequence[str]) -> list[str]:
    """Return the ids on the lines of a list, without blank lines and spaces around."""
    return [_unquoted(line.strip()) for line in lines if line.strip()]


def _unquoted(line: str) -> str:
    """Remove the quotes that CVAT puts around ids with spaces."""
    return line[1:-1] if " " in line and line[0] == line[-1] == '"' else line
