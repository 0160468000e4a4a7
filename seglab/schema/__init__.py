"""The schema of a configuration: keys, types and bounds.

YAML and Hydra accept ``seed=abc`` silently; these dataclasses do not. A field typed
``dict[str, Any]`` is open: it holds a ``_target_`` and whatever arguments that target takes. One
typed ``Annotated[Any, X]`` is an ``X``, or open where it names another ``_target_`` than X's.
Imports no torch.
"""

from seglab.schema.checks import check_values, defaults, has_mark, marked
from seglab.schema.commands import (
    DataCommandConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    ScoreConfig,
    WorkspaceConfig,
)
from seglab.schema.data import DataConfig, SynthConfig
from seglab.schema.model import DEFAULT, TIMM, ModelConfig, is_published
from seglab.schema.rules import AUTO, Bound, Mark, Numbers, OneOf
from seglab.schema.run import (
    OWN_TRANSFORM,
    EvaluationConfig,
    LoggerConfig,
    PicturesConfig,
    SweepConfig,
    TrainConfig,
)
from seglab.schema.training import LossConfig, OptimizerConfig, ScheduleConfig, TrainerConfig

__all__ = [
    "AUTO",
    "DEFAULT",
    "OWN_TRANSFORM",
    "TIMM",
    "Bound",
    "DataCommandConfig",
    "DataConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "ExportConfig",
    "LoggerConfig",
    "LossConfig",
    "Mark",
    "ModelConfig",
    "Numbers",
    "OneOf",
    "OptimizerConfig",
    "PicturesConfig",
    "PredictConfig",
    "ScheduleConfig",
    "ScoreConfig",
    "SweepConfig",
    "SynthConfig",
    "TrainConfig",
    "TrainerConfig",
    "WorkspaceConfig",
    "check_values",
    "defaults",
    "has_mark",
    "is_published",
    "marked",
]
