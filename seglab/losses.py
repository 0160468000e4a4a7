"""Loss functions. Void pixels never change a loss or its gradient.

Every loss maps logits ``(B, K, H, W)`` and a class map ``(B, H, W)`` of integers (void 255) to a
scalar, zero with zero gradient where every pixel is void. The region losses (dice, Lovász) treat
the batch as one image and average over the classes in its truth, so an absent class neither counts
nor divides by zero.

On several processes, ``ranks`` makes a loss that of all their batches as one: averaged over the
processes, its value and its gradient are those of one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.data.classes import VOID
from seglab.ops import cross_entropy_by_class
from seglab.runtime.reduction import ALONE, Alone


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ranks: Alone = ALONE,
) -> Tensor:
    """Return the mean cross entropy over the pixels that are not void.

    Args:
        logits: ``(B, K, H, W)`` floating point.
        target: ``(B, H, W)`` integers, void 255.
        class_weights: ``(K,)``; the mean is then weighted, as in ``torch.nn.CrossEntropyLoss``.
        label_smoothing: share of the truth that is spread evenly over the classes, as in
            Szegedy et al., CVPR 2016, section 7. The spread share of a pixel is weighted by the
            classes it is spread over, and divided by the weights of the true classes, as in torch.
        ranks: whose pixels divide; the value differs between them, their mean is the loss of all.

    Returns:
        A scalar in ``[0, inf)``: 0 with zero gradient where the true classes weigh 0 in all, even
        if label smoothing spreads some of the truth over classes that weigh more.
    """
    total = cross_entropy_sum(logits, target, class_weights, label_smoothing)
    valid = target != VOID
    if class_weights is None:
        weight = valid.sum().to(total.dtype)
    else:
        weight = _pixel_weights(target.long(), class_weights).sum().to(total.dtype)
    weight = ranks.sum(weight)
    return (ranks.count * total / weight.where(weight > 0, math.inf)).to(logits.dtype)


def cross_entropy_sum(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the numerator of :func:`cross_entropy`: the sum of the pixels' weighted losses.

    Without a gradient it may be float64.
    """
    target = target.long()
    if not (torch.is_grad_enabled() or label_smoothing or logits.is_cuda) and logits.stride(1) == 1:
        pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)
        by_class = cross_entropy_by_class(pixels, target.flatten())
        if by_class is not None:
            return by_class.sum() if class_weights is None else by_class @ class_weights.double()
    if logits.is_contiguous(memory_format=torch.channels_last):
        # In channels_last order: torch would first transpose all logits, which costs as much
        # again, forward and backward.
        logits, target = logits.permute(0, 2, 3, 1).flatten(0, 2), target.flatten()
    return F.cross_entropy(
        logits,
        target,
        weight=class_weights,
        ignore_index=VOID,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def _pixel_weights(target: Tensor, class_weights: Tensor) -> Tensor:
    """Return the weight of each pixel's true class, 0 where it is void."""
    valid = target != VOID
    return class_weights[target.where(valid, 0)] * valid


def dice(logits: Tensor, target: Tensor, ranks: Alone = ALONE) -> Tensor:
    """Return one minus the soft Dice coefficient, averaged over the classes of the truth.

    ``1 - 2 sum(p t) / (sum(p) + sum(t))`` over all pixels of a class that are not void, with
    probabilities p and truth t (Milletari, Navab and Ahmadi, 3DV 2016, without the squares).

    Args:
        logits: ``(B, K, H, W)`` floating point.
        target: ``(B, H, W)`` integers, void 255.
        ranks: whose pixels the sums are over.

    Returns:
        A scalar in ``[0, 1]``.
    """
    probabilities, truth = _valid_pixels(logits, target)
    classes = logits.shape[1]
    counts = ranks.sum(truth.bincount(minlength=classes))
    own = probabilities.gather(1, truth[:, None])[:, 0]
    # By matrix product: adding by index is not deterministic on a GPU.
    overlap = ranks.sum(own @ F.one_hot(truth, classes).to(own.dtype))
    score = 2 * overlap / (ranks.sum(probabilities.sum(0)) + counts).clamp_min(1)
    present = (counts > 0).to(own.dtype)
    return ((1 - score) * present).sum() / present.sum().clamp_min(1)


def lovasz_softmax(logits: Tensor, target: Tensor, ranks: Alone = ALONE) -> Tensor:
    """Return the Lovász-softmax loss, averaged over the classes of the truth.

    The convex extension of ``1 - IoU`` of a class to soft predictions: the errors, in descending
    order, weighted by what each adds to the Jaccard loss (Berman, Triki and Blaschko, CVPR 2018,
    equations 8 and 9 and algorithm 1).

    Args:
        logits: ``(B, K, H, W)`` floating point.
        target: ``(B, H, W)`` integers, void 255.
        ranks: whose errors are ordered together.

    Returns:
        A scalar in ``[0, 1]``.
    """
    probabilities, truth = _valid_pixels(logits, target)
    counts = ranks.sum(truth.bincount(minlength=logits.shape[1]))
    losses = []
    for index in counts.nonzero()[:, 0].tolist():
        foreground = (truth == index).to(probabilities.dtype)
        errors = (foreground - probabilities[:, index]).abs()
        errors, foreground = ranks.join(errors, foreground)
        ordered, order = errors.sort(descending=True)
        losses.append(ordered @ _jaccard_steps(foreground[order]))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _jaccard_steps(foreground: Tensor) -> Tensor:
    """Return what each pixel, in this order, adds to ``1 - intersection / union``."""
    # Counts in float64: a batch can have more pixels than float32 can count.
    hits = foreground.double().cumsum(0)
    total = hits[-1]
    misses = torch.arange(1, len(hits) + 1, device=hits.device, dtype=hits.dtype) - hits
    jaccard = 1 - (total - hits) / (total + misses)
    return torch.cat([jaccard[:1], jaccard.diff()]).to(foreground.dtype)


def _valid_pixels(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities ``(N, K)`` and truth ``(N,)`` int64 of the pixels that are not void."""
    valid = target != VOID
    return logits.movedim(1, -1)[valid].softmax(1), target[valid].long()


Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits ``(B, K, H, W)`` and a class map ``(B, H, W)`` int64, void 255, to a scalar."""

REGION_LOSSES: dict[str, Callable[..., Tensor]] = {"dice": dice, "lovasz_softmax": lovasz_softmax}


class SegmentationLoss(nn.Module):
    """A weighted sum of losses.

    Args:
        terms: (name, weight) pairs; a name is ``cross_entropy`` or a key of
            :data:`REGION_LOSSES`.
        class_weights: one number a class, or None; for the cross entropy.
        label_smoothing: for the cross entropy.
    """

    def __init__(
        self,
        terms: Sequence[tuple[str, float]] = (("cross_entropy", 1.0),),
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.terms, self.label_smoothing = tuple(terms), label_smoothing
        # Not a buffer: trainer.precision=bf16-true would round it to three digits.
        self.class_weights = None if class_weights is None else torch.tensor(class_weights)

    def forward(self, logits: Tensor, target: Tensor, ranks: Alone = ALONE) -> Tensor:
        """Return the loss of logits ``(B, K, H, W)`` against a class map ``(B, H, W)``."""
        logits, weights = self._prepared(logits)
        parts = []
        for name, weight in self.terms:
            if name == "cross_entropy":
                part = cross_entropy(logits, target, weights, self.label_smoothing, ranks)
            else:
                part = REGION_LOSSES[name](logits, target, ranks)
            parts.append(weight * part)
        return torch.stack(parts).sum()

    def fractions(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return what one image adds to the loss of a split, term by term.

        The loss of a split, which :func:`seglab.metrics.confusion.split_loss` computes, is the sum
        of its terms', and a term's is the sum of its images' numerators over that of their
        denominators:

        - cross entropy: the pixels' weighted losses over the pixels' weights. That is the training
          loss of all valid pixels of the split as one batch.
        - a region loss, which is no mean over pixels: the loss of the image as a batch of one over
          1, or 0 over 0 where all is void. That is the mean over the images with valid pixels.

        Args:
            logits: ``(1, K, H, W)`` floating point.
            target: ``(1, H, W)`` integers, void 255.

        Returns:
            ``(T, 2)`` float64, per term a numerator, already multiplied by the term's weight, and a
            denominator.
        """
        logits, weights = self._prepared(logits)
        counts = target.flatten().bincount(minlength=VOID + 1)[: logits.shape[1]].double()
        rows = []
        for name, weight in self.terms:
            if name == "cross_entropy":
                numerator = cross_entropy_sum(logits, target, weights, self.label_smoothing)
                denominator = (counts if weights is None else counts * weights).sum()
            else:
                numerator = REGION_LOSSES[name](logits, target)
                denominator = counts.any().double()
            rows.append(torch.stack([weight * numerator.double(), denominator]))
        return torch.stack(rows)

    def _prepared(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits and class weights of one dtype on one device: float64, or else float32.

        In half precision the sum over a batch's pixels overflows.
        """
        if logits.dtype != torch.float64:
            logits = logits.float()
        if self.class_weights is None:
            return logits, None
        self.class_weights = self.class_weights.to(logits.device)
        return logits, self.class_weights.to(logits.dtype)


def image_fractions(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    """Return what one image adds to the loss of a split; see :meth:`SegmentationLoss.fractions`.

    For any other loss, the loss of the image as a batch of one over 1, or 0 over 0 if all pixels
    are void: the mean over the images with valid pixels.

    Args:
        loss: the loss.
        logits: ``(1, K, H, W)`` floating point.
        target: ``(1, H, W)`` int64, void 255.

    Returns:
        ``(T, 2)`` float64; T is 1 for any other loss.
    """
    if isinstance(loss, SegmentationLoss):
        return loss.fractions(logits, target)
    valid = (target != VOID).any().double()
    value = loss(logits, target).double() if valid else torch.zeros_like(valid)
    return torch.stack([value, valid])[None]
