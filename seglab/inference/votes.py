"""Objects of an image at several scales, and mirrored: what the views find becomes one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from seglab.data.instances import Detections
from seglab.inference.views import views

SAME_OBJECT = 0.5
"""IoU of the boxes from which objects of one class in different views are the same one."""


def voted_objects(
    image: Tensor,
    infer: Callable[[Tensor], Detections],
    scales: Sequence[float],
    flip: bool,
    limit: int,
) -> Detections:
    """Return the objects of an image over all scales, each mirrored too if ``flip``.

    Non-maximum suppression by boxes, over the objects of all views. The mask of a kept object is
    voted by those that it stands for, with their scores as weights (Dai, He and Sun,
    "Instance-aware Semantic Segmentation via Multi-task Network Cascades", CVPR 2016). Its score is
    the mean over the views of the highest of theirs, 0 for a view without any: the highest of all
    would grow with the number of views, of wrong objects too. Scale 1 without a flip is what
    ``infer`` returns.

    Args:
        image: ``(1, C, H, W)`` uint8.
        infer: maps a view ``(1, C, h, w)`` to its objects.
        scales: factors of height and width.
        flip: whether to add the mirror image of each scale.
        limit: how many objects are kept, those of the highest scores.
    """
    found = [
        _on_image(infer(view), mirrored, view.shape[-2:], image.shape[-2:])
        for view, mirrored in views(image, scales, flip)
    ]
    if len(found) == 1:
        return found[0]
    every, view = _joined(found)
    if not len(every):
        return every
    kept = batched_nms(every.boxes, every.scores, every.labels, SAME_OBJECT)
    same = box_iou(every.boxes[kept], every.boxes) >= SAME_OBJECT
    same &= every.labels[kept][:, None] == every.labels
    best = [(same & (view == number)).mul(every.scores).amax(1) for number in range(len(found))]
    scores = torch.stack(best).mean(0)
    order = scores.argsort(descending=True, stable=True)[:limit]
    masks = torch.stack([_vote(every.masks[each], every.scores[each]) for each in same[order]])
    return Detections(masks, every.labels[kept[order]], scores[order], every.boxes[kept[order]])


def _on_image(found: Detections, mirrored: bool, seen: torch.Size, size: torch.Size) -> Detections:
    """Return the objects of a view of size ``seen`` in the image's pixels."""
    boxes, masks = found.boxes, found.masks
    if mirrored:
        x0, y0, x1, y1 = boxes.unbind(1)
        boxes, masks = torch.stack([seen[1] - x1, y0, seen[1] - x0, y1], 1), masks.flip(-1)
    if seen != size:
        masks = F.interpolate(masks[:, None].float(), size, mode="bilinear")[:, 0] >= 0.5
        boxes = boxes * boxes.new_tensor([size[1] / seen[1], size[0] / seen[0]] * 2)
    return Detections(masks, found.labels, found.scores, boxes)


def _joined(found: Sequence[Detections]) -> tuple[Detections, Tensor]:
    """Return the objects of all views by descending score, and the number of each one's view."""
    parts = {
        name: torch.cat([getattr(each, name) for each in found]) for name in Detections.__slots__
    }
    counts = torch.tensor([len(each) for each in found])
    view = torch.arange(len(found)).repeat_interleave(counts).to(parts["scores"].device)
    order = parts["scores"].argsort(descending=True, stable=True)
    return Detections(**{name: part[order] for name, part in parts.items()}), view[order]


def _vote(masks: Tensor, scores: Tensor) -> Tensor:
    """Return the pixels that objects of at least half the scores have."""
    share = torch.einsum("n,nhw->hw", scores, masks.to(scores.dtype))
    return share >= scores.sum() / 2
