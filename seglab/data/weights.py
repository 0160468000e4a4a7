"""Class weights from the pixel counts of a training split. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from seglab.data.store.digests import Record
from seglab.schema import AUTO, LossConfig, TrainConfig, check_values


def class_weights(counts: Sequence[int], power: float) -> list[float]:
    """Return ``(median frequency / frequency) ** power`` of each class, to nine digits.

    A class's frequency is its share of the valid pixels of the whole split. (Eigen and Fergus,
    ICCV 2015, section 6.1, take its share of the images that contain it, and the power 1.) The
    median is over the classes that occur; a class that does not occur gets 0.

    Args:
        counts: the number of pixels of each class, void aside.
        power: 0 gives every class the weight 1.
    """
    middle = median([count for count in counts if count] or [1])
    return [float(f"{(middle / count) ** power:.9g}") if count else 0.0 for count in counts]


def is_auto(config: TrainConfig) -> bool:
    """Return whether class weights are to be computed."""
    return isinstance(config.loss, LossConfig) and config.loss.class_weights == AUTO


def balance(config: TrainConfig, train: Record) -> TrainConfig:
    """Return a configuration whose ``loss.class_weights`` are numbers, if they were ``auto``.

    Args:
        config: of the training or evaluation.
        train: the record of the checked training split.

    Raises:
        ConfigError: a class is so rare that its weight is out of bounds.
    """
    if not is_auto(config):
        return config
    assert train.counts is not None, "the split has been checked"
    counts = train.counts[: len(config.data.classes or ())]
    weights = class_weights(counts, config.loss.class_weights_power)
    config = replace(config, loss=replace(config.loss, class_weights=weights))
    check_values(config.loss, "loss.")
    return config
