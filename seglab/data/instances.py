"""The objects of an image, from its class map and instance map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from seglab.data.classes import VOID
from seglab.data.files import Box


@dataclass(frozen=True, slots=True)
class Instances:
    """The N objects of one image, in the order of their ids.

    Attributes:
        ids: ``(N,)`` int64, the objects' values in the instance map.
        masks: ``(N, H, W)`` bool; no pixel is in two of them, none is void.
        labels: ``(N,)`` int64, class indices ``1..K-1``.
        boxes: ``(N, 4)`` float32 ``x0, y0, x1, y1``, tight around the masks: 0-based pixel edges,
            so that ``x1 - x0`` is the width and never zero.
        difficult: ``(N,)`` bool, the annotation's flag; false where no annotated object matches.
        truncated: ``(N,)`` bool, likewise.
    """

    ids: Tensor
    masks: Tensor
    labels: Tensor
    boxes: Tensor
    difficult: Tensor
    truncated: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Detections:
    """The N objects that a model detects in one image, by descending score.

    Attributes:
        masks: ``(N, H, W)`` bool, at the image's own size; they may overlap.
        labels: ``(N,)`` int64, class indices ``1..K-1``.
        scores: ``(N,)`` float32 in 0..1, descending.
        boxes: ``(N, 4)`` float32 ``x0, y0, x1, y1`` in pixels.
    """

    masks: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        """Return N."""
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Return the objects with a score of at least ``threshold``."""
        count = int((self.scores >= threshold).sum())
        return Detections(*(getattr(self, name)[:count] for name in self.__slots__))

    def paint(self, values: Sequence[int] | Tensor) -> Tensor:
        """Paint a value per object, the highest score on top: ``(H, W)`` uint8, 0 elsewhere."""
        values = torch.as_tensor(values, dtype=torch.uint8, device=self.masks.device)
        painted = torch.zeros(self.masks.shape[1:], dtype=torch.uint8, device=self.masks.device)
        for mask, value in zip(self.masks.flip(0), values.flip(0), strict=True):
            painted[mask] = value
        return painted


def find_instances(
    class_map: Tensor,
    instance_map: Tensor,
    annotated: Sequence[Box] = (),
    classes: Sequence[str] = (),
) -> Instances:
    """Return the objects of an image.

    An object's class is that of most of its pixels in the class map (the lower index in a tie); its
    void pixels are left out. Objects that are mostly background or entirely void are dropped.
    Annotations only contribute flags: class and position of an object come from the masks.

    Args:
        class_map: ``(H, W)`` uint8, void 255.
        instance_map: ``(H, W)`` uint8, ids from 1, 0 for background, void 255.
        annotated: the objects of the image's XML.
        classes: the names of the classes 0..K-1, needed with ``annotated``.
    """
    pixels = instance_map.where(class_map != VOID, 0).flatten().long()
    pairs = pixels * 256 + class_map.flatten()
    counts = pairs.bincount(minlength=256 * 256).view(256, 256)
    majority = counts.max(1)
    is_object = (majority.values > 0) & (majority.indices > 0)
    is_object[0] = is_object[VOID] = False
    ids = is_object.nonzero()[:, 0]
    masks = pixels.view(class_map.shape) == ids[:, None, None]
    labels, boxes = majority.indices[ids], tight_boxes(masks)
    flags = torch.zeros(2, len(ids), dtype=torch.bool)
    for index, box in _matches(labels, boxes, annotated, classes):
        flags[:, index] = torch.tensor([box.difficult, box.truncated])
    return Instances(ids, masks, labels, boxes, *flags)


def _matches(
    labels: Tensor, boxes: Tensor, annotated: Sequence[Box], classes: Sequence[str]
) -> Iterator[tuple[int, Box]]:
    """Yield pairs of one class with a box IoU of at least 0.5, the highest first."""
    if not len(labels) or not annotated:
        return
    corners = torch.tensor([[box.x0, box.y0, box.x1, box.y1] for box in annotated])
    shared = box_iou(boxes, corners)
    for column, box in enumerate(annotated):
        shared[labels != (classes.index(box.name) if box.name in classes else -1), column] = 0
    while shared.max() >= 0.5:
        row, column = divmod(int(shared.argmax()), len(annotated))
        yield row, annotated[column]
        shared[row] = shared[:, column] = 0


def tight_boxes(masks: Tensor) -> Tensor:
    """Return the smallest boxes around masks ``(N, H, W)`` bool of at least a pixel each.

    ``(N, 4)`` float32 ``x0, y0, x1, y1``, to the outer edge of the last pixel. torchvision's
    ``masks_to_boxes`` returns the index of that pixel, so a line of one pixel has no area.
    """
    edges = []
    for axis in (1, 2):  # reduce over rows, then over columns
        line = masks.any(axis).to(torch.uint8)
        first = line.argmax(1)
        last = line.shape[1] - line.flip(1).argmax(1)
        edges.append((first, last))
    (x0, x1), (y0, y1) = edges
    return torch.stack([x0, y0, x1, y1], 1).float()
