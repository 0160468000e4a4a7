"""The schema of a configuration: keys, types and bounds.

YAML and Hydra accept ``seed=abc`` silently; these dataclasses do not. A field typed
``dict[str, Any]`` is open: it holds a ``_target_`` and whatever arguments that target takes. One
typed ``Annotated[Any, X]`` is an ``X``, or open where it names another ``_target_`` than X's.
Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from math import inf, isfinite
from operator import le, lt
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from seglab.errors import ConfigError, RunError


class Bound:
    """A number, or each of a list, with ``low <= x <= high`` and ``x > above``."""

    def __init__(self, low: float = -inf, high: float = inf, *, above: float = -inf) -> None:
        self.low, self.high, self.above = low, high, above

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is within."""
        if isinstance(value, str):  # a key such as trainer.devices takes a number or a word
            return True
        return bool(self.low <= value <= self.high and value > self.above)

    def __str__(self) -> str:
        parts = [f"at least {self.low}"] if self.low > -inf else []
        parts += [f"greater than {self.above}"] if self.above > -inf else []
        parts += [f"at most {self.high}"] if self.high < inf else []
        return " and ".join(parts)


class Length:
    """A list with ``low`` to ``high`` items."""

    def __init__(self, low: int, high: float) -> None:
        self.low, self.high = low, high

    def allows(self, value: list[Any]) -> bool:
        """Return whether ``value`` has as many items."""
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"a list of {self.low}{'' if self.high == self.low else ' or more'}"


class Range:
    """Two numbers, of which the first is not the greater; with ``strict``, the smaller."""

    def __init__(self, *, strict: bool = False) -> None:
        self.ordered = lt if strict else le

    def allows(self, value: list[float]) -> bool:
        """Return whether ``value`` is such a pair."""
        return len(value) == 2 and bool(self.ordered(*value))

    def __str__(self) -> str:
        return "a list of 2, the lower one first"


class ZeroOr:
    """Zero, or a number from ``low`` to ``high``; each of a list."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is zero or within, or no number at all."""
        return not isinstance(value, int | float) or value == 0 or self.low <= value <= self.high

    def __str__(self) -> str:
        return f"0, or from {self.low:g} to {self.high:g}"


AUTO = "auto"
"""Stands for class weights that follow from the training split."""


class Numbers:
    """A list of numbers, or :data:`AUTO`."""

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is one of them."""
        if isinstance(value, list):
            return all(type(item) is float for item in value)
        return bool(value == AUTO)

    def __str__(self) -> str:
        return f"a list of numbers, {AUTO} or null"


class OneOf:
    """One of a few words."""

    def __init__(self, *choices: str | bool) -> None:
        self.choices = choices

    def allows(self, value: Any) -> bool:
        """Return whether ``value`` is one of the words."""
        return value in self.choices

    def __str__(self) -> str:
        return f"one of {', '.join(str(choice).lower() for choice in self.choices)}"


class Name:
    """A valid folder name, which cannot lead out of its parent folder."""

    def allows(self, value: str) -> bool:
        """Return whether ``value`` is such a name."""
        return value not in ("", ".", "..") and not {*value} & {"/", "\\", "\0"}

    def __str__(self) -> str:
        return "a name without slashes"


class Mark(Enum):
    """The effect of changing a key on the result; keys without a mark change it.

    On a group of keys it holds for all of them. A run may be resumed with other values of marked
    keys; a sweep and a comparison leave out what has no effect.
    """

    NO_EFFECT = "no effect"
    """Paths, what is saved, and logging: without effect on the result."""

    MACHINE = "machine"
    """What the run is computed on: another value may change the last digits."""


@dataclass(frozen=True)
class StoreConfig:
    """Where decoded pixels are kept between runs; see ``seglab.data.store.cached``."""

    enabled: bool
    dir: str | None
    max_gb: Annotated[float, Bound(above=0)]
    mode: Annotated[str, OneOf("complete", "progressive")] = "complete"


@dataclass(frozen=True)
class SynthConfig:
    """The built-in data set; see ``seglab.data.synthetic``."""

    train: Annotated[int, Bound(1, 100_000)]
    val: Annotated[int, Bound(1, 100_000)]
    width: Annotated[int, Bound(32, 4096)]
    height: Annotated[int, Bound(32, 4096)]
    seed: Annotated[int, Bound(0)]


@dataclass(frozen=True)
class DataConfig:
    """A data set, its layout and splits, loading and augmentation."""

    name: Annotated[str, Name()]
    root: Annotated[str | None, Mark.NO_EFFECT]  # the identity of the data counts
    year: Annotated[int | None, Bound(2007, 2012)]
    classes: list[str] | None
    train_split: str
    val_split: str
    mask_dir: str
    synth: SynthConfig | None
    batch_size: Annotated[int, Bound(1)]
    eval_batch_size: Annotated[int, Bound(1), Mark.NO_EFFECT]
    num_workers: Annotated[int, Bound(0), Mark.NO_EFFECT]
    crop_size: Annotated[int | None, Bound(1)]
    scale: Annotated[list[float], Bound(above=0), Range()]
    flip: Annotated[float, Bound(0, 1)]
    photometric: Annotated[float, Bound(0, 1)]
    store: Annotated[StoreConfig, Mark.NO_EFFECT]
    mask_values: dict[str, str] | None = None
    channels: Annotated[int, Bound(1, 64)] = 3
    value_range: Annotated[list[float] | None, Range(strict=True)] = None
    allow_overlap: Annotated[bool, Mark.NO_EFFECT] = False
    layout: Annotated[str, OneOf("folder", "pairs", "coco", "dataset")] = "folder"
    dataset: dict[str, Any] | None = None
    image_dir: str = "JPEGImages"
    instance_dir: str = "SegmentationObject"
    image_suffix: str = ""
    mask_suffix: str = ""
    annotations: str = "{split}.json"
    ignore_classes: list[str] | None = None
    merge_classes: dict[str, list[str]] | None = None
    source_classes: list[str] | None = None
    val_fraction: Annotated[float | None, Bound(0.001, 0.999)] = None
    split_seed: Annotated[int, Bound(0)] = 0
    max_images: Annotated[int | None, Bound(1)] = None
    group: str | None = None
    splits: Annotated[str | None, Mark.NO_EFFECT] = None  # the identity of the data counts

    def split_name(self, split: str) -> str:
        """Return the list that a command's ``split=`` means.

        ``val`` and ``train`` are the run's own validation and training split; anything else is
        the name of a list, or its file. With ``val_fraction``, ``val`` and ``train`` are parts.
        """
        if self.val_fraction is not None:
            same = split == "val" and self.val_split == self.train_split  # debug=overfit
            return "train" if same else split
        return {"val": self.val_split, "train": self.train_split}.get(split, split)


OWN_TRANSFORM = "seglab.transforms.JointTransform"
"""seglab's own augmentation, whose settings are those of ``data``."""

