"""From a configuration to a task; the one module of ``tasks`` that knows the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric
from torchvision.models.detection import MaskRCNN

from seglab.data.classes import VOID
from seglab.errors import ConfigError, one_line
from seglab.inference.tiles import Tiling
from seglab.instantiate import build
from seglab.losses import Loss
from seglab.models.backbones import mean_and_std
from seglab.models.channels import with_channels
from seglab.models.exported import ExportedNet, OnnxObjects
from seglab.run.metric_names import TAKEN
from seglab.schema import (
    AUTO,
    EvaluationConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from seglab.tasks.base import Task
from seglab.tasks.instance import InstanceSegmentation
from seglab.tasks.parameters import freeze, freeze_norms, parameter_groups
from seglab.tasks.semantic import SemanticSegmentation

TASKS: dict[str, type[Task]] = {
    "semantic": SemanticSegmentation,
    "instance": InstanceSegmentation,
}


def build_task(
    config: TrainConfig, per_image: bool = False, first_step: int = 0, soft: bool = False
) -> Task:
    """Build the configured net and the task around it; see :class:`seglab.tasks.base.Task`.

    Args:
        config: the checked configuration.
        per_image: whether the metrics include an interval over images.
        first_step: the step of the run at which its schedule starts: 0, or that of its extension.
        soft: whether predictions include probabilities.

    Raises:
        ConfigError: an unknown or rejected argument of a part, probabilities of objects, or an
            output that does not fit the classes.
    """
    net = build(config.model.net, "model.net")
    if not isinstance(net, nn.Module):
        raise ConfigError(f"model.net._target_={config.model.net['_target_']}: not an nn.Module")
    try:
        if not isinstance(net, ExportedNet):
            with_channels(net, config.data.channels)
    except ValueError as error:
        text = f"model.net: {error}, which data.channels={config.data.channels} needs"
        raise ConfigError(text) from None
    classes = tuple(config.data.classes or ())
    mean, std = mean_and_std(config.model)
    if soft and config.model.task != "semantic":
        raise ConfigError("--probabilities: not for model.task=instance, whose maps are painted")
    arguments = _semantic if config.model.task == "semantic" else _instance
    task = TASKS[config.model.task](
        net,
        classes,
        optimizer=partial(build_optimizer, config=config.optimizer),
        schedule=partial(build_schedule, config=config.schedule, first_step=first_step),
        interval=_interval(config.schedule),
        lr_rule=config.optimizer.lr_rule,
        metrics=build_metrics(config.metrics, len(classes)),
        mean=mean,
        std=std,
        frozen=[
            *freeze(net, config.model.frozen),
            *(freeze_norms(net) if config.model.frozen_norms else ()),
        ],
        channels_last=config.trainer.channels_last,
        compile=config.trainer.compile,
        seed=config.seed,
        per_image=per_image,
        flip=config.evaluation.flip,
        scales=config.evaluation.scales,
        tiling=_tiling(config.evaluation),
        boundary=config.evaluation.boundary,
        **arguments(net, config, len(classes)),
        **({"soft": True} if soft else {}),
    )
    task.check_output()
    return task


def _tiling(config: EvaluationConfig) -> Tiling | None:
    return None if config.tile is None else Tiling(config.tile, config.overlap)


def _semantic(net: nn.Module, config: TrainConfig, classes: int) -> dict[str, Any]:
    return {
        "loss": build_loss(config.loss, classes),
        "aux_weight": config.model.aux_weight,
    }


def _instance(net: nn.Module, config: TrainConfig, classes: int) -> dict[str, Any]:
    if not isinstance(net, MaskRCNN | OnnxObjects):
        raise ConfigError(
            f"model.net: a {type(net).__name__}; model.task=instance needs a "
            "torchvision.models.detection.MaskRCNN"
        )
    for key, refused in (
        ("trainer.compile=true", config.trainer.compile),
        ("loss of another target than seglab's", isinstance(config.loss, dict)),
    ):
        if refused:
            raise ConfigError(f"{key}: not for model.task=instance")
    return {"score_threshold": config.evaluation.score_threshold}


def _interval(schedule: ScheduleConfig | dict[str, Any]) -> str:
    interval = schedule.get("interval", "step") if isinstance(schedule, dict) else "step"
    if interval not in ("step", "epoch"):
        raise ConfigError(f"schedule.interval={interval}: must be one of step, epoch")
    return str(interval)


def build_loss(config: LossConfig | dict[str, Any], classes: int) -> Loss:
    """Build the loss, seglab's or another.

    Raises:
        ConfigError: an unknown or rejected argument, not callable, or class weights that have not
            been computed.
    """
    if isinstance(config, LossConfig):
        weights = config.class_weights
        if weights == AUTO:
            raise ConfigError(
                f"loss.class_weights={AUTO}: follows from training data; none is used"
            )
        if weights is not None and len(weights) != classes:
            raise ConfigError(f"loss.class_weights: {len(weights)} numbers for {classes} classes")
        terms = [[term.loss, term.weight] for term in config.terms]
        config = {**asdict(config), "terms": terms}
        del config["class_weights_power"]
    elif config.get("class_weights") == AUTO:
        raise ConfigError(
            f"loss.class_weights={AUTO}: only for seglab's own loss, not {config['_target_']}; "
            "give it numbers"
        )
    loss = build(config, "loss")
    if not callable(loss):
        raise ConfigError(f"loss._target_={config['_target_']}: is not callable")
    return loss  # type: ignore[no-any-return]


def build_metrics(config: Mapping[str, Any], classes: int) -> dict[str, Metric]:
    """Build the further metrics, and try each on a small image of all classes and void.

    Raises:
        ConfigError: a name already in use, an unknown or rejected argument, not a torchmetrics
            metric, or not a single number.
    """
    metrics = {}
    truth = torch.arange(16 * classes).remainder(classes).view(1, 16, classes)
    for name, node in config.items():
        key = f"metrics.{name}"
        if name in TAKEN or not str(name).isidentifier() or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"{key}: already used, or not a word; give another one")
        metric = build(node, key)
        if not isinstance(metric, Metric):
            raise ConfigError(f"{key}._target_={node['_target_']}: not a torchmetrics.Metric")
        try:
            metric.update(truth, truth.index_fill(1, torch.tensor([0]), VOID))
            value = metric.compute()
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            raise ConfigError(
                f"{key}: fails on class maps (1, H, W) whose void pixels are {VOID}: "
                f"{one_line(error)}"
            ) from None
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            numbers = value.numel() if isinstance(value, torch.Tensor) else type(value).__name__
            raise ConfigError(f"{key}: gives {numbers} numbers; must give one, such as their mean")
        metric.reset()
        metrics[name] = metric
    return metrics


def build_optimizer(net: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Build the optimiser over :func:`parameter_groups`.

    Raises:
        ConfigError: an unknown or rejected argument.
    """
    groups = list(parameter_groups(net, config))
    arguments = {"lr": config.lr, "weight_decay": config.weight_decay}
    optimizer = build({**arguments, **config.algorithm}, "optimizer.algorithm", groups)
    if not isinstance(optimizer, Optimizer):
        target = config.algorithm["_target_"]
        raise ConfigError(f"optimizer.algorithm._target_={target}: not a torch optimiser")
    largest = torch.finfo(torch.float32).max
    for group in optimizer.param_groups:
        for name in ("lr", "weight_decay"):
            if group.get(name, 0) > largest:  # torch's kernels overflow
                raise ConfigError(
                    f"optimizer.{name}={getattr(config, name)}: {group[name]:g} for "
                    f"{group['name']}; must be at most {largest:g}, the largest float32"
                )
    return optimizer


def build_schedule(
    optimizer: Optimizer,
    steps: int,
    config: ScheduleConfig | dict[str, Any],
    first_step: int = 0,
) -> LRScheduler:
    """Build the schedule, seglab's or another; one that takes ``total_steps`` is given them.

    An extended run has one over the steps that were added, or with ``restart: false`` constant
    rates.

    Raises:
        ConfigError: an unknown or rejected argument, not a torch scheduler, or one that watches a
            metric.
    """
    node = asdict(config) if isinstance(config, ScheduleConfig) else dict(config)
    node.pop("interval", None)
    if not node.pop("restart", True) and first_step:
        return LambdaLR(optimizer, lambda step: 1.0)
    remaining = steps - first_step if steps > first_step else steps
    schedule = build(node, "schedule", optimizer, total_steps=remaining, first_step=first_step)
    if not isinstance(schedule, LRScheduler) or isinstance(schedule, ReduceLROnPlateau):
        raise ConfigError(
            f"schedule._target_={node['_target_']}: not a scheduler of torch that follows from the "
            "step or the epoch alone"
        )
    return schedule
