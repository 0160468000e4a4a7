"""The settings of a run as plain data under dotted names. Imports no torch.

A run folder is untrusted: its ``.hydra/config.yaml`` is read as plain data, and nothing in it is
resolved, imported or built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seglab.errors import RunError
from seglab.run.paths import OVERRIDES, SETTINGS
from seglab.run.untrusted import DamagedError, read_yaml


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each key, as on a command line.

    >>> dict(flatten({"optimizer": {"lr": 0.1}, "data": {"scale": [0.5, 2.0]}, "callbacks": {}}))
    {'optimizer.lr': 0.1, 'data.scale': [0.5, 2.0], 'callbacks': {}}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_settings(folder: Path) -> dict[str, Any]:
    """Read a run's ``.hydra/config.yaml`` under dotted names.

    Raises:
        RunError: it is missing, damaged, or no plain data; names the file.
    """
    path = folder / SETTINGS
    try:
        config = read_yaml(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not isinstance(config, dict):
        raise DamagedError(f"{path}: damaged, or not the settings of a run: it contains no keys")
    return dict(flatten(config))


def read_overrides(folder: Path) -> list[str]:
    """Read a run's ``.hydra/overrides.yaml``; empty where there is none.

    Raises:
        RunError: it is damaged; names the file.
    """
    path = folder / OVERRIDES
    if not path.is_file():
        return []
    overrides = read_yaml(path) or []
    if not isinstance(overrides, list):
        raise DamagedError(f"{path}: damaged, or not the overrides of a run: it is not a list")
    return [str(override) for override in overrides]
