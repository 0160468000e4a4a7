"""An exponential moving average of the weights."""

from __future__ import annotations

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Lightning's averaging, after every step, which leaves alone what does not change.

    Lightning's own EMA computes ``decay * average + (1 - decay) * current``, which rounds: frozen
    layers and constants drift by a digit a step, and a checkpoint, which holds no constants,
    evaluates otherwise than the run did. ``average + (1 - decay) * (current - average)`` keeps
    what is equal equal, to the last bit.

    Args:
        decay: 0 to 1; about the last ``1 / (1 - decay)`` steps are averaged.

    Raises:
        ValueError: another decay.
    """

    def __init__(self, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must be at least 0 and less than 1")

        def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            if not averaged.is_floating_point():  # such as the number of batches a norm has seen
                return current
            return averaged.lerp(current, 1 - decay)

        super().__init__(avg_fn=average)
