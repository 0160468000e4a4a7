"""Boundary IoU: the IoU of what is near the contours, where large objects hide errors in IoU.

Cheng, Girshick, Dollár, Berg and Kirillov, "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021. All sums are of integers, so no bit depends on batches and
processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from seglab.data.classes import VOID
from seglab.metrics.counts import iou, mean

DILATION = 0.02
"""Width of the band along a contour, as a share of the image's diagonal (section 4.1)."""


def band(class_map: Tensor, width: int) -> Tensor:
    """Return the pixels of each class that an erosion of its mask by ``width`` pixels removes.

    A pixel is in the band if another class, or the outside of the image, is within ``width`` rows
    and columns of it: the erosion by a 3x3 square, ``width`` times, of all masks at once.

    Args:
        class_map: ``(H, W)`` uint8.
        width: in pixels, at least 1.

    Returns:
        ``(H, W)`` bool.
    """
    padded = F.pad(class_map.to(torch.int16), (1, 1, 1, 1), value=-1)
    across = (padded[:, 1:] != padded[:, :-1])[1:-1]  # (H, W + 1), a change before each column
    down = (padded[1:] != padded[:-1])[:, 1:-1]
    rows = _any_near(across, width, 1)
    return _any_near(rows, width, 0, of_pixels=True) | _any_near(down, width, 0)


def _any_near(flags: Tensor, width: int, dim: int, *, of_pixels: bool = False) -> Tensor:
    """Return for each pixel whether a flag within ``width`` of it along ``dim`` is set.

    Flags are of pixels, or one more of the changes before, between and after them.
    """
    length = flags.shape[dim] - (not of_pixels)
    start = torch.zeros_like(flags.narrow(dim, 0, 1), dtype=torch.int32)
    sums = torch.cat([start, flags.cumsum(dim, dtype=torch.int32)], dim)
    place = torch.arange(length, device=flags.device)
    low = (place - width + (not of_pixels)).clamp(min=0)
    high = (place + width + 1).clamp(max=flags.shape[dim])
    return sums.index_select(dim, high) != sums.index_select(dim, low)


def boundary_counts(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count the pixels in the bands of truth, prediction and both, by class.

    Void pixels are taken out of all masks first, so that both bands end where the truth does.

    Args:
        prediction: ``(H, W)`` uint8, classes in 0..K-1.
        target: ``(H, W)`` uint8, classes in 0..K-1, or 255 for void.
        num_classes: K.

    Returns:
        ``(3, K)`` int64.
    """
    width = max(1, round(DILATION * math.hypot(*target.shape)))
    prediction = prediction.where(target != VOID, VOID)
    of_truth, of_prediction = band(target, width), band(prediction, width)
    both = of_truth & of_prediction & (target == prediction)
    masked = (target[of_truth], prediction[of_prediction], target[both])
    return torch.stack([one.bincount(minlength=256)[:num_classes] for one in masked])


class BoundaryIoU(Metric):
    """Accumulates :func:`boundary_counts` over a split.

    Args:
        classes: the names of the K classes, in the order of their values.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    update_called = True  # a process without an image must join `compute` too: no warning
    counts: Tensor

    def __init__(self, classes: Sequence[str]) -> None:
        # A process without a new image would answer from the cache and not join the collective.
        super().__init__(compute_with_cache=False)
        self.classes = tuple(classes)
        self.add_state("counts", torch.zeros(3, len(self.classes), dtype=torch.int64), "sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch of uint8 class maps ``(B, H, W)``."""
        for pair in zip(prediction, target, strict=True):
            self.counts = self.counts + boundary_counts(*pair, len(self.classes))

    def compute(self) -> dict[str, float]:
        """Return ``val/boundary_IoU``, the mean over the classes that occur, and each class's."""
        by_class = iou(self.counts.cpu().numpy())
        named = zip(self.classes, by_class.tolist(), strict=True)
        return {
            "val/boundary_IoU": float(mean(by_class)),
            **{f"val/boundary_IoU/{name}": value for name, value in named},
        }
