"""Adapts RGB nets to other channel counts; only the first convolution differs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

RGB = 3


def first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return the first convolution of a net, in module order, and its name."""
    named = net.named_modules()
    return next(((name, part) for name, part in named if isinstance(part, nn.Conv2d)), None)


def with_channels(net: nn.Module, channels: int) -> nn.Module:
    """Return a net whose first convolution takes ``channels`` channels, changed in place.

    Its RGB weights are converted by :func:`adapt_channels`.

    Raises:
        ValueError: the net does not begin with a convolution of RGB, or of as many channels.
    """
    first = first_convolution(net)
    if first is not None and first[1].in_channels == channels:
        return net
    if first is None or first[1].in_channels != RGB or first[1].groups != 1:
        raise ValueError(f"does not begin with a convolution of {RGB} channels or of {channels}")
    name, old = first
    # timm's TensorFlow padding is a class of its own, which takes no mode.
    mode: dict[str, Any] = {} if old.padding_mode == "zeros" else {"padding_mode": old.padding_mode}
    new = type(old)(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
        **mode,
    )
    with torch.no_grad():
        new.weight.copy_(adapt_channels(old.weight, channels))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    net.set_submodule(name, new)
    return net


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a first layer's ``(O, 3, h, w)`` weights for C channels, ``(O, C, h, w)``.

    As ``timm.models.adapt_input_conv`` does: for one channel the sum over RGB, so that grey images
    give what they gave as RGB; for others the RGB weights in turn, scaled by 3 / C.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    tiled = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return tiled * (RGB / channels)
