"""Loss, optimiser, schedule and trainer."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

from seglab.schema.rules import Bound, Length, Mark, Numbers, OneOf, ZeroOr


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