DEFAULT = "DEFAULT"
"""Stands for the best published weights of a net or, for an FCN, of its backbone."""

TIMM = "timm/"
"""Begins the names of timm's backbones and weights."""


WEIGHT_FILES = (".pth", ".pt", ".ckpt", ".safetensors")
"""Suffixes of files of weights: ``my_Weights.pth`` is none of torchvision's names."""


def is_published(weights: str) -> bool:
    """Return whether ``model.weights`` names weights of torchvision or timm, and not a file."""
    if weights == DEFAULT or weights.startswith(TIMM):
        return True
    if Path(weights).suffix in WEIGHT_FILES:
        return False
    return re.fullmatch(r"\w+_Weights\.\w+", weights) is not None


@dataclass(frozen=True)
class ModelConfig:
    """A net (anything that maps images to logits), its task and its weights."""

    name: Annotated[str, Name()]
    task: Annotated[str, OneOf("semantic", "instance")]
    net: dict[str, Any]
    weights: str | None
    frozen: list[str]
    frozen_norms: bool
    aux_weight: Annotated[float, Bound(0)]
    mean: Annotated[list[float] | None, Bound(0, 1), Length(1, inf)]
    std: Annotated[list[float] | None, Bound(above=0), Bound(high=1), Length(1, inf)]

    def check_weights_file(self) -> None:
        """Check that the file named by ``weights`` exists, without reading it.

        Raises:
            RunError: it is not.
        """
        if self.weights is None or is_published(self.weights):
            return
        if not Path(self.weights).is_file():
            raise RunError(f"model.weights={self.weights}: no such file")


@dataclass(frozen=True)
class LossTerm:
    """One part of the loss and its weight."""

    loss: Annotated[str, OneOf("cross_entropy", "dice", "lovasz_softmax")]
    weight: Annotated[float, Bound(0)]


@dataclass(frozen=True)
class LossConfig:
    """The loss of seglab's own: a weighted sum of terms."""

    terms: Annotated[list[LossTerm], Length(1, inf)]
    # The loss divides by the sum of the weights in float32: 1e-38 makes it infinite or NaN.
    class_weights: Annotated[Any, Numbers(), ZeroOr(1e-6, 1e6)]
    label_smoothing: Annotated[float, Bound(0, 1)]
    class_weights_power: Annotated[float, Bound(0, 1)] = 0.5
    _target_: str = "seglab.losses.SegmentationLoss"


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and how parameters are grouped for it."""

    lr: Annotated[float, Bound(above=0)]
    weight_decay: Annotated[float, Bound(0)]
    backbone_lr_factor: Annotated[float, Bound(0)]
    decay_norms_and_biases: bool
    lr_rule: Annotated[str, OneOf("none", "linear", "sqrt")]
    algorithm: dict[str, Any]


@dataclass(frozen=True)
class ScheduleConfig:
    """The schedule of seglab's own: a factor of ``optimizer.lr`` over the steps of a run."""

    name: Annotated[str, OneOf("poly", "cosine", "constant")]
    power: Annotated[float, Bound(above=0)]
    min_factor: Annotated[float, Bound(0, 1)]
    warmup_steps: Annotated[int, Bound(0)]
    warmup_factor: Annotated[float, Bound(0, 1)]
    restart: bool = True
    _target_: str = "seglab.schedules.warmup_decay"


STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)
"""Of these, several processes use ``PlainDDP``. Lightning's others start processes of their own,
which listen on all network interfaces and unpickle what they are sent."""


@dataclass(frozen=True)
class TrainerConfig:
    """Duration, hardware and precision: the part of Lightning's Trainer that seglab uses."""

    max_epochs: Annotated[int, Bound(1)]
    accelerator: Annotated[str, Mark.MACHINE]
    devices: Annotated[int | str, Bound(1), Mark.MACHINE]
    num_nodes: Annotated[int, Bound(1), Mark.MACHINE]
    strategy: Annotated[str, OneOf(*STRATEGIES), Mark.MACHINE]
    precision: str
    channels_last: bool
    compile: bool
    sync_batchnorm: bool
    threads: Annotated[int | None, Bound(1, 1024), Mark.MACHINE]  # more end in a crash of OpenMP
    deterministic: Annotated[bool | str, OneOf(True, False, "warn")]
    accumulate_grad_batches: Annotated[int, Bound(1)]
    gradient_clip_val: Annotated[float | None, Bound(above=0)]
    check_val_every_n_epoch: Annotated[int, Bound(1)]
    limit_train_batches: Annotated[int | float | None, Bound(above=0)]
    limit_val_batches: Annotated[int | float | None, Bound(above=0)]


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
            raise ConfigError(f"loss.class_weights={weights}: one at least must be greater than 0")
        if not any(term.weight for term in self.loss.terms):
            raise ConfigError("loss.terms: the weight of one at least must be greater than 0")

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


@cache
def marked(mark: Mark) -> tuple[str, ...]:
    """Return the dotted names of the keys, and groups of keys, of a run folder that bear a mark."""
    schemas = (TrainConfig, EvaluateConfig, ScoreConfig)
    return tuple(dict.fromkeys(key for schema in schemas for key in _marked(mark, schema, "")))


def _marked(mark: Mark, schema: Any, prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(schema, include_extras=True).items():
        key = prefix + name
        if mark in getattr(hint, "__metadata__", ()):
            yield key
            continue
        for part in (hint, *get_args(hint)):  # an optional group is a union
            if is_dataclass(part):
                yield from _marked(mark, part, f"{key}.")


@cache
def defaults() -> dict[str, Any]:
    """Return the default values of keys that a run's configuration lacks."""
    return dict(_defaults(TrainConfig, ""))


def _defaults(schema: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(schema, include_extras=True)
    for spec in fields(schema):
        if spec.default is not MISSING:
            yield prefix + spec.name, spec.default
        elif spec.default_factory is not MISSING:
            value = spec.default_factory()
            if isinstance(value, dict) and value:
                yield from ((f"{prefix}{spec.name}.{name}", one) for name, one in value.items())
            else:
                yield prefix + spec.name, value
        for part in (hints[spec.name], *get_args(hints[spec.name])):
            if is_dataclass(part):
                yield from _defaults(part, f"{prefix}{spec.name}.")


def has_mark(key: str, mark: Mark) -> bool:
    """Return whether a dotted key, or a group that it is in, bears a mark."""
    return any(key == name or key.startswith(f"{name}.") for name in marked(mark))


def check_values(config: Any, prefix: str = "") -> None:
    """Check every bound and choice declared in the dataclass ``config``, recursively.

    Raises:
        ConfigError: names the key, its value and what would be right.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for spec in fields(config):
        key, value = prefix + spec.name, getattr(config, spec.name)
        rules = getattr(hints[spec.name], "__metadata__", ())
        for item in value if isinstance(value, list) else [value]:
            if is_dataclass(item):
                check_values(item, f"{key}.")
            if isinstance(item, float) and not isfinite(item):
                raise ConfigError(f"{key}={item}: must be a finite number")
            for rule in rules:
                if (
                    isinstance(rule, Bound | ZeroOr | OneOf | Name)
                    and item is not None
                    and not rule.allows(item)
                ):
                    raise ConfigError(f"{key}={item}: must be {rule}")
        for rule in rules:
            if (
                isinstance(rule, Length | Range | Numbers)
                and value is not None
                and not rule.allows(value)
            ):
                raise ConfigError(f"{key}={value}: must be {rule}")
