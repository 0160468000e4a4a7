"""Whether a run may start in its folder, or be resumed there with these settings.

Knows no torch: a wrong key is answered before it is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seglab.errors import ConfigError
from seglab.run.identity import (
    describe_difference,
    file_digests,
    own_code_change,
    result_settings,
    same_data,
    with_class_weights,
)
from seglab.run.paths import CHECKPOINTS, LAST, PREVIOUS, STATUS
from seglab.run.provenance import version_change
from seglab.run.settings import read_settings
from seglab.run.status import FINISHED, NONE, check_folder, status
from seglab.run.untrusted import read_json
from seglab.runtime.launch import processes
from seglab.runtime.rank import rank
from seglab.schema import Mark, TrainConfig, check_values, defaults, has_mark

if TYPE_CHECKING:
    from seglab.run.last_checkpoint import Position  # imports torch

NOT_SET = "(not set)"
"""Stands for the value of a key that the settings lack."""

LIMITS = ("trainer.limit_train_batches", "trainer.limit_val_batches")
"""Whole numbers are batches, fractions a share of them, and null is Lightning's 1.0: all."""


EPOCHS, RESTART = "trainer.max_epochs", "schedule.restart"
"""What may differ from a finished run: more epochs extend it, fewer leave it as it is."""


BATCH = "data.batch_size"
"""May differ where another number of processes makes up for it: the samples per step stay."""


class Start(NamedTuple):
    """A checked start or resume of a run; created by :func:`check_run`.

    Attributes:
        folder: the run folder.
        status: of the folder.
        config: as given, with ``trainer.threads=null`` replaced by the run's recorded number.
        changes: machine settings and code that differ from those of the run.
        extended_from: ``trainer.max_epochs`` of the finished run if ``config`` has more; else None.
    """

    folder: Path
    status: str
    config: TrainConfig
    changes: Sequence[str] = ()
    extended_from: int | None = None

    @property
    def done(self) -> bool:
        """Whether the run has finished, with nothing left to do."""
        return self.status == FINISHED and self.extended_from is None


def check_run(config: TrainConfig, folder: Path) -> Start:
    """Check that a run may start in a folder, or be resumed there with these settings.

    Raises:
        ConfigError: it contains a run and ``resume`` is false, or settings or data differ.
        RunError: another process works there, it cannot be written or is damaged; the weights to
            start from are missing.
    """
    leads = rank() == 0  # ranks started by torchrun
    state = check_folder(folder, config.resume) if leads else status(folder)
    trained = is_trained(folder, state)
    if not trained:  # otherwise the weights are those of the run
        config.model.check_weights_file()
    if not trained or state == NONE:
        return Start(folder, state, config)
    recorded = read_settings(folder)
    threads = recorded.get("trainer.threads")
    if config.trainer.threads is None and isinstance(threads, int) and threads > 0:
        config = replace(config, trainer=replace(config.trainer, threads=threads))
        check_values(config)  # the folder is not trusted
    before, now = result_settings(recorded), result_settings(asdict(with_class_weights(config)))
    extended_from = _extended_from(folder, recorded, config) if state == FINISHED else None
    changed = [key for key in {**now, **before} if not _same_value(key, before, now)]
    wrong = [key for key in changed if not has_mark(key, Mark.MACHINE)]
    if BATCH in wrong and state != FINISHED and _same_global_batch(folder, recorded, config):
        wrong.remove(BATCH)
    if wrong and not (state == FINISHED and {*wrong} <= {EPOCHS, RESTART}):
        listed = ", ".join(f"{key}={_text(before, key)}, not {_text(now, key)}" for key in wrong)
        last = folder / CHECKPOINTS / LAST
        weights = f" and model.weights={last}" if last.is_file() else ""
        raise ConfigError(
            f"hydra.run.dir={folder}: this run has {listed}; resume=true changes no settings: for "
            f"a new run give another hydra.run.dir{weights}"
        )
    entry, files = read_json(folder / STATUS), file_digests(config)
    data = entry.get("data")
    if not same_data(data, files):
        _, configured, other = describe_difference(config, data, files)
        raise ConfigError(
            f"hydra.run.dir={folder}: this run is of {other}; {configured}: give another "
            "hydra.run.dir"
        )
    changes = [f"{key}={_text(now, key)}, was {_text(before, key)}" for key in changed]
    done = state == FINISHED and extended_from is None
    if done:
        fewer = before.get(EPOCHS) != now[EPOCHS]
        epochs = f"{EPOCHS}={now[EPOCHS]}: the run has finished {_text(before, EPOCHS)} epochs"
        changes = [f"{epochs} and keeps them"] if fewer else []
    changes += version_change(str(entry.get("code", "")), finished=done)
    changes += own_code_change(config, data, files, finished=done)
    return Start(folder, state, config, changes, extended_from)


