"""Everything that ``seglab train`` does, and the parts that only a run has."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any

from seglab.errors import ConfigError
from seglab.schema.data import DataConfig
from seglab.schema.model import ModelConfig
from seglab.schema.rules import Bound, Length, Mark, Name, OneOf
from seglab.schema.training import (
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainerConfig,
)

OWN_TRANSFORM = "seglab.transforms.JointTransform"
"""seglab's own augmentation, whose settings are those of ``data``."""


@dataclass(frozen=True)
class LoggerConfig:
    """Whether W&B gets the history besides metrics.csv; all but ``name`` is for W&B."""

    name: Annotated[str, OneOf("csv", "wandb")]
    mode: Annotated[str | None, OneOf("online", "offline", "disabled")] = None
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    run_name: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    checkpoints: bool = False
    registry: str | None = None
    table_images: Annotated[int, Bound(0, 500)] = 32
    init_timeout: Annotated[float, Bound(above=0)] = 10.0
    finish_timeout: Annotated[float, Bound(above=0)] = 30.0


@dataclass(frozen=True)
class PicturesConfig:
    """Prediction pictures of fixed validation samples; 0 epochs: only at the end."""

    samples: Annotated[int, Bound(0, 108)]
    every_n_epochs: Annotated[int, Bound(0)]


@dataclass(frozen=True)
class EvaluationConfig:
    """How a trained model answers, in validation, evaluation and prediction."""

    flip: bool
    scales: Annotated[list[float], Bound(0.1, 10), Length(1, inf)]
    tile: Annotated[int | None, Bound(32)]
    overlap: Annotated[float, Bound(0, 0.9)]
    score_threshold: Annotated[float, Bound(0, 1)]
    boundary: bool = False
    required_miou: Annotated[float | None, Bound(0, 1), Mark.NO_EFFECT] = None


@dataclass(frozen=True)
class SweepConfig:
    """What the runs of a sweep share; ignored by a single run."""

    name: Annotated[str | None, Name()]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that ``seglab train`` does."""

    seed: Annotated[int, Bound(0, 2**32 - 1)]
    resume: Annotated[bool, Mark.NO_EFFECT]
    checkpoints: Annotated[str, OneOf("both", "last", "best", "none"), Mark.NO_EFFECT]
    sweep: Annotated[SweepConfig, Mark.NO_EFFECT]
    data: DataConfig
    model: ModelConfig
    loss: Annotated[Any, LossConfig]
    optimizer: OptimizerConfig
    schedule: Annotated[Any, ScheduleConfig]
    trainer: TrainerConfig
    logger: Annotated[Any, LoggerConfig, Mark.NO_EFFECT]
    evaluation: EvaluationConfig
    pictures: Annotated[PicturesConfig, Mark.NO_EFFECT]
    callbacks: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    transforms: dict[str, Any] = field(default_factory=lambda: {"_target_": OWN_TRANSFORM})

    @property
    def uses_wandb(self) -> bool:
        """Whether W&B gets the history."""
        return isinstance(self.logger, LoggerConfig) and self.logger.name == "wandb"

    def check_loss(self) -> None:
        """Check that some term and some class of seglab's own loss counts.

        Raises:
            ConfigError: names the key.
        """
        if not isinstance(self.loss, LossConfig):
            return
        weights = self.loss.class_weights
        if isinstance(weights, list) and not any(weights):
            raise ConfigError(f"loss.class_weights={weights}: at least one must be greater than 0")
        if not any(term.weight for term in self.loss.terms):
            raise ConfigError("loss.terms: the weight of at least one must be greater than 0")

    def check_channels(self) -> None:
        """Check that keys with a value per channel have ``data.channels`` values.

        Raises:
            ConfigError: names the key and what would be right.
        """
        channels = self.data.channels
        for name, example in (("mean", 0.5), ("std", 0.25)):
            values = getattr(self.model, name)
            numbers = 3 if values is None else len(values)  # a backbone's own are RGB's
            if numbers != channels:
                raise ConfigError(
                    f"model.{name}: {numbers} numbers for data.channels={channels}; give one "
                    f"per channel, in 0..1, such as model.{name}={[example] * channels}"
                )
        if self.data.photometric and channels != 3:
            raise ConfigError(
                f"data.photometric={self.data.photometric}: changes the colours of RGB; with "
                f"data.channels={channels} it must be 0"
            )
