"""Lets a net that takes multiples of 32 only take images of any size."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class PadToMultiple(nn.Module):
    """Pads images to whole cells of a net's coarsest map, and crops its output to their size.

    Args:
        net: maps images to logits of their size, or to a dictionary of them.
        multiple: of the height and width that the net takes, in pixels.
    """

    def __init__(self, net: nn.Module, multiple: int = 32) -> None:
        super().__init__()
        self.net = net
        self.multiple = multiple

    def forward(self, image: Tensor) -> Any:
        """Map ``(B, C, H, W)`` of any size to the net's logits ``(B, K, H, W)``."""
        height, width = image.shape[-2:]
        # Zeros, the mean colour, at the right and at the bottom.
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        logits = self.net(F.pad(image, padding))
        if isinstance(logits, dict):
            return {name: value[..., :height, :width] for name, value in logits.items()}
        return logits[..., :height, :width]
