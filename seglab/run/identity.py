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
from seglab.runtime.own_code import OWN_CODE, only_own_code, own_code_digests, own_modules
from seglab.schema import Mark, TrainConfig, has_mark

WEIGHTS = "weights"
"""The name of the digest of ``model.weights`` among those of a run's files."""


LIMIT, EVAL_BATCH = "trainer.limit_val_batches", "data.eval_batch_size"
"""With a limit, the size of a batch says which images are validated."""


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with an effect on the result, nested or flat, under dotted names."""
    settings = dict(flatten(config))
    counts = {EVAL_BATCH} if settings.get(LIMIT) is not None else set()
    return {k: v for k, v in settings.items() if k in counts or not has_mark(k, Mark.NO_EFFECT)}


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
    from seglab.data.layouts.opening import open_files
    from seglab.data.store.decode import checked
    from seglab.data.store.records import usable_folder
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
    """Return the digests of the user's own modules behind the settings of a result.

    Raises:
        RunError: a file cannot be read.
    """
    return own_code_digests(result_modules(config))


def result_modules(config: TrainConfig, *groups: str) -> dict[str, Path]:
    """Return the files of the user's own modules; see :func:`seglab.runtime.own_code.own_modules`.

    Args:
        config: the checked configuration.
        groups: those that count; by default all but those without effect on the result.
    """
    named = asdict(config)
    chosen = groups or [name for name in named if not has_mark(name, Mark.NO_EFFECT)]
    return own_modules({name: named[name] for name in chosen})


def recorded_weights(folder: Path) -> dict[str, Any]:
    """Return the digest of the weights that a run started from, if it recorded one."""
    data = read_status(folder).get("data")
    return {WEIGHTS: data[WEIGHTS]} if isinstance(data, dict) and WEIGHTS in data else {}


def same_data(recorded: Any, current: Mapping[str, str]) -> bool:
    """Return whether the recorded digests of data and weights equal the ``current`` ones.

    Weights are compared only if both are known: a resumed run needs no weights file.
    """
    if not isinstance(recorded, dict):
        return False
    names = {*recorded, *current} - {*only_own_code(recorded), *only_own_code(current), WEIGHTS}
    names |= {WEIGHTS} & {*recorded} & {*current}
    return all(recorded.get(name) == current.get(name) for name in names)


def same_files(recorded: Any, current: Mapping[str, str]) -> bool:
    """Return whether data, weights and the user's own code equal the recorded ones of a run."""
    return same_data(recorded, current) and only_own_code(recorded) == only_own_code(current)


def own_code_change(
    config: TrainConfig, recorded: Any, current: Mapping[str, str], *, finished: bool
) -> list[str]:
    """Return a line if the user's own code is not that of a run with otherwise the same files."""
    if same_files(recorded, current):
        return []
    _, changed, there = describe_difference(config, recorded, current)
    if finished:
        left = "is left alone; for a new run give another hydra.run.dir"
        return [f"{changed}; this run was trained with {there}, and {left}"]
    return [f"{changed}; until here this run was trained with {there}"]


def checkpoint_code_change(
    config: TrainConfig, recorded: Mapping[str, str], path: Path
) -> list[str]:
    """Return a line if own modules that a checkpoint was trained with have changed.

    Only those of model, loss, metrics and data: nothing else is built from a checkpoint.

    Args:
        config: of the checkpoint, with overrides.
        recorded: the digests in the checkpoint.
        path: of the checkpoint.
    """
    now = own_code_digests(result_modules(config, "model", "loss", "metrics", "data"))
    both = [name for name in now if name in recorded]
    before, after = ({name: digests[name] for name in both} for digests in (recorded, now))
    if before == after:
        return []
    return [f"{_changed_code(before, after)}; checkpoint={path} was trained with {EARLIER}"]


EARLIER = "the previous code"


def _changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Name the modules of which the digests differ, and those that only one has."""
    words = [
        f"{name.removeprefix(OWN_CODE)}{'' if name in now else ' gone'}"
        f"{'' if name in before else ' new'}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return f"own code has changed ({', '.join(words)})"


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
    if not same_data(recorded, {k: v for k, v in current.items() if k != WEIGHTS}):
        configured = f"data.root={config.data.root or 'null'} has {abbreviate(current)}"
        return Difference("trained on", configured, f"other data, {abbreviate(recorded)}")
    if not same_data(recorded, current):
        configured = f"model.weights={config.model.weights} has {current[WEIGHTS][:8]}…"
        return Difference("started from", configured, f"other weights, {recorded[WEIGHTS]!s:.8}…")
    changed = _changed_code(only_own_code(recorded), only_own_code(current))
    return Difference("trained with", changed, EARLIER)


def abbreviate(recorded: Any) -> str:
    """Return the first digits of recorded digests, which are untrusted."""
    if not isinstance(recorded, dict) or not recorded:
        return "which it did not record"
    own = only_own_code(recorded)
    others = ((name, digest) for name, digest in recorded.items() if name not in own)
    return ", ".join(f"{name} {str(digest)[:8]}…" for name, digest in others)
