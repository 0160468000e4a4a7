"""What training minimises. Void pixels never change a loss or its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.data.classes import VOID


def cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean cross entropy over the pixels that are not void.

    Args:
        logits: ``(B, K, H, W)`` floating point.
        target: ``(B, H, W)`` uint8, void 255.
        class_weights: ``(K,)``; the mean is then weighted, as in ``torch.nn.CrossEntropyLoss``.

    Returns:
        A scalar in ``[0, inf)``; zero, with zero gradient, where every pixel is void.
    """
    target = target.long()
    total = F.cross_entropy(
        logits, target, weight=class_weights, ignore_index=VOID, reduction="sum"
    )
    valid = target != VOID
    if class_weights is None:
        weight = valid.sum()
    else:
        weight = (class_weights[target.where(valid, 0)] * valid).sum()
    return total / weight.to(total.dtype).clamp_min(torch.finfo(total.dtype).tiny)


TERMS = {"cross_entropy": cross_entropy}


class SegmentationLoss(nn.Module):
    """A weighted sum of losses.

    Args:
        terms: (name, weight) pairs; a name is a key of :data:`TERMS`.
        class_weights: one number a class, or None.
    """

    class_weights: Tensor | None

    def __init__(
        self, terms: Sequence[tuple[str, float]], class_weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.terms = [(TERMS[name], weight) for name, weight in terms]
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits ``(B, K, H, W)`` against a class map ``(B, H, W)`` uint8."""
        logits = logits.float()  # the sum over a batch's pixels overflows in half precision
        parts = [weight * term(logits, target, self.class_weights) for term, weight in self.terms]
        return torch.stack(parts).sum()