def _extended_from(folder: Path, recorded: Mapping[str, Any], config: TrainConfig) -> int | None:
    """Return the epochs of a finished run if ``config`` has more of them.

    Raises:
        ConfigError: the run has kept no checkpoint to continue from.
    """
    epochs, more = recorded.get(EPOCHS), config.trainer.max_epochs
    if not isinstance(epochs, int) or epochs >= more:
        return None
    if not (folder / CHECKPOINTS / LAST).is_file():
        raise ConfigError(
            f"{EPOCHS}={more}: {folder} has finished {epochs} epochs and has no {LAST} to extend "
            "it from; checkpoints=last or both keeps it"
        )
    return epochs


def _same_global_batch(folder: Path, recorded: Mapping[str, Any], config: TrainConfig) -> bool:
    """Return whether a step has as many samples on all processes as when the run last started."""
    starts = read_json(folder / STATUS).get("history")
    last = starts[-1] if isinstance(starts, list) and starts else None
    before = last.get("processes") if isinstance(last, dict) else None
    size = recorded.get(BATCH)
    if not (isinstance(before, int) and isinstance(size, int)):
        return False
    return before * size == processes(config.trainer) * config.data.batch_size


def is_trained(folder: Path, state: str) -> bool:
    """Return whether a run with this status has trained anything to resume."""
    paths = (folder / CHECKPOINTS / name for name in (LAST, PREVIOUS))
    return state == FINISHED or any(path.is_file() for path in paths)


def check_processes(config: TrainConfig, reached: Position, now: int) -> None:
    """Check that a checkpoint can be resumed on ``now`` processes.

    Within an epoch only with as many samples per step: others would be skipped or repeated. The
    learning rates in a checkpoint are already scaled by ``optimizer.lr_rule``.

    Args:
        config: the run's.
        reached: the progress of the checkpoint.
        now: the current number of processes.

    Raises:
        ConfigError: it cannot; names ``trainer.devices`` and the right value.
    """
    before = reached.processes
    if before is None or before == now:
        return
    rule, other = config.optimizer.lr_rule, ""
    samples = before * (reached.batch_size or config.data.batch_size)
    if reached.batches and samples != now * config.data.batch_size:
        noun = "process" if before == 1 else "processes"
        reason = f"this run was interrupted within an epoch on {before} {noun}"
        if samples % now == 0 and rule == "none":
            other = f", or {BATCH}={samples // now} for as many samples per step"
    elif rule != "none":
        reason = f"optimizer.lr_rule={rule} has set the learning rates of this run for {before}"
    else:
        return
    raise ConfigError(
        f"trainer.devices={config.trainer.devices}: {reason}, not {now}; "
        f"give trainer.devices={before} to resume it{other}"
    )


def _same_value(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a key means the same in two runs."""
    old, new = before.get(key, NOT_SET), now.get(key, NOT_SET)
    if key in LIMITS:  # 1 (batch) and 1.0 (all batches) are equal in Python
        old, new = ((type(x), x) if x is not None else (float, 1.0) for x in (old, new))
    # A run of an earlier version may lack the key.
    return old == new or (old == NOT_SET and key in defaults() and new == defaults()[key])


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key, NOT_SET)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
