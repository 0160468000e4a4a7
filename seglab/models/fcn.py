"""Fully convolutional networks at the paper's three strides, over any backbone.

Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.models.backbones import STRIDES, build_backbone


class FCN(nn.Module):
    """FCN-32s, FCN-16s and FCN-8s: coarse class scores, refined by scores of finer maps.

    All score layers start at zero (section 4.1 and 4.2), so that training starts from uniform
    probabilities and skips add nothing at first. The upsampling by two starts as bilinear and is
    learned, one kernel a class; the last one, to the pixels, stays bilinear (section 4.2).

    Args:
        num_classes: K, the number of output channels.
        backbone: a classification net of torchvision, or ``timm/NAME``; ``vgg16`` is the paper's.
        stride: 32, 16 or 8, of the finest map that is scored.
        dropout: probability, on VGG's fc6 and fc7 (section 4.1), on any other net's last map.
        context: also score the mean of the coarsest map, which sees the whole image, and add that
            score to every pixel's (after Liu, Rabinovich and Berg, "ParseNet", 2015).

    Raises:
        ValueError: another stride, or a backbone without maps of these strides.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "vgg16",
        stride: int = 8,
        dropout: float = 0.5,
        context: bool = False,
    ) -> None:
        super().__init__()
        if stride not in STRIDES:
            raise ValueError(f"stride={stride}: must be one of {', '.join(map(str, STRIDES))}")
        self.stride = stride
        self.backbone = build_backbone(backbone, dropout)
        self.dropout = nn.Dropout(0.0 if backbone.startswith("vgg") else dropout)
        widths = dict(zip(STRIDES, self.backbone.channels, strict=True))
        self.score32 = score_layer(widths[32], num_classes)
        self.context = score_layer(widths[32], num_classes) if context else None
        if stride <= 16:
            self.upscore32 = upsampling(num_classes)
            self.score16 = score_layer(widths[16], num_classes)
        if stride <= 8:
            self.upscore16 = upsampling(num_classes)
            self.score8 = score_layer(widths[8], num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised images ``(B, 3, H, W)`` of any size to logits ``(B, K, H, W)``."""
        height, width = image.shape[-2:]
        # Pad with zeros, the mean colour, to a multiple of 32, so that the grids align exactly.
        padded = F.pad(image, (0, -width % 32, 0, -height % 32))
        at8, at16, at32 = self.backbone(padded)
        score: Tensor = self.score32(self.dropout(at32))
        if self.context is not None:
            score = score + self.context(self.dropout(at32.mean((2, 3), keepdim=True)))
        if self.stride <= 16:
            score = self.upscore32(score) + self.score16(at16)
        if self.stride <= 8:
            score = self.upscore16(score) + self.score8(at8)
        return upsampled(score, self.stride)[..., :height, :width]


def upsampled(scores: Tensor, factor: int) -> Tensor:
    """Return maps ``(B, C, H, W)`` ``factor`` times as high and wide, bilinearly."""
    return F.interpolate(scores, scale_factor=float(factor), mode="bilinear", align_corners=False)


def score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    """Return a 1x1 convolution to class scores that starts at zero."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def upsampling(num_classes: int) -> nn.ConvTranspose2d:
    """Return an upsampling by two that starts as bilinear interpolation within each class."""
    layer = nn.ConvTranspose2d(
        num_classes, num_classes, 4, stride=2, padding=1, groups=num_classes, bias=False
    )
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.copy_(torch.outer(ramp, ramp).expand_as(layer.weight))
    return layer
