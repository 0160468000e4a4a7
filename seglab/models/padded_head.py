"""Padded convolutions over the maps of a backbone: the first family on the second's shoulders."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from seglab.models.backbones import STRIDES, build_backbone
from seglab.models.fcn import upsampled
from seglab.models.padded_cnn import PaddedCNN

FINEST = STRIDES[0]


class PaddedHead(nn.Module):
    """A padded CNN at stride 8, whose input is what a backbone sees at strides 8, 16 and 32.

    Dilated convolutions that keep the size of a backbone's map gather what lies around a pixel (the
    context module of Yu and Koltun, ICLR 2016). Here each of the three maps is brought to the same
    width by a 1x1 convolution, the coarser ones are upsampled bilinearly to stride 8, and their sum
    is the input. The logits are upsampled bilinearly to the pixels.

    Args:
        num_classes: K, the number of output channels.
        backbone: a classification net of torchvision, or ``timm/NAME``.
        channels: width of the sum and of every hidden layer.
        kernel_size: odd side of the kernels, in pixels of stride 8.
        dilations: one hidden layer for each.
        norm: ``batch``, ``group`` (groups of 8 channels) or ``none``, after every hidden layer.
        dropout: probability with which a whole channel of the sum is left out in training, and of
            VGG's fc6 and fc7.

    Raises:
        ValueError: a backbone without maps of these strides, or as :class:`PaddedCNN`.
        ImportError: timm is not installed.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "mobilenet_v2",
        channels: int = 128,
        kernel_size: int = 3,
        dilations: Sequence[int] = (1, 2, 4, 8),
        norm: str = "group",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"channels={channels}: must be one positive number")
        head = PaddedCNN(num_classes, channels, kernel_size, dilations, norm, channels)
        self.backbone = build_backbone(backbone, dropout)
        self.project = nn.ModuleList(nn.Conv2d(n, channels, 1) for n in self.backbone.channels)
        self.dropout = nn.Dropout2d(dropout)
        self.head = head  # the net begins with the backbone: its first layer takes the image

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised images ``(B, 3, H, W)`` of any size to logits ``(B, K, H, W)``."""
        height, width = image.shape[-2:]
        # Pad with zeros, the mean colour, to a multiple of 32, so that the grids align exactly.
        maps = self.backbone(F.pad(image, (0, -width % 32, 0, -height % 32)))
        finest, *coarser = (project(m) for project, m in zip(self.project, maps, strict=True))
        for scores, stride in zip(coarser, STRIDES[1:], strict=True):
            finest = finest + upsampled(scores, stride // FINEST)
        return upsampled(self.head(self.dropout(finest)), FINEST)[..., :height, :width]
