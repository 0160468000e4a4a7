"""A loss: any callable that maps logits and a class map to one number."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOID = 255
"""The value of pixels that do not count."""


class Focal(nn.Module):
    """The cross entropy, lower where the net is sure (Lin et al., ICCV 2017).

    Args:
        gamma: 0 gives the cross entropy itself.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Map float32 logits ``(B, K, H, W)`` and a class map ``(B, H, W)`` int64 to a scalar."""
        losses = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")
        weighted = (1 - torch.exp(-losses)) ** self.gamma * losses
        return weighted.sum() / (target != VOID).sum().clamp_min(1)
