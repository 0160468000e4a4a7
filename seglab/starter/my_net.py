"""A net: any nn.Module that maps images to logits."""

from __future__ import annotations

from torch import Tensor, nn


class MyNet(nn.Module):
    """Three convolutions that keep height and width.

    Args:
        num_classes: the number of classes K.
        channels: width of the hidden layers.
    """

    def __init__(self, num_classes: int, channels: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=4, dilation=4),
            nn.ReLU(),
            nn.Conv2d(channels, num_classes, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised images ``(B, 3, H, W)`` to logits ``(B, K, H, W)``."""
        logits: Tensor = self.layers(image)
        return logits
