"""What the other commands take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from seglab.schema.data import DataConfig
from seglab.schema.rules import Bound, Mark
from seglab.schema.run import LoggerConfig


@dataclass(frozen=True)
class EvaluateConfig:
    """What ``seglab evaluate`` adds to the configuration that it finds in the checkpoint."""

    checkpoint: Annotated[str, Mark.NO_EFFECT]  # what it contains counts
    split: str
    trust: Annotated[bool, Mark.NO_EFFECT] = False


@dataclass(frozen=True)
class PredictConfig:
    """What ``seglab predict`` adds to the configuration that it finds in the checkpoint."""

    checkpoint: str
    input: str
    output: str
    trust: bool = False


@dataclass(frozen=True)
class ExportConfig:
    """What ``seglab export`` adds to the configuration that it finds in the checkpoint."""

    checkpoint: str
    output: str
    trust: bool = False


@dataclass(frozen=True)
class ScoreConfig:
    """Everything that ``seglab score`` does."""

    predictions: Annotated[str, Mark.NO_EFFECT]
    split: str
    boundary: bool
    data: DataConfig


@dataclass(frozen=True)
class DataCommandConfig:
    """Everything that ``seglab data …`` does."""

    split: str
    index: Annotated[int, Bound(0)]
    output: str | None
    year: Annotated[int, Bound(2007, 2012)]
    data: DataConfig


@dataclass(frozen=True)
class WorkspaceConfig:
    """Which project on W&B ``seglab workspace`` lays out."""

    logger: LoggerConfig
