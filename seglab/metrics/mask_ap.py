"""COCO's average precision of instance masks, equal on any number of processes.

Each image is matched when it is added, so that 12 bytes per detection are kept, not the masks.
torchmetrics' MeanAveragePrecision keeps all masks, ignores detections in images without a true
object, rounds thresholds and results to float32 (an IoU of 4/5 misses 0.8), and gathers as if every
process had the same number of images.

Source: cocodataset.org, "Detection Evaluation": AP is the mean over classes, and over IoU
thresholds 0.50 to 0.95 in steps of 0.05, of the precision at 101 recalls; AP50 at IoU 0.50 alone.
The 100 detections of highest score per image and class are counted.

Void pixels are ignored, as in mIoU: they are removed from a predicted mask before its IoU is
computed, and a mask that becomes empty is neither a true nor a false positive. COCO has no void
pixels; without them the result is COCO's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as run_length
from torch import Tensor

from seglab.data.classes import VOID
from seglab.data.instances import Detections, Instances
from seglab.runtime.collective import Array, gather

Floats = npt.NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
COUNTED = 100
"""Detections per image and class."""

ROW = np.dtype([("image", "<i4"), ("label", "<i2"), ("score", "<f4"), ("hits", "<u2")])
"""A detection: the image's place in the split, the class, the score, and a bit per threshold."""


def encode(masks: Tensor) -> list[bytes]:
    """Return COCO's compressed run-length codes of masks ``(N, H, W)`` bool."""
    if not len(masks):
        return []
    pixels = masks.cpu().numpy().view(np.uint8).transpose(1, 2, 0)
    return [run_lengths["counts"] for run_lengths in run_length.encode(np.asfortranarray(pixels))]


def void_pixels(class_map: Tensor, instance_map: Tensor) -> Tensor:
    """Return where an image's truth is unknown: ``(H, W)`` bool.

    That is where either map ``(H, W)`` uint8 is 255: without a class (ignored by mIoU too) or
    without an id, it is unknown whether a pixel belongs to an object.
    :func:`~seglab.data.instances.find_instances` leaves the same pixels out of true masks.
    """
    return (class_map == VOID) | (instance_map == VOID)


def without_void(found: Detections, void: Tensor) -> Detections:
    """Remove void pixels from detections, and detections with only void pixels.

    Args:
        found: N detections in one image; an empty mask stays, as a false positive.
        void: ``(H, W)`` bool.
    """
    masks = found.masks & ~void
    keep = masks.flatten(1).any(1) | ~found.masks.flatten(1).any(1)
    return Detections(masks[keep], found.labels[keep], found.scores[keep], found.boxes[keep])


def matches(ious: Floats) -> npt.NDArray[np.bool_]:
    """Return which detections of an image and class are true positives: ``(10, D)`` bool.

    At each threshold a detection takes the free true object of highest IoU (the last of equal
    ones, as COCO's code does).

    Args:
        ious: ``(D, G)`` of the detections, by descending score, with the true objects.
    """
    found, true = ious.shape
    least = np.minimum(THRESHOLDS, 1 - 1e-10)
    every = np.arange(len(least))
    free = np.ones((len(least), true), bool)
    hits = np.zeros((len(least), found), bool)
    for place, iou in enumerate(ious):
        open_ious = np.where(free, iou, -1)
        best = true - 1 - open_ious[:, ::-1].argmax(1)
        hits[:, place] = hit = open_ious[every, best] >= least
        free[every[hit], best[hit]] = False
    return hits


def average_precision(rows: np.ndarray, true: npt.NDArray[np.int64]) -> Floats:
    """Return the AP of each class at each IoU threshold: ``(10, K - 1)`` float64.

    Row 0 is IoU 0.50, row 9 is 0.95; column 0 is class 1. NaN for a class without a true object.

    Args:
        rows: ``(N,)`` of :data:`ROW`; those of equal score are ranked as they come.
        true: ``(K,)``, the number of true objects of each class.
    """
    precision = np.full((len(THRESHOLDS), len(true) - 1), math.nan)
    for label in np.flatnonzero(true[1:]) + 1:
        own = rows[rows["label"] == label]
        hits = own["hits"][np.argsort(-own["score"], kind="stable")]
        ranks = np.arange(1, len(hits) + 1)
        for number in range(len(THRESHOLDS)):
            positives = np.cumsum(hits >> number & 1, dtype=np.float64)
            envelope = np.maximum.accumulate((positives / ranks)[::-1])[::-1]
            places = np.searchsorted(positives / true[label], RECALLS)
            reached = places[places < len(hits)]
            precision[number, label - 1] = envelope[reached].sum() / len(RECALLS)
    return precision


class MaskAP:
    """Accumulates the objects of a split over images and processes.

    Args:
        classes: the names of the K classes, background first, in the order of their values.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.images: list[int] = []
        self.rows = bytearray()
        self.true = np.zeros(len(self.classes), np.int64)

    def update(self, found: Detections, truth: Instances, void: Tensor, index: int) -> None:
        """Add an image.

        Args:
            found: the detections.
            truth: the true ones; none of their pixels is void.
            void: ``(H, W)`` bool, :func:`void_pixels`.
            index: the image's place in the split.
        """
        found = without_void(found, void)
        size = list(void.shape)
        codes, true_codes = (
            [{"size": size, "counts": code} for code in encode(one.masks)] for one in (found, truth)
        )
        labels, true_labels = found.labels.cpu().numpy(), truth.labels.cpu().numpy()
        scores = found.scores.cpu().numpy()
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)[:COUNTED]
            others = np.flatnonzero(true_labels == label)
            rows = np.zeros(len(places), ROW)
            rows["image"], rows["label"], rows["score"] = index, label, scores[places]
            if len(others):
                ious = run_length.iou(
                    [codes[place] for place in places],
                    [true_codes[place] for place in others],
                    [0] * len(others),
                )
                rows["hits"] = (1 << np.arange(len(THRESHOLDS))) @ matches(np.asarray(ious))
            self.rows += rows.tobytes()
        self.true += np.bincount(true_labels, minlength=len(self.classes))
        self.images.append(index)

    def compute(self) -> dict[str, float]:
        """Return the metrics of the images of all processes, fractions in 0..1.

        ``val/mask_AP``, ``val/mask_AP50``, and both of each class but background, as
        ``val/mask_AP/<class>``; NaN for a class without a true object, which no mean counts.

        Raises:
            ValueError: an image was given twice.
        """
        own: dict[str, Array] = {
            "images": np.array(self.images, np.int64),
            "rows": np.frombuffer(bytes(self.rows), np.uint8),
            "true": self.true,
        }
        parts = [message.arrays for message in gather(None, own)]
        images = np.concatenate([part["images"] for part in parts])
        if len(np.unique(images)) != len(images):
            raise ValueError("an image was counted twice: each index may come once")
        rows = np.concatenate([part["rows"].view(ROW) for part in parts])
        rows = rows[np.argsort(rows["image"], kind="stable")]
        precision = average_precision(rows, np.sum([part["true"] for part in parts], axis=0))
        result = {"val/mask_AP": _mean(precision), "val/mask_AP50": _mean(precision[0])}
        for name, column in zip(self.classes[1:], precision.T, strict=True):
            result[f"val/mask_AP/{name}"] = _mean(column)
            result[f"val/mask_AP50/{name}"] = float(column[0])
        return result


def _mean(values: Floats) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else math.nan
