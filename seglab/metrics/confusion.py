"""How good class maps are: one exact confusion matrix, the scores read from it, an interval.

The functions are the arithmetic; :class:`SegmentationMetrics` only gathers their inputs, batch by
batch and process by process. Sums are of integers or exactly rounded, so no bit of a result depends
on the batch size, the order of the images or the number of processes.

Sources: ``VOCevalseg.m`` of the PASCAL VOC development kit (confusion matrix, IoU); Long, Shelhamer
and Darrell, *Fully Convolutional Networks for Semantic Segmentation*, CVPR 2015, section 5 (pixel
accuracy, mean accuracy, mean IU, frequency weighted IU).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from seglab.data.classes import VOID
from seglab.metrics.counts import Floats, iou, jackknife_interval, mean, miou, ratio
from seglab.ops import argmax_planes


def class_map(logits: Tensor) -> Tensor:
    """Return the class of the largest logit: (B, K, H, W) floats, K <= 255 -> (B, H, W) uint8.

    The first of equal logits wins and NaN counts as largest, as in ``argmax``, which is several
    times slower on a CPU: ``benchmarks/metric.py``.
    """
    if logits.device.type == "cpu" and logits.is_contiguous():
        return torch.stack([argmax_planes(image) for image in logits])
    return logits.max(1).indices.to(torch.uint8)


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true class (row) and predicted class (column), void (255) truth left out.

    Takes uint8 class maps of one shape (..., H, W) and K = ``num_classes`` in 2..255; returns
    (K, K) int64. What is predicted where the truth is void may be any value.

    Raises:
        ValueError: another dtype or shape, or, outside void, a value that is not in 0..K-1.
    """
    if prediction.shape != target.shape or {prediction.dtype, target.dtype} != {torch.uint8}:
        shapes = [f"{m.dtype} {tuple(m.shape)}" for m in (prediction, target)]
        raise ValueError(f"class maps must be uint8 of one shape, not {' and '.join(shapes)}")
    pairs = target.to(torch.int32).mul_(256).add_(prediction)
    counts = torch.bincount(pairs.flatten(), minlength=256 * 256).reshape(256, 256)[:VOID]
    confusion = counts[:num_classes, :num_classes]
    if int(confusion.sum()) != int(counts.sum()):
        for name, by_value in (("target", counts.sum(1)), ("prediction", counts.sum(0))):
            for value in by_value[num_classes:].nonzero().flatten().tolist():
                wrong = f"{name} holds the value {num_classes + value}"
                raise ValueError(f"the {wrong}, but the classes are 0..{num_classes - 1}")
    return confusion.contiguous()


def per_image_counts(confusions: Tensor) -> Tensor:
    """Return the pixels of each class in truth, prediction and both: (N, K, K) -> (N, 3, K)."""
    both = confusions.diagonal(dim1=-2, dim2=-1)
    return torch.stack([confusions.sum(-1), confusions.sum(-2), both], dim=-2)


def scores(confusion: Tensor, classes: Sequence[str], prefix: str = "val/") -> dict[str, float]:
    """Read the scores from a (K, K) confusion matrix: fractions in 0..1, or NaN.

    With t, p and b the pixels of a class in truth, prediction and both:

    - ``IoU/<class>`` = b / (t + p - b) (``VOCevalseg.m``); NaN if the class is in neither;
    - ``mIoU``: its mean over the classes where it is not NaN;
    - ``pixel_accuracy`` = sum b / sum t;
    - ``mean_accuracy``: the mean of b / t over the classes in the truth;
    - ``fw_IoU`` = sum (t * IoU) / sum t.

    The last three are from Long et al. 2015, section 5. ``mean_accuracy`` is also the measure of
    VOC2007's own segmentation challenge (Everingham et al., IJCV 2010). A matrix of zeros scores
    NaN throughout.
    """
    counts = per_image_counts(confusion[None])[0].cpu().numpy().astype(np.float64)
    truth, _, both = counts
    by_class = iou(counts)
    weighted = np.multiply(truth, by_class, out=np.zeros_like(by_class), where=truth > 0)
    result = {
        "mIoU": mean(by_class),
        "pixel_accuracy": ratio(both.sum(), truth.sum()),
        "mean_accuracy": mean(ratio(both, truth)),
        "fw_IoU": ratio(weighted.sum(), truth.sum()),
    }
    result |= {f"IoU/{name}": value for name, value in zip(classes, by_class, strict=True)}
    return {prefix + name: float(value) for name, value in result.items()}


def accuracies(
    confusion: Tensor, classes: Sequence[str], prefix: str = "val/accuracy/"
) -> dict[str, float]:
    """Return the fraction of each class's true pixels that are found, NaN if it has none.

    Their mean is ``mean_accuracy``. It does not count false positives, as IoU does.
    """
    truth, _, both = per_image_counts(confusion[None])[0].cpu().numpy()
    return {
        prefix + name: float(value) for name, value in zip(classes, ratio(both, truth), strict=True)
    }


