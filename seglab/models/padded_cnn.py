"""The first of the three families: convolutions padded so that the output has the input's size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

NORMS = ("batch", "group", "none")


class PaddedCNN(nn.Module):
    """A stack of padded convolutions, ended by a 1x1 convolution to class logits.

    With stride 1, an odd kernel ``k`` and dilation ``d``, padding by ``d * (k - 1) / 2`` on each
    side keeps height and width exactly, whatever they are. Growing dilations widen the view
    exponentially at linear cost (Yu and Koltun, ICLR 2016).

    Args:
        num_classes: K, the number of output channels.
        channels: width of every hidden layer, or one width a layer.
        kernel_size: odd side of the kernels, in pixels.
        dilations: one hidden layer for each.
        norm: ``batch``, ``group`` (groups of 8 channels) or ``none``, after every hidden layer.
        in_channels: of the input.

    Raises:
        ValueError: an even kernel, no layer, an unknown norm, or widths that do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int | Sequence[int] = 32,
        kernel_size: int = 3,
        dilations: Sequence[int] = (1, 1, 2, 4, 8, 1),
        norm: str = "batch",
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: must be odd, to pad both sides alike")
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations={list(dilations)}: must be one or more positive numbers")
        if norm not in NORMS:
            raise ValueError(f"norm={norm}: must be one of {', '.join(NORMS)}")
        widths = [channels] * len(dilations) if isinstance(channels, int) else list(channels)
        if len(widths) != len(dilations):
            raise ValueError(f"channels={widths}: must be one number, or one for each dilation")
        if min(widths) < 1 or (norm == "group" and any(width % 8 for width in widths)):
            raise ValueError(f"channels={widths}: must be positive, and multiples of 8 for groups")
        layers: list[nn.Module] = []
        for before, width, dilation in zip([in_channels, *widths], widths, dilations, strict=False):
            padding = dilation * (kernel_size - 1) // 2
            layers.append(
                nn.Conv2d(
                    before,
                    width,
                    kernel_size,
                    padding=padding,
                    dilation=dilation,
                    bias=norm == "none",  # a norm brings its own offset
                )
            )
            if norm == "batch":
                layers.append(nn.BatchNorm2d(width))
            elif norm == "group":
                layers.append(nn.GroupNorm(width // 8, width))
            layers.append(nn.ReLU(inplace=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(widths[-1], num_classes, 1)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised images ``(B, in_channels, H, W)`` to logits ``(B, K, H, W)``."""
        logits: Tensor = self.classifier(self.features(image))
        return logits
