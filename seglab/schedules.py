"""Factors of the learning rate per step, and of the loss under gradient accumulation."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def factor(
    step: int,
    total: int,
    *,
    name: str,
    power: float,
    min_factor: float,
    warmup_steps: int,
    warmup_factor: float,
    first_step: int = 0,
) -> float:
    """Return the factor of the learning rate at optimiser step ``step`` of ``total``.

    During the warm-up it rises linearly from ``warmup_factor`` to 1; the rest of the steps follow

    - poly: ``min + (1 - min) * (1 - t) ** power`` (Chen et al., DeepLab, 2017);
    - cosine: ``min + (1 - min) * (1 + cos(pi t)) / 2`` (Loshchilov and Hutter, 2017);
    - constant: 1;

    where ``t`` runs from 0 at the end of the warm-up to 1 after the last step. In an extended run
    it starts at ``first_step``; there is no second warm-up, because the optimiser keeps its state.
    """
    if step < warmup_steps:
        return warmup_factor + (1 - warmup_factor) * step / warmup_steps
    begin = max(first_step, warmup_steps)
    t = min(1.0, (step - begin) / max(1, total - begin))
    if name == "constant":
        return 1.0
    curve = (1 - t) ** power if name == "poly" else (1 + math.cos(math.pi * t)) / 2
    return min_factor + (1 - min_factor) * curve


def lr_factor(rule: str, processes: int) -> float:
    """Return the factor of the learning rate for ``processes`` times the batch size.

    - linear: times ``processes`` (Goyal et al., *Large Minibatch SGD*, 2017, section 2.1);
    - sqrt: times its square root (Krizhevsky, *One weird trick*, 2014, section 5);
    - none: nothing.
    """
    return {"none": 1.0, "linear": float(processes), "sqrt": math.sqrt(processes)}[rule]


def warmup_decay(
    optimizer: Optimizer,
    total_steps: int,
    *,
    name: str = "poly",
    power: float = 0.9,
    min_factor: float = 0.0,
    warmup_steps: int = 0,
    warmup_factor: float = 0.1,
    first_step: int = 0,
) -> LambdaLR:
    """Return the schedule that multiplies the optimiser's rates by :func:`factor` at each step.

    Args:
        optimizer: has the rates.
        total_steps: how many steps the schedule has.
        first_step: the step of the run at which it starts.
        name, power, min_factor, warmup_steps, warmup_factor: as :func:`factor` takes them.
    """
    return LambdaLR(
        optimizer,
        lambda step: factor(
            first_step + step,
            first_step + total_steps,
            first_step=first_step,
            name=name,
            power=power,
            min_factor=min_factor,
            warmup_steps=warmup_steps,
            warmup_factor=warmup_factor,
        ),
    )


def accumulation_factor(batch: int, batches: float, group: int) -> float:
    """Return the factor of a batch's loss that makes its step's gradient the mean over its group.

    Lightning divides each loss by ``group``, so that the batches of an incomplete last group would
    count less than all others.

    Args:
        batch: the place of the batch in its epoch, from 0.
        batches: how many an epoch has; may be infinite.
        group: how many are accumulated for a step.
    """
    first = batch // group * group
    return group / min(group, batches - first)
