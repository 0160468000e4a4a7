"""The settings of a run as plain data: flattened, read back, compared. Knows no torch.

A run folder may come from a stranger: its ``.hydra/config.yaml`` is read as data, from which
nothing is resolved, imported or built.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from seglab.errors import ConfigError, RunError
from seglab.runs.run import FINISHED, NONE, check_folder, read_status, status
from seglab.schema import Mark, TrainConfig, has_mark

MAX_BYTES = 2**20
"""No configuration is larger: that of a run takes four kilobytes."""

NOT_SET = "(not set)"
"""Stands for the value of a key that the settings lack."""

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values.

    >>> dict(flatten({"optimizer": {"lr": 0.1}, "callbacks": {}}))
    {'optimizer.lr': 0.1, 'callbacks': {}}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_settings(folder: Path) -> dict[str, Any]:
    """Read a run's ``.hydra/config.yaml`` under dotted names.

    Raises:
        RunError: it is missing, damaged, or no plain data.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
        # An alias may stand for a list of aliases, and so on: a few lines, gigabytes of data.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader)):
            raise ValueError("it contains an alias")
        config = yaml.load(text, Loader)
        if not isinstance(config, dict):
            raise ValueError("it contains no keys")
        return dict(flatten(config))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(f"{path}: damaged, or not the settings of a run: {reason}") from None


def identity(config: TrainConfig) -> dict[str, str]:
    """Return the digests of a run's training and validation data, without decoding any.

    Raises:
        ConfigError, DataError: the data set cannot be used.
    """
    from seglab.data.identity import data_identity  # no numpy, no Pillow where a key is wrong

    data, instances = config.data, config.model.task == "instance"
    splits = {"train": data.train_split, "val": data.val_split}
    return {name: data_identity(data, split, instances=instances) for name, split in splits.items()}


def shown(recorded: Any) -> str:
    """Write the digests of a run's data short; they may come from a stranger's file."""
    if not isinstance(recorded, dict) or not recorded:
        return "which it did not record"
    return ", ".join(f"{name} {str(digest)[:8]}…" for name, digest in recorded.items())


def is_trained(folder: Path, state: str) -> bool:
    """Tell whether a run of this status has trained anything that another run could take over."""
    checkpoints = folder / "checkpoints"
    kept = (checkpoints / name for name in ("last.ckpt", "previous.ckpt"))
    return state == FINISHED or any(path.is_file() for path in kept)


def check_run(config: TrainConfig, folder: Path) -> tuple[str, list[str]]:
    """Check that a run may start in a folder, or be resumed there with these settings.

    ``trainer.threads`` becomes the number that the run recorded, unless another is given.

    Returns:
        The status of the folder, and what is not as before of the machine that computes it.

    Raises:
        ConfigError: it holds a run and ``resume`` is false, or one of other settings
            or data.
        RunError: another process works there, it cannot be written or is damaged.
    """
    leads = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun has started
    state = check_folder(folder, config.resume) if leads else status(folder)
    if state == NONE or not is_trained(folder, state):
        return state, []
    before = read_settings(folder)
    threads = before.get("trainer.threads")
    if config.trainer.threads is None and isinstance(threads, int) and threads > 0:
        config.trainer.threads = threads
    now = dict(flatten(asdict(config)))
    changed = [
        key
        for key in {**now, **before}
        if now.get(key, NOT_SET) != before.get(key, NOT_SET) and not has_mark(key, Mark.NO_EFFECT)
    ]
    if wrong := [key for key in changed if not has_mark(key, Mark.MACHINE)]:
        told = ", ".join(f"{key}={_shown(before, key)}, not {_shown(now, key)}" for key in wrong)
        last = folder / "checkpoints" / "last.ckpt"
        weights = f" and model.weights={last}" if last.is_file() else ""
        raise ConfigError(
            f"hydra.run.dir={folder}: this run has {told}; resume=true changes no settings: for a "
            f"new run give another hydra.run.dir{weights}"
        )
    recorded, data = read_status(folder).get("data"), identity(config)
    if recorded != data:
        raise ConfigError(
            f"hydra.run.dir={folder}: this run is of other data, {shown(recorded)}; "
            f"data.root={config.data.root or 'null'} has {shown(data)}: give another hydra.run.dir"
        )
    if state == FINISHED:
        return state, []
    return state, [f"{key}={_shown(now, key)}, was {_shown(before, key)}" for key in changed]


def _shown(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key, NOT_SET)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
