"""What a run says of its batches before it begins."""

from __future__ import annotations

from seglab.schedules import lr_factor
from seglab.schema import TrainConfig


def batch_sizes(config: TrainConfig, samples: int, processes: int) -> list[str]:
    """Say what several processes or gathered gradients make of the batch size; else nothing."""
    gathered, size = config.trainer.accumulate_grad_batches, config.data.batch_size
    if processes * gathered == 1:
        return []
    factors = [f"{size} samples"]
    factors += [f"{processes} processes"] if processes > 1 else []
    factors += [f"{gathered} batches a step"] if gathered > 1 else []
    lines = [f"effective batch size {size * processes * gathered}: {' x '.join(factors)}"]
    if left := samples % (size * processes):
        lines.append(f"each epoch leaves out {left} of {samples} samples, which fill no batch")
    if processes > 1:
        factor = lr_factor(config.optimizer.lr_rule, processes)
        lines.append(f"learning rate x {factor:g} (optimizer.lr_rule={config.optimizer.lr_rule})")
    return lines
