"""An exponential moving average of the weights."""

from __future__ import annotations

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Lightning's weight averaging after every step; constant tensors stay bit for bit.

    Lightning's own EMA computes ``decay * average + (1 - decay) * current``, which rounds: frozen
    layers and constants drift by one digit per step. A checkpoint contains no constants, so it
    would evaluate differently from the run. ``average + (1 - decay) * (current - average)`` is
    exact where both are equal.

    Args:
        decay: 0 to 1; about the last ``1 / (1 - decay)`` steps are averaged.

    Raises:
        ValueError: the decay is out of range.
    """

    def __init__(self, decay: float = 0.995) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must be at least 0 and less than 1")

        def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            if not averaged.is_floating_point():  # such as num_batches_tracked of a batch norm
                return current
            return averaged.lerp(current, 1 - decay)

        super().__init__(avg_fn=average)