def split_loss(fractions: Tensor) -> float:
    """Return the loss of a split from its images' ``(N, T, 2)`` float64 fractions.

    Each of the T terms is the sum of its numerators over the sum of its denominators, and the loss
    is the sum of the terms. ``math.fsum`` rounds once, so the order of the images is irrelevant.
    NaN if a term's denominators sum to 0, for example if the split has no valid pixel.
    """
    total = 0.0
    for numerators, denominators in fractions.permute(1, 2, 0).tolist():
        weight = math.fsum(denominators)
        total += math.fsum(numerators) / weight if weight else math.nan
    return total


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The counts behind the scores of a split, on the CPU, in the order of the split.

    Attributes:
        confusion: ``(K, K)`` int64, pixels by true class (row) and predicted class (column).
        index: ``(N,)`` int64, the place of each image in the split.
        counts: ``(N, 3, K)`` int64, :func:`per_image_counts` of each image.
    """

    confusion: Tensor
    index: Tensor
    counts: Tensor

    def mious(self) -> Floats:
        """Return the mIoU of each image by itself, ``(N,)`` float64; NaN where all is void."""
        return miou(self.counts.numpy())


class SegmentationMetrics(Metric):
    """Accumulates class maps and losses, and computes :func:`scores` as plain floats.

    Args:
        classes: the names of the K classes, in the order of their values.
        per_image: compute ``val/mIoU_low`` and ``val/mIoU_high`` too (:func:`jackknife_interval`).
        terms: T, how many terms the loss has.

    Attributes:
        evaluation: what the last :meth:`compute` read its scores from, all processes' images; None
            before the first, and without images where no ``index`` was given.
        latest: ``(B, 3, K)`` int64, :func:`per_image_counts` of the last :meth:`update`.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    update_called = True  # a process without an image must join `compute` too: no warning
    confusion: Tensor

    def __init__(self, classes: Sequence[str], per_image: bool = False, terms: int = 1) -> None:
        # A process without a new image would answer from the cache and not join the collective.
        super().__init__(compute_with_cache=False)
        self.classes = tuple(classes)
        self.per_image = per_image
        self.evaluation: Evaluation | None = None
        size = len(self.classes)
        self.latest = torch.empty(0, 3, size, dtype=torch.int64)
        self.add_state("confusion", torch.zeros(size, size, dtype=torch.int64), "sum")
        self._no_rows = {  # lists with a row per image, of different lengths per process
            "index": torch.empty(0, dtype=torch.int64),
            "counts": torch.empty(0, 3, size, dtype=torch.int64),
            "loss": torch.empty(0, terms, 2, dtype=torch.float64),
        }
        for name in self._no_rows:
            self.add_state(name, [], "cat")

    def update(
        self,
        prediction: Tensor,
        target: Tensor,
        loss: Tensor | None = None,
        index: Tensor | None = None,
    ) -> None:
        """Add a batch of uint8 class maps (B, H, W), as :func:`confusion_matrix` takes them.

        Args:
            prediction: classes in 0..K-1.
            target: classes in 0..K-1, or 255 for void.
            loss: (B, T, 2) float64, what each image adds to :func:`split_loss`.
            index: (B,) int64, each image's position in the split, so that the order of arrival is
                irrelevant; required with ``loss`` and with ``per_image``.

        Raises:
            ValueError: see :func:`confusion_matrix`; a missing index; not one row per image.
        """
        if index is None and (self.per_image or loss is not None):
            raise ValueError("losses and per-image counts need the index of each image")
        pairs = zip(prediction, target, strict=True)
        confusions = torch.stack([confusion_matrix(p, t, len(self.classes)) for p, t in pairs])
        self.latest = per_image_counts(confusions)
        rows = {"index": index, "loss": loss}
        if index is not None:
            rows["counts"] = self.latest
        for name, row in rows.items():
            if row is not None:
                if len(row) != len(target):
                    raise ValueError(f"{name} has {len(row)} rows for {len(target)} images")
                getattr(self, name).append(row.detach().to(self._no_rows[name].dtype))
        self.confusion = self.confusion + confusions.sum(0)

    def compute(self) -> dict[str, float]:
        """Return the scores, ``val/loss`` if losses were given.

        With ``per_image`` also the interval and :func:`accuracies`.

        Raises:
            ValueError: an image was given twice, or only some were given with a loss.
        """
        index, counts, loss = (self._rows(name) for name in self._no_rows)
        if len(set(index.tolist())) != len(index):
            raise ValueError("an image was counted twice: each index may come once")
        order = index.argsort()
        self.evaluation = Evaluation(self.confusion.cpu(), index[order].cpu(), counts[order].cpu())
        result = scores(self.confusion, self.classes)
        if len(loss):
            if len(loss) != len(index):
                raise ValueError(f"{len(index)} images, but the losses of {len(loss)}")
            result["val/loss"] = split_loss(loss)
        if self.per_image:
            low, high = jackknife_interval(self.evaluation.counts.numpy())
            result |= {"val/mIoU_low": low, "val/mIoU_high": high}
            result |= accuracies(self.confusion, self.classes)
        return result

    def _rows(self, name: str) -> Tensor:
        rows: Tensor | list[Tensor] = getattr(self, name)
        if isinstance(rows, Tensor):  # joined by a sync
            return rows
        return torch.cat(rows) if rows else self._no_rows[name]

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # For an empty list torchmetrics sends a float32 vector, whatever the others' rows are
        # (torchmetrics#2468).
        for name in self._no_rows:
            setattr(self, name, [self._rows(name).to(self.device)])
        super()._sync_dist(*args, **kwargs)
