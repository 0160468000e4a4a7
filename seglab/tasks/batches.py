"""Reports and checks batch sizes and limits before a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from seglab.data.datamodule import VOCDataModule
from seglab.data.sampling import evaluation_batches, first_batches
from seglab.errors import ConfigError
from seglab.inference.memory import untiled_bytes
from seglab.runtime.rank import world_size
from seglab.schedules import lr_factor
from seglab.schema import ScheduleConfig, TrainConfig


def batch_sizes(config: TrainConfig, samples: int, processes: int) -> list[str]:
    """Report the effective batch size with several processes or accumulation; otherwise nothing."""
    gathered, size = config.trainer.accumulate_grad_batches, config.data.batch_size
    if processes * gathered == 1:
        return []
    factors = [f"{size} samples"]
    factors += [f"{processes} processes"] if processes > 1 else []
    factors += [f"{gathered} batches per step"] if gathered > 1 else []
    lines = [f"effective batch size {size * processes * gathered}: {' x '.join(factors)}"]
    if left := samples % (size * processes):
        lines.append(f"each epoch leaves out {left} of {samples} samples, which fill no batch")
    if processes > 1:
        factor = lr_factor(config.optimizer.lr_rule, processes)
        lines.append(f"learning rate x {factor:g} (optimizer.lr_rule={config.optimizer.lr_rule})")
    return lines


def within_warmup(config: TrainConfig, samples: int, processes: int) -> list[str]:
    """Return a line if the run ends before its warm-up, so that its learning rate is never reached.

    Args:
        config: the checked configuration.
        samples: of the training split.
        processes: that train.
    """
    trainer, schedule = config.trainer, config.schedule
    if not isinstance(schedule, ScheduleConfig):
        return []
    batches, limit = samples // (config.data.batch_size * processes), trainer.limit_train_batches
    if limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs
    if steps > schedule.warmup_steps:
        return []
    return [
        f"schedule.warmup_steps={schedule.warmup_steps}: the run has {steps} steps, so it ends "
        "within the warm-up and never reaches its learning rate"
    ]


def check_limits(config: TrainConfig, data: VOCDataModule, split: str | None = None) -> list[str]:
    """Check that a share of the batches, such as 0.01, is one at least; for training per process.

    Args:
        config: the checked configuration.
        data: its data.
        split: the evaluated split; None for training, which has both.

    Returns:
        A line if the scores will be those of a part of the split.

    Raises:
        ConfigError: names the key and the smallest share.
    """
    limits = config.trainer
    if split is None:
        samples = len(data.split(data.train_split))
        batches = samples // (config.data.batch_size * world_size())
        check_share("trainer.limit_train_batches", limits.limit_train_batches, batches)
    sizes = data.sizes(split or data.val_split)
    total = len(evaluation_batches(sizes, config.data.eval_batch_size))
    check_share("trainer.limit_val_batches", limits.limit_val_batches, total)
    measured = len(validated(config, sizes))
    if measured == len(sizes):
        return []
    return [
        f"trainer.limit_val_batches={limits.limit_val_batches}: the scores are those of {measured} "
        f"of {len(sizes)} validation images, and are not to be compared with those of all"
    ]


def validated(config: TrainConfig, sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the places of the images that ``trainer.limit_val_batches`` leaves to validate.

    Args:
        config: the checked configuration.
        sizes: height and width of each image of the split.
    """
    batches = evaluation_batches(sizes, config.data.eval_batch_size)
    left = first_batches(batches, config.trainer.limit_val_batches)
    return sorted(place for batch in left for place in batch)


def check_memory(
    config: TrainConfig, doing: str, sizes: Mapping[str, tuple[int, int]], free: int
) -> str | None:
    """Return a warning if the largest image would take more memory than is free.

    Args:
        config: the checked configuration.
        doing: ``prediction`` or ``evaluation``.
        sizes: height and width of each image by its name.
        free: bytes.

    Raises:
        ConfigError: it would take more than twice of that.
    """
    if not sizes or config.evaluation.tile is not None:
        return None
    name, size = max(sizes.items(), key=lambda item: item[1][0] * item[1][1])
    classes = len(config.data.classes or ()) if config.model.task == "semantic" else 0
    needed = untiled_bytes(size, classes, doing)
    text = (
        f"{name}: {size[1]}x{size[0]} pixels at once take about {needed / 1e9:.1f} GB, and "
        f"{free / 1e9:.1f} GB are free; evaluation.tile=512 bounds it"
    )
    if needed > 2 * free:
        raise ConfigError(text)
    return text if needed > free else None


def check_share(key: str, limit: float | None, batches: int) -> None:
    """Check that ``limit``, if it is a share and not a number, is at least one of the batches.

    Raises:
        ConfigError: it is less; Lightning would fail only after all data is read.
    """
    if isinstance(limit, float) and batches and int(batches * limit) == 0:
        raise ConfigError(
            f"{key}={limit}: less than one of {batches} batches; give a share of at least "
            f"1/{batches}, or a whole number of batches"
        )
