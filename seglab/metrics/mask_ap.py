"""COCO's average precision of instance masks, equal on any number of processes.

faster-coco-eval does the counting, as for torchmetrics' MeanAveragePrecision, which is not used:
it ignores detections in images without a true object, rounds thresholds and results to float32 (an
IoU of 4/5 misses 0.8), and gathers as if every process had the same number of images.

Source: cocodataset.org, "Detection Evaluation": AP is the mean over classes, and over IoU
thresholds 0.50 to 0.95 in steps of 0.05, of the precision at 101 recalls; AP50 at IoU 0.50 alone.
The 100 detections of highest score per image are counted, which is the library's default too.

Void pixels are ignored, as in mIoU: they are removed from a predicted mask before its IoU is
computed, and a mask that becomes empty is neither a true nor a false positive. COCO has no void
pixels; without them the result is COCO's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as run_length
from torch import Tensor

from seglab.data.classes import VOID
from seglab.data.instances import Detections, Instances
from seglab.runtime.collective import gather

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ImageObjects:
    """The objects of one image, as plain data of a few kilobytes.

    Attributes:
        index: the image's place in the split.
        size: its height and width in pixels.
        found: (class, score, run-length code) of each detection, without void pixels.
        true: (class, run-length code) of each true one.
    """

    index: int
    size: tuple[int, int]
    found: list[tuple[int, float, bytes]]
    true: list[tuple[int, bytes]]

    def plain(self) -> list[Any]:
        """Return JSON-compatible data; run-length codes are ASCII."""
        found = [(label, score, code.decode("ascii")) for label, score, code in self.found]
        return [self.index, self.size, found, [(x, code.decode("ascii")) for x, code in self.true]]

    @classmethod
    def of(cls, plain: Sequence[Any]) -> ImageObjects:
        """Restore from the data that :meth:`plain` returned."""
        index, (height, width), found, true = plain
        return cls(
            index,
            (height, width),
            [(label, score, code.encode("ascii")) for label, score, code in found],
            [(label, code.encode("ascii")) for label, code in true],
        )


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


def average_precision(images: Sequence[ImageObjects], num_classes: int) -> Floats:
    """Return the AP of each class at each IoU threshold: ``(10, K - 1)`` float64.

    Row 0 is IoU 0.50, row 9 is 0.95; column 0 is class 1. NaN for a class without a true object.
    Objects of equal score are ranked in the order of ``images``.
    """
    frames, true, found = [], [], []
    for number, image in enumerate(images, 1):
        height, width = image.size
        frames.append({"id": number, "height": height, "width": width})
        true += [_annotation(number, image.size, label, code) for label, code in image.true]
        for label, score, code in image.found:
            found.append({**_annotation(number, image.size, label, code), "score": score})
    precision = np.full((10, num_classes - 1), math.nan)
    if not true:
        return precision
    if not found:
        precision[:, [one["category_id"] - 1 for one in true]] = 0
        return precision
    labels = range(1, num_classes)
    evaluation = COCOeval_faster(
        *(_dataset(frames, objects, labels) for objects in (true, found)),
        iouType="segm",
        print_function=_silent,
        rle_iou_max_workers=1,
    )
    evaluation.evaluate()
    evaluation.accumulate()
    at_recalls = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # all areas, 100 objects
    known = (at_recalls > -1).all((0, 1))
    precision[:, known] = at_recalls[:, :, known].mean(1)
    return precision


def _annotation(image: int, size: tuple[int, int], label: int, code: bytes) -> dict[str, Any]:
    segmentation = {"size": list(size), "counts": code}
    return {
        "image_id": image,
        "category_id": label,
        "segmentation": segmentation,
        "area": int(run_length.area(segmentation)),
        "iscrowd": 0,
    }


def _dataset(frames: list[Any], objects: list[Any], labels: Sequence[int]) -> COCO:
    content = {
        "images": frames,
        "annotations": [{"id": number, **one} for number, one in enumerate(objects, 1)],
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }
    return COCO(content, print_function=_silent)


def _silent(*_: object) -> None:
    pass


class MaskAP:
    """Accumulates the objects of a split over images and processes.

    Args:
        classes: the names of the K classes, background first, in the order of their values.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.images: list[ImageObjects] = []

    def update(self, found: Detections, truth: Instances, void: Tensor, index: int) -> None:
        """Add an image.

        Args:
            found: the detections.
            truth: the true ones; none of their pixels is void.
            void: ``(H, W)`` bool, :func:`void_pixels`.
            index: the image's place in the split.
        """
        height, width = void.shape
        found = without_void(found, void)
        scored = (found.labels.tolist(), found.scores.tolist(), encode(found.masks))
        true = (truth.labels.tolist(), encode(truth.masks))
        self.images.append(
            ImageObjects(
                index,
                (height, width),
                list(zip(*scored, strict=True)),
                list(zip(*true, strict=True)),
            )
        )

    def compute(self) -> dict[str, float]:
        """Return the metrics of the images of all processes, fractions in 0..1.

        ``val/mask_AP``, ``val/mask_AP50``, and both of each class but background, as
        ``val/mask_AP/<class>``; NaN for a class without a true object, which no mean counts.

        Raises:
            ValueError: an image was given twice.
        """
        messages = gather([image.plain() for image in self.images])
        images = [ImageObjects.of(plain) for message in messages for plain in message.value]
        if len({image.index for image in images}) != len(images):
            raise ValueError("an image was counted twice: each index may come once")
        precision = average_precision(
            sorted(images, key=lambda image: image.index), len(self.classes)
        )
        result = {"val/mask_AP": _mean(precision), "val/mask_AP50": _mean(precision[0])}
        for name, column in zip(self.classes[1:], precision.T, strict=True):
            result[f"val/mask_AP/{name}"] = _mean(column)
            result[f"val/mask_AP50/{name}"] = float(column[0])
        return result

    def reset(self) -> None:
        """Forget all images."""
        self.images = []


def _mean(values: Floats) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else math.nan
