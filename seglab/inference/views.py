"""Test-time augmentation: the mean of the logits of an image at several scales, and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_logits(
    image: Tensor, infer: Callable[[Tensor], Tensor], scales: Sequence[float], flip: bool
) -> Tensor:
    """Return the mean of the logits over all scales, each mirrored too if ``flip``.

    The multi-scale evaluation of semantic segmentation (Chen et al., TPAMI 2018, section 4.1),
    with the mean before the softmax. Scale 1 without a flip is what ``infer`` returns, bit for bit.

    Args:
        image: ``(B, C, H, W)`` uint8.
        infer: maps ``(B, C, h, w)`` uint8 to logits ``(B, K, h, w)``.
        scales: factors of height and width.
        flip: whether to add the mirror image of each scale.

    Returns:
        ``(B, K, H, W)``.
    """
    total, count = None, 0
    for view, mirrored in views(image, scales, flip):
        logits = infer(view)
        logits = _to_size(logits.flip(-1) if mirrored else logits, image.shape[-2:])
        total, count = logits if total is None else total + logits, count + 1
    assert total is not None
    return total if count == 1 else total / count


def views(image: Tensor, scales: Sequence[float], flip: bool) -> Iterator[tuple[Tensor, bool]]:
    """Yield ``(B, C, H, W)`` uint8 at each scale, and its mirror image if ``flip``.

    Yields:
        the view, and whether it is mirrored.
    """
    for scale in scales:
        scaled = resize(image, scale)
        yield scaled, False
        if flip:
            yield scaled.flip(-1), True


def resize(image: Tensor, scale: float) -> Tensor:
    """Resize ``(B, C, H, W)`` uint8 by a factor, bilinear and antialiased, to a pixel at least."""
    size = [max(1, round(length * scale)) for length in image.shape[-2:]]
    if size == list(image.shape[-2:]):
        return image
    resized = F.interpolate(image.float(), size, mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _to_size(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    # In half precision the difference of neighbours would be rounded away.
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.interpolate(wide, size, mode="bilinear")
