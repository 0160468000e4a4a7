"""Reads untrusted YAML and JSON as plain data of bounded size and depth.

libyaml's composer and Python's JSON decoder recurse once per level: a deeply nested file would
crash the process, or raise RecursionError in later code. Imports no torch.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from seglab.errors import RunError, one_line

MAX_BYTES = 2**20
"""The configuration of a run takes four kilobytes."""

MAX_DEPTH = 32
"""Of nested mappings and lists, in files and on the command line; a configuration has about six."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast


MAX_NUMBER = 100
"""Characters of a number."""

MAX_INTEGER = 2**63
"""Integers are smaller; torch and JSON readers take no others."""

_NUMBER = re.compile(r"[-+]?[0-9.]")


class DamagedError(RunError):
    """A file is damaged or was not written by seglab."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file without anchors and aliases.

    Raises:
        OSError: it cannot be read.
        DamagedError: too large or too deep, or not plain data; names the file.
    """
    text = _text(path)
    try:
        depth = 0
        for event in yaml.parse(text, LOADER):  # does not recurse
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"more than {MAX_DEPTH} levels")
            if isinstance(event, yaml.ScalarEvent):
                _check_number(event)
            # A few lines of nested aliases expand to gigabytes.
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise ValueError("it contains an anchor or alias")
        value = yaml.load(text, LOADER)
        _check_plain(value)
    except (ValueError, yaml.YAMLError) as error:
        raise _damaged(path, error) from None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises:
        OSError: it cannot be read.
        DamagedError: too large or too deep, not JSON, or not an object; names the file.
    """
    return parse_json(_text(path), path)


def parse_json(text: str | bytes, path: Path) -> dict[str, Any]:
    """Parse the text of a JSON object of at most :data:`MAX_BYTES`, found in the file ``path``.

    Raises:
        DamagedError: as :func:`read_json`.
    """
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        _check_plain(value)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    return value


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return data.decode()
    except ValueError as error:
        raise _damaged(path, error) from None


def _check_number(event: yaml.ScalarEvent) -> None:
    """Refuse long numbers: YAML's base-60 numbers (``1:1:1``) can take minutes to parse."""
    if len(event.value) > MAX_NUMBER and not event.style and _NUMBER.match(event.value):
        raise ValueError(f"a number of {len(event.value)} characters")


def _check_plain(value: Any) -> None:
    """Check depth and types; YAML also has dates, sets and bytes, and keys of any type."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[Any] = []
        for item in level:
            parts = [*item, *item.values()] if isinstance(item, dict) else item
            if isinstance(item, dict | list):
                below += parts
            elif item is not None and not isinstance(item, str | int | float):
                raise ValueError(f"a value of type {type(item).__name__}")
            elif isinstance(item, int) and abs(item) >= MAX_INTEGER:
                raise ValueError("an integer of more than 63 bits")
        level = below
    raise ValueError(f"more than {MAX_DEPTH} levels")


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(f"{path}: damaged, or not written by seglab: {one_line(error)}")
