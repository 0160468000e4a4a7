"""Optuna's pruners, by name or by node, for runs of a known length."""

from __future__ import annotations

import math
from typing import Any

import optuna

from seglab.errors import ConfigError
from seglab.instantiate import build
from seglab.schema import TrainerConfig

FIRST = 1 / 8
"""The share of a run before which the named pruners leave it alone; docs/sweeps.md has the reason.

Optuna's own first decision comes after a hundredth of a run, or its first validation.
"""

MIN_VALIDATIONS = 3
"""A pruner that sees fewer numbers of a run cannot compare runs before they have ended."""


def check_validations(trainer: TrainerConfig) -> None:
    """Check that a run has enough validations to be pruned.

    Raises:
        ConfigError: names the key.
    """
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if epochs // every < MIN_VALIDATIONS:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: a pruner needs {MIN_VALIDATIONS} "
            f"validations of a run at least, and trainer.max_epochs={epochs} gives "
            f"{epochs // every}"
        )


def build_pruner(pruner: str | dict[str, Any], epochs: int) -> optuna.pruners.BasePruner:
    """Build one of Optuna's pruners from its name or node, for runs of so many epochs.

    Raises:
        ConfigError: no such pruner, or an argument that it does not take.
    """
    key = "hydra.sweeper.pruner"
    if isinstance(pruner, str):
        named = named_pruners(epochs)
        if pruner not in named:
            raise ConfigError(
                f"{key}={pruner}: must be one of {', '.join(named)}, null, or a _target_"
            )
        return named[pruner]
    if not isinstance(pruner, dict):
        raise ConfigError(f"{key}={pruner}: must be a name, null, or a _target_")
    built = build(pruner, key)
    if not isinstance(built, optuna.pruners.BasePruner):
        raise ConfigError(f"{key}._target_={pruner['_target_']}: not one of Optuna's pruners")
    return built


def named_pruners(epochs: int) -> dict[str, optuna.pruners.BasePruner]:
    """Return Optuna's pruners for runs of so many epochs, with the first decision at FIRST.

    Without the length of a run, ASHA and Hyperband wait for the first trial to end. Trials that run
    beside it are then compared by a late validation where all others are by an early one.
    """
    first = max(1, math.ceil(epochs * FIRST))
    return {
        "asha": optuna.pruners.SuccessiveHalvingPruner(first),
        "hyperband": optuna.pruners.HyperbandPruner(first, epochs),
        "median": optuna.pruners.MedianPruner(n_warmup_steps=first),
    }
