"""Fast CPU kernels. Each names the plain formula that it equals; tests compare the two.

They exist only for speed; ``benchmarks/`` measures each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor


def resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(…, H, W)`` uint8 to ``(…, *size)`` by nearest pixel centres.

    Equals ``F.interpolate(maps, size, mode="nearest-exact")``, in a third of its time.
    """
    rows, columns = (_nearest(old, new) for old, new in zip(maps.shape[-2:], size, strict=True))
    pixels = maps.numpy()
    if len(columns) > maps.shape[-1]:  # whole rows are copied, so rows come last when enlarging
        return torch.from_numpy(pixels.take(columns, -1, mode="clip").take(rows, -2, mode="clip"))
    return torch.from_numpy(pixels.take(rows, -2, mode="clip").take(columns, -1, mode="clip"))


def _nearest(old: int, new: int) -> npt.NDArray[np.intp]:
    """Return the source index of each of ``new`` pixels among ``old``, rounded as in torch."""
    positions = torch.arange(old, dtype=torch.float32)[None, None]
    nearest: npt.NDArray[np.float32] = F.interpolate(positions, new, mode="nearest-exact").numpy()
    return np.asarray(nearest[0, 0], dtype=np.intp)


def argmax_planes(logits: Tensor) -> Tensor:
    """Return the index of the largest of K planes: ``(K, H, W)``, K <= 255, to ``(H, W)`` uint8.

    Equals ``logits.argmax(0)``, the first of equal logits and NaN as the largest, in a fraction
    of its time where the planes are contiguous.
    """
    largest = logits[0].clone()
    index = torch.zeros(largest.shape, dtype=torch.uint8)
    for k, plane in enumerate(logits[1:], 1):
        larger = (plane > largest).view(torch.uint8)
        torch.maximum(index, larger.mul_(k), out=index)  # k only grows
        torch.maximum(largest, plane, out=largest)
    if largest.isnan().any():
        return logits.max(0).indices.to(torch.uint8)
    return index


def normalise_channels_last(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``(image - mean) / std`` as floats, for ``(B, C, H, W)`` uint8 in channels_last.

    Bitwise equal to the formula, computed row by row: broadcasting would loop over C only.

    Args:
        image: strides of channels_last.
        mean: ``(1, C, 1, 1)``, of the result's dtype.
        std: the same.

    Returns:
        ``(B, C, H, W)`` with the strides of channels_last, which follow from the shape alone.
    """
    pixels = image.permute(0, 2, 3, 1)
    normal = torch.empty(pixels.shape, dtype=mean.dtype, device=image.device).copy_(pixels)
    width = image.shape[-1]
    normal.flatten(2).sub_(mean.flatten().repeat(width)).div_(std.flatten().repeat(width))
    return normal.permute(0, 3, 1, 2)


def cross_entropy_by_class(logits: Tensor, target: Tensor) -> Tensor | None:
    """Return the cross entropies of the pixels of each class, summed, without a gradient.

    Equals ``F.cross_entropy`` up to rounding, in a fraction of its time: torch first subtracts the
    largest logit of each pixel, which is unnecessary while no sum of exponentials overflows or
    underflows. Class weights are then factors of K numbers, not of every pixel.

    Args:
        logits: ``(N, K)`` floating point, K <= 255.
        target: ``(N,)`` int64, void 255.

    Returns:
        ``(K,)`` float64; None where a pixel needs the shift.
    """
    classes = logits.shape[1]
    with torch.autocast(logits.device.type, enabled=False):
        sums = logits.exp().sum(1).log_()
    if not bool((sums.abs() < 80).all()):  # NaN is not less either
        return None
    true_logits = logits.gather(1, target.clamp_max(classes - 1)[:, None])[:, 0]
    losses = sums.sub_(true_logits).double()
    return target.bincount(losses, minlength=classes)[:classes]
