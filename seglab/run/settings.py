"""The settings of a run as plain data: flattened, read back, compared. Knows no torch.

A run folder may come from a stranger: its ``.hydra/config.yaml`` is read as data, from which
nothing is resolved, imported or built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

from seglab.errors import ConfigError, RunError
from seglab.run.folder import FINISHED, NONE, check_folder, read_status, status
from seglab.run.received import DamagedError, read_json, read_yaml
from seglab.runtime.rank import rank
from seglab.schema import Mark, TrainConfig, check_values, defaults, has_mark

NOT_SET = "(not set)"
"""Stands for the value of a key that the settings lack."""


WEIGHTS = "weights"
"""The name of the digest of ``model.weights`` among those of a run's inputs."""

LIMITS = ("trainer.limit_train_batches", "trainer.limit_val_batches")
"""Whole numbers are batches, fractions a share of them, and null is Lightning's 1.0: all."""


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
        RunError: it is missing, damaged, or no plain data; names the file.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        config = read_yaml(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not isinstance(config, dict):
        raise DamagedError(f"{path}: damaged, or not the settings of a run: it contains no keys")
    return dict(flatten(config))


def identity(config: TrainConfig) -> dict[str, str]:
    """Return the digests of a run's training and validation data, without decoding any.

    Raises:
        ConfigError, DataError: the data set cannot be used.
    """
    from seglab.data.identity import data_identity  # no numpy, no Pillow where a key is wrong

    data, instances = config.data, config.model.task == "instance"
    splits = {name: data.split_name(name) for name in ("train", "val")}
    return {name: data_identity(data, split, instances=instances) for name, split in splits.items()}


def weights_identity(config: TrainConfig) -> dict[str, str]:
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


def inputs(config: TrainConfig) -> dict[str, str]:
    """Return the digests of all files that a result depends on: data, and weights to start from.

    Raises:
        ConfigError, DataError, RunError: they cannot be used.
    """
    return {**identity(config), **weights_identity(config)}


def same_inputs(recorded: Any, now: Mapping[str, str]) -> bool:
    """Tell whether a run that recorded these digests is one of ``now``.

    Weights count where both are known: a resumed run needs no file to start from, and runs of
    earlier versions did not record it.
    """
    if not isinstance(recorded, dict):
        return False
    known = {*recorded, *now} - {WEIGHTS}
    known |= {WEIGHTS} & {*recorded} & {*now}
    return all(recorded.get(name) == now.get(name) for name in known)


def other_inputs(
    config: TrainConfig, recorded: Any, now: Mapping[str, str]
) -> tuple[bool, str, str]:
    """Describe inputs that :func:`same_inputs` tells apart.

    Returns:
        Whether the data differs, and not only the weights; what is configured; what the run has.
    """
    mine = {name: digest for name, digest in now.items() if name != WEIGHTS}
    if isinstance(recorded, dict) and same_inputs(recorded, mine):
        here = f"model.weights={config.model.weights} has {now[WEIGHTS][:8]}…"
        return False, here, f"other weights, {str(recorded[WEIGHTS])[:8]}…"
    here = f"data.root={config.data.root or 'null'} has {shown(now)}"
    return True, here, f"other data, {shown(recorded)}"


def shown(recorded: Any) -> str:
    """Write the digests of a run's inputs short; they may come from a stranger's file."""
    if not isinstance(recorded, dict) or not recorded:
        return "which it did not record"
    return ", ".join(f"{name} {str(digest)[:8]}…" for name, digest in recorded.items())


def is_trained(folder: Path, state: str) -> bool:
    """Tell whether a run of this status has trained anything that another run could take over."""
    checkpoints = folder / "checkpoints"
    kept = (checkpoints / name for name in ("last.ckpt", "previous.ckpt"))
    return state == FINISHED or any(path.is_file() for path in kept)


class RunCheck(NamedTuple):
    """What :func:`check_run` found.

    Attributes:
        status: of the folder.
        config: as given, but ``trainer.threads=null`` is the number that the run recorded.
        changes: what is not as before of the machine that computes it.
    """

    status: str
    config: TrainConfig
    changes: Sequence[str] = ()


def check_run(config: TrainConfig, folder: Path) -> RunCheck:
    """Check that a run may start in a folder, or be resumed there with these settings.

    Raises:
        ConfigError: it holds a run and ``resume`` is false, or one of other settings
            or data.
        RunError: another process works there, it cannot be written or is damaged.
    """
    leads = rank() == 0  # of the processes that torchrun has started
    state = check_folder(folder, config.resume) if leads else status(folder)
    if state == NONE or not is_trained(folder, state):
        return RunCheck(state, config)
    before = read_settings(folder)
    threads = before.get("trainer.threads")
    if config.trainer.threads is None and isinstance(threads, int) and threads > 0:
        config = replace(config, trainer=replace(config.trainer, threads=threads))
        check_values(config)  # the folder may be somebody else's
    now = dict(flatten(asdict(config)))
    changed = [
        key
        for key in {**now, **before}
        if not has_mark(key, Mark.NO_EFFECT) and not _same_value(key, before, now)
    ]
    if wrong := [key for key in changed if not has_mark(key, Mark.MACHINE)]:
        told = ", ".join(f"{key}={_shown(before, key)}, not {_shown(now, key)}" for key in wrong)
        last = folder / "checkpoints" / "last.ckpt"
        weights = f" and model.weights={last}" if last.is_file() else ""
        raise ConfigError(
            f"hydra.run.dir={folder}: this run has {told}; resume=true changes no settings: for a "
            f"new run give another hydra.run.dir{weights}"
        )
    recorded, files = read_json(folder / "status.json").get("data"), inputs(config)
    if not same_inputs(recorded, files):
        _, here, there = other_inputs(config, recorded, files)
        raise ConfigError(
            f"hydra.run.dir={folder}: this run is of {there}; {here}: give another hydra.run.dir"
        )
    changes = [f"{key}={_shown(now, key)}, was {_shown(before, key)}" for key in changed]
    return RunCheck(state, config, () if state == FINISHED else changes)


def recorded_weights(folder: Path) -> dict[str, Any]:
    """Return the digest of the weights that a run started from, if it recorded one."""
    data = read_status(folder).get("data")
    return {WEIGHTS: data[WEIGHTS]} if isinstance(data, dict) and WEIGHTS in data else {}


def check_processes(
    config: TrainConfig, before: int | None, now: int, *, within_epoch: bool
) -> None:
    """Check that a checkpoint of a run on ``before`` processes can be resumed on ``now``.

    Within an epoch it cannot: each process counts its own batches, so that samples would be skipped
    or repeated. The learning rates in a checkpoint are already scaled by ``optimizer.lr_rule``.

    Args:
        config: the run's.
        before: None where the checkpoint does not say, as those of earlier versions.
        now: the number of processes of this start.
        within_epoch: whether the checkpoint is from the middle of an epoch.

    Raises:
        ConfigError: it cannot be; names ``trainer.devices`` and what would be right.
    """
    if before is None or before == now:
        return
    rule, reason = config.optimizer.lr_rule, ""
    if within_epoch:
        reason = f"this run was interrupted within an epoch on {before} process{'es'[: before > 1]}"
    elif rule != "none":
        reason = f"optimizer.lr_rule={rule} has set the learning rates of this run for {before}"
    if reason:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices}: {reason}, not {now}; "
            f"give trainer.devices={before} to resume it"
        )


def _same_value(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether a key means the same in two runs."""
    old, new = before.get(key, NOT_SET), now.get(key, NOT_SET)
    if key in LIMITS:  # a number of batches or a share of them, which Python calls equal
        old, new = ((type(one), one) if one is not None else (float, 1.0) for one in (old, new))
    # The run is of a version that had no such key.
    return old == new or (old == NOT_SET and key in defaults() and new == defaults()[key])


def _shown(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key, NOT_SET)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
