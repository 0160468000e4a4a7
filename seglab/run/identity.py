"""The identity of a job: the settings that can change its result, and its input files.

The schema marks settings without effect; files are identified by content. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

from seglab.errors import RunError
from seglab.run.settings import flatten
from seglab.run.status import read_status
from seglab.runtime.own_code import OWN_CODE, own_code_digest, own_modules
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
    """Return the digests of all files that a result depends on: data, first weights, own code.

    Raises:
        ConfigError, DataError, RunError: they cannot be used.
    """
    return {**data_digests(config), **weights_digest(config), **code_digest(config)}


def code_digest(config: TrainConfig) -> dict[str, str]:
    """Return the digest of the user's own modules; empty where there are none.

    Raises:
        RunError: a file cannot be read.
    """
    return own_code_digest(own_modules(asdict(config)))


def recorded_weights(folder: Path) -> dict[str, Any]:
    """Return the digest of the weights that a run started from, if it recorded one."""
    data = read_status(folder).get("data")
    return {WEIGHTS: data[WEIGHTS]} if isinstance(data, dict) and WEIGHTS in data else {}


def without_own_code(digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the files that a resumed run must share; code may be corrected."""
    return {name: digest for name, digest in digests.items() if name != OWN_CODE}


def same_files(recorded: Any, current: Mapping[str, str]) -> bool:
    """Return whether the recorded digests of a run equal the ``current`` ones.

    Weights and own code are compared only if both are known: a resumed run needs no weights file.
    """
    if not isinstance(recorded, dict):
        return False
    optional = {WEIGHTS, OWN_CODE}
    names = {*recorded, *current} - optional
    names |= optional & {*recorded} & {*current}
    return all(recorded.get(name) == current.get(name) for name in names)


def own_code_change(
    config: TrainConfig, recorded: Any, current: Mapping[str, str], *, finished: bool
) -> list[str]:
    """Return a line if the user's own code is not that of a run with otherwise the same files."""
    if same_files(recorded, current):
        return []
    _, configured, there = describe_difference(config, recorded, current)
    if finished:
        left = "is left alone; for a new run give another hydra.run.dir"
        return [f"{configured}; this run was trained with {there}, and {left}"]
    return [f"{configured}; until here this run was trained with {there}"]


def checkpoint_code_change(
    config: TrainConfig, recorded: Mapping[str, str], path: Path
) -> list[str]:
    """Return a line if the user's own code is not that which a checkpoint was trained with.

    Args:
        config: of the checkpoint, with overrides.
        recorded: the digests in the checkpoint.
        path: of the checkpoint.
    """
    before = {name: digest for name, digest in recorded.items() if name == OWN_CODE}
    if same_files(before, current := code_digest(config)):
        return []
    _, configured, there = describe_difference(config, before, current)
    return [f"{configured}; checkpoint={path} was trained with {there}"]


class Difference(NamedTuple):
    """What :func:`same_files` tells apart, in words.

    Attributes:
        verb: what was done with the files: ``trained on``, ``started from`` or ``trained with``.
        configured: the key or the files, and their digest.
        recorded: the digest of the run.
    """

    verb: str
    configured: str
    recorded: str


def describe_difference(
    config: TrainConfig, recorded: Any, current: Mapping[str, str]
) -> Difference:
    """Describe files that :func:`same_files` tells apart: the data, the weights or the own code."""
    before: Mapping[str, Any] = recorded if isinstance(recorded, dict) else {}
    others = without_own_code(current)
    if not same_files(recorded, {k: v for k, v in others.items() if k != WEIGHTS}):
        configured = f"data.root={config.data.root or 'null'} has {abbreviate(current)}"
        return Difference("trained on", configured, f"other data, {abbreviate(recorded)}")
    if not same_files(recorded, others):
        configured = f"model.weights={config.model.weights} has {current[WEIGHTS][:8]}…"
        return Difference("started from", configured, f"other weights, {before[WEIGHTS]!s:.8}…")
    configured = f"own code ({', '.join(own_modules(asdict(config)))}) has {current[OWN_CODE][:8]}…"
    return Difference("trained with", configured, f"other code, {before[OWN_CODE]!s:.8}…")


def abbreviate(recorded: Any) -> str:
    """Return the first digits of recorded digests, which are untrusted."""
    if not isinstance(recorded, dict) or not recorded:
        return "which it did not record"
    return ", ".join(f"{name} {str(digest)[:8]}…" for name, digest in recorded.items())
