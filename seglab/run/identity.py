"""The identity of a job: the settings that can change its result, and its input files.

The schema marks settings without effect; files are identified by content. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from seglab.errors import RunError
from seglab.run.settings import flatten
from seglab.run.status import read_status
from seglab.schema import Mark, TrainConfig, has_mark

WEIGHTS = "weights"
"""The name of the digest of ``model.weights`` among those of a run's files."""


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with an effect on the result, nested or flat, under dotted names."""
    return {k: v for k, v in flatten(config) if not has_mark(k, Mark.NO_EFFECT)}


def short_digest(value: Any) -> str:
    """Return eight hex digits of a hash of plain data."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def data_digests(config: TrainConfig) -> dict[str, str]:
    """Return the digests of a run's training and validation data, without decoding any.

    Raises:
        ConfigError, DataError: the data set cannot be used.
    """
    from seglab.data.identity import data_identity  # a wrong key needs neither numpy nor Pillow

    data, instances = config.data, config.model.task == "instance"
    splits = {name: data.split_name(name) for name in ("train", "val")}
    return {name: data_identity(data, split, instances=instances) for name, split in splits.items()}


def with_class_weights(config: TrainConfig) -> TrainConfig:
    """Return the configuration with ``loss.class_weights=auto`` replaced by numbers.

    Raises:
        ConfigError, DataError: the training split cannot be used.
    """
    from seglab.data.decode import checked
    from seglab.data.layouts import open_files
    from seglab.data.records import usable_folder
    from seglab.data.weights import balance, is_auto

    if not is_auto(config):
        return config
    data, instances = config.data, config.model.task == "instance"
    files = open_files(data, data.split_name("train"), instances=instances)
    return balance(config, checked(files, usable_folder(data)))


def weights_digest(config: TrainConfig) -> dict[str, str]:
    """Return the hex SHA-256 of the file that ``model.weights`` names; empty where there is none.

    Raises:
        RunError: the file cannot be read.
    """
    path = Path(config.model.weights or "")
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            return {WEIGHTS: file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise RunError(f"model.weights={path}: cannot be read: {error.strerror or error}") from None


def file_digests(config: TrainConfig) -> dict[str, str]:
    """Return the digests of all files that a result depends on: data, and weights to start from.

    Raises:
        ConfigError, DataError, RunError: they cannot be used.
    """
    return {**data_digests(config), **weights_digest(config)}


def recorded_weights(folder: Path) -> dict[str, Any]:
    """Return the digest of the weights that a run started from, if it recorded one."""
    data = read_status(folder).get("data")
    return {WEIGHTS: data[WEIGHTS]} if isinstance(data, dict) and WEIGHTS in data else {}


def same_files(recorded: Any, current: Mapping[str, str]) -> bool:
    """Return whether the recorded digests of a run equal the ``current`` ones.

    Weights are compared only if both are known: a resumed run needs no weights file, and earlier
    versions did not record it.
    """
    if not isinstance(recorded, dict):
        return False
    names = {*recorded, *current} - {WEIGHTS}
    names |= {WEIGHTS} & {*recorded} & {*current}
    return all(recorded.get(name) == current.get(name) for name in names)


def describe_difference(
    config: TrainConfig, recorded: Any, current: Mapping[str, str]
) -> tuple[bool, str, str]:
    """Describe files that :func:`same_files` tells apart.

    Returns:
        Whether the data differs (not only the weights); the configured digest; the run's digest.
    """
    data = {name: digest for name, digest in current.items() if name != WEIGHTS}
    if isinstance(recorded, dict) and same_files(recorded, data):
        configured = f"model.weights={config.model.weights} has {current[WEIGHTS][:8]}…"
        return False, configured, f"other weights, {str(recorded[WEIGHTS])[:8]}…"
    configured = f"data.root={config.data.root or 'null'} has {abbreviate(current)}"
    return True, configured, f"other data, {abbreviate(recorded)}"


def abbreviate(recorded: Any) -> str:
    """Return the first digits of recorded digests, which are untrusted."""
    if not isinstance(recorded, dict) or not recorded:
        return "which it did not record"
    return ", ".join(f"{name} {str(digest)[:8]}…" for name, digest in recorded.items())
