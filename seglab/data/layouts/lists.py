"""Lists of ids, and the root of a configured data set. Imports no torch."""

from __future__ import annotations

import posixpath
import unicodedata
from pathlib import Path, PurePosixPath

from seglab.data import synthetic
from seglab.data.text_files import list_entries, read_lines
from seglab.errors import ConfigError, DataError
from seglab.schema import DataConfig

MAX_ID_BYTES = 200  # most file systems allow 255, suffix included
MAX_LIST_BYTES = 128 * 2**20  # some million ids; reading takes a few times as much memory


def comparable(name: str) -> str:
    """Return an id normalised so that ids equal to a file system compare equal."""
    return unicodedata.normalize("NFC", posixpath.normpath(name))


SYNTHETIC_LISTS = ("train", "val", "trainval")
"""The lists of the built-in data set."""


def built_in_root(config: DataConfig) -> Path:
    """Return the root of the built-in data set, which need not exist yet."""
    assert config.synth is not None
    spec = synthetic.SyntheticSpec(**vars(config.synth))
    return Path(config.root) if config.root else synthetic.default_root(spec)


def configured_root(config: DataConfig) -> Path:
    """Return the root of the configured data set; the built-in one is created on first use."""
    if config.synth is not None:
        spec = synthetic.SyntheticSpec(**vars(config.synth))
        return synthetic.ensure(built_in_root(config), spec)
    if config.root is None:
        raise ConfigError(
            f"data.root is not set: give data.root=DIR, the folder "
            f"{f'that holds VOC{config.year}/' if config.year else 'of the data set'}"
        )
    return Path(config.root)


def read_ids(path: Path) -> list[str]:
    """Read a list of ids, one per line; stray spaces, blank lines and CRLF are ignored.

    Raises:
        DataError: the list is empty or larger than 128 MiB, or an id is listed twice or leads out
            of its folder.
    """
    ids = list_entries(read_lines(path, MAX_LIST_BYTES, "a list of ids"))
    if not ids:
        raise DataError(f"{path}: empty; it should contain one image id per line")
    seen: set[str] = set()
    for name in ids:
        if len(name.encode()) > MAX_ID_BYTES:
            raise DataError(f"{path}: {name[:40]!r}… is too long for the name of a file")
        if name in seen:
            raise DataError(f"{path}: id {name!r} is listed twice")
        seen.add(name)
        if "/" not in name and "\0" not in name and name.strip("."):
            continue  # PurePosixPath is slow
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise DataError(f"{path}: id {name!r} leaves its folder")
        if PurePosixPath(name).as_posix() != name:  # ./a, a//b, a/ name the same image
            plain = PurePosixPath(name).as_posix()
            raise DataError(f"{path}: id {name!r} is another spelling of {plain!r}; give that")
    return ids
